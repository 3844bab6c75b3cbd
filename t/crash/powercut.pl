#!/usr/bin/perl
# Power cuts. The spool and the event log of a whole running suite are on a file system of their own (ext4 or XFS, in an image,
# by a loop device). Under load, at random moments, every process of the suite is stopped, and the file system is shut down
# without flushing its log or any page (the ioctl of xfs_io's `shutdown`, which ext4 has too): what was not made durable is lost, as
# when the power goes. Then the processes are killed, the file system is unmounted and mounted again (which replays its
# journal), the suite is started on it, and the load, which never stopped trying, goes on. Load, sink and their files are
# outside of the image.
#
# Why stopped first: with the power, processors end too. ext4 (Linux 6.18) lets an fdatasync that is under way when the ioctl
# comes return 0 although the record is gone (the extent it was written to is never converted from "unwritten"): a program of
# 20 lines that appends to a preallocated file lost its last record in 27 of 120 tries, and in none of 120 when it was stopped first.
# A 250 sent on such an answer was sent by a machine that had no power any more.
#
# In the end the suite drains, and each message that the load generator saw acknowledged must be in the sink's ledger with the
# right checksum; of those that the sink refuses for good, the notice to the sender must be there. What came more often
# than once is counted, except where the reply to end of data was lost (the client sends again then, and must).
#
#   powercut.pl [--cuts N] [--fs ext4|xfs] [--fresh N] [--seed N] [--weak] [--verbose]
#
# --fresh: a new file system after so many cuts. --weak: with t/crash/nosync.c preloaded nothing is made durable; that run
# must fail. The last line on standard output is a JSON object with the figures. Exit: 0 nothing lost, 1 messages were lost
# (and only then), 2 anything else. Needs root; everything runs in namespaces of its own, so whatever happens no process, mount or
# loop device stays behind.
#
# What is not shown by this: sectors torn or reordered below the file system (see cutpoints.pl), and disks that lie about flushes.
use strict;
use warnings;
use FindBin;
use Getopt::Long;
use JSON::PP ();
use List::Util qw(sum0 uniq);
use Test::More ();
use Time::HiRes qw(sleep time);
use lib "$FindBin::Bin/../lib", $FindBin::Bin;
use PosthornTest;
use CrashTest qw(body_crc start_load stop_all kill_all);

use constant { FS_IOC_SHUTDOWN => 0x8004587d, NOLOGFLUSH => 2, IMAGE_BYTES => 420 << 20 };

