# ARC (RFC 8617), KumoMTA's scenario `arc`: chains that Mail::DKIM has made are checked, ours are verified at the sink by dkimpy and by
# Mail::DKIM; what is broken, missing, twice or beyond bounds fails, and is refused by policy; silent name servers are no failure.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP ();
use Mail::DKIM::ARC::Signer;
use Mail::DKIM::ARC::Verifier;
use Net::DNS;
use Test::More;
use PosthornTest;

my $keys = File::Temp->newdir;
my %public;

sub key {
	my ($name) = @_;
	my $file = "$keys/$name";
	if (!-e $file) {
		my $bits = $name eq 'short' ? 768 : 1024;
		system("openssl genrsa -out $file $bits 2>/dev/null && openssl rsa -in $file -pubout -out $file.pub 2>/dev/null") == 0 or die 'openssl';
		($public{$name} = PosthornTest::slurp("$file.pub")) =~ s/-----.*?-----|\s//g;
	}
	return $file;
}
key($_) for qw(one other short);

my %txt = (
	'k._domainkey.first.example.'    => "v=DKIM1; k=rsa; p=$public{one}",
	'k._domainkey.second.example.'   => "k=rsa; p=$public{other}",
	'wrong._domainkey.first.example.' => "v=DKIM1; p=$public{other}",
	'gone._domainkey.first.example.' => 'v=DKIM1; k=rsa; p=',
	'test._domainkey.first.example.' => "v=DKIM1; t=y; p=$public{one}",
	'short._domainkey.first.example.' => "v=DKIM1; p=$public{short}",
	'sha1._domainkey.first.example.' => "v=DKIM1; h=sha1; p=$public{one}",
	'ed._domainkey.first.example.'   => 'v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=',
	'junk._domainkey.first.example.' => 'v=DKIM1; k=rsa; p=AAAA',
);
my $zone = "list.example. IN MX 10 mx.test.\n";

