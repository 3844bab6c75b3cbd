# Every manual is without complaint of mandoc, and whatever of ours it refers to exists.
use strict;
use warnings;
use Test::More;

my @pages = sort glob 'man/*.[1-8]';
cmp_ok scalar @pages, '>', 0, 'there are manuals';
plan skip_all => 'mandoc is not installed' unless `sh -c 'command -v mandoc'`;
my %have = map { m{^man/(.+)\.(\d)$} ? ("$1 $2" => 1) : () } @pages;

for my $page (@pages) {
	# Whether foreign manuals are installed here says nothing about ours.
	my @says = grep { !/referenced manual not found|outdated mandoc\.db/ } split /\n/, `mandoc -T lint $page 2>&1`;
	is_deeply \@says, [], "$page: mandoc";
	open my $f, '<', $page or die "$page: $!";
	my $text = do { local $/; <$f> };
	close $f;
	my @missing;
	while ($text =~ /^\.Xr (\S+) (\d)/gm) {
		my $ref = "$1 $2";
		push @missing, $ref if $ref =~ /^(?:posthorn|smtpd|queued|deliverd|bouncerd|fblproc|main\.cf|bounce_rules)/ && !$have{$ref};
	}
	is_deeply \@missing, [], "$page: what it refers to exists";
	unlike $text, qr/\b(?:TODO|FIXME|XXX)\b/, "$page: finished";
	my ($name) = $page =~ m{([^/]+)\.\d$};
	like $text, qr/^\.Nm \Q$name\E$/m, "$page: is called what its file is";
}
done_testing;
