# Thousands of destinations that nobody has asked for before, all at once: each is resolved, no message is deferred.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $n = 3000;
my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1h', max_retry_interval => '1h' });
$p->sink->start;
my $r = $p->load('-c', 40, '-m', $n, '-s', 200, '-q', '-d', 60, '-t', 'u@d%u.example');
is $r->{acked}, $n, "$n messages to as many domains";
sub deferred { return map { split /\n/ } map { join "\n", PosthornTest::slurp($_) =~ /^(\{"type":"TransientFailure".*)$/mg } glob $p->log_dir . '/events/2*.jsonl' }
ok $p->wait_for('attempts', sub { $p->ledger_count + deferred() >= $n }, 60), 'each was tried';
is_deeply [deferred()], [], 'and delivered at once';
done_testing;
