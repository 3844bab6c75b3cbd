# Mail from outside: SPF, DKIM and DMARC against zones in a name server; what is written in Authentication-Results, what is removed there,
# what policy is told, and that nothing is refused, lost or late when the check fails. KumoMTA's scenario spf_basic. Row of
# posthorn-faults(7): "check of mail from outside fails".
use strict;
use warnings;
use IO::Socket::INET;
use Mail::DKIM::Signer;
use Mail::DKIM::PrivateKey;
use Test::More;
use PosthornTest;

my $keys = File::Temp->newdir;
my %public;

sub key {
	my ($name) = @_;
	my $file = "$keys/$name";
	if (!-e $file) {
		system("openssl genrsa -out $file 1024 2>/dev/null && openssl rsa -in $file -pubout -out $file.pub 2>/dev/null") == 0 or die 'openssl';
		($public{$name} = PosthornTest::slurp("$file.pub")) =~ s/-----.*?-----|\s//g;
	}
	return $file;
}

# The message with a signature on top. extra: tags that the signer gets besides.
sub signed {
	my ($text, $domain, $selector, %o) = @_;
	my $s = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => $o{method} // 'relaxed/relaxed', Domain => $domain, Selector => $selector,
		KeyFile => key($o{key} // 'one'), Policy => sub {
			my ($signer) = @_;
			my $sig = Mail::DKIM::Signature->new(Algorithm => 'rsa-sha256', Method => $o{method} // 'relaxed/relaxed',
				Headers => $o{headers} // $signer->headers, Domain => $domain, Selector => $selector, ($o{expires} ? (Timestamp => $o{expires} - 60, Expiration => $o{expires}) : ()));
			$sig->body_count($o{length}) if defined $o{length};
			$signer->add_signature($sig);
			return 0;
		});
	$s->PRINT($text);
	$s->CLOSE;
	return join '', map({ $_->as_string . "\r\n" } $s->signatures), $text;
}

key($_) for qw(one other);
my $zone = <<"Z";
in.example. IN MX 10 mx.test.
relay.example. IN MX 10 mx.test.
pass.example. IN TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.pass.example. IN TXT "v=DMARC1; p=reject"
soft.example. IN TXT "v=spf1 ~all"
fail.example. IN TXT "v=spf1 -all"
_dmarc.fail.example. IN TXT "v=DMARC1; p=quarantine; sp=none"
sub.fail.example. IN TXT "v=spf1 -all"
perm.example. IN TXT "v=spf1 include:perm.example -all"
none.example. IN TXT "nothing of it"
k._domainkey.pass.example. IN TXT "v=DKIM1; k=rsa; p=$public{one}"
wrong._domainkey.pass.example. IN TXT "v=DKIM1; k=rsa; p=$public{other}"
revoked._domainkey.pass.example. IN TXT "v=DKIM1; k=rsa; p="
test._domainkey.pass.example. IN TXT "v=DKIM1; t=y; k=rsa; p=$public{one}"
k._domainkey.shop.co.uk. IN TXT "v=DKIM1; k=rsa; p=$public{one}"
k._domainkey.news.shop.co.uk. IN TXT "v=DKIM1; k=rsa; p=$public{one}"
_dmarc.shop.co.uk. IN TXT "v=DMARC1; p=none"
k._domainkey.bank.co.uk. IN TXT "v=DKIM1; k=rsa; p=$public{one}"
_dmarc.bank.co.uk. IN TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
k._domainkey.co.uk. IN TXT "v=DKIM1; k=rsa; p=$public{one}"
_dmarc.two.example. IN TXT "v=DMARC1; p=none"
_dmarc.two.example. IN TXT "v=DMARC1; p=reject"
_dmarc.bad.example. IN TXT "v=DMARC1; p=whatever"
denied.example. IN TXT "v=spf1 -all"
allowed.example. IN TXT "v=spf1 +all"
ml.example. IN TXT "v=spf1 ip4:127.0.0.1 -all"
Z

