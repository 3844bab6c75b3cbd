# The guard: mail whose author's domain would fail DMARC from the chosen source is held, with the reason and one alert, and is sent when the
# records are right; aligned mail passes, name servers that are away hold nobody. Only the last test has the product's own default, which
# concerns public destinations: the others are on the loopback and ask for 'always'. Row of posthorn-faults(7): "sender not authenticated".
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $records = <<'Z';
*.example. IN MX 10 mx.test.
spf.example. 1 IN TXT "v=spf1 ip4:127.0.0.4 -all"
other.example. 1 IN TXT "v=spf1 ip4:127.0.0.4 -all"
bad.example. 1 IN TXT "v=spf1 ip4:192.0.2.77 -all"
strict.example. 1 IN TXT "v=spf1 -all"
_dmarc.strict.example. 1 IN TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
news.strict.example. 1 IN TXT "v=spf1 ip4:127.0.0.4 -all"
Z

sub start {
	my ($conf, %o) = @_;
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, require_authenticated_senders => 'always', authenticated_senders_retry => '1s', %$conf }, zone => $o{zone} // $records);
	$p->sink('-b', $p->dir . '/bodies');
	$p->{policy} = ($o{policy} // $p->default_policy) . ($o{more} // '');
	return $p;
}

sub inject {
	my ($p, $id, $from, $mail_from, %o) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', "MAIL FROM:<$mail_from>", 'RCPT TO:<' . ($o{rcpt} // "$id\@x.example") . '>';
	my $text = ($o{head} // '') . "X-Test-Id: $id\r\nFrom: $from\r\nSubject: x\r\n\r\nHello.\r\n";
	print $s 'BDAT ' . length($text) . " LAST\r\n$text";
	$s->flush;
	like PosthornTest::reply($s, 60), qr/^250/, "$id is accepted";
	PosthornTest::say_smtp($s, 'QUIT');
}

sub has_arrived { my ($p, $id) = @_; return scalar grep { /^X-Test-Id: \Q$id\E\r$/m } map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*' }
sub arrives { my ($p, $id) = @_; return $p->wait_for("message $id", sub { has_arrived($p, $id) }, 30) }

# The envelope of that recipient as `posthorn queue list` has it, once it is in that state.
sub listed {
	my ($p, $rcpt, $state) = @_;
	return $p->wait_for("$rcpt $state", sub {
		my ($e) = grep { ($_->{recipient} // '') eq $rcpt && $_->{state} eq $state } map { ref eq 'ARRAY' ? @$_ : $_ } $p->json('queue', 'list');
		return $e;
	}, 30) // {};
}

my $p = start({}, more => "posthorn.dkim { domain = 'signed.example', selector = 's1' }\nposthorn.dkim { domain = 'unpublished.example', selector = 's1' }\n");
$p->configure;
$p->posthorn('dkim', 'keygen', $_, '--selector', 's1', '--bits', 1024) for qw(signed.example unpublished.example);
my ($key) = map { $_->{record} } map { @$_ } $p->json('dkim', 'record', 'signed.example');
$p->{zone} .= "s1._domainkey.signed.example. 1 IN TXT \"$key\"\ns2._domainkey.signed.example. 1 IN TXT \"v=DKIM1; p=\"\n";
$p->start;

subtest 'what passes' => sub {
	inject($p, 'spf', 'a@spf.example', 'bounce@spf.example');
	ok arrives($p, 'spf'), 'SPF of the same domain';
	inject($p, 'relaxed', '"A, B" <a@news.spf.example>', 'bounce@spf.example');
	ok arrives($p, 'relaxed'), 'SPF of the same organisation';
	inject($p, 'signed', 'a@signed.example', 'bounce@other.example');
	ok arrives($p, 'signed'), 'a signature, whatever the return path';
	inject($p, 'client', 'a@mail.signed.example', 'bounce@other.example', head => "DKIM-Signature: v=1; a=rsa-sha256;\r\n\td=Signed.example; s = s1;\r\n\th=From; bh=x; b=y\r\n");
	ok arrives($p, 'client'), 'a signature that the client made, with a key that is published';
	my ($r) = $p->events('Delivery');
	is_deeply [grep { /^@/ } keys %{ $r->{meta} }], [], 'events do not show what smtpd noted';
};

subtest 'what does not' => sub {
	my %want = (
		'a@other2.example' => qr/it has no DKIM signature; the return path is of another domain, spf\.example/,
		'a@unpublished.example' => qr/the DKIM key s1\._domainkey\.unpublished\.example is not published; /,
		'a@bad.example' => qr/it has no DKIM signature; SPF of bad\.example for 127\.0\.0\.4 \(a private address\) is fail/,
		'a@news.strict.example' => qr/it has no DKIM signature; the return path is of another domain, strict\.example/,
		'nobody' => qr/its From field has no address that can be read/,
	);
	my $n = 0;
	for my $from (sort keys %want) {
		my $id = 'held' . ++$n;
		my $mail_from = $from =~ /bad/ ? 'b@bad.example' : $from =~ /strict/ ? 'b@strict.example' : 'b@spf.example';
		inject($p, $id, $from, $mail_from);
		my $e = listed($p, "$id\@x.example", 'held');
		is $e->{state}, 'held', "$from is held";
		like $e->{reason}, qr/^held: mail from \S+ would fail DMARC from source trans-1: .*$want{$from}/, 'with the reason';
		is $e->{attempts}, 0, 'that is no attempt';
	}
	inject($p, 'revoked', 'a@mail.signed.example', 'bounce@other.example', head => "DKIM-Signature: v=1; a=rsa-sha256; d=signed.example; s=s2; h=From; bh=x; b=y\r\n");
	like listed($p, 'revoked@x.example', 'held')->{reason}, qr/key s2\._domainkey\.signed\.example is not published/, 'a key that was revoked';
	is scalar(grep { has_arrived($p, $_) } map { "held$_" } 1 .. $n), 0, 'none of it was sent';
	inject($p, 'again', 'a@bad.example', 'c@bad.example');
	is listed($p, 'again@x.example', 'held')->{state}, 'held', 'more of it';
	my @a = grep { $_->{alert}{author_domain} eq 'bad.example' } $p->events('Alert');
	is scalar @a, 1, 'one alert for the source and the domain';
	is_deeply [@{ $a[0] }{qw(egress_source egress_pool)}, @{ $a[0]{alert} }{qw(action kind)}], ['trans-1', 'pool-transactional', 'begun', 'sender_not_authenticated'], 'it says what';
	like $a[0]{response}{content}, qr/^mail from bad\.example would fail DMARC/, 'and why';
	my (undef, $out) = $p->posthorn('explain', 'x@y.example');
	like $out, qr/mail from bad\.example would fail DMARC from source trans-1/, 'posthorn explain shows it';
	my ($d) = grep { $_->{recipient} eq 'again@x.example' } $p->events('Delayed');
	like $d->{response}{content}, qr/would fail DMARC/, 'a Delayed record' if $d;
};

subtest 'made right' => sub {
	$p->{zone} =~ s/192\.0\.2\.77/127.0.0.4/;
	$p->end_pid($p->{dns_pid});
	$p->dns;
	ok arrives($p, 'again'), 'what was held is sent by itself';
	my ($a) = $p->wait_for('the end of the alert', sub { grep { $_->{alert}{author_domain} eq 'bad.example' && $_->{alert}{action} eq 'ended' } $p->events('Alert') }, 20);
	ok $a, 'the alert ends';
	is scalar(grep { $_->{alert}{action} eq 'ended' } $p->events('Alert')), 1, 'that one only';
	is listed($p, 'held3@x.example', 'held')->{state}, 'held', 'others stay';
	my ($status, $text) = $p->posthorn('queue', 'release', '--recipient', 'held3@x.example');
	is $status, 0, 'queue release' or diag $text;
	like $text, qr/\b1\b/, 'concerns it: it is looked at again';
};

subtest 'name servers are away' => sub {
	$p->end_pid($p->{dns_pid});
	inject($p, 'outage', 'a@unknown.example', 'b@unknown.example', rcpt => 'outage@[127.0.0.1]');
	my $d = $p->wait_for('a record', sub { grep { $_->{recipient} eq 'outage@[127.0.0.1]' } $p->events('Delayed') }, 120);
	ok $d, 'it waits';
	my $e = listed($p, 'outage@[127.0.0.1]', 'deferred');
	is $e->{state}, 'deferred', 'it is not held, but waits for the next look';
	inject($p, 'known', 'a@spf.example', 'bounce@spf.example', rcpt => 'known@[127.0.0.1]');
	ok arrives($p, 'known'), 'who passed before goes on';
	$p->dns;
};

subtest 'pools' => sub {
	my $q = start({ require_authenticated_senders => 'yes' });
	$q->{policy} =~ s/(posthorn\.pool \{ name = 'pool-promo',)/$1 require_authenticated_senders = 'always',/;
	$q->start;
	inject($q, 'private', 'a@bad.example', 'b@bad.example');
	ok arrives($q, 'private'), 'a private destination is not judged by default';
	inject($q, 'promo', 'a@bad.example', 'b@bad.example', head => "X-Tenant: promotional\r\n");
	is listed($q, 'promo@x.example', 'held')->{state}, 'held', 'but by a pool that asks for it always';
	PosthornTest::write_file($q->etc . '/policy.lua', $q->{policy} =~ s/'always'/false/r);
	is(($q->posthorn('reload'))[0], 0, 'reload, the pool marked');
	ok arrives($q, 'promo'), 'it is sent';
	PosthornTest::write_file($q->etc . '/policy.lua', $q->{policy} =~ s/'always'/'never'/r);
	my ($status, undef, $err) = $q->posthorn('check');
	is $status, 1, 'another word';
	like $err, qr/require_authenticated_senders must be true, false or 'always'/, 'is an error';
};

# What counts is the return path that the message has on the way (VERP), not the one that it was submitted with.
subtest 'return paths that name the recipient' => sub {
	my $q = start({}, zone => $records . qq(shop.example. 1 IN TXT "v=spf1 ip4:127.0.0.4 -all"\nback.spf.example. 1 IN TXT "v=spf1 ip4:127.0.0.4 -all"\n), more => <<'L');
posthorn.listener_domain { name = 'other.example', log_oob = true }
posthorn.listener_domain { name = 'back.spf.example', log_oob = true }
posthorn.sender_domain { name = 'shop.example', verp_domain = 'other.example' }
posthorn.sender_domain { name = 'agency.example', verp_domain = 'back.spf.example' }
L
	$q->start;
	inject($q, 'astray', 'a@shop.example', 'b@shop.example');
	like listed($q, 'astray@x.example', 'held')->{reason}, qr/the return path is of another domain, other\.example/, 'held if the new one is not aligned';
	inject($q, 'aligned', 'a@spf.example', 'b@agency.example');
	ok arrives($q, 'aligned'), 'sent if it is';
	ok !has_arrived($q, 'astray'), 'the first was not';
};

# Nothing is configured but what every installation is: a public destination, a source, and an author without records.
subtest 'the default' => sub {
	my $q = start({ require_authenticated_senders => undef, authenticated_senders_retry => undef },
		zone => "*.example. IN MX 10 mx.public.\nmx.public. IN A 203.0.113.7\n");
	$q->start;
	inject($q, 'default', 'a@shop.example', 'b@shop.example');
	my $e = listed($q, 'default@x.example', 'held');
	is $e->{state}, 'held', 'held';
	like $e->{reason}, qr/would fail DMARC from source trans-1: it has no DKIM signature; SPF of shop\.example for 127\.0\.0\.4 .* is none/, 'with the reason';
	is $e->{attempts}, 0, 'before anything was tried';
	inject($q, 'literal', 'a@shop.example', 'b@shop.example', rcpt => 'literal@[127.0.0.1]');
	ok arrives($q, 'literal'), 'a private destination is not judged';
};

done_testing;
