# make run's demonstration, on ports and in a directory of its own: what it shows, that it does not touch a running one, and that
# Ctrl-C leaves nothing behind.
use strict;
use warnings;
use Test::More;
use POSIX qw(WNOHANG);
use PosthornTest;
use File::Temp ();
use Time::HiRes qw(sleep time);

BEGIN { $ENV{PATH} .= ':/usr/sbin' }
plan skip_all => 'nsd is not installed' unless grep { -x "$_/nsd" } split /:/, $ENV{PATH};

my $tmp = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1);
chmod 0755, $tmp;
my $dir = "$tmp/demo";
my %ports = map { $_ => PosthornTest::free_port() } qw(RELAY_PORT SUBMISSION_PORT SINK_PORT DNS_PORT);
my $group;

# The script in a process group of its own, as a shell gives a job its own; signals ignored, as a script's background job has them.
sub demo {
	my ($out, %env) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		POSIX::setpgid(0, 0);
		$SIG{INT} = 'IGNORE';
		%ENV = (%ENV, BUILD => $PosthornTest::build, RUN_DIR => $dir, %ports, %env);
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $out;
		open STDERR, '>&', \*STDOUT;
		exec 'sh', 't/demo/demo.sh' or POSIX::_exit(127);
	}
	return $pid;
}

sub text { return PosthornTest::slurp($_[0]) }
sub ended { my ($pid) = @_; return waitpid($pid, WNOHANG) == $pid }

# Processes whose command line has the directory's name: the suite, its roles, name server and sink.
sub left { return grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /\Q$dir\E/ } map { m{(\d+)} } glob '/proc/[0-9]*' }

my $main = $group = demo("$tmp/out");
END { if ($group) { local $?; kill 'TERM', -$group; waitpid $group, 0 } }
my $is_up = PosthornTest->wait_for('the table', sub { die text("$tmp/out") if ended($main); text("$tmp/out") =~ /^Ctrl-C stops it/m }, 120);
ok $is_up, 'the demonstration comes up' or BAIL_OUT(text("$tmp/out"));
my $out = text("$tmp/out");
like $out, qr/^TENANT +POOL +SOURCE +DESTINATION +DELIVERED +DEFERRED +BOUNCED/m, 'a table';
my @rows = $out =~ /^((?:promotional|transactional) .*)$/mg;
my ($delivered, $deferred, $bounced) = $out =~ /^total +(\d+) +(\d+) +(\d+) +0$/m;
is $delivered + $bounced, 100, 'in which each of the hundred messages has its end';
cmp_ok $deferred, '>', 0, 'some after a deferral';
cmp_ok $bounced, '>', 0, 'and some are bounces';
is_deeply [grep { !/^promotional +pool-promo +promo-[12] |^transactional +pool-transactional +trans-1 / } @rows], [],
	'each tenant left by its own pool and sources';
like $out, qr/^send one: .*sendmail/m, 'a line to send a message oneself';
my ($line) = $out =~ /^send one: +(.*)$/m;
is system("$line 2>$tmp/line.err"), 0, 'which works' or diag text("$tmp/line.err");
ok(PosthornTest->wait_for('its delivery', sub { text("$dir/sink.ledger") =~ /you\@bigmail\.example/ }, 30), 'and is delivered');

my $second = demo("$tmp/second", map { $_ => PosthornTest::free_port() } keys %ports);
waitpid $second, 0;
isnt $?, 0, 'a second one in the same directory is refused';
like text("$tmp/second"), qr/runs below .* already.*end it first/, 'with a sentence';
ok -s "$dir/sink.ledger" && !ended($main), 'and leaves the first alone';
my $third = demo("$tmp/third", RUN_DIR => "$tmp/third.d");
waitpid $third, 0;
isnt $?, 0, 'one on the same ports is refused';
like text("$tmp/third"), qr/RELAY_PORT=/, 'with a hint how to choose others';
PosthornTest::write_file("$tmp/precious", 'x');
my $fourth = demo("$tmp/fourth", RUN_DIR => "$tmp", map { $_ => PosthornTest::free_port() } keys %ports);
waitpid $fourth, 0;
isnt $?, 0, 'a directory of anything else is refused';
ok -e "$tmp/precious", 'and is not removed';

kill 'INT', -$main;
my $gone = PosthornTest->wait_for('its end', sub { ended($main) }, 30);
ok $gone, 'Ctrl-C ends it';
is $?, 0, 'with status 0';
$group = undef;
like text("$tmp/out"), qr/^stopped; what it left is in /m, 'and it says so';
ok(PosthornTest->wait_for("their end", sub { !left() }, 10), "no process is left");
like text("$dir/posthorn.log"), qr/info: stopped$/m, 'the suite was stopped, not killed';
unlike text("$dir/posthorn.log"), qr/ error: /, 'and had no error to log';
done_testing;
