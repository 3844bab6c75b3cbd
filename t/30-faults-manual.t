# Each row of posthorn-faults(7) says what is seen and what is promised, and names a test that is there and knows the row by its name; and
# each test of a fault is named by a row.
use strict;
use warnings;
use Test::More;

sub slurp {
	my ($file) = @_;
	open(my $f, '<', $file) or return '';
	local $/;
	return scalar <$f>;
}

my $manual = slurp('man/posthorn-faults.7');
my ($description) = $manual =~ /^\.Sh DESCRIPTION\n(.*?)^\.Sh /ms or die 'no description';
my @rows = split /^(?=\.It Sy )/m, $description;
shift @rows;
cmp_ok scalar @rows, '>=', 20, scalar(@rows) . ' rows';
my %named;
for my $row (@rows) {
	my ($name) = $row =~ /^\.It Sy (.*)/;
	like $row, qr/^\.It $_\n[^.\n]*\S|^\.It $_\n\./m, "$name: $_" for qw(seen promised);
	my ($test) = $row =~ /^\.It shown by\n\.Pa (\S+)\n/m;
	ok defined $test && -f $test, "$name: shown by " . ($test // 'nothing');
	$named{ $test // '' } = 1;
	# Comments are wrapped.
	like slurp($test // '') =~ s/\n#? ?/ /gr, qr/"\Q$name\E"/, "$name: which knows the row";
}
is join(' ', grep { !$named{$_} } glob 't/65-*.t'), '', 'every test of a fault is in the table';
done_testing;
