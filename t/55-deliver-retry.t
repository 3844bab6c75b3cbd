# Retries with the back-off of the queue, and the end of a message's time: while it is deferred, while its transaction hangs, and
# with a notice to the sender.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, maximal_queue_lifetime => '5s' }, zone => <<'Z');
mute.test. IN MX 10 mute.mx.test.
mute.mx.test. IN A 127.0.0.22
Z
$p->{policy} = $p->default_policy . <<'L';
kumo.on('get_queue_config', function(domain, tenant, campaign)
  if domain == 'backoff.example' then
    return { retry_interval = '1s', max_retry_interval = '2s', max_age = '1h' }
  elseif domain == 'short.example' then
    return { retry_interval = '1s', max_age = '2s' }
  end
  return { retry_interval = '1s', max_retry_interval = '2s' }
end)
L
$p->sink('-b', $p->dir . '/bodies')->start;
# Takes connections and never greets.
my $mute = IO::Socket::INET->new(LocalAddr => '127.0.0.22', LocalPort => $p->{sink_port}, Listen => 5, ReuseAddr => 1) or die "listen: $!";

sub send_to {
	my ($rcpt, $from) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', "MAIL FROM:<$from>", "RCPT TO:<$rcpt>", 'DATA';
	like PosthornTest::say_smtp($s, "Subject: x\r\n\r\nhello\r\n."), qr/^250/, "$rcpt accepted";
}
sub of { my ($rcpt, $type) = @_; return grep { $_->{recipient} eq $rcpt && $_->{type} eq $type } $p->events }
sub seconds { my ($t) = @_; my ($d, $h, $m, $s) = $t =~ /(\d+)T(\d+):(\d+):([\d.]+)Z/; return (($d * 24 + $h) * 60 + $m) * 60 + $s }

send_to('full-1@backoff.example', '');
send_to('full-1@short.example', 'sender@notice.example');
send_to('full-1@global.example', '');
send_to('a@mute.test', 'mute@notice.example');
my $start = time;

ok $p->wait_for('expiration', sub { of('full-1@short.example', 'Expiration') }, 20), 'max_age of the queue ends a deferred message';
cmp_ok time - $start, '<', 5, '... and not the general lifetime';
my ($x) = of('full-1@short.example', 'Expiration');
like $x->{response}{content}, qr/last: 452 4\.2\.2 /, '... the record says what the last reply was';
ok $p->wait_for('notice', sub { grep { $_->{rcpt} eq 'sender@notice.example' } $p->ledger }, 20), '... the sender gets a notice';
my ($dsn) = grep { /^To: <?sender\@notice\.example/m } map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*';
like $dsn, qr/^Status: 5\.4\.7\r$/m, '... with status 5.4.7';
like $dsn, qr/^Action: failed\r$/m, '... failed';

ok $p->wait_for('expiration', sub { of('full-1@global.example', 'Expiration') }, 20), 'maximal_queue_lifetime where the queue says nothing';
ok $p->wait_for('expiration', sub { of('a@mute.test', 'Expiration') }, 20), 'expires while it waits for a connection';
cmp_ok time - $start, '<', 15, '... long before that one would time out';
is scalar(of('a@mute.test', 'TransientFailure')), 0, '... which counts as no attempt';

ok $p->wait_for('attempts', sub { 4 <= (my $n = () = of('full-1@backoff.example', 'TransientFailure')) }, 30), 'four attempts';
my @t = of('full-1@backoff.example', 'TransientFailure');
is_deeply [map { $_->{num_attempts} } @t[0 .. 3]], [0 .. 3], 'each says how many there were before';
my @wait = map { seconds($_->{next_attempt}) - seconds($_->{event_time}) } @t[0 .. 3];
cmp_ok $wait[0], '<', 1.6, 'the first wait is about retry_interval';
cmp_ok $wait[0], '>', 0.4, '... not less';
cmp_ok $_, '<', 2.6, 'no wait is longer than about max_retry_interval' for @wait;
cmp_ok $wait[3], '>', $wait[0], 'waits grow';
for my $i (1 .. 3) {
	my $gap = seconds($t[$i]{event_time}) - seconds($t[$i - 1]{next_attempt});
	cmp_ok $gap, '>', -0.1, "attempt $i is not early";
	cmp_ok $gap, '<', 2, '... nor late';
}
is scalar(of('full-1@backoff.example', 'Expiration')), 0, 'its own max_age is longer';
done_testing;
