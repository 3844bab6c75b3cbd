#!/usr/bin/perl
# Cut points. A run of the whole suite, with load and sink and with daemons that are killed and started again, is recorded: everything that all daemons do to the spool (t/crash/record.c).
# Then for many moments of that run the spool is built anew as a disk may have left it if the power had gone then, the
# real queued is started on it, and every message that had its 250 before that moment, and was not delivered before it, must be
# in the queue, with a record of it whole in a segment (or, if it was refused for good, the notice about it). For every
# --deliver-th point the whole suite is started after that and must deliver all of it with the right checksums.
#
#   cutpoints.pl [--points N] [--seed N] [--seconds N] [--deliver N] [--jobs N] [--weak] [--verbose]
#                [--recording DIR [--only N]]
#
# --weak: syncs count as not having happened; that run must fail. If anything fails the recording is kept and named; --recording
# replays it, --only one point of it. The last line on standard output is a JSON object with the figures. Exit: 0 nothing
# lost, 1 messages were lost or damaged (and only then), 2 anything else, such as a spool that queued does not start on, an index that
# has to be rebuilt, or messages back in the queue (`back`) that were delivered long before.
#
# The model of a disk:
# - A write, a truncation, an allocation is durable from when an fsync or fdatasync of that file returned that began after the write
#   had returned; a write through an O_DSYNC descriptor when it returns. Anything else is kept, lost, or, if it is a write,
#   torn: each of its 512-byte sectors is kept or lost by itself. The length of a file is what durable and kept writes make it,
#   bytes that never came are zero. A write that has begun but not returned may be there too.
# - Names (creation, rename, unlink, mkdir, symlink) go through the journal in order, as in ext4 and XFS: the disk has a prefix of
#   them, at least up to the last one in a directory whose fsync returned, and up to the creation of a file that was synced (both
#   file systems promise that much; measured, see t/crash/powercut.pl). Everything older than such a name is durable with it.
# - Data and names are not ordered to each other, beyond that. This is more than ext4 (data=ordered) does to anybody; where it
#   is not what any file system does it is worse, never better.
# A third of the points keeps as little as it may, a sixth as much as it may, the others a random choice.
use strict;
use warnings;
use Fcntl qw(:DEFAULT);
use File::Path qw(make_path remove_tree);
use FindBin;
use Getopt::Long;
use JSON::PP ();
use POSIX ();
use Test::More ();
use Time::HiRes qw(sleep time);
use lib "$FindBin::Bin/../lib", $FindBin::Bin;
use PosthornTest;
use CrashTest qw(body_crc start_load is_refused kill_all);
use DiskModel;

