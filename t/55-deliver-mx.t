# Where mail goes: preference, fallback, null MX, no MX, no domain, name service trouble, ourselves, prohibited addresses, literals,
# relayhost.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $many = join '', map { "many.test. IN MX $_ h$_.mx.test.\nh$_.mx.test. IN A 127.0.0.99\n" } 2 .. 99;
my $p = PosthornTest->new(conf => { smtpd_processes => 1, smtp_connect_timeout => '2s', dns_timeout => '5s', retry_interval => '1s',
	max_retry_interval => '1s' }, zone => <<"Z");
ten.mx.test. IN A 127.0.0.10
twenty.mx.test. IN A 127.0.0.11
dead.mx.test. IN A 127.0.0.99
mail.test. IN A 127.0.0.10
pref.test. IN MX 20 twenty.mx.test.
pref.test. IN MX 10 ten.mx.test.
fallback.test. IN MX 10 dead.mx.test.
fallback.test. IN MX 20 twenty.mx.test.
noaddr.test. IN MX 10 nothing.mx.test.
noaddr.test. IN MX 20 twenty.mx.test.
nullmx.test. IN MX 0 .
nomx.test. IN A 127.0.0.11
nothing.test. IN TXT "neither mail exchanger nor address"
self.test. IN MX 10 mail.test.
self.test. IN MX 20 twenty.mx.test.
better.test. IN MX 10 ten.mx.test.
better.test. IN MX 20 mail.test.
loop.test. IN CNAME loop2.test.
loop2.test. IN CNAME loop.test.
alias.test. IN CNAME pref.test.
lame.test. IN NS ns.lame.test.
ns.lame.test. IN A 127.0.0.99
$many
many.test. IN MX 1 ten.mx.test.
Z
$p->{sink_addresses} = ['127.0.0.1', '127.0.0.10', '127.0.0.11'];
$p->sink->start;
my $port = $p->{sink_port};

sub send_to {
	my ($rcpt) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<>', "RCPT TO:<$rcpt>", 'DATA';
	my $r = PosthornTest::say_smtp($s, "Subject: x\r\n\r\nhello\r\n.");
	fail "$rcpt was not accepted: $r" unless $r =~ /^250/;
}

my $what; # the first record about this recipient that is not its Reception
sub outcome {
	my ($rcpt) = @_;
	my $e = $p->wait_for("word of $rcpt", sub {
		my ($e) = grep { $_->{recipient} eq $rcpt && $_->{type} ne 'Reception' } $p->events;
		return $e;
	}, 30) or return {};
	return $e;
}
sub status { my ($e) = @_; my $c = $e->{response}{enhanced_code} // {}; return join '.', map { $_ // '?' } @$c{qw(class subject detail)} }

my %delivered = ('a@pref.test' => '127.0.0.10', 'a@fallback.test' => '127.0.0.11', 'a@noaddr.test' => '127.0.0.11',
	'a@nomx.test' => '127.0.0.11', 'a@better.test' => '127.0.0.10', 'a@alias.test' => '127.0.0.10', 'a@many.test' => '127.0.0.10',
	'a@[127.0.0.11]' => '127.0.0.11');
my %bounced = ('a@nullmx.test' => '5.1.10', 'a@gone.test' => '5.1.2', 'a@nothing.test' => '5.4.4', 'a@self.test' => '5.4.6');
my %later = ('a@loop.test' => '4.4.3', 'a@lame.test' => '4.4.3');
send_to($_) for sort(keys %delivered), sort(keys %bounced), sort keys %later;
for my $rcpt (sort keys %delivered) {
	my $e = outcome($rcpt);
	is $e->{type}, 'Delivery', "$rcpt is delivered";
	is $e->{peer_address}{addr}, $delivered{$rcpt}, '... to the right host';
	is $e->{source_address}{address} =~ s/:\d+$//r, '127.0.0.4', '... from the source of the pool';
}
for my $rcpt (sort keys %bounced) {
	my $e = outcome($rcpt);
	is $e->{type}, 'Bounce', "$rcpt bounces";
	is status($e), $bounced{$rcpt}, '... with its status';
	is $e->{generated}, 'local', '... of ours';
	is $e->{phase}, 'dns', '... in phase dns';
}
for my $rcpt (sort keys %later) {
	my $e = outcome($rcpt);
	is $e->{type}, 'TransientFailure', "$rcpt is tried again";
	is status($e), $later{$rcpt}, '... with its status';
	is $e->{num_attempts}, 0, '... this was the first attempt';
}
ok $p->wait_for('second attempt', sub { grep { $_->{recipient} eq 'a@lame.test' && $_->{num_attempts} == 1 } $p->events }, 30),
	'the second attempt says that there was one before';

# The name service recovers, and so does the mail.
my $zone = $p->dir . '/nsd/root.zone';
PosthornTest::write_file($zone, PosthornTest::slurp($zone) =~ s/^lame\.test\..*\nns\.lame.*\n/lame.test. IN MX 10 ten.mx.test.\n/mr
	=~ s/ 1 3600 600/ 2 3600 600/r);
kill 'HUP', $p->{dns_pid};
ok $p->wait_for('delivery', sub { grep { $_->{recipient} eq 'a@lame.test' } $p->events('Delivery') }, 90), 'delivered when DNS answers';

sub reconfigure {
	my ($edit) = @_;
	my $file = $p->etc . '/main.cf';
	local $_ = PosthornTest::slurp($file);
	$edit->();
	PosthornTest::write_file($file, $_);
	is +($p->posthorn('reload'))[0], 0, 'reload';
	sleep 2; # each daemon reads it for itself
}

# As installed: nobody's MX record makes this host connect to itself.
reconfigure(sub { s/^prohibited_hosts.*\n//m });
send_to($_) for 'b@pref.test', 'b@[127.0.0.11]';
for my $rcpt ('b@pref.test', 'b@[127.0.0.11]') {
	my $e = outcome($rcpt);
	is $e->{type}, 'Bounce', "$rcpt bounces with the default prohibited_hosts";
	is status($e), '5.4.4', '... with its status';
}

# Everything goes to the relayhost, which the administrator named.
reconfigure(sub { s/^/relayhost = [127.0.0.11]:$port\n/ });
send_to($_) for 'c@pref.test', 'c@nullmx.test', 'c@gone.test';
for my $rcpt ('c@pref.test', 'c@nullmx.test', 'c@gone.test') {
	my $e = outcome($rcpt);
	is $e->{type}, 'Delivery', "$rcpt is delivered by the relayhost";
	is $e->{peer_address}{addr}, '127.0.0.11', '... and no other';
}
is_deeply [grep { $_->{rcpt} =~ /^b@/ } $p->ledger], [], 'the sink never saw the prohibited ones';
my %count;
$count{ $_->{rcpt} }++ for $p->ledger;
is_deeply [grep { $count{$_} != 1 } keys %count], [], 'each was delivered once';
done_testing;
