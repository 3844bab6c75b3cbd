# Disk full (a small tmpfs) and injected EIO and ENOSPC on write and fdatasync: 4xx, no false 250, recovery when space returns.
use strict;
use warnings;
use Test::More;
use PosthornTest;

plan skip_all => 'needs root to mount a tmpfs and to trace daemons' if $> != 0;

sub delivered_all {
	my ($p, $what) = @_;
	my %acked = map { $_ => 1 } $p->acked;
	ok $p->wait_for($what, sub { my %g = map { $_->{id} => 1 } $p->ledger; !grep { !$g{$_} } keys %acked }, 60),
		"$what: all " . keys(%acked) . ' acknowledged messages were delivered';
}

# --- a full disk
my $p = PosthornTest->new(conf => { smtpd_processes => 1, min_free_space => '2M', segment_size => '1M' });
my $spool = $p->dir . '/spool';
mkdir $spool;
system('mount', '-t', 'tmpfs', '-o', 'size=24m,mode=0755', 'tmpfs', $spool) == 0 or plan skip_all => 'cannot mount a tmpfs';
END { if (defined $spool) { local $?; undef $p; system 'umount', '-l', $spool } }
$p->{conf}{queue_directory} = "$spool/queue";
$p->start;    # no sink: everything stays
my $r = $p->load('-c', 4, '-m', 20_000, '-s', 8000, '-d', 15, '-q');
ok $r->{acked} > 100, "$r->{acked} messages fit";
ok $r->{refused} > 0, 'then mail is refused';
my %codes;
$codes{ $_->{response}{code} }++ for $p->events('Rejection');
is_deeply [sort keys %codes], ['452'], 'with 452 and nothing else';
my ($free) = (split ' ', (split /\n/, `df -k --output=avail $spool`)[1])[0];
cmp_ok $free, '>', 500, "the disk was not filled to the brim ($free KiB left)";
# Space returns: mail leaves, and new mail is taken.
$p->sink;
$p->posthorn('queue', 'retry', '--all');
delivered_all($p, 'space returned');
ok $p->wait_for('accepting again', sub { $p->load('-c', 1, '-m', 1, '-d', 5, '-q', '-p', 'again' . rand)->{acked} == 1 }, 60), 'and new mail is accepted';
# Filled by somebody else, under load, to the last byte.
my $load = $p->load_start('-p', 'brim', '-c', 4, '-m', 100_000, '-d', 12, '-q', '-s', 8000);
select undef, undef, undef, 2;
system "dd if=/dev/zero of=$spool/filler bs=64k 2>/dev/null";
select undef, undef, undef, 4;
unlink "$spool/filler";
$r = $p->load_wait($load);
ok $r->{acked} > 0, "$r->{acked} acknowledged around a disk filled by others";
delivered_all($p, 'filled by others');
is $p->stop, 0, 'stops cleanly';

# --- injected errors: strace makes the k-th call of smtpd's worker or queued fail
my $strace = `command -v strace`;
SKIP: {
	skip 'strace is not here', 1 unless $strace;
	for my $case (['smtpd', 'fdatasync', 'EIO'], ['smtpd', 'pwritev,pwrite64,pwritev2', 'EIO'], ['smtpd', 'pwritev,pwrite64,pwritev2', 'ENOSPC'],
		['smtpd', 'fdatasync', 'ENOSPC'], ['queued', 'fdatasync', 'EIO'], ['queued', 'pwrite64,writev,pwritev', 'ENOSPC']) {
		my ($daemon, $call, $error) = @$case;
		my $q = PosthornTest->new(conf => { smtpd_processes => 1, segment_size => '1M' });
		$q->sink->start;
		$q->load('-c', 2, '-m', 50, '-d', 20, '-p', 'warm');
		my @tracers = map { $q->spawn("strace$_", 'strace', '-f', '-q', '-o', $q->dir . "/strace.$_", '-e', "trace=$call", '-e',
			"inject=$call:error=$error:when=5..7", '-p', $_) } $q->daemon_pids($daemon);
		$q->wait_for('tracers', sub { 1 }, 1);
		select undef, undef, undef, 0.5;
		my $l = $q->load('-c', 4, '-m', 2000, '-r', 400, '-d', 40, '-q', '-p', 'inj');
		my $hit = grep { PosthornTest::slurp($_) =~ /INJECTED/ } glob $q->dir . '/strace.*';
		ok $hit, "$daemon: $error on $call was injected";
		is $l->{acked}, 2000, "$daemon: $error on $call: all were accepted in the end";
		delivered_all($q, "$daemon: $error on $call");
		my %crc = map { $_->{crc} => 1 } $q->ledger;
		is scalar keys %crc, 1, "$daemon: $error on $call: every body is whole";
		$q->end_pid($_, 'INT') for @tracers;
	}
}
done_testing;
