# The shape of the code: sizes, layers, what the documents refer to. What a compiler or linter says is not repeated here.
use strict;
use warnings;
use File::Find ();
use Test::More;

use constant { FUNCTION_MAX => 80, FILE_MAX => 900, COLUMNS_MAX => 120 };

sub slurp {
	my ($file) = @_;
	open(my $f, '<', $file) or die "$file: $!";
	local $/;
	return scalar <$f>;
}

sub columns {
	my ($line) = @_;
	1 while $line =~ s/\t+/' ' x (8 * length($&) - length($`) % 8)/e;
	return length $line;
}

my @programs = qw(smtpd queued deliverd bouncerd fblproc posthorn);
my @files;
File::Find::find({ no_chdir => 1, wanted => sub { push @files, $_ if /\.[ch]\z/ } }, @programs, 'lib', 't');
@files = sort @files;
cmp_ok scalar @files, '>', 200, 'sources were found';

my (@long_functions, @long_files, @long_lines, @unguarded, @crossing, @upward, $functions);
for my $file (@files) {
	my $text = slurp($file);
	my @lines = split /\n/, $text;
	my $start;
	push @long_files, "$file: " . @lines if @lines > FILE_MAX;
	push @unguarded, $file if $file =~ /\.h\z/ && $text !~ /^#ifndef (\w+)\n#define \1\n.*^#endif\b.*\n\z/ms;
	for my $i (0 .. $#lines) {
		local $_ = $lines[$i];
		push @long_lines, "$file:" . ($i + 1) if columns($_) > COLUMNS_MAX;
		$start = $i if /^\{/;
		if (/^\}/ && defined $start) {
			$functions++;
			push @long_functions, "$file:" . ($start + 1) if $i - $start - 1 > FUNCTION_MAX;
			undef $start;
		}
		next unless /^\s*#\s*include\s+"([^"]+)"/;
		my $what = $1;
		my ($from) = $file =~ m{^([^/]+)/};
		push @crossing, "$file includes $what"
		    if $from ne 't' && ($what =~ m{\.\.} || grep { $_ ne $from && $what =~ m{^$_/} } @programs);
		push @upward, "$file includes $what" if $file =~ m{^lib/base/} && $what !~ m{^base/};
		push @upward, "$file includes $what" if $file =~ m{^lib/mail/} && $what !~ m{^(?:base|mail)/};
	}
}
cmp_ok $functions, '>', 1000, 'functions were found';
is "@long_functions", '', 'no function has more than ' . FUNCTION_MAX . ' lines';
is "@long_files", '', 'no file has more than ' . FILE_MAX;
is "@long_lines", '', 'no line has more than ' . COLUMNS_MAX . ' columns';
is "@unguarded", '', 'every header has an include guard';
is "@crossing", '', 'no program includes another';
is "@upward", '', 'lib/base knows nothing of mail, lib/mail nothing of programs';

# What README tells people to type, and `make help`, are targets.
my %target = map { $_ => 1 } map { slurp($_) =~ /^([a-z][a-z-]*):(?!=)/gm } 'Makefile', 'targets.mk', 'install.mk', glob 't/*/*.mk';
my @told = (slurp('README.md') =~ /(?:`|^    )make ([a-z-]+)/gm, slurp('targets.mk') =~ /echo 'make ([a-z-]+)/g);
cmp_ok scalar @told, '>', 8, 'targets are named';
is join(' ', grep { !$target{$_} } @told), '', 'and exist';

# ARCHITECTURE.md is a map: what it names is there.
my (@gone, $named);
for my $name (map { split / / } slurp('ARCHITECTURE.md') =~ /`([^`\n]+)`/g) {
	next unless $name =~ m{^(?:(?:smtpd|queued|deliverd|bouncerd|fblproc|posthorn|lib|t|conf|man)/[\w./*-]*|\w+\.[ct]\z)};
	$named++;
	my @there = glob $name;
	push @gone, $name unless @there && -e $there[0] || grep { m{/\Q$name\E\z} } @files;
}
cmp_ok $named, '>', 60, 'ARCHITECTURE.md names files';
is "@gone", '', 'and they exist';

done_testing;
