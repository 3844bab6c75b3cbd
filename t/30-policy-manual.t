# posthorn-policy(5) says what the code has: every event, definition, key of a table, method and helper, both ways; the numbers it repeats;
# what is shown as an example works, and the files of conf/examples are shown as they are (conf/examples/manual.pl puts them there).
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);

my $build = $ENV{BUILD} // 'build';
my $page = 'man/posthorn-policy.5';

sub slurp {
	my ($file) = @_;
	open my $f, '<', $file or die "$file: $!";
	local $/;
	return scalar <$f>;
}

my $man = slurp($page);
my %source = map { $_ => slurp($_) } glob 'lib/mail/policy*.[ch]';

# What the manual has: functions, events and methods by .It Fn (or .Fn in running text, for KumoMTA's constructors), and the keys that
# are listed below each.
my (%seen, %keys, %text, $current, $key);
for (split /\n/, $man =~ s/^\.Sh EXAMPLES.*//msr) {
	if (/^\.It Fn (\S+)/) {
		ok !exists $keys{$1}, "$1 is described once";
		$keys{ $current = $1 } = {};
		$seen{$1} = 1;
		undef $key;
	} elsif (/^\.It Li (.*)/ && defined $current) {
		$key = [split / , /, $1];
		$keys{$current}{$_} = '' for @$key;
	} elsif (/^\.Fn (posthorn\.make_\w+)/) {
		$seen{$1} = 1;
	} elsif (/^\.(?:El|S[hs])/) {
		undef $key;
		undef $current if /^\.S/;
	}
	$text{$current} .= "$_\n" if defined $current;
	next unless $key;
	my $line = $_;
	$keys{$current}{$_} .= "$line\n" for @$key;
}

