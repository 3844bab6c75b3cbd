# Five parts of `make bench` in small: they run, say nothing on standard error, and leave the figures that their tables show; the
# others at least compile. What the figures are is not a matter for a test.
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use PosthornTest;

plan skip_all => 'Postfix is not here' unless -x "$PosthornTest::postfix/usr/lib/postfix/sbin/master";
my $tmp = PosthornTest->new;
my %small = (SCALE => 0.01, ROUNDS => 1, DEEP => 3000, RESULTS => $tmp->dir . '/results', BUILD => $PosthornTest::build);
my %row = (
	relay => sub { my $r = shift->{rows}{'Posthorn, 4 KB'}; $r->{median}{cpu_us} > 0 && $r->{syncs_per_message} > 0 && $r->{cpu_ratio} > 0 },
	dkim => sub { my $r = shift; $r->{role_ratio} >= 1 && $r->{sign_ratio} > 0 && $r->{tls}{budget_ratio} > 0 },
	handshake => sub { my $r = shift; $r->{alone}{'RSA-2048'}{cpu_ratio} > 0 && $r->{suite}{'P-256'}[0]{rate} > 0 },
	mix => sub { shift->{rows}{'100 %'}{median}{queue_p99_ms} > 0 },
	deep => sub { my $r = shift->{3000}; $r->{restart}{ready_s} > 0 && $r->{drain_rate} > 0 },
);
for my $part (sort keys %row) {
	local %ENV = (%ENV, %small, PART => $part);
	my $err = $tmp->dir . "/$part.err";
	my $out = `$^X t/bench/bench.pl 2>$err`;
	is $?, 0, "$part runs" or diag $out;
	is PosthornTest::slurp($err), '', 'silently';
	my $json = eval { JSON::PP::decode_json(PosthornTest::slurp("$small{RESULTS}/$part.json")) };
	ok $json && $json->{machine}{cores} && eval { $row{$part}->($json->{results}) }, 'and leaves its figures' or diag $out;
}
for my $file (glob 't/bench/parts/*.pl') {
	is system("$^X -It/lib -It/bench/lib -c $file 2>/dev/null"), 0, "$file compiles";
}
done_testing;
