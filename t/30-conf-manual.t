# The manual of main.cf says what the code does: names, defaults, bounds, words, both ways; and every example in it, and every file that
# is installed as a beginning, is accepted. (The policy: t/30-policy-manual.t.)
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);

my $build = $ENV{BUILD} // 'build';

sub slurp {
	my ($file) = @_;
	open my $f, '<', $file or die "$file: $!";
	local $/;
	return scalar <$f>;
}

# The parameters as the table in params.c has them: name => "default; bounds; restart", and the type.
sub params_of_code {
	my $c = slurp('lib/mail/params.c');
	my %words;
	while ($c =~ /\*const (\w+)_words\[\] = \{ ([^}]*) \}/g) {
		my ($name, $list) = ($1, $2);
		$words{$name} = join ' | ', $list =~ /"([^"]+)"/g;
	}
	my ($table) = $c =~ /params_table\[\] = \{\n(.*?)\n\};/s or die 'no table';
	$table =~ s/"\s*\n\s*"//g;
	my %type = (STR => 'string', STRS => 'list', BOOL => 'yes | no', CIDRS => 'ranges', LISTEN => 'listeners', INT => 'number',
		SIZE => 'size', TIME => 'time');
	my ($libexec) = slurp('Makefile') =~ /^PREFIX\s*\?=\s*(\S+)/m;
	my (%p, @left);
	for (grep { /\S/ && !m{^\s*/\*.*\*/\s*$} } split /\n/, $table) {
		if (!/^\t([A-Z]+)(_RESTART)?\((\w+), ("[^"]*"|POSTHORN_LIBEXECDIR)(?:, (.*))?\),$/) {
			push @left, $_;
			next;
		}
		my ($type, $restart, $name, $default, $rest) = ($1, $2, $3, $4, $5);
		$default = $default eq 'POSTHORN_LIBEXECDIR' ? "$libexec/libexec/posthorn" : $default =~ s/"//gr;
		my $says = $default eq '' ? 'default empty' : "default $default";
		if ($type =~ /^(INT|SIZE|TIME)$/) {
			my ($min, $max) = map { bound($type, $_) } split /, /, $rest;
			$says .= "; from $min to $max";
		}
		$says .= '; restart' if $restart;
		my $kind = $type eq 'ENUM' ? $words{ $rest =~ s/_words$//r } : $type{$type};
		$kind = $1 if $name =~ /_(directory|file)$/ && $type ne 'STRS';
		$p{$name} = "$kind ($says)";
	}
	is_deeply \@left, [], 'every line of the table is understood';
	return \%p;
}

sub bound {
	my ($type, $text) = @_;
	my %unit = (SECONDS => 's', MINUTES => 'm', HOURS => 'h', DAYS => 'd', KIB => 'k', MIB => 'M', GIB => 'G', TIB => 'T');
	return "$2$unit{$1}" if $text =~ /^([A-Z]+)\((\d+)\)$/;
	return $type eq 'TIME' && $text ne '0' ? "${text}ms" : $text;
}

sub params_of_manual {
	my (%p, $name, $kind);
	for (split /\n/, slurp('man/main.cf.5')) {
		($name, $kind) = ($1, $2) if /^\.It Va (\w+) No = (?:Ar|Cm) (.*)$/;
		next unless defined $name && /^\.Pq (default.*)$/;
		my $says = $1 =~ s/default Li /default /r =~ s/ ;/;/gr;
		ok !exists $p{$name}, "$name is described once";
		$p{$name} = "$kind ($says)";
		undef $name;
	}
	return \%p;
}

my ($code, $manual) = (params_of_code(), params_of_manual());
cmp_ok scalar keys %$code, '>', 80, 'the table was found';
is_deeply $manual, $code, 'main.cf(5) has the parameters, types, defaults and bounds of the code';

# Each paragraph says something.
my %text = map { /^(\w+)/ ? ($1 => $_) : () } split /^\.It Va /m, slurp('man/main.cf.5') =~ s/^\.(?:El|Ss|Sh).*?(?=^\.It Va |\z)//gmsr;
for my $name (sort keys %$code) {
	my ($body) = ($text{$name} // '') =~ /\.Pp\n(.*)/s;
	cmp_ok length($body // ''), '>', 30, "$name is explained";
}

# What is shown as an example works.
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir; # policy is checked by a process without privileges
my $dirs = join '', map { "${_}_directory = $dir/$_\n" } qw(queue log run data);

sub put {
	my ($file, $text) = @_;
	open my $f, '>', $file or die "$file: $!";
	print $f $text;
	close $f or die "$file: $!";
}

sub check_ok {
	my ($main_cf, $policy, $name) = @_;
	my %set = map { /^(\w+)/ ? ($1 => 1) : () } split /\n/, $main_cf;
	my $add = join '', map { /^(\w+)/ && !$set{$1} ? "$_\n" : () } split /\n/, $dirs;
	put("$dir/main.cf", "$main_cf\n$add");
	put("$dir/policy.lua", $policy);
	# Complaints of this host (missing users, directories, files) are not about the example.
	my @wrong = grep { m{(?:main\.cf|policy\.lua):} && !/warning/ } split /\n/, `$build/sbin/posthorn -c $dir check 2>&1`;
	is_deeply \@wrong, [], $name;
}

sub examples {
	my ($text) = @_;
	my ($part) = $text =~ /^\.Sh EXAMPLES\n(.*?)^\.Sh /ms;
	return map { s/\\&//gr } $part =~ /^\.Bd -literal[^\n]*\n(.*?)^\.Ed$/gms;
}

my $one = "posthorn.source { name = 's', source_address = '127.0.0.1' }\nposthorn.pool { name = 'p', entries = { { name = 's' } } }\n";
put("$dir/main.cf", "no_such_thing = 1\n$dirs");
put("$dir/policy.lua", $one);
like `$build/sbin/posthorn -c $dir check 2>&1`, qr/main\.cf:1: unknown parameter 'no_such_thing'/, 'the check checks';
my @conf = examples(slurp('man/main.cf.5'));
cmp_ok scalar @conf, '>=', 2, 'main.cf(5) has examples';
check_ok($conf[$_], $one, "example $_ of main.cf(5)") for 0 .. $#conf;
check_ok(slurp('conf/main.cf'), slurp('conf/policy.lua'), 'the installed configuration');

# So does what is commented out in the installed files, once the comment signs are gone.
my $full = slurp('conf/main.cf') =~ s/^#(\w+ = )/$1/gmr;
check_ok($full, slurp('conf/policy.lua'), 'the installed main.cf with its suggestions');
my $suggested = slurp('conf/policy.lua') =~ s/^posthorn\..*\n//gmr =~ s/^-- (?=posthorn\.|end\)|  )//gmr;
like $suggested, qr/^posthorn\.on\('get_egress_pool'/m, 'the installed policy suggests events';
check_ok('', $suggested, 'the installed policy with its suggestions');
done_testing;
