# posthorn shaping: what is shipped is good; each defect that somebody once shipped is found; settings are shown with their origins.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);
use JSON::PP;
use PosthornTest;

my $posthorn = ($ENV{BUILD} // 'build') . '/sbin/posthorn';
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;

sub put {
	my ($name, $text) = @_;
	open my $f, '>', "$dir/$name" or die "$dir/$name: $!";
	print $f $text;
	close $f or die "$dir/$name: $!";
	return "$dir/$name";
}

sub run {
	my $out = join '', qx{$posthorn @_ 2>&1};
	return ($? >> 8, $out);
}

put('shaping.lua', do { local (@ARGV, $/) = 'conf/shaping.lua'; scalar <> });
put('main.cf', '');
my ($status, $out) = run('-c', $dir, 'shaping check');
is $status, 0, 'what is shipped is good' or diag $out;

# The manual's example of a second file.
my $manual = do { local (@ARGV, $/) = 'man/posthorn-shaping.5'; scalar <> };
my ($example) = $manual =~ /^\.Bd -literal[^\n]*\n(.*?)^\.Ed/ms;
put('example.lua', $example // '');
($status, $out) = run('shaping check', "$dir/shaping.lua", "$dir/example.lua");
is $status, 0, 'the example of the manual is good' or diag $out;

my $bad = put('bad.lua', <<'LUA');
local s = posthorn.shaping
s.provider { name = 'gmail', automation = { { name = 'r', regex = 'unusual', action = 'Suspend', duration = '1h',
  samples = 'unusual rate' } } }
s.provider { name = 'kpn', match = { { MXSuffix = '.kpnmail.nl.' } }, known = { ['kpn.example'] = { 'mx.kpnmail.nl' } } }
s.provider { name = 'apple', match = { { MXSuffix = '.icloud.com' } }, known = { ['icloud.com'] = { 'mx01.mail.icloud.com' } },
  automation = {
    { name = 'HCM1', regex = '\\\\[HCM1\\\\]', action = 'Suspend', duration = '15m', samples = '421 [HCM1] deferred' },
    { name = 'wide', regex = 'policy', action = 'Suspend', duration = '1h', samples = '550 policy' },
    { name = 'narrow', regex = '^554.*policy', action = 'Suspend', duration = '2h', samples = '554 policy' },
  } }
LUA
($status, $out) = run('shaping check', $bad);
is $status, 1, 'defects are a failure';
like $out, qr/bad\.lua:2: provider gmail has no match/, 'a provider without match';
like $out, qr/bad\.lua:4: .*dot at its end/, 'a dot at the end of a suffix';
like $out, qr/bad\.lua:5: .*'HCM1' does not hit its sample .*doubled/, 'a backslash too many';
like $out, qr/'wide' also hits '554 policy', a sample of 'narrow'/, 'rules that overlap';
is scalar(() = $out =~ /^/mg), 4, 'and nothing else' or diag $out;

my $dead = put('dead.lua', <<'LUA');
local shaping = posthorn.shaping
local function rule(name, action)
  return shaping.rule { name = name, regex = name, action = action, duration = '1h', trigger = { Threshold = '2/h' }, samples = name }
end
shaping.default { automation = {
  rule('both', { 'Bounce', 'Suspend' }),
  rule('mixed', { 'SuspendTenant', 'Suspend' }),
  rule('nowhere', { SetConfig = { name = 'provider_connection_limit', value = 1 } }),
} }
shaping.provider { name = 'one', match = { { mx_suffix = '.one.test' }, { mx_suffix = '.in.one.test' } },
  known = { ['x.test'] = { 'mx.one.test' } }, max_ready = 5 }
shaping.site { name = 'mx.one.test', match = { { mx_suffix = '.one.test' } }, max_ready = 6 }
shaping.provider { name = 'old', match = { { mx_suffix = '.same.test' } }, known = { 'same.test' } }
shaping.provider { name = 'new', match = { { mx_suffix = '.same.test' } }, known = { ['same.test'] = { 'mx.same.test' } } }
LUA
($status, $out) = run('shaping check', $dead);
is $status, 1, 'what is dead is a failure';
like $out, qr/dead\.lua:6: .*'both': Bounce leaves nothing for Suspend/, 'actions of which one does nothing, in the line of the rule';
like $out, qr/dead\.lua:7: .*'mixed' acts on tenants .* make it two rules/, 'tenants and all mail in one rule';
like $out, qr/dead\.lua:8: .*'nowhere' sets provider_connection_limit, .* in a narrower scope/, 'a scope that does not fit';
like $out, qr/dead\.lua:10: .*'in\.one\.test' adds nothing to 'one\.test'/, 'a suffix within another';
like $out, qr/dead\.lua:10: .*max_ready is overwritten for every path by site mx\.one\.test/, 'a setting that never holds';
like $out, qr/dead\.lua:13: provider old is dead: provider new takes all its paths/, 'a provider that never matches';

put('main.cf', "shaping_files = $dir/shaping.lua $dir/local.lua\n");
put('local.lua', "posthorn.shaping.provider { name = 'google', provider_connection_limit = 20, unset = 'max_message_rate' }\n");
($status, $out) = run('-c', $dir, 'shaping show gmail.com --mx gmail-smtp-in.l.google.com');
is $status, 0, 'show';
like $out, qr{^provider_connection_limit = 20\t\(provider google, $dir/local\.lua:1\)$}m, 'a later file wins';
like $out, qr{^max_deliveries_per_connection = 50\t\(provider google, $dir/shaping\.lua:\d+\)$}m, 'the rest stays';
unlike $out, qr/^max_message_rate/m, 'unset takes away';
put('main.cf', "shaping_files = $dir/nonexistent.lua\n");
($status, $out) = run('-c', $dir, 'shaping check');
is $status, 1, 'a named file must exist';

# --live asks the name servers of main.cf.
my $p = PosthornTest->new(zone => <<'Z')->dns;
good.test. IN MX 10 mx1.mail.one.test.
good.test. IN MX 20 mx2.mail.one.test.
moved.test. IN MX 10 mx.mail.two.test.
left.test. IN MX 10 mx.elsewhere.test.
null.test. IN MX 0 .
gone.test. IN TXT "no MX"
lame.test. IN NS ns.lame.test.
ns.lame.test. IN A 127.0.0.99
Z
my $live = put('live.lua', <<'LUA');
posthorn.shaping.provider { name = 'one', match = { { mx_suffix = '.mail.one.test' } }, known = { ['good.test'] = { 'mx1.mail.one.test' },
  'moved.test', 'left.test', 'null.test', 'gone.test', 'lame.test' } }
posthorn.shaping.provider { name = 'two', match = { { mx_suffix = '.mail.two.test' } }, known = { ['x.two.test'] = { 'mx.mail.two.test' } } }
LUA
put('main.cf', "dns_servers = 127.0.0.1\@$p->{dns_port}\n");
($status, $out) = run('-c', $dir, 'shaping check --live', $live);
is $status, 1, 'domains that have moved are a failure';
like $out, qr/^one: good\.test is one: mx1\.mail\.one\.test mx2\.mail\.one\.test$/m, 'what has stayed';
like $out, qr/live\.lua:1: .*moved\.test now has mx\.mail\.two\.test as MX and falls to two$/m, 'what has moved to another';
like $out, qr/live\.lua:1: .*left\.test now has mx\.elsewhere\.test as MX and falls to no provider$/m, 'what has left';
like $out, qr/known domain null\.test: does not accept mail$/m, 'null MX';
like $out, qr/known domain gone\.test: has no MX$/m, 'no MX';
like $out, qr/known domain lame\.test: (?!lame).+/m, 'no name server';
unlike $out, qr/good\.test now/, 'no finding about what is right';
($status, $out) = run('-c', $dir, '--json', 'shaping check --live', $live);
my $json = eval { decode_json($out) } // {};
is_deeply [map { $_->{falls_to} } grep { $_->{domain} eq 'moved.test' } @{ $json->{known} // [] }], ['two'], 'JSON' or diag $out;
is scalar(@{ $json->{findings} // [] }), 6, 'JSON has the findings' or diag $out;
put('main.cf', "dns_servers = 127.0.0.1\@1\n");
($status, $out) = run('-c', $dir, 'shaping check --live', $live);
is $status, 1, 'no name service is a failure';
like $out, qr/good\.test is unknown now/, 'and says so';
done_testing;
