# Connections: how many a destination gets, by its queue, by success and by limits of paths and providers, also while those are
# changed; which hosts and how secret; what a break means for the message (KumoMTA's scenarios 16 to 25).
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use Time::HiRes qw(sleep);
use PosthornTest;

my @own = qw(large strict secret clear ready next1 next2 same1 same2 big bigmail pair deferred broken six four); # each at an address of its own
my %at;
@at{@own} = map { "127.0.1.$_" } 11 .. 10 + @own;
my $zone = join '', map { "mx.$_.example. IN A $at{$_}\n" } @own;
$zone .= "$_.example. IN MX 10 mx.$_.example.\n" for grep { !/\d/ } @own;
$zone .= "$_.example. IN MX 10 mx.${_}1.example.\n$_.example. IN MX 20 mx.${_}2.example.\n" for qw(next same);
$zone .= "$_.example. IN MX 10 a.$_.example.\n$_.example. IN MX 20 b.$_.example.\na.$_.example. IN A 127.0.2.41\nb.$_.example. IN A 127.0.2.42\n"
	for qw(skip skip-all prohibited);
$zone .= "insecure.example. IN MX 10 mx.insecure.example.\nmx.insecure.example. IN A 127.0.1.99\n";
my $p = PosthornTest->new(tls => 1, conf => { smtpd_processes => 1, deliverd_credit => 400 }, zone => $zone);
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->{policy} = $p->example('connections');
$p->{sink_addresses} = ['127.0.0.1', '127.0.2.41', '127.0.2.42', map { $at{$_} } @own];
PosthornTest::write_file($p->dir . '/limits', "strict.example 4 -\npair.example - - 1\n");
my ($cert, $key) = $p->certificate;
$p->sink('-t', "$cert:$key", '-L', $p->dir . '/limits', map { ('-s', "dot\@$at{$_}:$port=slow 60") } qw(large strict ready big bigmail));
$p->spawn('plain', "$PosthornTest::tools/sink", '-l', $p->dir . '/ledger-plain', "127.0.1.99:$port");
$p->start;

