#!/usr/bin/perl
# Puts the files of conf/examples into the EXAMPLES of posthorn-policy(5), as they are: run it in the top directory when one of them has
# changed or is new. The sentence in front of an example is written by hand; that of a new one begins as the file's first comment.
# --check: changes nothing, and ends with 1 if there is something to do.
use strict;
use warnings;

my $page = 'man/posthorn-policy.5';

sub slurp {
	my ($file) = @_;
	open my $f, '<', $file or die "$file: $!\n";
	local $/;
	return scalar <$f>;
}

sub block {
	my ($file) = @_;
	my $text = slurp($file) =~ s/\\/\\e/gr =~ s/^(?=[.'])/\\&/gmr;
	return qq(.\\" $file\n.Bd -literal -offset indent\n$text.Ed\n);
}

# The first sentence of the comment at its head, broken into short lines.
sub sentence {
	my ($file) = @_;
	my ($comment) = slurp($file) =~ /\A((?:--[^\n]*\n)+)/ or die "$file: no comment at its head\n";
	my $text = $comment =~ s/^-- ?//gmr =~ s/\n/ /gr;
	$text =~ s/[.:]\s.*|[.:]?\s*$/:/s;
	return $text =~ s/(.{1,76})(?:\s+|$)/$1\n/gr;
}

my $man = slurp($page);
my ($before, $part, $after) = $man =~ /\A(.*?^\.Sh EXAMPLES\n)(.*?)(^\.Sh .*)\z/ms or die "$page: no EXAMPLES\n";
my %have = map { $_ => 1 } my @files = sort glob 'conf/examples/*.lua';
my %shown;
$part =~ s{^\.\\" (conf/examples/\S+)\n\.Bd [^\n]*\n.*?^\.Ed\n}{ $shown{$1} = 1; $have{$1} ? block($1) : '' }gmse;
$part .= join '', map { ".Pp\n" . sentence($_) . block($_) } grep { !$shown{$_} } @files;
my $new = "$before$part$after";
if (@ARGV && $ARGV[0] eq '--check') {
	exit($new eq $man ? 0 : 1);
}
if ($new ne $man) {
	open my $f, '>', "$page.new" or die "$page.new: $!\n";
	print $f $new;
	close $f or die "$page.new: $!\n";
	rename "$page.new", $page or die "$page: $!\n";
}
