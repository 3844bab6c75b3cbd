# RFC 8058 through the whole suite: mail of a tenant so configured gets List-Unsubscribe and List-Unsubscribe-Post when they are missing, both
# covered by its DKIM signature as an implementation that is not ours sees it; what the author wrote stays, and nobody else's mail gets them.
use strict;
use warnings;
use JSON::PP ();
use MIME::Base64;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, remove_tenant_header => 'no' }, zone => "*.example. IN MX 10 mx.test.\n");
$p->sink('-b', $p->dir . '/bodies');
$p->{policy} = $p->example('list-unsubscribe');
$p->configure;
is(($p->posthorn('dkim', 'keygen', 'shop.example', '--selector', 's1', '--bits', 1024))[0], 0, 'a key');
my ($published) = map { $_->{record} } map { @$_ } $p->json('dkim', 'record', 'shop.example');
# The other definition is left out of what the first tests see.
$p->{policy} =~ s/^posthorn\.list_unsubscribe \{ tenant = '\*'.*\n//m or die;
$p->configure;
$p->start;

# The message as it arrived; `head`: fields that the client gives.
sub through {
	my ($id, %o) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', 'MAIL FROM:<b@shop.example>', map { "RCPT TO:<$id-$_\@x.example>" } 1 .. $o{rcpts} // 1;
	my $text = "X-Test-Id: $id\r\n" . (defined $o{tenant} ? "X-Tenant: $o{tenant}\r\n" : '') . "From: a\@shop.example\r\nSubject: x\r\n"
		. ($o{head} // '') . "\r\nHello.\r\n";
	print $s 'BDAT ' . length($text) . " LAST\r\n$text";
	$s->flush;
	like PosthornTest::reply($s, 60), qr/^250/, "$id is accepted";
	PosthornTest::say_smtp($s, 'QUIT');
	return $p->wait_for($id, sub {
		my ($m) = grep { /^X-Test-Id: \Q$id\E\r$/m } map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*';
		return $m;
	}, 30) // '';
}

sub fields {
	my ($m, $name) = @_;
	my ($head) = $m =~ /\A(.*?\r\n)\r\n/s;
	$head =~ s/\r\n[ \t]+/ /g;
	return $head =~ /^\Q$name\E: (.*)\r$/gmi;
}

# What Mail::DKIM says, and which fields the signature lists.
sub verified {
	my ($m) = @_;
	require Mail::DKIM::Verifier;
	no warnings qw(redefine once);
	local *Mail::DKIM::DNS::query = sub { return Net::DNS::RR->new(owner => $_[0], type => 'TXT', txtdata => [$published]) };
	local *Mail::DKIM::DNS::query_async = sub { my ($name, $type, %o) = @_; my @r = Mail::DKIM::DNS::query($name); return sub { $o{Callbacks}{Success}->(@r) } };
	my $v = Mail::DKIM::Verifier->new;
	$v->PRINT($m);
	$v->CLOSE;
	my ($s) = $v->signatures or return 'unsigned';
	my %n;
	$n{ lc $_ }++ for $s->headerlist;
	return join ' ', $s->result, map { $n{$_} // 0 } 'list-unsubscribe', 'list-unsubscribe-post';
}

my $token = qr/[A-Za-z0-9_-]{40}/;
my $post = 'List-Unsubscribe=One-Click';

subtest 'added, and signed' => sub {
	my $m = through('plain', tenant => 'promotional');
	my @u = fields($m, 'List-Unsubscribe');
	is scalar @u, 1, 'one field';
	like $u[0], qr{^<https://u\.shop\.example/end/($token)>, <mailto:unsubscribe\+($token)\@shop\.example\?subject=unsubscribe>$}, 'as configured';
	my ($one, $two) = $u[0] =~ /($token)>.*\+($token)@/;
	is $one, $two, 'the same token in both';
	my ($trace) = fields($m, 'X-Posthorn-Ref');
	$trace = JSON::PP::decode_json(decode_base64($trace =~ s/\s//gr));
	is substr(unpack('H*', decode_base64($one =~ tr{-_}{+/}r)), 4, 32), $trace->{id}, 'the token is of the message that the trace header names';
	is_deeply [fields($m, 'List-Unsubscribe-Post')], [$post], 'one click';
	is verified($m), 'pass 2 2', 'both are signed, and over-signed';
	like verified($m =~ s/u\.shop\.example/evil.example/r), qr/^fail/, 'another address does not verify';
	my ($other) = fields(through('other', tenant => 'promotional'), 'List-Unsubscribe');
	isnt $other, $u[0], 'another message has another token';
};

subtest 'whose token' => sub {
	my ($t) = join('', fields(through('asked', tenant => 'promotional'), 'List-Unsubscribe')) =~ m{/end/($token)};
	my $r = $p->wait_for('the Reception', sub {
		my ($found) = grep { grep { $_ eq 'asked-1@x.example' } ref $_->{recipient} ? @{ $_->{recipient} } : $_->{recipient} } $p->events('Reception');
		return $found;
	}, 20);
	my ($a) = $p->json('token', $t);
	is_deeply [@{$a}{qw(id recipient_index)}], [$r->{id}, 0], 'posthorn token names the message';
	my ($status, $out) = $p->posthorn('token', $t);
	is $status, 0, 'for people';
	like $out, qr/^message   \Q$r->{id}\E$/m, 'too';
	my $forged = substr($t, 0, 39) . (substr($t, 39) eq 'A' ? 'B' : 'A');
	($status, undef, my $err) = $p->posthorn('token', $forged);
	is "$status $err", "1 posthorn: that is no token of this node\n", 'a forged one';
	is +($p->posthorn('token', 'x'))[0], 1, 'what is none';
	is +($p->posthorn('token'))[0], 2, 'usage';
};

subtest 'what the author wrote stays' => sub {
	my $m = through('own', tenant => 'promotional', head => "List-Unsubscribe: <mailto:x\@shop.example>\r\n");
	is_deeply [fields($m, 'List-Unsubscribe')], ['<mailto:x@shop.example>'], 'its own address';
	is_deeply [fields($m, 'List-Unsubscribe-Post')], [], 'no one-click for mailto';
	$m = through('https', tenant => 'promotional', head => "List-unsubscribe: <mailto:x\@shop.example>,\r\n <HTTPS://shop.example/u>\r\n");
	is scalar(fields($m, 'List-Unsubscribe')), 1, 'its own with https';
	is_deeply [fields($m, 'List-Unsubscribe-Post')], [$post], 'is completed, as configured';
	is verified($m), 'pass 2 2', 'and signed';
	$m = through('both', tenant => 'promotional', head => "List-Unsubscribe: <https://shop.example/u>\r\nList-Unsubscribe-Post: $post\r\n");
	is_deeply [fields($m, 'List-Unsubscribe-Post')], [$post], 'nothing twice';
	$m = through('half', tenant => 'promotional', head => "List-Unsubscribe-Post: $post\r\n");
	is scalar(fields($m, 'List-Unsubscribe')), 1, 'the address that is missing';
	is_deeply [fields($m, 'List-Unsubscribe-Post')], [$post], 'beside a Post field that is there';
};

subtest 'nobody else' => sub {
	my $m = through('none');
	is_deeply [fields($m, 'List-Unsubscribe'), fields($m, 'List-Unsubscribe-Post')], [], 'mail without tenant';
	$m = through('tenant', tenant => 'transactional');
	is_deeply [fields($m, 'List-Unsubscribe'), fields($m, 'List-Unsubscribe-Post')], [], 'another tenant';
	$m = through('several', tenant => 'promotional', rcpts => 2);
	is_deeply [fields($m, 'List-Unsubscribe'), fields($m, 'List-Unsubscribe-Post')], [], 'one copy for several recipients';
};

subtest 'for all others' => sub {
	PosthornTest::write_file($p->etc . '/policy.lua', $p->example('list-unsubscribe') =~ s/complete = true/complete = false/r);
	my ($status, undef, $err) = $p->posthorn('reload');
	is $status, 0, 'reload' or diag $err;
	my $m = through('star');
	like join('', fields($m, 'List-Unsubscribe')), qr{^<https://shop\.example/u\?t=$token>$}, 'no tenant: that of *';
	is verified($m), 'pass 2 2', 'signed';
	$m = through('star2', tenant => 'transactional');
	like join('', fields($m, 'List-Unsubscribe')), qr{^<https://shop\.example/u\?t=$token>$}, 'another tenant: that of *';
	$m = through('incomplete', tenant => 'promotional', head => "List-Unsubscribe: <https://shop.example/u>\r\n");
	is_deeply [fields($m, 'List-Unsubscribe-Post')], [], 'complete = false: the author knows';
};

subtest 'mistakes' => sub {
	my $q = PosthornTest->new;
	my $base = $q->default_policy;
	my $check = sub {
		my ($line) = @_;
		$q->{policy} = "$base$line\n";
		$q->configure;
		my ($status, $out, $err) = $q->posthorn('check');
		return $status == 0 ? 'accepted' : $err;
	};
	my $u = "url = 'https://x.example/{token}'";
	is $check->("posthorn.list_unsubscribe { tenant = 'a', $u }"), 'accepted', 'a good one';
	my @bad = (
		["{ $u }", qr/tenant is missing/], ["{ tenant = 'a' }", qr/url is missing/], ["{ tenant = 'a b', $u }", qr/'a b' is not the name of a tenant/],
		["{ tenant = 'a', url = 'http://x.example/{token}' }", qr/does not begin with https/], ["{ tenant = 'a', url = 'https:///{token}' }", qr/does not begin with https/],
		["{ tenant = 'a', url = 'https://{token}.x.example/' }", qr/does not begin with https/], ["{ tenant = 'a', url = 'https://me\@x.example/{token}' }", qr/does not begin with https/],
		["{ tenant = 'a', url = 'https://x.example/' }", qr/must have \{token\} in it/], ["{ tenant = 'a', url = 'https://x.example/{token}/{token}' }", qr/has \{token\} twice/],
		["{ tenant = 'a', url = 'https://x.example/{token}>,<x:y' }", qr/must be written as %XX/], ["{ tenant = 'a', url = 'https://x.example/{token}\\r\\nBcc: x' }", qr/must be written as %XX/],
		["{ tenant = 'a', url = 'https://x.example/{recipient}{token}' }", qr/must be written as %XX/], ["{ tenant = 'a', url = 'https://x.example/\\xc3\\xa4{token}' }", qr/must be written as %XX/],
		["{ tenant = 'a', url = 'https://x.example/{token}' .. ('x'):rep(400) }", qr/is too long/], ["{ tenant = 'a', url = 'https://x.example/{token}\\0' }", qr/has a NUL/],
		["{ tenant = 'a', $u, mailto = 'nobody' }", qr/'nobody' is not an address/], ["{ tenant = 'a', $u, mailto = 'a\@x.example>, <b\@x.example' }", qr/is not an address/],
		["{ tenant = 'a', $u, mailto = 'a\@x.example?subject=a b' }", qr/must be written as %XX/], ["{ tenant = 'a', $u, complete = 1 }", qr/complete must be/],
		["{ tenant = 'a', $u, mail = 'x' }", qr/unknown key 'mail'/],
	);
	like $check->("posthorn.list_unsubscribe $_->[0]"), $_->[1], "refused: $_->[0]" for @bad;
	like $check->("posthorn.list_unsubscribe { tenant = 'a', $u }\nposthorn.list_unsubscribe { tenant = 'a', $u }"), qr/the tenant 'a' has one twice/, 'twice';
	like $check->("posthorn.list_unsubscribe { tenant = 'a', $u }\nposthorn.dkim { domain = 'x.example', selector = 's', headers = { 'From', 'List-Unsubscribe' } }"),
		qr/headers must have 'List-Unsubscribe' and 'List-Unsubscribe-Post' among them/, 'a signature that would leave it out';
};

done_testing;