sub send_one {
	my ($rcpt, $from) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO a.example', 'MAIL FROM:<' . ($from // 'a@b.example') . '>', "RCPT TO:<$rcpt>", 'DATA';
	like PosthornTest::say_smtp($s, "Subject: x\r\n\r\nx\r\n."), qr/^250/, "$rcpt was accepted";
}
# Not events(): to decode those of all the others takes too long.
sub of {
	my ($type, $re) = @_;
	my @lines = grep { /"type":"$type"/ && /"recipient":"([^"]*)"/ && $1 =~ $re } map { split /\n/, PosthornTest::slurp($_) } sort glob $p->log_dir . '/events/*.jsonl';
	return map { eval { JSON::PP::decode_json($_) } // () } @lines;
}
sub arrives { my ($n, $re, $time) = @_; return $p->wait_for("$n for $re", sub { $n <= (my $c = () = grep { $_->{rcpt} =~ $re } $p->ledger) }, $time // 30) }
sub first_of { my ($type, $re) = @_; my @e; $p->wait_for("$type of $re", sub { @e = of($type, $re) }, 20); return $e[0] // {} }
sub status { my ($e) = @_; my $c = $e->{response}{enhanced_code} // {}; return join ' ', $e->{response}{code} // '', join '.', map { $_ // '' } @$c{qw(class subject detail)} }
# The most connections at a time to (or from) each address, until the condition holds.
my %peak;
sub watch {
	my ($what, $cond, $time) = @_;
	%peak = ();
	return $p->wait_for($what, sub {
		for (1 .. 10) {
			my %n;
			$n{ $_->[0] }++, $n{ $_->[1] }++, $n{big} += $_->[1] =~ /^($at{big}|$at{bigmail})$/, $n{"$_->[0] big"} += $_->[1] =~ /^($at{big}|$at{bigmail})$/
				for $p->connections;
			for (keys %n) { $peak{$_} = $n{$_} if $n{$_} > ($peak{$_} // 0) }
			sleep 0.01;
		}
		return $cond->();
	}, $time // 60);
}
sub delivered { my ($n, $re) = @_; return sub { $n <= (my $c = () = grep { $_->{rcpt} =~ $re } $p->ledger) } }
sub window { my ($x) = $p->json('explain', $_[0]); my ($l) = grep { /by success/ } map { $_->{value} } @{ $x->{sources}[0]{limits} }; return $l =~ /(\d+) by success/ ? $1 : -1 }

# With the queue and with success.
is $p->load('-m', 3, '-t', 'few%u@large.example')->{acked}, 3, 'few messages';
ok watch('few', delivered(3, qr/^few/)), 'they arrive';
cmp_ok $peak{ $at{large} }, '<=', 2, '... by a connection or two';
is $p->load('-c', 4, '-m', 300, '-t', 'many%u@large.example')->{acked}, 300, 'many messages';
ok watch('many', delivered(300, qr/^many/)), 'they arrive';
is $peak{ $at{large} }, 8, '... by as many connections as are allowed, and no more';
my %session;
$session{ $_->{session_id} }++ for $p->wait_for('events', sub { 300 <= (my @e = of('Delivery', qr/^many/)) }) ? of('Delivery', qr/\@large/) : ();
my ($most) = sort { $b <=> $a } values %session;
is $most, 20, '... with max_deliveries_per_connection messages each';

# 421: half of them.
is $p->load('-c', 4, '-m', 200, '-t', 'strict%u@strict.example')->{acked}, 200, 'for one that does not want that many';
ok watch('strict', delivered(200, qr/^strict/)), 'they arrive';
cmp_ok $peak{ $at{strict} }, '<=', 10, '... by few connections (16 are allowed)';
cmp_ok window('a@strict.example'), '<=', 5, '... which 421 halved';
like +(of('TransientFailure', qr/^strict/))[0]{response}{content}, qr/too many connections/, '... as it was told';

# Changed while they are sending: down, up again.
my $all = $p->{policy};
sub reload { my ($text) = @_; PosthornTest::write_file($p->etc . '/policy.lua', $text); is +($p->posthorn('reload'))[0], 0, 'reload' }
is $p->load('-c', 4, '-m', 500, '-t', 'live%u@large.example')->{acked}, 500, 'a long queue';
ok watch('full use', sub { ($peak{ $at{large} } // 0) == 8 }), 'in full use';
reload($all =~ s/connection_limit = 8/connection_limit = 2/r);
ok watch('fewer', sub { 2 >= (my $n = () = grep { $_->[1] eq $at{large} } $p->connections) }), 'fewer connections after a reload';
my $had = () = grep { $_->{rcpt} =~ /^live/ } $p->ledger;
ok watch('some more', delivered($had + 30, qr/^live/)), '... send';
is $peak{ $at{large} }, 2, '... no more than two';
reload($all =~ s/connection_limit = 8/connection_limit = 6/r);
ok watch('more', sub { ($peak{ $at{large} } // 0) == 6 }), 'more of them after another';
ok watch('the rest', delivered(500, qr/^live/)), 'and all arrives';
is $peak{ $at{large} }, 6, '... by no more than six';
reload($all);

# Of a provider: for each source over both sites, and over both sources.
is $p->load('-c', 2, '-m', 150, '-h', 'X-Tenant: both', '-t', "$_%u\@$_.example")->{acked}, 150, "mail for $_" for qw(big bigmail);
ok watch('provider', delivered(300, qr/\@big/)), 'both sites of the provider get theirs';
is $peak{big}, 4, '... by as many connections as they may have together';
cmp_ok $peak{"127.0.2.$_ big"}, '<=', 3, "... and from 127.0.2.$_" for 12, 13;
cmp_ok $peak{"127.0.2.$_ big"}, '>=', 1, '... which takes part' for 12, 13;

# TLS.
send_one("a\@$_.example") for qw(secret clear insecure);
ok arrives(1, qr/^a\@$_/), "$_ gets it" for qw(secret clear);
my %tls = map { $_->{rcpt} => $_->{tls} } $p->ledger;
is $tls{'a@secret.example'}, 1, 'under TLS where it is required';
is $tls{'a@clear.example'}, 0, 'in the clear where TLS is disabled';
is status(first_of('TransientFailure', qr/\@insecure/)), '451 4.7.4', 'not at all where it is required and not to be had';
is PosthornTest::slurp($p->dir . '/ledger-plain'), '', '... nothing went there';
my $of_secret = qr/(?<='secret\.example'\] = \{ enable_tls = )'RequiredInsecure'/;
reload($all =~ s/$of_secret/'Required'/r);
send_one('b@secret.example');
my $e = first_of('TransientFailure', qr/^b\@secret/);
is status($e), '451 4.7.5', 'Required, and a certificate that nobody signed: not at all';
like $e->{response}{content}, qr/certificate cannot be verified/, '... and says so';
reload($all =~ s/$of_secret/'Secret'/r);
send_one('c@secret.example');
$e = first_of('TransientFailure', qr/^c\@secret/);
is status($e), '451 4.3.5', 'a word that is not known is refused';
like $e->{response}{content}, qr/enable_tls 'Secret' is not one of/, '... and says so';
reload($all);

# Hosts.
send_one("h\@$_.example") for qw(skip skip-all prohibited six four);
ok arrives(1, qr/^h\@skip\.example/), 'a host that is skipped leaves the others';
is +(grep { $_->{rcpt} eq 'h@skip.example' } $p->ledger)[0]{listener}, "127.0.2.42:$port", '... to the second';
is status(first_of('TransientFailure', qr/^h\@skip-all/)), '451 4.4.4', 'if all are, it waits';
is status(first_of('Bounce', qr/^h\@prohibited/)), '550 5.4.4', 'prohibited hosts: it bounces';
is status(first_of('TransientFailure', qr/^h\@six/)), '451 4.4.4', 'no address of the family asked for';
ok arrives(1, qr/^h\@four/), '... and of the other';

# More than max_ready goes back to the queue, which is no failure.
is $p->load('-m', 40, '-t', 'ready%u@ready.example')->{acked}, 40, 'more than a path may hold';
like first_of('Delayed', qr/\@ready/)->{response}{content}, qr/5 messages are ready for .*max_ready/, 'the surplus waits elsewhere';
ok arrives(40, qr/^ready/, 60), 'all arrives';
is_deeply [of('TransientFailure', qr/\@ready/)], [], '... without a failure';

# Breaks. 16, 17: answers; 20: in the middle, the next message passes; 22: at MAIL.
send_one($_) for qw(defer-1-a@deferred.example unknown-a@deferred.example dropdot-1-a@deferred.example b@deferred.example);
send_one('mail@broken.example', '421mail-1-a@b.example');
ok arrives(4, qr/\@(deferred|broken)/), 'all but the unknown one arrive in the end';
is scalar(of('TransientFailure', qr/^defer-1/)), 1, 'deferred once';
is status((of('Bounce', qr/^unknown/))[0] // {}), '550 5.1.1', 'unknown: bounced';
is scalar(of('TransientFailure', qr/^dropdot/)), 1, 'broken at the end: deferred';
is scalar(of('TransientFailure', qr/^b\@deferred/)), 0, '... the next message is not';
my ($m) = of('TransientFailure', qr/^mail\@/);
is $m->{response}{command}, 'MAIL FROM:<421mail-1-a@b.example>', '421 at MAIL: the record has the command';
# 21: the next host in the same attempt.
send_one('dropdata-1-n@next.example');
ok arrives(1, qr/\@next/), 'broken before the end: the next host has it';
is +(grep { $_->{rcpt} =~ /\@next/ } $p->ledger)[0]{listener}, "$at{next2}:$port", '... indeed';
is_deeply [of('TransientFailure', qr/\@next/)], [], '... without a failure';
# 23: a server that ends connections after each message.
is $p->load('-m', 6, '-t', 'p%u@pair.example')->{acked}, 6, 'for one that takes a message a connection';
ok arrives(6, qr/\@pair/), 'they arrive';
is_deeply [of('TransientFailure', qr/\@pair/)], [], '... without a failure';
$p->wait_for('records', sub { 6 <= (my @e = of('Delivery', qr/\@pair/)) });
my %one = map { $_->{session_id} => 1 } of('Delivery', qr/\@pair/);
is scalar keys %one, 6, '... by six connections';
# 24, 25: 421 hits one message, the others follow, to the host that was asked for.
send_one('421data-1-s@same.example');
send_one("$_\@same.example") for 't', 'u';
ok arrives(3, qr/\@same/), '421 hits one message, all arrive';
is scalar(of('TransientFailure', qr/\@same/)), 1, '... with one failure';
is_deeply [grep { $_->{listener} ne "$at{same1}:$port" } grep { $_->{rcpt} =~ /\@same/ } $p->ledger], [], '... at the same host';
is $p->stop, 0, 'stops cleanly';
done_testing;