# What the code has. Each table of functions is either here or forgotten, which is a failure.
my %prefix = (
	module_functions => 'posthorn.', top_functions => 'posthorn.', functions => 'posthorn.dns.', spf_functions => 'posthorn.spf.', conn_methods => 'conn:', methods => 'msg:',
	policy_header_methods => 'msg:', regex_methods => 'regex:', map_methods => 'map:',
	dkim_functions => 'posthorn.dkim.',
	(map { ("policy_lib_$_" => "posthorn.$_.") } qw(regex string serde time encode digest domain_map)),
);
my (%code, @unknown);
for my $file (sort keys %source) {
	while ($source{$file} =~ /luaL_Reg (\w+)\[\] = \{\n(.*?)\n\};/gs) {
		my ($table, $body) = ($1, $2);
		next if $table eq 'address_meta' || $file =~ /policy_guard/;    # operators; Lua's own functions
		push @unknown, "$file: $table" unless $prefix{$table};
		$code{"$prefix{$table}$_"} = 1 for $prefix{$table} ? $body =~ /\{ "(\w+)"/g : ();
	}
}
is_deeply \@unknown, [], 'every table of functions is known here';
$code{'posthorn.dkim'} = 1;    # a table that is called
$code{"posthorn.$_"} = 1 for grep { $_ ne 'dns' && $_ ne 'spf' } $source{'lib/mail/policy_call.c'} =~ /lua_setfield\(L, -2, "([a-z]+)"\)/g;
my ($events) = $source{'lib/mail/policy_event.c'} =~ /policy_event_names\[[^\]]*\] = \{(.*?)\};/s;
my %events = map { $_ => 1 } $events =~ /"(\w+)"/g;
is_deeply { map { $_ => 1 } grep { !/[.:]/ } keys %seen }, \%events, 'the manual has the events of the code';
is_deeply [sort grep { /[.:]/ } keys %seen], [sort keys %code], '... and its functions and methods';
cmp_ok length($text{$_} // ''), '>', 20, "$_ is explained" for sort keys %events;

# Keys of tables, with bounds and words.
my %where = (source => 'posthorn.source', pool => 'posthorn.pool', listener => 'posthorn.listener_domain', sender => 'posthorn.sender_domain', map => 'posthorn.map',
	unsubscribe => 'posthorn.list_unsubscribe', feedback => 'posthorn.feedback_source',
	signer => 'posthorn.dkim.signer', definition => 'posthorn.dkim', queue => 'get_queue_config', path => 'get_egress_path_config');
my (%fields, %words);
for my $file (sort keys %source) {
	$words{$1} = [map { /"(\w+)"/g } $2] while $source{$file} =~ /\*const (\w+)\[[^\]]*\] = \{\s*((?:"\w+",\s*)+)NULL/g;
}
for my $file (sort keys %source) {
	my $c = $source{$file};
	my ($schedule) = $c =~ /#define SCHEDULE_FIELDS\(base\) \\\n((?:.*\\\n)*.*\n)/;
	my ($signer) = $c =~ /#define SIGNER_FIELDS \\\n((?:.*\\\n)*.*\n)/;
	while ($c =~ /struct policy_field (?:policy_)?(\w+?)_fields\[\] = \{\n(.*?)\n\};/gs) {
		my ($what, $body) = ($1, $2);
		$body =~ s/SCHEDULE_FIELDS\(.*?\),\n/$schedule/;
		$body =~ s/SIGNER_FIELDS,/$signer/ if $what eq 'signer';
		$body =~ s/CALL\("(\w+)", \w+\)/{ .name = "$1" }/g;
		$body =~ s/PATH_INT\((\w+), (\d+), (\d+)\)/{ .name = "$1", .type = FIELD_INT, .min = $2, .max = $3 }/g;
		$body =~ s/PATH_WORD\((\w+), (\w+)\)/{ .name = "$1", .type = FIELD_WORD, .words = $2 }/g;
		$body =~ s/PATH_(?:TIME|HOSTS)\((\w+)[^)]*\)/{ .name = "$1" }/g;
		$body =~ s/PATH_OF\((\w+), (\w+)\)/{ .name = "$2", .type = $1 }/g;
		while ($body =~ /\{ \.name = "(\w+)"(.*?)\}/gs) {
			my ($name, $rest) = ($1, $2);
			$fields{$what}{$name} = $rest;
		}
	}
}
is_deeply [sort keys %where, 'class', 'entry'], [sort keys %fields], 'no table of keys was forgotten';
for my $what (sort keys %where) {
	my $fn = $where{$what};
	is_deeply [sort keys %{ $keys{$fn} }], [sort keys %{ $fields{$what} }], "the keys of $fn";
	for my $name (sort keys %{ $fields{$what} }) {
		my ($rest, $says) = ($fields{$what}{$name}, ($keys{$fn}{$name} // '') =~ s{\n}{ }gr);
		cmp_ok length($says), '>', 15, "$fn: $name is explained";
		if ($rest =~ /FIELD_INT/) {
			my ($min, $max) = $rest =~ /\.min = (\w+),\s*\.max = (\w+)/;
			like $says, qr/from $min to $max\b/, "$fn: bounds of $name";
		}
		if ($rest =~ /\.words = (\w+)/) {
			is_deeply [grep { $says !~ /'\Q$_\E'/ } @{ $words{$1} // ['no such words'] }], [], "$fn: words of $name";
		}
	}
}
like $text{'posthorn.pool'}, qr/from 1 to 1000000; default 1\b/, 'weight of an entry';
is_deeply [sort keys %{ $fields{entry} }], ['name', 'weight'], 'the keys of an entry';
is_deeply [sort keys %{ $fields{class} }], [grep { $keys{get_queue_config}{$_} } sort keys %{ $fields{class} }], 'the keys of retry_by_class';

my ($tls) = $source{'lib/mail/policy_field.c'} =~ /\ntls_read\(.*?words\[\] = \{(.*?)\n\t\};/s;
like $keys{get_egress_path_config}{enable_tls}, qr/'$_'/, "enable_tls: $_" for $tls =~ /"(\w+)", TLS/g;

# What objects show.
my ($conn_keys) = $source{'lib/mail/policy_conn.c'} =~ /policy_conn_keys\[[^\]]*\] = \{(.*?)\}/s;
like $text{'conn:get_meta'}, qr/^\.Li $_\b/m, "conn:get_meta: $_" for $conn_keys =~ /"(\w+)"/g;
my ($address) = $man =~ /^(An address has the fields.*?)^\.Pp/ms;
like $address, qr/^\.Li $_\b/m, "an address has $_" for $source{'lib/mail/policy_conn.c'} =~ /strcmp\(key, "(\w+)"\) == 0/g;
my ($mx) = $source{'lib/mail/policy_dns.c'} =~ /\n(\w+)\(lua_State \*L, [^\n]*mx[^\n]*\n\{.*?\n\}/s;
like $text{'posthorn.dns.lookup_mx'}, qr/^\.Li $_\b/m, "lookup_mx: $_" for qw(hosts by_pref domain_name is_mx is_domain_literal);

# Numbers that the manual repeats.
my $define = sub {
	my ($name) = @_;
	for (sort keys %source) {
		next unless $source{$_} =~ /#define $name \(?(\d+)u?(?: << (\d+)\)?)?/;
		return defined $2 ? $1 << ($2 % 10) : $1;    # KiB, MiB: the unit is in the text
	}
	die "no $name";
};
for (['POLICY_NAME_MAX', 'up to %d letters'], ['POLICY_EVENT_MS', '%d ms of CPU time for an event'], ['POLICY_LOAD_MS', 'and %d ms'],
	['POLICY_MEMORY_MAX', 'use %d MiB of memory'], ['POLICY_FILE_MAX', 'at most %d MiB'], ['POLICY_SOURCES_MAX', '%d sources'],
	['POLICY_POOLS_MAX', '%d pools'], ['POLICY_ENTRIES_MAX', 'of %d entries'], ['POLICY_LISTENER_DOMAINS_MAX', '%d listener domains'],
	['POLICY_TASKS_MAX', '%d events of a worker'], ['POLICY_QUESTIONS_MAX', 'up to %d questions'], ['POLICY_LIB_JSON_MAX', '%d KiB and'],
	['POLICY_LIB_DEPTH_MAX', 'and %d levels'], ['POLICY_MAP_BYTES_MAX', 'At most %d MiB'], ['POLICY_MAP_ROWS_MAX', '%d rows'],
	['POLICY_MAP_RECORD_MAX', 'and %d KiB each'], ['WINDOW_LINES', 'and %d at most']) {
	my ($name, $says) = ($_->[0], sprintf $_->[1], $define->($_->[0]));
	like $man =~ s/\n/ /gr, qr/\Q$says\E/, "$name: $says";
}

# The running product: each function is there.
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir; # policy is checked by a process without privileges
my $dirs = join '', map { "${_}_directory = $dir/$_\n" } qw(queue log run);
my $one = "posthorn.source { name = 's', source_address = '127.0.0.1' }\nposthorn.pool { name = 'p', entries = { { name = 's' } } }\n";

sub put {
	my ($file, $text) = @_;
	open my $f, '>', $file or die "$file: $!";
	print $f $text;
	close $f or die "$file: $!";
}

sub check_says {
	my ($policy) = @_;
	put("$dir/main.cf", $dirs);
	put("$dir/policy.lua", $policy);
	# Complaints of this host (missing users, directories, files) are not about the policy.
	return grep { m{(?:main\.cf|policy\.lua):} && !/warning/ } split /\n/, `$build/sbin/posthorn -c $dir check 2>&1`;
}

my @functions = grep { /^posthorn\./ && $_ ne 'posthorn.dkim' } sort keys %seen;
cmp_ok scalar @functions, '>', 50, 'there are functions';
is_deeply [check_says($one . join '', map { "assert(type($_) == 'function', '$_')\n" } @functions)], [], 'all functions of the manual are there';
is_deeply [check_says($one . join '', map { s/^posthorn/kumo/r =~ s/^(.*)$/assert(type($1) == 'function', '$1')\n/r } @functions)], [],
	'by the name kumo as well';
like join("\n", check_says("${one}posthorn.no_such_thing()\n")), qr/policy\.lua:3: .*no_such_thing/, 'the check checks';

# Lua's own functions, as THE JAIL says.
my %lua = (
	'' => 'assert collectgarbage dofile error getmetatable ipairs load loadfile next pairs pcall print rawequal rawget rawlen rawset require
		select setmetatable tonumber tostring type warn xpcall',
	string => 'byte char dump find format gmatch gsub len lower match pack packsize rep reverse sub unpack upper',
	table => 'concat insert move pack remove sort unpack', utf8 => 'char codepoint codes len offset',
	os => 'clock date difftime execute exit getenv remove rename setlocale time tmpname',
	io => 'open popen read', debug => 'getinfo sethook', coroutine => 'create wrap', package => 'loadlib path',
);
my ($jail) = $man =~ /^\.Sh THE JAIL\n(.*?)^\.Sh /ms;
my %gone = map { $_ => 1 } $jail =~ /^\.Fn ((?:string\.)?(?:load|dofile|collectgarbage|warn|xpcall|dump))\b/gm;
$gone{loadfile} = 1; # a kind of load
my %kept_os = map { $_ => 1 } $jail =~ /^\.Fn os\.(\w+)/gm;
my $lines = '';
for my $lib (sort keys %lua) {
	for (split ' ', $lua{$lib}) {
		my $name = $lib eq '' ? $_ : "$lib.$_";
		my $is_there = $lib =~ /^(?:io|debug|coroutine|package)$/ ? 0 : $lib eq 'os' ? $kept_os{$_} : !$gone{$name};
		$lines .= sprintf "do local t = rawget(_G, '%s') local f = %s assert((f ~= nil) == %s, '%s') end\n", $lib eq '' ? $_ : $lib,
			$lib eq '' ? 't' : "type(t) == 'table' and rawget(t, '$_') or nil", $is_there ? 'true' : 'false', $name;
	}
}
is_deeply [check_says($one . $lines)], [], 'of Lua there is what the manual says';

# Examples.
# What they read is beside them.
system("cp -r conf/examples/maps $dir/ && chmod -R a+rX $dir/maps") == 0 or die 'cp';
my ($part) = $man =~ /^\.Sh EXAMPLES\n(.*?)^\.Sh /ms;
my @policy = map { s/\\&//gr =~ s/\\e/\\/gr } $part =~ /^\.Bd -literal[^\n]*\n(.*?)^\.Ed$/gms;
cmp_ok scalar @policy, '>=', 3, 'there are examples';
is_deeply [check_says(/posthorn\.pool/ ? $_ : "$one$_")], [], 'example: ' . (split /\n/)[0] for @policy;
my $tests = join '', map { slurp($_) } grep { $_ ne $0 } glob 't/[0-9]*.t';
for my $file (sort glob 'conf/examples/*.lua') {
	my ($name) = $file =~ m{([^/]+)\.lua$};
	my $lua = slurp($file);
	ok scalar(grep { $_ eq $lua } @policy), "$file is shown as it is (else: perl conf/examples/manual.pl)";
	like $part, qr/^[^.\n][^\n]*:\n\.\\" \Q$file\E\n\.Bd /m, "$file: a sentence says what it shows";
	is_deeply [check_says($lua)], [], "$file is accepted";
	like $tests, qr/example\('\Q$name\E'\)/, "$file is run by a test";
}
is system("$^X conf/examples/manual.pl --check >/dev/null"), 0, 'conf/examples/manual.pl has nothing to do';
done_testing;
