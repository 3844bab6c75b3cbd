# When mail is tried, and when it ends: lists of intervals (KumoMTA's retry_schedule: 5, 10, 20 s, here a tenth), X-Schedule, and
# a max_age that changes for mail that is queued already.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use POSIX qw(strftime);
use PosthornTest;

my $p = PosthornTest->new;
$p->{policy} = $p->example('retry-schedules') =~ s/'5s', '10s', '20s', '30s'/'0.5s', 1, 2, 3/r =~ s/'0.5s'/0.5/r;
$p->sink->start;

sub send_one {
	my ($rcpt, @headers) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO a.example', 'MAIL FROM:<a@b.example>', "RCPT TO:<$rcpt>", 'DATA';
	return PosthornTest::say_smtp($s, join('', map { "$_\r\n" } @headers) . "Subject: x\r\n\r\nx\r\n.");
}
sub of { my ($rcpt, $type) = @_; return grep { $_->{recipient} eq $rcpt && $_->{type} eq $type } $p->events }
sub stamp { return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + $_[0])) }
sub seconds { my ($e) = @_; my ($f) = $e->{event_time} =~ /(\.\d+)/; return $e->{timestamp} + ($f // 0) }

like send_one('full-1@list.example', 'X-Tenant: transactional'), qr/^250/, 'a message that is deferred for ever';
like send_one('later@x.example', 'X-Schedule: {"first_attempt":"' . stamp(3) . '"}'), qr/^250/, 'one for later';
like send_one('full-2@x.example', 'X-Tenant: transactional', 'X-Schedule: {"expires":"' . stamp(3) . '"}'), qr/^250/, 'one that expires soon';

ok $p->wait_for('delayed', sub { of('later@x.example', 'Delayed') }, 10), 'the one for later says that it waits';
like +(of('later@x.example', 'Delayed'))[0]{response}{content}, qr/not before/, '... and why';
my ($row) = grep { $_->{recipient} eq 'later@x.example' } $p->json('queue', 'list');
like $row->{reason}, qr/\bwaits\b/, '... the queue says so too';
ok $p->wait_for('delivery', sub { of('later@x.example', 'Delivery') }, 20), 'it is delivered';
my ($d) = of('later@x.example', 'Delivery');
my ($r) = of('later@x.example', 'Reception');
cmp_ok seconds($d) - seconds($r), '>', 1.9, '... not before its time';
ok $p->wait_for('expiration', sub { of('full-2@x.example', 'Expiration') }, 20), 'expires ends a message';
cmp_ok scalar(of('full-2@x.example', 'TransientFailure')), '>=', 1, '... after an attempt';

ok $p->wait_for('attempts', sub { 4 <= (my $n = () = of('full-1@list.example', 'TransientFailure')) }, 30), 'four attempts by the list';
my @at = map { seconds($_) } of('full-1@list.example', 'TransientFailure');
for ([0.5, 0], [1, 1], [2, 2]) {
	my ($want, $i) = @$_;
	cmp_ok $at[$i + 1] - $at[$i], '>=', $want - 0.05, "gap $i is not short";
	cmp_ok $at[$i + 1] - $at[$i], '<=', 1.5 * $want + 1, '... nor long';
}

# Queued mail follows a max_age that is made shorter, at its next attempt.
PosthornTest::write_file($p->etc . '/policy.lua', $p->{policy} =~ s/max_age = '10 min'/max_age = '2s'/r);
is +($p->posthorn('reload'))[0], 0, 'reload';
ok $p->wait_for('expiration', sub { of('full-1@list.example', 'Expiration') }, 20), 'a shorter max_age ends what is queued';

# And one that is made longer, though its time by the old one comes.
like send_one('full-3@list.example', 'X-Tenant: transactional'), qr/^250/, 'another';
PosthornTest::write_file($p->etc . '/policy.lua', $p->{policy});
is +($p->posthorn('reload'))[0], 0, 'reload';
ok $p->wait_for('attempts', sub { 4 <= (my $n = () = of('full-3@list.example', 'TransientFailure')) }, 30), 'a longer max_age keeps it';
is scalar(of('full-3@list.example', 'Expiration')), 0, '... beyond the old one';
done_testing;
