# The test suite of RFC 7208 (t/data/rfc7208-tests.yml, unchanged; its licence is beside it): every case against our evaluator, with the
# zone data of its scenario in the place of name servers (t/lib/spfcheck.c). Results and explanations are compared as they are.
use strict;
use warnings;
use IPC::Open2;
use Test::More;
use YAML::XS ();
use PosthornTest;

my $tool = "$PosthornTest::build/tools/spfcheck";
plan skip_all => 'not built: make tools' unless -x $tool;
my @scenarios = YAML::XS::LoadFile('t/data/rfc7208-tests.yml');
my $pid = open2(my $from, my $to, $tool);

sub say_words { my ($verb, @words) = @_; print $to join(' ', $verb, map { unpack 'H*', $_ } @words), "\n" }

sub say_zone {
	my ($zone) = @_;
	for my $name (sort keys %$zone) {
		my @records = @{ $zone->{$name} };
		# Records of the type SPF stand for TXT, unless there is TXT; its text NONE says: no record at all.
		my $has_txt = grep { ref $_ && exists $_->{TXT} } @records;
		for my $record (@records) {
			if (!ref $record) { say_words 'rr', $name, $record, 0, ''; next }
			my ($type, $value) = %$record;
			if ($type eq 'SPF') { next if $has_txt; $type = 'TXT' }
			next if $type eq 'TXT' && $value eq 'NONE';
			my $pref = 0;
			($pref, $value) = @$value if $type eq 'MX';
			$value = join '', @$value if ref $value;
			$value =~ s/\.\z// if $type =~ /\A(?:MX|PTR|CNAME)\z/;
			utf8::downgrade $value; # YAML's \x96 is the octet
			say_words 'rr', $name, $type, $pref, $value;
		}
	}
}

my $cases = 0;
for my $scenario (@scenarios) {
	say_zone $scenario->{zonedata};
	for my $name (sort keys %{ $scenario->{tests} }) {
		my $test = $scenario->{tests}{$name};
		$cases++;
		say_words 'check', @$test{qw(host helo mailfrom)};
		my ($result, $lookups, $voids, $hex, $problem) = split / /, <$from>, 5;
		my $explanation = pack 'H*', $hex;
		my @right = ref $test->{result} ? @{ $test->{result} } : $test->{result};
		my $wanted = $test->{explanation} // $explanation;
		$wanted = '' if $wanted eq 'DEFAULT'; # the checker's own words
		ok((grep { $result eq $_ } @right) && $explanation eq $wanted && $lookups <= 11 && $voids <= 3,
			"$name ($scenario->{description}): @right")
		    or diag "result $result, explanation '$explanation', wanted '$wanted', look-ups $lookups, void $voids: $problem";
	}
	print $to "end\n";
}
is $cases, 203, 'the suite is whole';

# ---- what the suite leaves open ----

# zone: { name => [ [type, value], ... ] }; the rest are words that the answer must have.
sub ours {
	my ($what, $zone, $verb, $ip, $sender, %want) = @_;
	say_zone { map { my $name = $_; $name => [ map { ref $_ ? { $_->[0] => $_->[1] } : $_ } @{ $zone->{$name} } ] } keys %$zone };
	say_words $verb, $ip, 'helo.example', $sender;
	print $to "end\n";
	my %got;
	@got{qw(result lookups voids explanation problem)} = split / /, <$from>, 5;
	$got{explanation} = pack 'H*', $got{explanation};
	chomp $got{problem};
	is_deeply { map { $_ => $got{$_} } keys %want }, \%want, $what;
}

sub policy { map { [ TXT => $_ ] } @_ }

my $ip = '192.0.2.1';
ours 'a record that may have been cut is not believed', { 'a.example' => [ policy 'v=spf1 ' . 'ip4:192.0.2.9 ' x 170 . '+all' ] },
    check => $ip, 'x@a.example', result => 'permerror', problem => 'the SPF record of a.example is too long';
ours 'the term that is wrong is named', { 'a.example' => [ policy "v=spf1 a:\x01b +all" ] },
    check => $ip, 'x@a.example', result => 'permerror', problem => "the SPF record of a.example has a malformed domain: `a:?b'";
ours 'a qualifier is not for modifiers', { 'a.example' => [ policy 'v=spf1 -redirect=b.example' ] },
    check => $ip, 'x@a.example', result => 'permerror';
ours 'a macro that keeps no part', { 'a.example' => [ policy 'v=spf1 exists:%{d0}.example -all' ] },
    check => $ip, 'x@a.example', result => 'permerror';