my $more = <<'L';
posthorn.listener_domain { name = 'in.example', relay_to = true }
posthorn.on('smtp_server_message_received', function(msg, conn)
  local function meta(key) return tostring(msg:get_meta(key)) end
  local text = string.format('spf=%s dkim=%s dmarc=%s p=%s d=%s', meta 'spf', meta 'dkim', meta 'dmarc', meta 'dmarc_policy',
    meta 'auth_dkim_domains')
  if msg:get_first_named_header_value('Subject') == 'tell' then
    posthorn.reject(550, text)
  elseif msg:get_first_named_header_value('Subject') == 'why' then
    posthorn.reject(550, text .. ' ' .. tostring(kumo.spf.check_msg(msg).result.reason))
  elseif msg:get_first_named_header_value('Subject') == 'ask' then
    local r = msg:dkim_verify()
    local spf = kumo.spf.check_msg(msg)
    local all = { spf.result }
    for _, v in ipairs(r) do
      table.insert(all, v)
    end
    msg:add_authentication_results('asked.example', all)
  end
  msg:prepend_header('X-Told', text)
end)
kumo.on('smtp_server_ehlo', function(domain, conn_meta)
  if domain == 'nobody.example' then return end
  local result = kumo.spf.check_host(domain, conn_meta, nil)
  if result.disposition == 'fail' then
    kumo.reject(550, '5.7.1 SPF HELO check failed')
  end
  conn_meta:set_meta('helo_spf', result.disposition .. ' ' .. tostring(result.result.reason) .. ' ' .. tostring(result.result.props['smtp.helo']))
end)
L

sub world {
	my (%conf) = @_;
	my $q = PosthornTest->new(zone => $zone, conf => { smtpd_processes => 1, mynetworks => '127.0.0.9', header_size_limit => '1M', relay_domains => 'relay.example', %conf });
	$q->sink('-b', $q->dir . '/bodies');
	$q->{policy} = $q->default_policy . $more;
	return $q;
}

