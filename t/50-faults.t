# Peers that defer, refuse, answer 421 or drop at each stage: each message is retried exactly when it should be, delivered once, and
# reported once. Row of posthorn-faults(7): "remote server refuses or hangs up".
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '500ms', max_retry_interval => '2s' });
$p->sink->start;
my @cases = (    # local part of recipient, final record, at least so many TransientFailures, sender
	['ok', 'Delivery', 0], ['unknown', 'Bounce', 0], ['reject-dot', 'Bounce', 0],
	['defer-2-a', 'Delivery', 2], ['deferdot-2-a', 'Delivery', 2],
	['421rcpt-1-a', 'Delivery', 1], ['421data-1-a', 'Delivery', 1], ['421dot-1-a', 'Delivery', 1],
	['droprcpt-1-a', 'Delivery', 0], ['dropdata-1-a', 'Delivery', 0], ['dropdot-1-a', 'Delivery', 1],
	# A reused connection that ends before MAIL was taken says nothing about the message: it goes again at once.
	['mailstage-a', 'Delivery', 0, '421mail-1-s@b.example'], ['mailstage-b', 'Delivery', 0, 'dropmail-1-s@b.example'],
	['slow-1500-a', 'Delivery', 0],
);
my %case;
for my $c (@cases) {
	my ($local, undef, undef, $sender) = @$c;
	# Each case has a domain of its own, and a message before and behind it on the same path.
	my $domain = $local =~ s/[^a-z0-9]//gr . '.example';
	for my $rcpt ("before\@$domain", "$local\@$domain", "behind\@$domain") {
		my $r = $p->load('-m', 1, '-c', 1, '-q', '-d', 20, '-f', ($rcpt =~ /^b/ ? 'x@b.example' : $sender // 'x@b.example'), '-t', $rcpt);
		is $r->{acked}, 1, "$rcpt accepted";
	}
	$case{"$local\@$domain"} = $c;
}
my %final = map { $_ => 1 } qw(Delivery Bounce Expiration AdminBounce);
# A bounce makes a DSN to the sender, which is mail like any other.
ok $p->wait_for('ends', sub {
	my %end = map { $_->{recipient} => 1 } grep { $final{ $_->{type} } } $p->events;
	!grep { !$end{$_} } keys %case;
}, 60), 'every message came to an end';
my (%ends, %soft);
for ($p->events) {
	push @{ $ends{ $_->{recipient} } }, $_->{type} if $final{ $_->{type} } && $case{ $_->{recipient} };
	$soft{ $_->{recipient} }++ if $_->{type} eq 'TransientFailure';
}
for my $rcpt (sort keys %case) {
	my (undef, $end, $soft) = @{ $case{$rcpt} };
	is_deeply $ends{$rcpt}, [$end], "$rcpt: one final record, $end";
	cmp_ok $soft{$rcpt} // 0, '>=', $soft, "$rcpt: at least $soft transient failures";
	cmp_ok $soft{$rcpt} // 0, '<=', $soft + 1, "$rcpt: not many more";
}
my %got;
$got{ $_->{rcpt} }++ for $p->ledger;
is_deeply [grep { $got{$_} != 1 } grep { $case{$_} && $case{$_}[1] eq 'Delivery' } keys %got], [], 'each delivered message arrived once';
is_deeply [grep { !$got{$_} } grep { $case{$_}[1] eq 'Delivery' } keys %case], [], 'all of them';
is_deeply [grep { $got{$_} && $case{$_} && $case{$_}[1] eq 'Bounce' } keys %got], [], 'no refused one';
is scalar(grep { /^be(?:fore|hind)\@/ } map { ($_) x $got{$_} } keys %got), 2 * @cases, 'their neighbours arrived once each';

# A reply taken after the message was accepted is lost: delivered twice is allowed, reported twice is not.
$p->load('-m', 1, '-c', 1, '-q', '-d', 20, '-t', 'dropafter-1-a@after.example');
ok $p->wait_for('dropafter', sub { grep { $_->{type} eq 'Delivery' && $_->{recipient} =~ /dropafter/ } $p->events }, 30), 'delivered in the end';
is scalar(grep { $_->{type} eq 'Delivery' && $_->{recipient} =~ /dropafter/ } $p->events), 1, 'one Delivery record';

# One message with recipients of every kind: per-recipient results.
my $s = $p->connect_smtp;
PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<multi@b.example>',
	map({ "RCPT TO:<$_\@multi.example>" } qw(ok1 unknown1 ok2 defer-1-m ok3)), 'DATA';
like PosthornTest::say_smtp($s, "Subject: x\r\nX-Test-Id: multi\r\n\r\nx\r\n."), qr/^250/, 'one message to five recipients';
ok $p->wait_for('five ends', sub { 5 == grep { $final{ $_->{type} } && ($_->{sender} // '') eq 'multi@b.example' } $p->events }, 30), 'five ends';
is join(' ', sort map { $_->{rcpt} =~ s/@.*//r } grep { $_->{id} eq 'multi' } $p->ledger), 'defer-1-m ok1 ok2 ok3', 'delivered to the right four';
my @times = sort map { $_->{time} } grep { $_->{id} eq 'multi' && $_->{rcpt} =~ /^ok/ } $p->ledger;
is $times[0], $times[2], 'the three good ones went in one transaction';
done_testing;