my %o = (points => 100, seed => $ENV{POSTHORN_SEED} // int time, seconds => 12, deliver => 10, jobs => 2);
GetOptions(\%o, 'points=i', 'seed=i', 'seconds=f', 'deliver=i', 'jobs=i', 'weak', 'verbose', 'recording=s', 'only=i')
	or die "usage: see the head of cutpoints.pl\n";
# As root in a process namespace, which ends with its first process and takes along whatever is left.
if (!$> && !$ENV{POSTHORN_CUTPOINTS} && system('unshare -m -p -f --mount-proc true 2>/dev/null') == 0) {
	$ENV{POSTHORN_CUTPOINTS} = 1;
	my @args = map { ("--$_", $_ =~ /weak|verbose/ ? () : $o{$_}) } sort keys %o;
	exec 'unshare', '-m', '-p', '-f', '--kill-child', '--mount-proc', $^X, $0, @args or die "unshare: $!\n";
}
# The rebuilt spools are in memory, for there is no disk to wait for; and gone with the namespace, where there is one.
system('mount', '-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', '/dev/shm') if $ENV{POSTHORN_CUTPOINTS};
$SIG{$_} = sub { die "cutpoints.pl: ended by a signal\n" } for qw(INT TERM HUP);
$ENV{POSTHORN_SEED} = $o{seed};
$| = 1;

use constant { ARENA_BYTES => 512 << 20, PATIENCE => 5, PATIENCE_WEAK => 0.5 };
my @kinds = (    # prefix, bytes, connections, messages a second
	['small', 1500, 8, 120], ['medium', 40_000, 4, 24], ['large', 1_200_000, 2, 0.7],
	['stuck', 3000, 1, 4, 'full-u%u@seven.example'],    # stays, so that segments get sparse and are compacted
);
my %size_of = map { $_->[0] => $_->[1] } @kinds;
my %conf = (segment_size => '2M', smtpd_processes => 2, message_size_limit => '4M', retry_interval => '1s', max_retry_interval => '2s',
	index_commit_interval => '50ms');

# --- the recorded run

sub record {
	my $p = PosthornTest->new(conf => {});
	my ($root, $arena) = ($p->dir . '/spool', $p->dir . '/arena');
	mkdir $root or die "$root: $!\n";
	open(my $f, '>', $arena) or die "$arena: $!\n";
	truncate $f, ARENA_BYTES or die "$arena: $!\n";
	syswrite $f, pack('Q2', 16, ARENA_BYTES);
	close $f;
	chmod 0666, $arena;
	$p->{env} = { LD_PRELOAD => "$PosthornTest::tools/record.so", RECORD => $arena, RECORD_ROOT => $root };
	{
		local @ENV{ keys %{ $p->{env} } } = values %{ $p->{env} };
		$p->sink;
	}
	$p->{conf} = { %conf, queue_directory => "$root/queue", log_directory => "$root/log", relayhost => "[127.0.0.1]:$p->{sink_port}" };
	$p->start(no_dns => 1);
	my @loads = start_load($p, 1, @kinds);
	# Recovery is a part of the run, too.
	for my $name (qw(queued smtpd queued)) {
		sleep $o{seconds} / 4;
		kill 'KILL', $p->daemon_pids($name);
	}
	sleep $o{seconds} / 4;
	kill 'TERM', $_->{pid} for @loads;
	$p->load_wait($_) for @loads;
	$p->stop == 0 or die "the recorded suite does not stop cleanly\n";
	$p->stop_sink;
	my %message = map { ($_->{id} => [$_->{sender}, ref $_->{recipient} ? $_->{recipient}[0] : $_->{recipient}]) } $p->events('Reception');
	my %owner = map { ($_ => [(stat "$root/$_")[4, 5]]) } qw(queue log);
	my $compacted = () = PosthornTest::slurp($p->dir . '/posthorn.err') =~ / compacted: /g;
	my $length = unpack 'Q', PosthornTest::slurp_part($arena, 0, 8);
	die "the log of the recording is too small\n" if $length > ARENA_BYTES;
	return { root => $root, compacted => $compacted, message => \%message, owner => \%owner, log => PosthornTest::slurp_part($arena, 0, $length) };
}

sub keep_recording {
	my ($r) = @_;
	my $dir = "$PosthornTest::build/cutpoints-$o{seed}";
	make_path($dir);
	PosthornTest::write_file("$dir/log", $r->{log});
	PosthornTest::write_file("$dir/run.json", JSON::PP::encode_json({ map { ($_ => $r->{$_}) } qw(root message owner compacted) }));
	print "kept: $dir\n";
}

sub load_recording {
	my ($dir) = @_;
	my $r = JSON::PP::decode_json(PosthornTest::slurp("$dir/run.json"));
	$r->{log} = PosthornTest::slurp("$dir/log");
	return $r;
}

# --- what must be there when

# Promises in order: what was acknowledged where in the log, and where it was over.
sub promises {
	my ($r, $entries) = @_;
	my (@acked, %over);
	for my $e (@$entries) {
		next unless $e->{what} == DiskModel::REPLY;
		if ($e->{flags} && $e->{a} =~ /queued as ([0-9a-f]+)/) {
			my $m = $r->{message}{$1} or die "no Reception event of $1\n";
			push @acked, { at => $e->{at}, id => $1, sender => $m->[0], recipient => $m->[1] };
		} elsif (!$e->{flags} && $e->{a} =~ /taken <(.*?)>/) {
			$over{$1} //= $e->{at};
		}
	}
	# For one that is refused it is the notice that counts, and the sender is its recipient.
	$_->{over} = $over{ is_refused($_->{recipient}) ? $_->{sender} : $_->{recipient} } // 9e15 for @acked;
	return \@acked;
}

sub owed {
	my ($acked, $at) = @_;
	return grep { $_->{at} < $at && $_->{over} >= $at } @$acked;
}

# What was over before the index was last committed this often: to send it again were a duplicate that promise 2 excludes. (Not
# once: the newest commit may be lost yet, and the one before it need not have known.)
use constant { COMMITS => 4, SETTLED => 20 };

sub long_over {
	my ($acked, $model, $at, $res) = @_;
	my @before = grep { $_ < $at } @{ $model->{commits} };
	return if @before < COMMITS;
	# A queued that was just started hears from deliverd what was delivered before, but not at once.
	return if @before < SETTLED || grep { $_ < $at && $_ > $before[-(SETTLED)] } @{ $model->{starts} };
	my @over = grep { $_->{over} < $before[-(COMMITS)] } @$acked;
	$res->{over} += @over;
	return @over;
}

# --- one point

# What is in the queue: by message id, and the notices by their recipient. undef: queued does not answer.
sub queue_list {
	my ($p) = @_;
	my ($status, $out) = $p->posthorn('--json', 'queue', 'list');
	return if $status != 0;
	my (%by_id, %notice);
	for (split /\n/, $out) {
		# Some hundred lines for each point: no time for a JSON parser in Perl. These strings hold nothing that is escaped.
		my ($id) = /"id":"([0-9a-f]+)"/ or next;
		my ($sender) = /"sender":"([^"]*)"/;
		my ($recipient) = /"recipient":"([^"]*)"/;
		$by_id{$id} = $recipient // '';
		$notice{ $recipient // '' } = $id if ($sender // '?') eq '';
	}
	return { id => \%by_id, notice => \%notice };
}

