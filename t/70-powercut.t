# The power goes while mail is taken and delivered, on ext4 and on XFS: nothing that was acknowledged is lost (t/crash/powercut.pl).
# And the same check on a suite that makes nothing durable finds messages missing, so it can fail.
use strict;
use warnings;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);
use PosthornTest;

plan skip_all => 'mounting a file system needs root' if $>;
plan skip_all => 'no namespaces or loop devices can be had here'
	unless system('unshare -m -p -f true 2>/dev/null && losetup -f >/dev/null 2>&1') == 0;
plan skip_all => 'the sanitizers are not for a run against the clock' if `ldd $PosthornTest::build/libexec/smtpd` =~ /libasan/;

my $started = time;

sub powercut {
	my (@args) = @_;
	open(my $out, '-|', $^X, 't/crash/powercut.pl', @args) or die "powercut.pl: $!";
	my @lines = <$out>;
	close $out;
	my $status = $? >> 8;
	my $r = eval { JSON::PP::decode_json($lines[-1] // '') };
	diag map { "    $_" } @lines if !$r || $r->{failure};
	return ($status, $r // {});
}

sub has_fs {
	my ($fs) = @_;
	return PosthornTest::slurp('/proc/filesystems') =~ /\t$fs$/m && grep { -x "$_/mkfs.$fs" } split(/:/, $ENV{PATH}), '/sbin', '/usr/sbin';
}

for my $fs ('ext4', 'xfs') {
	SKIP: {
		skip "no $fs here", 5 unless has_fs($fs);
		my ($status, $r) = powercut('--fs', $fs, '--cuts', 4);
		# At 500 messages a second: what is in flight or finished within one commit (60-kill.t counts alike).
		cmp_ok $r->{duplicates}, '<=', 4 * (500 * 0.4 + 64), "$fs: duplicates are bounded: $r->{duplicates}";
		is $r->{cuts}, 4, "$fs: 4 power cuts, seed $r->{seed}";
		cmp_ok $r->{at_risk}, '>', 50, "$fs: of $r->{acked} acknowledged messages, $r->{at_risk} were only on the disk when it went";
		is $r->{lost}, 0, "$fs: none was lost";
		is $status, 0, "$fs: nothing else failed";
	}
}
SKIP: {
	skip 'no ext4 here', 2 unless has_fs('ext4');
	my ($status, $r) = powercut('--fs', 'ext4', '--cuts', 2, '--weak');
	is $status, 1, 'a suite that makes nothing durable fails the check';
	cmp_ok $r->{lost}, '>', 20, "and loses messages: $r->{lost} of $r->{acked}";
}
diag sprintf 'took %.0f s', time - $started;
done_testing;