# The message with a set of Mail::DKIM's on top.
sub sealed {
	my ($text, $domain, %o) = @_;
	my $id = "mx.$domain";
	my $chain = $o{chain} // 'none';
	my $ar = "Authentication-Results: $id; spf=pass smtp.mailfrom=a\@author.example" . ($chain eq 'none' ? '' : "; arc=$chain") . "\r\n";
	my $s = Mail::DKIM::ARC::Signer->new(Algorithm => 'rsa-sha256', Chain => $chain, Domain => $domain, SrvId => $id, Selector => $o{selector} // 'k',
		KeyFile => key($o{key} // 'one'), Headers => 'From:Subject:To', Timestamp => $o{time} // time);
	$s->PRINT("$ar$text");
	$s->CLOSE;
	die 'not sealed: ' . $s->result . ' ' . ($s->{details} // '') if $s->result ne 'sealed';
	return join('', map { "$_\r\n" } $s->as_strings) . "$ar$text";
}

my $plain = "From: Anna <a\@author.example>\r\nTo: talk\@list.example\r\nSubject: hello\r\n\r\nhello  world \r\n\r\n";
my $one = sealed($plain, 'first.example');
my $two = sealed("X-Footer: 1\r\n" . $one, 'second.example', key => 'other', chain => 'pass');

sub world {
	my ($policy, %conf) = @_;
	my $q = PosthornTest->new(conf => { smtpd_processes => 1, mynetworks => '127.0.0.9', %conf });
	$q->sink('-b', $q->dir . '/bodies');
	$q->{policy} = $q->example('arc');
	$q->{policy} =~ s/^kumo\.on\(.*//ms if defined $policy;
	$q->{policy} .= $policy // '';
	$q->configure;
	my ($status, undef, $err) = $q->posthorn('dkim', 'keygen', 'list.example', '--selector', 'arc1', '--bits', 1024);
	is $status, 0, 'a key' or diag $err;
	my ($list) = $q->json('dkim', 'record', 'list.example');
	$q->{txt} = { %txt, map { ("$_->{name}." => $_->{record}) } @$list };
	$q->{zone} = $zone . join '', map { "$_ IN TXT \"$q->{txt}{$_}\"\n" } sort keys %{ $q->{txt} };
	return $q;
}

my $n = 0;
sub deliver {
	my ($q, $text, %o) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $q->{port}, Timeout => 10) or die "connect: $!";
	PosthornTest::reply($s);
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', 'MAIL FROM:<a@author.example>', 'RCPT TO:<talk@list.example>';
	print $s 'BDAT ' . length($text) . " LAST\r\n$text";
	$s->flush;
	my $reply = PosthornTest::reply($s, 60) // '';
	PosthornTest::say_smtp($s, 'QUIT');
	return $reply;
}

# The message as the next hop has it.
sub relayed {
	my ($q, $text) = @_;
	my $id = 'm' . ++$n;
	my $reply = deliver($q, "X-Test-Id: $id\r\n$text");
	return "not accepted: $reply" if $reply !~ /^250/;
	return $q->wait_for("message $id", sub {
		return if !grep { $_->{id} eq $id } $q->ledger;    # it is whole then
		my ($m) = grep { /^X-Test-Id: \Q$id\E\r$/m } map { PosthornTest::slurp($_) } glob $q->dir . '/bodies/*';
		return $m;
	}, 30) // '';
}

# "pass success 3": what dkimpy says of the chain, and its length.
sub dkimpy {
	my ($q, $message) = @_;
	PosthornTest::write_file($q->dir . '/records.json', JSON::PP::encode_json($q->{txt}));
	open(my $f, '>:raw', $q->dir . '/message') or die $!;
	print $f $message;
	close $f;
	PosthornTest::write_file($q->dir . '/verify.py', <<'PY');
import dkim, json, sys
records = json.load(open(sys.argv[1]))
message = open(sys.argv[2], 'rb').read()
def ask(name, timeout=5):
    return records.get(name.decode().lower() if isinstance(name, bytes) else name.lower(), '').encode()
cv, results, reason = dkim.arc_verify(message, dnsfunc=ask)
print(cv.decode() if cv else 'ended', reason, len(results))
PY
	my $out = qx(/usr/bin/python3 $q->{dir}/verify.py $q->{dir}/records.json $q->{dir}/message 2>&1);
	chomp $out;
	return $out;
}

sub mail_dkim {
	my ($q, $message) = @_;
	no warnings qw(redefine once);
	local *Mail::DKIM::DNS::query = sub {
		my ($name) = @_;
		my $text = $q->{txt}{"\L$name."} or return;
		return Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => [$text]);
	};
	local *Mail::DKIM::DNS::query_async = sub { my ($name, $type, %o) = @_; my @r = Mail::DKIM::DNS::query($name, $type); return sub { $o{Callbacks}{Success}->(@r) } };
	my $v = Mail::DKIM::ARC::Verifier->new(Strict => 1);
	$v->PRINT($message);
	$v->CLOSE;
	return $v->result;
}

sub unfolded { my ($m) = @_; $m =~ s/\r\n\r\n.*//s; $m =~ s/\r\n(?=[ \t])//g; $m =~ s/\t/ /g; return $m }

my $p = world()->start;

subtest 'sealed' => sub {
	my @want = (['fresh mail', $plain, 1, 'none'], ['a chain of one', $one, 2, 'pass'], ['a chain of two', $two, 3, 'pass'],
		['a message in a segment', sealed($plain . "line of text \r\n" x 200_000, 'first.example'), 2, 'pass']);
	for (@want) {
		my ($what, $text, $i, $cv) = @$_;
		my $m = relayed($p, $text);
		is dkimpy($p, $m), "pass success $i", "$what: dkimpy verifies it at the sink" or diag $m =~ s/\r\n\r\n.*//sr;
		is mail_dkim($p, $m), 'pass', "$what: Mail::DKIM too";
		my $u = unfolded($m);
		like $u, qr/^ARC-Seal: i=$i; a=rsa-sha256; cv=$cv; t=\d+; +d=list\.example; +s=arc1; +b=[\w+\/= ]+\r?$/m, "$what: the seal";
		like $u, qr/^ARC-Message-Signature: i=$i; .*h=[^;]*List-?Id[:;].*bh=/mi, "$what: what policy has added is covered";
		like $u, qr/^ARC-Authentication-Results: i=$i; mail\.list\.example; spf=\w+ .*; dkim=none.*; dmarc=\w+.*; arc=$cv\b/m, "$what: the results";
		isnt dkimpy($p, $m =~ s/hello  world/hello, world/r), "pass success $i", "$what: a changed body does not verify";
		ok !(grep { /^ARC-(?:Seal|Message)/ .. /^(?!\t|ARC-)/ and length > 998 } split /\r\n/, $m), "$what: no line is too long";
	}
};

# What is wrong with a chain, and what is said of it.
subtest 'refused' => sub {
	my %bad = (
		'a changed body'            => [$one =~ s/hello  world/hello, world/r, qr/body was changed/],
		'a changed subject'         => [$one =~ s/Subject: hello/Subject: hullo/r, qr/does not verify/],
		'a second From field'       => ["From: b\@evil.example\r\n$one", qr/more than one From/],
		'changed results'           => [$one =~ s/(ARC-Authentication-Results:.*?)spf=pass/$1spf=fail/sr, qr/does not verify/],
		'changed results below'     => [$two =~ s/(.*ARC-Authentication-Results:.*?)spf=pass/$1spf=fail/sr, qr/does not verify/],
		'a changed seal'            => [$one =~ s/(ARC-Seal:.*?[ ;\t]b=\s*)(.)/$1 . ($2 eq 'A' ? 'B' : 'A')/sre, qr/does not verify/],
		'a seal that is missing'    => [$one =~ s/^ARC-Seal:.*?\r\n(?![ \t])//msr, qr/set is missing, or a part/],
		'a missing set'             => [$two =~ s/^(ARC-[\w-]+:(?:(?!\r\n\S).)*?\bi=1;.*?\r\n)(?![ \t])//msgr, qr/set is missing, or a part/],
		'a set twice'               => [$one =~ s/^(ARC-Seal:.*?\r\n)(?![ \t])/$1$1/msr, qr/field twice/],
		'cv=fail'                   => [sealed($one, 'second.example', key => 'other', chain => 'fail'), qr/broken before/],
		'a first set with cv=pass'  => [$one =~ s/cv=none/cv=pass/r, qr/broken before, or what cannot be/],
		'instance 51'               => [$one =~ s/\bi=1;/i=51;/gr, qr/more than 50/],
		'instance 0'                => [$one =~ s/\bi=1;/i=0;/gr, qr/no instance/],
		'a huge instance'           => [$one =~ s/\bi=1;/i=99999999999999999999;/gr, qr/no instance/],
		'no instance'               => ["ARC-Seal: \r\n$plain", qr/no instance/],
		'a field without end'       => ['ARC-Seal: i=1; b=' . "A\r\n\t" x 20_000 . "\r\n$plain", qr/too long/],
		'an older algorithm'        => [$one =~ s/(ARC-Seal:.*?)rsa-sha256/$1rsa-sha1/sr, qr/unknown algorithm/],
		'a part of the body'        => [$one =~ s/(ARC-Message-Signature: )/$1l=3; /r, qr/whole body/],
		'h= in a seal'              => [$one =~ s/(ARC-Seal: )/$1h=from; /r, qr/tag h/],
		'a tag twice'               => [$one =~ s/(ARC-Seal: )/$1d=evil.example; /r, qr/names no key/],
		'a domain that is none'     => [$one =~ s/(ARC-Seal:.*?)d=first.example/$1d=..\/etc/sr, qr/names no key/],
		'a seal of the future'      => [sealed($plain, 'first.example', time => time + 86400), qr/future/],
		'1,000 sets'                => [join('', map { "ARC-Seal: i=$_; cv=pass; b=AAAA\r\n" } 1 .. 1000) . $plain, qr/more than 50/],
		(map { ("key: $_->[0]" => [sealed($plain, 'first.example', selector => $_->[0], key => $_->[2] // 'one'), $_->[1]]) }
			['none', qr/there is no key/], ['wrong', qr/does not verify/], ['gone', qr/revoked/], ['test', qr/for tests/], ['sha1', qr/something else/],
			['ed', qr/another algorithm/], ['junk', qr/cannot be read/]),
	);
	for my $what (sort keys %bad) {
		like deliver($p, $bad{$what}[0]), qr/^550 5\.7\.29 ARC validation failure: .*$bad{$what}[1]/, $what;
	}
	# Mail::DKIM does not sign with so few bits: the key is too short before anything is computed.
	like deliver($p, $one =~ s/\bs=k;/s=short;/gr), qr/^550 5\.7\.29 .*too short/, 'a key of 768 bits';
	is scalar(grep { /role ended/ } split /\n/, PosthornTest::slurp($p->dir . '/posthorn.err') . PosthornTest::slurp($p->dir . '/posthorn.out')), 0, 'the roles have lived through it';
};
is $p->stop, 0, 'stops';

subtest 'broken chains that are passed on' => sub {
	my $q = world(<<'L')->start;
kumo.on('smtp_server_message_received', function(msg, conn)
  local subject = msg:get_first_named_header_value('Subject')
  if subject == 'strip' then
    msg:remove_all_named_headers('ARC-Seal')
  end
  local ok, why = msg:arc_seal(sealer, 'mail.list.example', { msg:arc_verify(), { method = 'x-more', result = 'pass' } })
  msg:append_header('X-Sealed', tostring(ok) .. ' ' .. tostring(why))
  if subject == 'twice' then
    msg:arc_seal(sealer, 'mail.list.example')
  elseif subject == 'errors' then
    local said = {}
    for _, f in ipairs { function() msg:arc_seal('x', 'y') end, function() msg:arc_seal(sealer, '') end,
        function() msg:arc_seal(sealer) end, function() msg:arc_verify('resolver') end, function() msg:arc_seal(sealer, 'x', 'y') end } do
      local good, text = pcall(f)
      table.insert(said, good and 'no error' or 'error')
    end
    kumo.reject(550, table.concat(said, ' '))
  end
end)
L
	my $broken = $one =~ s/hello  world/hello, world/r;
	my $m = relayed($q, $broken);
	my $u = unfolded($m);
	like $u, qr/^ARC-Seal: i=2; a=rsa-sha256; cv=fail;/m, 'a set that says so' or diag $u;
	like $u, qr/^ARC-Authentication-Results: i=2; mail\.list\.example; arc=fail reason="the body was changed [^"]*" header\.d=first\.example; x-more=pass\r?$/m, 'with the results of policy';
	like dkimpy($q, $m), qr/^ended ARC-Seal\[2\] reported failure/, 'dkimpy: ended';
	# Our set verifies as if it were the only one.
	my ($seal) = $u =~ /^ARC-Seal: i=2;.* b=([\w+\/= ]+)/m;
	ok $seal, 'it is sealed';
	$u = unfolded(relayed($q, $m));
	unlike $u, qr/i=3/, 'nobody adds to a chain that has ended';
	like $u, qr/^X-Sealed: false an ARC seal says that the chain was broken before/m, 'and policy is told';
	like deliver($q, $one =~ s/Subject: hello/Subject: twice/r), qr/^451/, 'a second seal is an error in policy';
	is deliver($q, $one =~ s/Subject: hello/Subject: errors/r) =~ s/\s+$//r, '550 5.7.1 error error error error error', 'mistakes are told';
	like deliver($q, sealed($plain =~ s/Subject: hello/Subject: strip/r, 'first.example')), qr/^451 4\.3\.5 The message cannot be signed now/, 'policy that takes a chain apart, and seals it as whole';
	like $q->tail_log, qr/policy has changed the ARC fields/, '... is told in the log';
	my ($key) = glob $q->etc . '/dkim/list.example/arc1.key';
	rename $key, "$key.away";
	ok $q->wait_for('the refusal', sub { deliver($q, $plain) =~ /^451 4\.3\.5 The message cannot be signed now/ }, 20), 'without the key: refused for now';
	is $q->stop, 0, 'stops';
};

subtest 'name servers are silent' => sub {
	my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'udp') or die $!;
	my $q = world(undef, dns_servers => '127.0.0.1@' . $silent->sockport, dns_timeout => '1s')->start(no_dns => 1);
	like deliver($q, $one), qr/^451 4\.4\.3 The ARC chain cannot be checked now/, 'temperror';
	like deliver($q, $one =~ s/hello  world/hello, world/r), qr/^550 5\.7\.29 .*body was changed/, 'a changed body needs no name server';
	is $q->stop, 0, 'stops';
};

done_testing;