# The reply to end of data. o: from, to, helo, text.
sub deliver {
	my ($q, $text, %o) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $q->{port}, LocalAddr => $o{client} // '127.0.0.1', Timeout => 10) or die "connect: $!";
	PosthornTest::reply($s);
	my $from = $o{from} // 'a@pass.example';
	PosthornTest::say_smtp($s, $_) for 'EHLO ' . ($o{helo} // 'nobody.example'), "MAIL FROM:<$from>", 'RCPT TO:<' . ($o{to} // 'b@in.example') . '>';
	print $s 'BDAT ' . length($text) . " LAST\r\n$text";
	$s->flush;
	my $reply = PosthornTest::reply($s, 60) // '';
	PosthornTest::say_smtp($s, 'QUIT');
	return $reply;
}

# What policy is told of it.
sub told {
	my ($q, $text, %o) = @_;
	my ($r) = deliver($q, $text, %o) =~ /^550 5\.7\.1 (.*?)\r?$/;
	return $r;
}

# The message as the next hop has it.
my $n = 0;
sub relayed {
	my ($q, $text, %o) = @_;
	my $id = 'm' . ++$n;
	my $reply = deliver($q, "X-Test-Id: $id\r\n$text", %o);
	return "not accepted: $reply" if $reply !~ /^250/;
	return $q->wait_for("message $id", sub {
		my ($m) = grep { /^X-Test-Id: \Q$id\E\r$/m } map { PosthornTest::slurp($_) } glob $q->dir . '/bodies/*';
		return $m;
	}, 30) // '';
}

sub unfolded { my ($m) = @_; $m =~ s/\r\n\r\n.*//s; $m =~ s/\r\n(?=[ \t])//g; $m =~ s/\t/ /g; return $m }

my $p = world()->start;
my $head = "From: Anna <a\@pass.example>\r\nTo: b\@in.example\r\nSubject: tell\r\n";
my $plain = "$head\r\nhello\r\n";

# ---- SPF ----

is told($p, $plain), 'spf=pass dkim=none dmarc=pass p=reject d=nil', 'SPF pass, aligned with the author';
is told($p, $plain, client => '127.0.0.5'), 'spf=fail dkim=none dmarc=fail p=reject d=nil', '... from elsewhere';
like told($p, $plain, from => 'a@soft.example'), qr/^spf=softfail .* dmarc=fail p=reject/, 'softfail';
like told($p, $plain, from => 'a@none.example'), qr/^spf=none /, 'no record';
like told($p, $plain, from => 'a@perm.example'), qr/^spf=permerror /, 'a record that includes itself';
like told($p, $plain, from => ''), qr/^spf=none .* dmarc=fail/, 'the null sender: nothing of the HELO name';
like told($p, $plain, from => '', helo => 'pass.example'), qr/^spf=pass .* dmarc=pass/, '... its record';
like told($p, $plain, from => 'a@ml.example'), qr/^spf=pass dkim=none dmarc=fail p=reject/, 'a pass of another domain is none of the author';

# ---- DKIM ----

is told($p, signed($plain, 'pass.example', 'k'), from => 'x@ml.example'), 'spf=pass dkim=pass dmarc=pass p=reject d=pass.example', 'a signature of the author';
is told($p, signed($plain, 'pass.example', 'k', method => 'simple/simple'), from => 'x@fail.example'), 'spf=fail dkim=pass dmarc=pass p=reject d=pass.example', 'simple forms';
(my $changed = signed($plain, 'pass.example', 'k')) =~ s/hello/hullo/;
is told($p, $changed, from => 'x@fail.example'), 'spf=fail dkim=fail dmarc=fail p=reject d=nil', 'a changed body';
($changed = signed($plain, 'pass.example', 'k')) =~ s/Anna/Anne/;
like told($p, $changed, from => 'x@fail.example'), qr/dkim=fail dmarc=fail/, 'a changed author';
like told($p, signed($plain, 'pass.example', 'wrong'), from => 'x@fail.example'), qr/dkim=fail dmarc=fail/, 'another key';
like told($p, signed($plain, 'pass.example', 'k', expires => time - 3600), from => 'x@fail.example'), qr/dkim=fail dmarc=fail/, 'expired';
like told($p, signed($plain, 'pass.example', 'missing'), from => 'x@fail.example'), qr/dkim=permerror dmarc=fail/, 'no key';
like told($p, signed($plain, 'pass.example', 'revoked'), from => 'x@fail.example'), qr/dkim=permerror dmarc=fail/, 'a key that was revoked';
like told($p, signed($plain, 'pass.example', 'test'), from => 'x@fail.example'), qr/dkim=neutral dmarc=fail/, 'a key for tests';
like told($p, signed($plain, 'pass.example', 'k', length => 3), from => 'x@fail.example'), qr/dkim=policy dmarc=fail/, 'l=: a part of the body only';
like told($p, signed($plain, 'pass.example', 'k', headers => 'Subject:To'), from => 'x@fail.example'), qr/dkim=permerror dmarc=fail|dkim=neutral dmarc=fail/, 'From is not signed';
like told($p, "From: evil\@pass.example\r\n" . signed($plain, 'pass.example', 'k'), from => 'x@fail.example'), qr/dkim=policy dmarc=permerror/, 'a second From';
is told($p, signed(signed($plain, 'ml.example', 'k'), 'pass.example', 'k'), from => 'x@fail.example'),
	'spf=fail dkim=pass dmarc=pass p=reject d=pass.example', 'two signatures, one good';
is told($p, signed("${head}X: 1\r\n\r\n" . 'line of text ' x 5 . "\r\n" . ("0123456789 \t abc\r\n" x 100_000) . "\r\n\r\n", 'pass.example', 'k'), from => 'x@fail.example'),
	'spf=fail dkim=pass dmarc=pass p=reject d=pass.example', 'a message of 1.7 MB, which is in a segment already';

# ---- hostile ----

my $many = join '', map { "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=pass.example; s=k$_; h=from; bh=AAAA; b=AAAA\r\n" } 1 .. 1000;
like told($p, $many . $plain), qr/^spf=pass dkim=\w+ dmarc=pass/, '1,000 signatures';
like told($p, 'DKIM-Signature: v=1; a=rsa-sha256; d=pass.example; s=k; h=' . join(':', ('from') x 100_000) . "; bh=AA; b=AA\r\n$plain"), qr/^spf=pass dkim=\w+ dmarc=pass/, 'a signature of 500 KB';
like told($p, 'X' x 200_000 . ": long name\r\n" . signed($plain, 'pass.example', 'k')), qr/^spf=pass dkim=pass dmarc=pass/, 'a field name of 200 KB';
like told($p, "DKIM-Signature: \r\nDKIM-Signature: ;;;===\r\nDKIM-Signature: v=1; d=; s=; b=\r\n$plain"), qr/^spf=pass dkim=\w+ dmarc=pass/, 'nonsense';
like told($p, "From: (\r\n\t(((((\r\nSubject: tell\r\n\r\nx\r\n"), qr/^spf=pass dkim=none dmarc=permerror/, 'a From field without an end';
like told($p, "Subject: tell\r\n\r\nx\r\n"), qr/^spf=pass dkim=none dmarc=permerror/, 'no From field';
is scalar(grep { /role ended/ } split /\n/, PosthornTest::slurp($p->dir . '/posthorn.err') . PosthornTest::slurp($p->dir . '/posthorn.out')), 0, 'the role has lived through it';

# ---- DMARC ----

sub of { my ($d) = @_; return "From: <u\@$d>\r\nSubject: tell\r\n\r\nx\r\n" }
is told($p, signed(of('mail.shop.co.uk'), 'news.shop.co.uk', 'k'), from => 'x@fail.example'), 'spf=fail dkim=pass dmarc=pass p=none d=news.shop.co.uk',
	'relaxed: one organization below co.uk, whose record counts';
is told($p, signed(of('mail.bank.co.uk'), 'bank.co.uk', 'k'), from => 'x@fail.example'), 'spf=fail dkim=pass dmarc=fail p=reject d=bank.co.uk', 'strict: the organization is not its part';
is told($p, signed(of('bank.co.uk'), 'bank.co.uk', 'k'), from => 'x@fail.example'), 'spf=fail dkim=pass dmarc=pass p=reject d=bank.co.uk', '... but itself';
is told($p, signed(of('bank.co.uk'), 'shop.co.uk', 'k'), from => 'x@fail.example'), 'spf=fail dkim=pass dmarc=fail p=reject d=shop.co.uk', 'neighbours are no organization';
is told($p, signed(of('shop.co.uk'), 'co.uk', 'k'), from => 'x@fail.example'), 'spf=fail dkim=pass dmarc=fail p=none d=co.uk', 'nor is what is above them';
like told($p, of('sub.fail.example'), from => 'x@pass.example'), qr/dmarc=fail p=none /, 'sp= of the organization';
like told($p, of('fail.example'), from => 'x@pass.example'), qr/dmarc=fail p=quarantine /, 'p=quarantine is a result and no more';
like told($p, of('nowhere.example')), qr/dmarc=none p=nil/, 'no record';
like told($p, of('two.example')), qr/dmarc=permerror/, 'two records';
like told($p, of('bad.example')), qr/dmarc=permerror/, 'a record with another p=';
like told($p, "From: a\@pass.example, b\@fail.example\r\nSubject: tell\r\n\r\nx\r\n"), qr/dmarc=permerror/, 'two authors';

# ---- the field ----

my $forged = "Authentication-Results: mail.test; dkim=pass header.d=bank.example\r\nAuthentication-Results: other.example;\r\n\tspf=pass smtp.mailfrom=x\r\n"
    . "Authentication-Results: (no (t really) other.example; ) \"MAIL.\\test\" 1; dmarc=pass\r\nAUTHENTICATION-RESULTS : mail.test.;none\r\nAuthentication-Results: (never ends mail.test; dkim=pass\r\n";
(my $text = signed("From: a\@pass.example\r\nSubject: x\r\n\r\nhello\r\n", 'pass.example', 'k')) =~ s/^/$forged/;
my $m = unfolded(relayed($p, $text));
my @ar = $m =~ /^authentication-results ?: ?(.*?)\r?$/mgi;
is scalar @ar, 2, 'ours and that of somebody else' or diag $m;
like $ar[0], qr/^mail\.test; spf=pass reason="matched 'ip4:127\.0\.0\.1' directive" smtp\.mailfrom=a\@pass\.example; dkim=pass header\.d=pass\.example header\.s=k header\.a=rsa-sha256 header\.b="?\S{8}"?; dmarc=pass header\.from=pass\.example policy\.dmarc=reject$/, 'what is written';
is $ar[1], 'other.example; spf=pass smtp.mailfrom=x', 'kept';
like $m, qr/^Authentication-Results: mail\.test;.*\r\nReceived:/m, 'above the Received field of the same hop' or diag $m;
$m = unfolded(relayed($p, "From: a\@pass.example\r\nSubject: x\r\n\r\nx\r\n", from => '"a b;\\"c"@pass.example'));
like $m, qr/^Authentication-Results: mail\.test; spf=pass reason="[^"]*" smtp\.mailfrom="\S+? b;\S+"; dkim=none/m, 'a sender that is to be quoted' or diag $m;
$m = unfolded(relayed($p, "From: a\@fail.example\r\nSubject: x\r\n\r\nx\r\n", from => 'x@fail.example'));
like $m, qr/spf=fail .*dmarc=fail .*policy\.dmarc=quarantine/, 'what fails is accepted all the same';
$m = unfolded(relayed($p, "Authentication-Results: mail.test; spf=pass\r\nFrom: a\@pass.example\r\nSubject: x\r\n\r\nx\r\n", to => 'b@relay.example'));
unlike $m, qr/Authentication-Results/i, 'mail from outside for another domain of ours: nothing is looked at, what is forged goes';
like $m, qr/^X-Told: spf=nil dkim=nil dmarc=nil/m, '... and nothing is said of it';
$m = unfolded(relayed($p, "Authentication-Results: mail.test; spf=pass\r\nFrom: a\@pass.example\r\nSubject: x\r\n\r\nx\r\n", client => '127.0.0.9'));
like $m, qr/^Authentication-Results: mail\.test; spf=pass\r$/m, 'mail that is submitted is left alone';
like $m, qr/^X-Told: spf=nil dkim=nil dmarc=nil/m, '... entirely';

# ---- policy ----

$m = unfolded(relayed($p, signed("From: a\@pass.example\r\nSubject: ask\r\n\r\nx\r\n", 'pass.example', 'k'), client => '127.0.0.9'));
like $m, qr/^Authentication-Results: asked\.example; spf=fail reason="[^"]*" smtp\.mailfrom=a\@pass\.example; dkim=pass .*header\.d=pass\.example/m, 'policy looks itself at mail of ours' or diag $m;
my $s = $p->connect_smtp;
like PosthornTest::say_smtp($s, 'EHLO denied.example'), qr/^550 5\.7\.1 SPF HELO check failed/, 'spf_basic: fail at EHLO';
like PosthornTest::say_smtp($s, 'EHLO allowed.example'), qr/^250/, '... pass';
like PosthornTest::say_smtp($s, 'EHLO none.example'), qr/^250/, '... none';
PosthornTest::say_smtp($s, 'QUIT');