ours 'more parts than there are, and a number without end',
    { 'a.example' => [ policy 'v=spf1 exists:%{d99999999999999999999}.b.example -all' ], 'a.example.b.example' => [ [ A => '127.0.0.2' ] ] },
    check => $ip, 'x@a.example', result => 'pass';
ours 'an explanation with a control character is none',
    { 'a.example' => [ policy 'v=spf1 -all exp=e.example.net' ], 'e.example.net' => [ [ TXT => "no %{l}" ] ] },
    check => $ip, "x\ry\@a.example", result => 'fail', explanation => '';
ours 'a long explanation is cut',
    { 'a.example' => [ policy 'v=spf1 -all exp=e.example.net' ], 'e.example.net' => [ [ TXT => '%{s}' x 300 ] ] },
    check => $ip, ('y' x 300) . '@a.example', result => 'fail', explanation => substr +(('y' x 300) . '@a.example') x 2, 0, 480;
ours 'a name out of macros without end', { 'a.example' => [ policy 'v=spf1 exists:' . '%{l}' x 400 . '.example -all' ] },
    check => $ip, ('y' x 300) . '@a.example', result => 'fail', voids => 1;
ours 'a backslash is no part of a name that is asked for', { 'a.example' => [ policy 'v=spf1 a:%{l}.a.example -all' ], 'q.a.example' => [ [ A => $ip ] ] },
    check => $ip, "q\\\@a.example", result => 'fail';
ours 'the best ten mail exchangers count before the eleventh is an error',
    { 'a.example' => [ policy('v=spf1 mx -all'), map { [ MX => [ 20 - $_, "m$_.example" ] ] } 1 .. 11 ], 'm11.example' => [ [ A => $ip ] ],
	map { ("m$_.example" => [ [ A => '192.0.2.99' ] ]) } 1 .. 10 },
    check => $ip, 'x@a.example', result => 'pass';
ours 'an exchanger without address is no void look-up of its own',
    { 'a.example' => [ policy('v=spf1 mx -all'), map { [ MX => [ $_, "m$_.example" ] ] } 1 .. 6 ] },
    check => $ip, 'x@a.example', result => 'fail', voids => 0;
ours 'a name server that does not answer for an exchanger',
    { 'a.example' => [ policy('v=spf1 mx -all'), [ MX => [ 1, 'm.example' ] ] ], 'm.example' => ['TIMEOUT'] },
    check => $ip, 'x@a.example', result => 'temperror';
ours 'a survey counts all that a record may cost, included ones too, and nothing behind all',
    { 'a.example' => [ policy 'v=spf1 a mx include:b.example ip4:192.0.2.0/24 exists:%{i}.b.example -all ptr a a' ],
	'b.example' => [ policy 'v=spf1 a:c.example a:d.example redirect=c.example' ], 'c.example' => [ policy 'v=spf1 mx +all' ] },
    survey => $ip, 'x@a.example', result => 'neutral', lookups => 8;
ours 'a survey goes on beyond the limits',
    { 'a.example' => [ policy 'v=spf1 ' . 'a:x.example ' x 12 . '-all' ] },
    survey => $ip, 'x@a.example', result => 'neutral', lookups => 12;
ours 'a survey of a loop ends', { 'a.example' => [ policy 'v=spf1 a include:a.example -all' ] },
    survey => $ip, 'x@a.example', result => 'permerror';
ours 'IPv6', { 'a.example' => [ policy 'v=spf1 ip6:2001:db8::/33 -all' ] },
    check => '2001:db8:8000::1', 'x@a.example', result => 'fail';
ours 'a sender without @ is a domain', { 'a.example' => [ policy 'v=spf1 exists:%{l}.a.example -all' ], 'postmaster.a.example' => [ [ A => $ip ] ] },
    check => $ip, 'a.example', result => 'pass';
# A client that fails in the worst case that a record can make: ten includes of ten exchangers each cannot be more than the limits.
ours 'a hundred names at most are asked for', {
	'a.example' => [ policy('v=spf1 ' . join(' ', map "mx:m$_.example", 1 .. 10) . ' -all') ],
	map { my $i = $_; ("m$i.example" => [ map { [ MX => [ $_, "h$i-$_.example" ] ] } 1 .. 10 ]) } 1 .. 10 },
    check => $ip, 'x@a.example', result => 'fail', lookups => 10, voids => 0;

close $to;
waitpid $pid, 0;
is $?, 0, 'the evaluator ended well';
done_testing;