sub whole_records {
	my ($p) = @_;
	my @files = glob $p->queue_dir . '/segments/[0-9a-f]*.seg';
	@files = grep { m{/[0-9a-f]{16}\.seg\z} } @files or return {};
	my %whole;
	open(my $out, '-|', "$PosthornTest::tools/records", @files) or die "records: $!\n";
	while (<$out>) { $whole{$1} = 1 if /^(\S+) / }
	close $out;
	return \%whole;
}

# Those that are owed and neither in the queue with this recipient nor, if refused, told to their sender.
sub absent {
	my ($list, $owed) = @_;
	return grep {
		($list->{id}{ $_->{id} } // '') ne $_->{recipient} && !(is_refused($_->{recipient}) && $list->{notice}{ $_->{sender} });
	} @$owed;
}

# Starts queued alone, as often as a supervisor would, and waits until it has found what is owed.
sub check_queue {
	my ($p, $owed, $res) = @_;
	my $end = time + ($o{weak} ? PATIENCE_WEAK : PATIENCE);
	my ($starts, $list, $pid) = (0);
	my @absent = @$owed;
	while (time < $end) {
		if (!$pid || waitpid($pid, POSIX::WNOHANG()) == $pid) {
			delete $p->{pids}{$pid} if $pid;
			last if $starts++ == 3;
			local $ENV{POSTHORN_PARENT_FD} = fileno $p->{watch};
			$pid = $p->spawn('queued', "$PosthornTest::build/libexec/queued", '-c', $p->etc);
		}
		my $now = queue_list($p);
		$list = $now // $list;
		@absent = absent($now, $owed) if $now;
		last if $now && !@absent;
		sleep 0.01;
	}
	$res->{restarted} += $starts > 1;
	if (!$list) {
		$res->{failed}++;
		print 'queued does not start: ', PosthornTest::slurp($p->dir . '/queued.err');
	}
	$p->end_pid($pid, 'KILL');
	my $whole = whole_records($p);
	my %absent = map { ($_->{id} => 1) } @absent;
	my @damaged = grep { !$absent{ $_->{id} } && !$whole->{ $_->{id} } && !$whole->{ $list->{notice}{ $_->{sender} } // '' } } @$owed;
	return (\@absent, \@damaged, $list);
}

# The whole suite delivers all that is owed and can be delivered.
sub check_delivery {
	my ($p, $owed) = @_;
	my @deliverable = grep { $_->{recipient} !~ /^full-/ } @$owed;
	truncate $p->dir . '/ledger', 0;
	$p->start_suite;
	my @absent;
	$p->wait_for('delivery', sub {
		my %crc = map { ($_->{rcpt} => $_->{crc}) } $p->ledger;
		@absent = grep {
			my ($kind) = $_->{recipient} =~ /(\w+)-\d+\@/;
			is_refused($_->{recipient}) ? !$crc{ $_->{sender} } : ($crc{ $_->{recipient} } // '') ne $p->{crc}{$kind};
		} @deliverable;
		return !@absent;
	}, $o{weak} ? 3 : 40);
	kill_all($p);
	return \@absent;
}

sub check_point {
	my ($p, $r, $model, $point, $acked, $res) = @_;
	my @owed = owed($acked, $point->{at});
	$res->{points}++;
	$res->{owed} += @owed;
	remove_tree($p->dir . '/spool');
	mkdir $p->dir . '/spool';
	truncate $p->dir . '/queued.err', 0;
	$model->build($p->dir . '/spool', $point->{how}, $r->{owner});
	my ($absent, $damaged, $list) = check_queue($p, \@owed, $res);
	my @back = grep { defined $list->{id}{ $_->{id} } } long_over($acked, $model, $point->{at}, $res);
	my $err = PosthornTest::slurp($p->dir . '/queued.err');
	$res->{rebuilt}++ if $err =~ /index is rebuilt/;
	my $undelivered = [];
	if (!@$absent && $o{deliver} && $point->{n} % $o{deliver} == 0) {
		$res->{delivered_at}++;
		$undelivered = check_delivery($p, \@owed);
	}
	$res->{lost} += @$absent + @$undelivered;
	$res->{damaged} += @$damaged;
	$res->{back} += @back;
	return unless $o{verbose} || (!$o{weak} && @$absent + @$undelivered + @$damaged + @back);
	printf "point %d at %d (%s): %d owed, %d lost, %d damaged, %d not delivered, %d back\n", @{$point}{qw(n at how)}, scalar @owed,
		scalar @$absent, scalar @$damaged, scalar @$undelivered, scalar @back;
	print "    $_->{id} $_->{recipient}\n" for @$absent, @$damaged, @$undelivered, @back;
	print $err if @$absent + @$damaged;
}

# --- all points

# Moments in the log, each with a way of leaving the disk. Every moment once before any is taken twice.
sub choose_points {
	my ($entries) = @_;
	srand $o{seed};
	my @how = qw(least least most random random random);
	my @at = map { $_->{at} } @$entries;
	my @points = map { { n => $_, at => $at[int(($_ + rand) * @at / $o{points}) % @at], how => $how[rand @how] } } 0 .. $o{points} - 1;
	return grep { !defined $o{only} || $_->{n} == $o{only} } sort { $a->{at} <=> $b->{at} } @points;
}

sub replayer {
	my ($r) = @_;
	$ENV{TMPDIR} = '/dev/shm' if -w '/dev/shm';
	my $p = PosthornTest->new(conf => {});
	my $dir = $p->dir . '/spool';
	$p->sink;
	$p->{conf} = { %conf, queue_directory => "$dir/queue", log_directory => "$dir/log", relayhost => "[127.0.0.1]:$p->{sink_port}" };
	$p->configure;
	mkdir $p->dir . '/run';
	$p->{crc} = { map { ($_ => body_crc($size_of{$_})) } keys %size_of };
	# queued ends when we do, however that happens.
	$^F = 20;
	pipe($p->{watch}, $p->{watched}) or die "pipe: $!\n";
	fcntl($p->{watched}, F_SETFD, 1);
	return $p;
}

# One process's share. Its figures go to $out.
sub run_share {
	my ($r, $entries, $acked, $points, $out) = @_;
	my $p = replayer($r);
	my $model = DiskModel->new($r->{root}, \$r->{log}, $entries, $o{weak});
	my %res;
	for my $point (@$points) {
		srand($o{seed} * 1_000_003 + $point->{n});
		$model->advance($point->{at});
		check_point($p, $r, $model, $point, $acked, \%res);
	}
	$p->stop_sink;
	print $out JSON::PP::encode_json(\%res);
	close $out;
}

sub run_all {
	my ($r, $entries, $acked, @points) = @_;
	my (%sum, @children, $failed);
	for my $job (0 .. $o{jobs} - 1) {
		pipe(my $in, my $out) or die "pipe: $!\n";
		my $pid = fork // die "fork: $!\n";
		if (!$pid) {
			close $in;
			my $ok = eval { run_share($r, $entries, $acked, [map { $points[$_] } grep { $_ % $o{jobs} == $job } 0 .. $#points], $out); 1 };
			print "failed: $@" unless $ok;
			exit($ok ? 0 : 1);
		}
		push @children, [$pid, $in];
	}
	for (@children) {
		my ($pid, $in) = @$_;
		my $text = do { local $/; <$in> };
		waitpid $pid, 0;
		$failed = 1 if $?;
		my $res = eval { JSON::PP::decode_json($text // '') } // {};
		$sum{$_} += $res->{$_} for keys %$res;
	}
	die "a replaying process failed\n" if $failed;
	return %sum;
}

my $started = time;
my %total = map { ($_ => 0) } qw(points owed lost damaged over back failed restarted rebuilt delivered_at);
print "POSTHORN_SEED=$o{seed}\n";
my ($r, $failure);
eval {
	$r = defined $o{recording} ? load_recording($o{recording}) : record();
	my $entries = DiskModel::entries(\$r->{log});
	die "nothing was recorded: is record.so preloaded?\n" unless @$entries;
	my $acked = promises($r, $entries);
	$total{recorded_seconds} = int(time - $started);
	@total{qw(entries acked compacted)} = (scalar @$entries, scalar @$acked, $r->{compacted});
	my %sum = run_all($r, $entries, $acked, choose_points($entries));
	$total{$_} = $sum{$_} for keys %sum;
	for (['failed', 'times queued did not start'], ['rebuilt', 'times the index had to be rebuilt'], ['back', 'messages came back']) {
		die "$total{$_->[0]} $_->[1]\n" if $total{ $_->[0] } && !$o{weak};
	}
	1;
} or $failure = $@;
keep_recording($r) if $r && !defined $o{recording} && !$o{weak} && ($failure || $total{lost} || $total{damaged});
print "failed: $failure" if defined $failure;
print JSON::PP->new->canonical->encode({ %total, seed => $o{seed}, weak => $o{weak} ? 1 : 0, seconds => int(time - $started),
	defined $failure ? (failure => $failure) : () }), "\n";
exit(defined $failure ? 2 : $total{lost} || $total{damaged} ? 1 : 0);