# ---- the role dies, name servers are silent ----

sub roles {
	my ($q) = @_;
	return grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /smtpd\0.*-r\0check\0/ } $q->daemon_pids('smtpd');
}
my ($pid) = roles($p);
ok $pid, 'there is a check role';
kill 'KILL', $pid;
ok $p->wait_for('another', sub { my ($q) = roles($p); $q && $q != $pid }, 30), 'it is started again';
like told($p, $plain), qr/^spf=pass dkim=none dmarc=pass/, '... and checks';
is $p->stop, 0, 'stops';

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp') or die $!;
$p = world(dns_servers => '127.0.0.1@' . $silent->sockport)->start(no_dns => 1);
sub asked { my $r = ''; vec($r, fileno $silent, 1) = 1; return select(my $ready = $r, undef, undef, 0.1) && $silent->recv(my $packet, 2000) }
(my $why = signed($plain, 'pass.example', 'k')) =~ s/Subject: tell/Subject: why/;
my $child = fork // die $!;
if ($child == 0) {
	my $r = told($p, $why);
	PosthornTest::write_file($p->dir . '/answer', ($r // 'nothing') . "\n");
	POSIX::_exit(0);
}
ok $p->wait_for('a question', \&asked, 30), 'a name server is asked';
($pid) = roles($p);
kill 'KILL', $pid;
ok $p->wait_for('the answer', sub { -s $p->dir . '/answer' }, 60), 'the role is killed while it waits';
waitpid $child, 0;
is PosthornTest::slurp($p->dir . '/answer'), "spf=temperror dkim=temperror dmarc=temperror p=nil d=nil the check failed\n", 'that costs the answers, and not the message';
$p->wait_for('another', sub { my ($q) = roles($p); $q && $q != $pid }, 30);
(my $accepted = $plain) =~ s/tell/x/;
like deliver($p, $accepted), qr/^250 2\.0\.0/, 'name servers that never answer: accepted';
is $p->stop, 0, 'stops';
$p = world(dns_servers => '127.0.0.1@' . $silent->sockport, dns_timeout => '1s')->start(no_dns => 1);
is told($p, signed($plain, 'pass.example', 'k')), 'spf=temperror dkim=temperror dmarc=temperror p=nil d=nil', '... temperror is what policy is told';
is $p->stop, 0, 'stops';

# ---- a reload while it is looked at: the old worker keeps its role until it is done ----

$p = world(dns_servers => '127.0.0.1@' . $silent->sockport, dns_timeout => '4s')->start(no_dns => 1);
1 while asked();
$child = fork // die $!;
if ($child == 0) {
	my $r = told($p, $why);
	PosthornTest::write_file($p->dir . '/answer', ($r // 'nothing') . "\n");
	POSIX::_exit(0);
}
ok $p->wait_for('a question', \&asked, 30), 'a name server is asked';
($pid) = roles($p);
is +($p->posthorn('reload'))[0], 0, 'reload';
ok $p->wait_for('the answer', sub { -s $p->dir . '/answer' }, 60), 'the message is answered';
waitpid $child, 0;
like PosthornTest::slurp($p->dir . '/answer'), qr/^spf=temperror dkim=temperror dmarc=temperror p=nil d=nil (?!the check failed)/, '... by the role that began with it';
ok $p->wait_for('its end', sub { !grep { $_ == $pid } roles($p) }, 30), 'which ends then';
is $p->stop, 0, 'stops';

done_testing;
