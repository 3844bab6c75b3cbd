# Makes t/data/spool-N.tar.gz, the spool of a release, for t/65-upgrade.t: 12 messages that were deferred once, one that is held, one
# of more than 1 MiB (a segment of its own), and three that the index does not know yet. Run once with the programs of that release,
# whenever the format of record or index changes:  BUILD=build perl -It/lib t/data/make-spool.pl t/data/spool-N.tar.gz
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, segment_size => '1M', maximal_queue_lifetime => '30d', retry_interval => '1s',
	index_commit_interval => '1s' });
$p->start;    # no sink
my @load = ('-c', 1, '-q', '-d', 20, '-f', 'app@shop.example');
$p->load(@load, '-m', 12, '-s', 2000, '-p', 'soft', '-h', 'X-Campaign: autumn', '-t', 'u%u@one.example');
$p->load(@load, '-m', 1, '-s', 1_200_000, '-p', 'large', '-t', 'large@two.example');
$p->load(@load, '-m', 1, '-p', 'held', '-t', 'held@three.example');
$p->wait_for('deferrals', sub { my %n = map { $_->{recipient} => 1 } $p->events('TransientFailure'); keys %n >= 14 }, 30) or die;
$p->posthorn('queue', 'hold', '--domain', 'three.example');
sleep 3;
# What comes now is in a segment only.
my ($queued) = $p->daemon_pids('queued');
kill 'STOP', $queued;
$p->load(@load, '-m', 3, '-s', 2000, '-p', 'fresh', '-t', 'u%u@four.example');
kill 'KILL', $queued, $p->{main}, map { $p->daemon_pids($_) } qw(smtpd deliverd);
waitpid $p->{main}, 0;
sleep 2;    # their files are closed
unlink glob $p->queue_dir . '/segments/free-*';
system('tar', '--owner=0', '--group=0', '-C', $p->dir, '-czf', $ARGV[0], 'queue') == 0 or die 'tar';
