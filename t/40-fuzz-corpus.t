# Every input in the corpora of the fuzz targets, once, under the address and undefined-behaviour sanitizers, without libFuzzer: neither
# the corpora nor the targets rot, and what a fuzzer found once stays mended. `make fuzz` looks for more.
use strict;
use warnings;
use File::Temp ();
use Test::More;
use PosthornTest;

my $built = "$PosthornTest::build/asan/t/fuzz";
my @targets = map { m{/fuzz_(\w+)\.c\z} } glob 't/fuzz/fuzz_*.c';
plan skip_all => 'no build with sanitizers (make asan)' unless grep { -x "$built/$_" } @targets;
my $tmp = File::Temp->newdir;
$ENV{TMPDIR} = "$tmp";
$ENV{ASAN_OPTIONS} = 'handle_abort=1';
for my $target (@targets) {
	my @inputs = glob "t/fuzz/corpus/$target/*";
	my $said = qx{timeout 120 $built/$target t/fuzz/corpus/$target 2>&1};
	my $status = $?;
	my ($ran) = $said =~ /^ran (\d+) inputs$/m;
	ok $status == 0 && @inputs > 0 && ($ran // 0) == @inputs, "$target: " . @inputs . ' inputs'
	    or diag "status $status\n", substr $said, -4000;
}
done_testing;
