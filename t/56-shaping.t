# posthorn shaping: what is shipped is good; each defect that somebody once shipped is found; settings are shown with their origins.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);

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
done_testing;