my %o = (cuts => 10, fs => 'ext4', fresh => 10, seed => $ENV{POSTHORN_SEED} // int time);
GetOptions(\%o, 'cuts=i', 'fs=s', 'fresh=i', 'seed=i', 'weak', 'verbose') && $o{fs} =~ /^(?:ext4|xfs)\z/ && $o{fresh} > 0
	or die "usage: powercut.pl [--cuts N] [--fs ext4|xfs] [--fresh N] [--seed N] [--weak] [--verbose]\n";

# A process namespace ends with its first process, a mount namespace with its last, and a loop device with its mount.
unless ($ENV{POSTHORN_POWERCUT}) {
	die "powercut.pl: needs root\n" if $>;
	$ENV{POSTHORN_POWERCUT} = 1;
	my @args = map { ("--$_", $_ =~ /weak|verbose/ ? () : $o{$_}) } sort keys %o;
	exec 'unshare', '-m', '-p', '-f', '--kill-child', '--mount-proc', $^X, $0, @args or die "unshare: $!\n";
}
$SIG{$_} = sub { die "powercut.pl: ended by a signal\n" } for qw(INT TERM HUP);
srand $o{seed};
$ENV{POSTHORN_SEED} = $o{seed};

my @kinds = (    # prefix, bytes, connections, messages a second
	['small', 1500, 14, 220], ['medium', 60_000, 6, 30], ['large', 1_400_000, 4, 4],
);

# All files are in a tmpfs that goes with the namespace, the image too: what counts is what the file system has handed to its
# device at the cut, not how fast that is.
run('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'tmpfs', '/mnt');
$ENV{TMPDIR} = '/mnt';

my %total = (cuts => 0, acked => 0, at_risk => 0, lost => 0, damaged => 0, duplicates => 0, in_doubt => 0);
my ($started, $failure) = (time);

sub run { my (@cmd) = @_; system(@cmd) == 0 or die "@cmd: failed\n" }

my %crc_of = map { $_->[0] => body_crc($_->[1]) } @kinds;

# --- one spool

sub make_spool {
	my $p = PosthornTest->new(conf => {});
	my $disk = $p->dir . '/disk';
	my $image = $p->dir . '/image';
	mkdir $disk or die "$disk: $!\n";
	open(my $f, '>', $image) or die "$image: $!\n";
	truncate $f, IMAGE_BYTES or die "$image: $!\n";
	close $f;
	run($o{fs} eq 'xfs' ? ('mkfs.xfs', '-q', $image) : ('mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=1,nodiscard', $image));
	$p->{fs} = { disk => $disk, image => $image };
	$p->{conf} = { queue_directory => "$disk/queue", log_directory => "$disk/log", segment_size => '4M', smtpd_processes => 2,
		min_free_space => '20M', message_size_limit => '4M', retry_interval => '2s', max_retry_interval => '4s' };
	$p->sink;
	$p->{conf}{relayhost} = "[127.0.0.1]:$p->{sink_port}";    # no name server is needed
	mount_spool($p);
	$p->{env} = $o{weak} ? { LD_PRELOAD => "$PosthornTest::tools/nosync.so" } : {};
	$p->start(no_dns => 1);
	return $p;
}

sub mount_spool {
	my ($p) = @_;
	run('mount', '-o', 'loop', '-t', $o{fs}, $p->{fs}{image}, $p->{fs}{disk});
	chmod 0755, $p->{fs}{disk};
}

sub cut_power {
	my ($p) = @_;
	my $flag = pack 'L', NOLOGFLUSH;
	stop_all($p);
	open(my $dir, '<', $p->{fs}{disk}) or die "$p->{fs}{disk}: $!\n";
	ioctl($dir, FS_IOC_SHUTDOWN, $flag) or die "shutdown of the file system: $!\n";
	close $dir;
	my $end = time + 20;
	kill_all($p);
	while (system("umount $p->{fs}{disk} 2>/dev/null") != 0) {
		die "cannot unmount\n" if time > $end;
		sleep 0.02;
	}
}

# --- what came and what should have

# How often each message arrived, or the notice about it did; and which bodies were wrong.
sub arrivals {
	my ($p) = @_;
	my (%n, %bad);
	for my $l ($p->ledger) {
		if ($l->{id} =~ /^(\w+)-\d+\z/ && $crc_of{$1}) {
			$n{ $l->{id} }++;
			$bad{ $l->{id} } = 1 if $l->{crc} ne $crc_of{$1};
		} elsif ($l->{sender} eq '' && $l->{rcpt} =~ /^(\w+-\d+)\@origin\.example\z/) {
			$n{$1}++;
		}
	}
	return (\%n, \%bad);
}

sub missing { my ($p, $got) = @_; return grep { !$got->{$_} } uniq $p->acked }

# Until all is there. Or until the queue has been empty for a while: what is missing then does not come.
sub drain {
	my ($p) = @_;
	my $empty_since;
	return $p->wait_for('delivery of all that was acknowledged', sub {
		my ($got) = arrivals($p);
		return 1 unless missing($p, $got);
		sleep 0.2;
		my ($status, $list) = $p->posthorn('--json', 'queue', 'summary');
		$empty_since = $status == 0 && $list !~ /"queue"/ ? $empty_since // time : undef;
		return defined $empty_since && time - $empty_since > 3;
	}, 150);
}

sub account {
	my ($p) = @_;
	my ($got, $bad) = arrivals($p);
	my @acked = uniq $p->acked;
	my %doubt = map { $_ => 1 } $p->in_doubt;
	my @lost = missing($p, $got);
	$total{acked} += @acked;
	$total{in_doubt} += keys %doubt;
	$total{lost} += @lost;
	$total{damaged} += keys %$bad;
	$total{duplicates} += sum0 map { $got->{$_} - 1 } grep { !$doubt{$_} } keys %$got;
	print "lost: @lost[0 .. (@lost > 20 ? 19 : $#lost)]\n" if @lost;
	print 'damaged: ', join(' ', sort keys %$bad), "\n" if %$bad;
	return @lost + keys %$bad;
}

# For whoever looks into it: the files of the run with the image as it was left.
sub keep {
	my ($p) = @_;
	my $kept = "$PosthornTest::build/powercut-$o{fs}-$o{seed}";
	print $p->tail_log, "\n", "kept: $kept\n";
	system 'cp', '-r', '--sparse=always', $p->dir, $kept;
}

# --- the run

sub one_cut {
	my ($p) = @_;
	my $before = () = $p->acked;
	$p->wait_for('load', sub { my $n = () = $p->acked; $n > $before }, 30) or die "nothing is accepted\n";
	sleep 0.5 + rand 2.5;
	my $t = time;
	cut_power($p);
	my ($got) = arrivals($p);
	my $waiting = missing($p, $got);
	mount_spool($p);
	$p->start_suite;
	$total{cuts}++;
	$total{at_risk} += $waiting;
	my $acked = () = $p->acked;
	printf "cut %d (%s%s): %d acknowledged so far, %d of them only on the disk; serving again after %.1f s\n", $total{cuts}, $o{fs},
		($o{weak} ? ', weak' : ''), $acked, $waiting, time - $t if $o{verbose};
}

sub one_spool {
	my ($cuts) = @_;
	my $p = make_spool();
	my @loads = start_load($p, (0.4, 1, 2)[rand 3], @kinds);    # little goes into one group commit, or much
	my $ok = eval { one_cut($p) for 1 .. $cuts; 1 };
	my $error = $@;
	kill 'TERM', $_->{pid} for @loads;
	$p->load_wait($_) for @loads;
	if ($ok) {
		drain($p) or $error = "the queue does not drain\n";
		keep($p) if account($p) && !$o{weak};
		$error ||= "does not stop cleanly\n" if $p->stop != 0;
	}
	cut_power($p) if $p->{main};
	system "umount $p->{fs}{disk} 2>/dev/null";
	if ($error) {
		keep($p);
		die $error;
	}
}

$| = 1;
print "POSTHORN_SEED=$o{seed}\n";
eval {
	for (my $left = $o{cuts}; $left > 0; $left -= $o{fresh}) {
		one_spool($left < $o{fresh} ? $left : $o{fresh});
	}
	1;
} or $failure = $@;
print "failed: $failure" if $failure;
print JSON::PP->new->canonical->encode({ %total, fs => $o{fs}, seed => $o{seed}, weak => $o{weak} ? 1 : 0,
	seconds => int(time - $started), defined $failure ? (failure => $failure) : () }), "\n";
exit($failure ? 2 : $total{lost} || $total{damaged} ? 1 : 0);
