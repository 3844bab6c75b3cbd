# Signed mail through the whole suite: each signature that leaves is verified by implementations that are not ours (Mail::DKIM, dkimpy, libopendkim),
# over messages as odd as they come. What cannot be signed is refused for now; keys change while mail flows; `posthorn dkim`. Row of
# posthorn-faults(7): "DKIM key missing or not to be used".
use strict;
use warnings;
use JSON::PP ();
use Test::More;
use PosthornTest;

# Names below example. end what the wildcard of the root zone covers.
my $mx = "*.example. IN MX 10 mx.test.\n";
my $bits = '1024';    # of keys: DNS answers stay small and keys are made quickly

sub send_message {
	my ($p, $id, $text, %o) = @_;
	my $s = $p->connect_smtp;
	my @rcpt = map { "$id-$_\@x.example" } 1 .. $o{rcpts} // 1;
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', 'MAIL FROM:<bounce@shop.example> BODY=8BITMIME', map { "RCPT TO:<$_>" } @rcpt;
	$text = "X-Test-Id: $id\r\n$text";
	print $s 'BDAT ' . length($text) . " LAST\r\n$text";
	$s->flush;
	my $reply = PosthornTest::reply($s, 120);
	PosthornTest::say_smtp($s, 'QUIT');
	return $reply;
}

sub arrived {
	my ($p, $id) = @_;
	# One that stays away is enough: the others would be waited for in vain.
	return $p->{has_given_up} ? '' : $p->wait_for("message $id", sub {
		my ($m) = grep { /^X-Test-Id: \Q$id\E\r$/m } map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*';
		return $m;
	}, 20) // do { $p->{has_given_up} = 1; '' };
}

# { "selector._domainkey.domain." => "v=DKIM1..." }
sub records {
	my ($p, @domains) = @_;
	my %r;
	for my $d (@domains) {
		my ($list) = $p->json('dkim', 'record', $d);
		$r{"$_->{name}."} = $_->{record} for @$list;
	}
	return \%r;
}

# What dkimpy says of each signature from the top: "d/s/a ok".
sub dkimpy {
	my ($p, $records, $message) = @_;
	PosthornTest::write_file($p->dir . '/records.json', JSON::PP::encode_json($records));
	open(my $f, '>:raw', $p->dir . '/message') or die $!;
	print $f $message;
	close $f;
	PosthornTest::write_file($p->dir . '/verify.py', <<'PY');
import dkim, json, sys
records = json.load(open(sys.argv[1]))
message = open(sys.argv[2], 'rb').read()
v = dkim.DKIM(message)
n = sum(1 for k, _ in v.headers if k.lower() == b'dkim-signature')
for i in range(n):
    v = dkim.DKIM(message)
    try:
        ok = v.verify(i, dnsfunc=lambda name, timeout=5: records.get(name.decode().lower() if isinstance(name, bytes) else name.lower(), '').encode())
        f = v.signature_fields
        print('%s/%s/%s %s' % (f[b'd'].decode(), f[b's'].decode(), f[b'a'].decode(), 'ok' if ok else 'bad'))
    except Exception as e:
        print('error', e)
PY
	my $out = qx(/usr/bin/python3 $p->{dir}/verify.py $p->{dir}/records.json $p->{dir}/message 2>&1);
	return split /\n/, $out;
}

# The same by libopendkim, where it is.
sub opendkim {
	my ($p, $records) = @_;
	PosthornTest::write_file($p->dir . '/records.txt', join '', map { "$_\t$records->{$_}\n" } sort keys %$records);
	return split /\n/, qx($PosthornTest::tools/opendkim $p->{dir}/records.txt $p->{dir}/message 2>&1);
}

# Mail::DKIM knows RSA only.
sub mail_dkim {
	my ($records, $message) = @_;
	require Mail::DKIM::Verifier;
	no warnings qw(redefine once);
	local *Mail::DKIM::DNS::query = sub {
		my ($name) = @_;
		my $text = $records->{"\L$name."} or return;
		return Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => [$text]);
	};
	local *Mail::DKIM::DNS::query_async = sub { my ($name, $type, %o) = @_; my @r = Mail::DKIM::DNS::query($name, $type); return sub { $o{Callbacks}{Success}->(@r) } };
	my $v = Mail::DKIM::Verifier->new;
	$v->PRINT($message);
	$v->CLOSE;
	return map { $_->domain . '/' . $_->selector . ' ' . $_->result } grep { $_->algorithm eq 'rsa-sha256' } $v->signatures;
}

my %odd = (
	plain      => "From: a\@shop.example\r\nTo: b\@x.example\r\nSubject: x\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1\@shop.example>\r\n\r\nHello.\r\n",
	folded     => "From: =?utf-8?q?J=C3=BCrgen?=\r\n\t<a\@shop.example>\r\nSubject:\r\n this\r\n\t is   folded \r\nTo:b\@x.example\r\n\r\nx\r\n",
	eightbit   => "From: J\xc3\xbcrgen <a\@shop.example>\r\nSubject: \xe4\xff\r\n\r\n\xc3\xa4 \xff\xfe\r\n",
	empty      => "From: a\@shop.example\r\nSubject: empty\r\n\r\n",
	lines      => "From: a\@shop.example\r\n\r\n\r\n\r\n\r\n",
	white      => "From: a\@shop.example  \t\r\nSubject: x \r\n\r\n a  b\t \r\n\t\r\n  \r\nc \r\n \r\n\r\n",
	unended    => "From: a\@shop.example\r\n\r\nno newline at the end",
	nobody     => "From: a\@shop.example\r\nSubject: header only\r\n",
	dots       => "From: a\@shop.example\r\n\r\n.\r\n..\r\n.x\r\n",
	twice      => "From: a\@shop.example\r\nSubject: one\r\nSubject: two\r\nTo: c\@x.example\r\nTo: d\@x.example\r\n\r\nx\r\n",
	spaced     => "From : a\@shop.example\r\nSubject \t: x\r\nList-Unsubscribe: <https://shop.example/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nFeedback-ID: 1:2:3:shop\r\n\r\nx\r\n",
	subdomain  => "From: a\@News.Shop.Example\r\n\r\nx\r\n",
	thousand   => "From: a\@shop.example\r\nTo: " . join(",\r\n ", map { "\"Recipient number $_\" <r$_\@x.example>" } 1 .. 1000) . "\r\nSubject: many\r\n\r\nx\r\n",
	large      => "From: a\@shop.example\r\nSubject: large\r\n\r\n" . join('', map { "line  $_ \t\r\n" . ($_ % 7 ? '' : "\r\n") } 1 .. 180_000) . "\r\n\r\n",
	kib        => "From: a\@shop.example\r\n\r\n" . ('x' x 70 . "\r\n") x 14560,    # just below what stays in memory
	bank       => "From: Bank <a\@bank.example>\r\nTo: b\@x.example\r\nSubject:  simple  \r\n\tforms \r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n\r\n a  b \r\n\r\n\r\n",
	banklarge  => "From: a\@bank.example\r\nSubject: x\r\n\r\n" . "0123456789abcdef \r\n" x 70_000 . "\r\n",
	tenant     => "X-Tenant: promotional\r\nFrom: a\@elsewhere.example\r\nSubject: x\r\n\r\nx\r\n",
);

my $p = PosthornTest->new(conf => { smtpd_processes => 1, header_size_limit => '200K' });
$p->sink('-b', $p->dir . '/bodies');
$p->{policy} = $p->example('dkim');
$p->configure;

subtest 'keys and records' => sub {
	my ($status, $out, $err) = $p->posthorn('dkim', 'keygen', 'Shop.example', '--bits', $bits);
	is $status, 0, 'a key is made' or diag $err;
	like $out, qr/^s\d{6}\._domainkey\.shop\.example\. IN TXT \( "v=DKIM1; k=rsa; p=[A-Za-z0-9+\/=]+" \)$/m, 'with a record to publish';
	my ($key) = glob $p->etc . '/dkim/shop.example/*.key';
	is sprintf('%o', (stat $key)[2] & 07777), '600', 'nobody else reads it';
	is((stat $key)[4], scalar getpwnam('posthorn-sign'), 'it belongs to the user that signs') if $> == 0 && defined getpwnam('posthorn-sign');
	for (['bank.example', 'rsa1'], ['esp.example', 'esp1'], ['promo.example', 'p1']) {
		($status) = $p->posthorn('dkim', 'keygen', $_->[0], '--selector', $_->[1], '--bits', $bits);
		is $status, 0, "a key for $_->[0]";
	}
	($status, $out) = $p->posthorn('dkim', 'keygen', 'bank.example', '--selector', 'ed1', '--type', 'ed25519');
	like $out, qr/^ed1\._domainkey\.bank\.example\. IN TXT \( "v=DKIM1; k=ed25519; p=[A-Za-z0-9+\/]{43}=" \)$/m, 'and of Ed25519';
	($status, $out, $err) = $p->posthorn('dkim', 'keygen', 'bank.example', '--selector', 'ed1');
	is $status, 1, 'no key is overwritten';
	like $err, qr/ed1\.key: File exists/, 'and it says so';
	for (['../x'], ['a.example', '--bits', 100], ['a.example', '--type', 'dsa'], ['a.example', '--selector', 'a/b'], [], ['a.example', 'b.example']) {
		($status) = $p->posthorn('dkim', 'keygen', @$_);
		is $status, 2, "refused: @$_";
	}
	($status, $out) = $p->posthorn('dkim', 'record', 'bank.example');
	is scalar(() = $out =~ /IN TXT/g), 2, 'records of all keys of a domain';
};

my @domains = qw(shop.example bank.example esp.example promo.example);
my $records = records($p, @domains);
my ($shop) = map { /^(\w+)\._domainkey\.shop\.example\.$/ } keys %$records;
# One of them is not published, one is another's.
{
	my %zone = %$records;
	delete $zone{'p1._domainkey.promo.example.'};
	$zone{'esp1._domainkey.esp.example.'} = $zone{'rsa1._domainkey.bank.example.'};
	$p->{zone} = $mx . join '', map { "$_ IN TXT \"$zone{$_}\"\n" } sort keys %zone;
}
$p->start;

subtest 'check' => sub {
	my ($status, $out) = $p->posthorn('dkim', 'check', 'bank.example');
	is $status, 0, 'what is published is as it should be' or diag $out;
	like $out, qr/^warning rsa1\._domainkey\.bank\.example \(current\): the key has fewer than 2048 bits$/m, 'but for its length';
	like $out, qr/^ok      ed1\._domainkey\.bank\.example: published$/m, 'the other is fine';
	($status, $out) = $p->posthorn('dkim', 'check');
	is $status, 1, 'all domains: something is wrong';
	like $out, qr/^failure esp1\._domainkey\.esp\.example \(current\): another key is published there$/m, 'the wrong key is named';
	like $out, qr/^failure p1\._domainkey\.promo\.example \(current\): nothing is published there$/m, 'and the missing one';
	like $out, qr/^warning $shop\._domainkey\.shop\.example \(current\)/m, 'which one signs is told';
	my ($list) = $p->json('dkim', 'check', 'esp.example');
	is $list->[0]{published}, JSON::PP::false, 'JSON';
};

subtest 'posthorn check' => sub {
	my ($status, $out, $err) = $p->posthorn('check');
	is $status, 0, 'with keys';
	unlike $err, qr/DKIM/, 'nothing to say';
	my $q = PosthornTest->new;
	$q->{policy} = $p->{policy} . "posthorn.dkim { domain = 'b.example', selector = 's', key_file = '/etc/passwd' }\n";
	$q->configure;
	$q->posthorn('dkim', 'keygen', 'esp.example', '--selector', 'esp1', '--bits', $bits);
	chown 1, 1, $q->etc . '/dkim/esp.example/esp1.key' if $> == 0;
	($status, $out, $err) = $q->posthorn('check');
	is $status, 0, 'without: not an error, for other mail can go';
	like $err, qr{policy\.lua:9: warning: which selector signs is not known: .*/dkim/shop\.example/current: No such file}, 'the missing one';
	like $err, qr{warning: the DKIM key /etc/passwd is not below dkim_key_directory}, 'the one elsewhere';
	like $err, qr{esp1\.key cannot be read by the user posthorn-sign}, 'the one of another user' if $> == 0 && defined getpwnam('posthorn-sign');
};

subtest 'odd messages' => sub {
	for my $id (sort keys %odd) {
		like send_message($p, $id, $odd{$id}, rcpts => $id eq 'plain' ? 3 : 1), qr/^250/, "$id is accepted";
	}
	for my $id (sort keys %odd) {
		my $m = arrived($p, $id);
		my @want = $id =~ /^bank/ ? ('bank.example/rsa1/rsa-sha256', 'bank.example/ed1/ed25519-sha256', 'esp.example/esp1/rsa-sha256')
			: $id eq 'tenant' ? ('promo.example/p1/rsa-sha256', 'esp.example/esp1/rsa-sha256')
			: ("shop.example/$shop/rsa-sha256", 'esp.example/esp1/rsa-sha256');
		# dkimpy does not read the obsolete white space before a colon.
		is_deeply [dkimpy($p, $records, $m)], [map { "$_ ok" } @want], "$id: dkimpy verifies" unless $id eq 'spaced';
		is_deeply [opendkim($p, $records)], [map { "$_ ok" } @want], "$id: libopendkim verifies" if -x "$PosthornTest::tools/opendkim" && $id ne 'spaced';
		is_deeply [mail_dkim($records, $m)], [map { s{/rsa-sha256$}{}r . ' pass' } grep { /rsa/ } @want], "$id: Mail::DKIM verifies";
		my ($head) = $m =~ /\A(.*?\r\n)(?=Received:)/s;
		ok !(grep { length($_ =~ s/^\t/' ' x 8/er) > 78 } split /\r\n/, $head), "$id: no line of the fields is too long";
	}
	my $m = arrived($p, 'bank');
	like $m, qr/c=simple\/simple;/, 'canonical forms as asked';
	my ($t, $x) = $m =~ /t=(\d+);\s+x=(\d+);/;
	is $x - $t, 14 * 86400, 'expiration';
	like $m =~ s/\r\n\t//gr, qr/s=ed1;[^:]*h=From:From:To:To:Subject:Subject:Date:Date:Message-ID;/, 'headers as asked';
	# A change, or a second copy of a field, is seen.
	my $plain = arrived($p, 'plain');
	like join(' ', dkimpy($p, $records, $plain =~ s/Hello/Hallo/r)), qr/error|bad/, 'a changed body does not verify';
	like join(' ', dkimpy($p, $records, $plain =~ s/^Subject: x/Subject: y\r\nSubject: x/mr)), qr/bad/, 'nor does a second Subject';
};

subtest 'who is signed' => sub {
	like send_message($p, 'stranger', "From: a\@other.example\r\n\r\nx\r\n"), qr/^250/, 'mail of another author';
	is_deeply [dkimpy($p, $records, arrived($p, 'stranger'))], ['esp.example/esp1/rsa-sha256 ok'], 'has our own signature only';
	like send_message($p, 'fields', "From: a\@shop.example\r\n" . ("Cc: x\r\n" x 200) . "\r\nx\r\n"), qr/^550 5\.6\.0 .*too many fields to be signed/, 'what is beyond bounds is refused';
};

subtest 'a key that cannot be used' => sub {
	my ($key) = glob $p->etc . '/dkim/shop.example/*.key';
	chmod 0604, $key;
	my $reply;
	$p->wait_for('the refusal', sub { ($reply = send_message($p, 'refused', $odd{plain})) !~ /^250/ }, 20);
	like $reply, qr/^451 4\.3\.5 The message cannot be signed now, try again later/, 'a key that others can read: refused for now';
	like $p->tail_log, qr/cannot be signed: the DKIM key \Q$key\E may be read by everybody/, 'the log says which';
	rename $key, "$key.away";
	$p->wait_for('the other reason', sub { send_message($p, 'refused', $odd{plain}); $p->tail_log =~ /\Q$key\E cannot be read: No such file/ }, 20);
	like send_message($p, 'refused', $odd{plain}), qr/^451 4\.3\.5/, 'a missing key too';
	rename "$key.away", $key;
	chmod 0600, $key;
	ok $p->wait_for('acceptance', sub { send_message($p, 'again', $odd{plain}) =~ /^250/ }, 20), 'mended, without a reload';
	is_deeply [(dkimpy($p, $records, arrived($p, 'again')))[0]], ["shop.example/$shop/rsa-sha256 ok"], 'and signed';
};

subtest 'rotation' => sub {
	my ($status, $out, $err) = $p->posthorn('dkim', 'keygen', 'shop.example', '--selector', 'next1', '--bits', $bits, '--rotate');
	is $status, 0, 'the next key is made';
	($status, $out, $err) = $p->posthorn('dkim', 'keygen', 'shop.example', '--rotate');
	is $status, 1, 'it does not sign yet';
	like $err, qr/next1 does not sign yet: next1\._domainkey\.shop\.example: nothing is published there/, 'and it says why';
	like send_message($p, 'before', $odd{plain}), qr/^250/, 'mail meanwhile';
	$records = records($p, @domains);
	$p->{zone} = $mx . join '', map { "$_ IN TXT \"$records->{$_}\"\n" } sort keys %$records;
	$p->end_pid($p->{dns_pid});
	$p->dns;
	($status, $out, $err) = $p->posthorn('dkim', 'keygen', 'shop.example', '--rotate');
	is $status, 0, 'published, it does' or diag $err;
	like $out, qr/next1 signs now; leave the record of $shop published/, 'and it says what to leave';
	ok $p->wait_for('the new selector', sub {
		my $id = 'after' . int rand 1e9;
		send_message($p, $id, $odd{plain});
		return (dkimpy($p, $records, arrived($p, $id)))[0] eq 'shop.example/next1/rsa-sha256 ok';
	}, 20), 'smtpd takes it without a reload';
	is_deeply [(dkimpy($p, $records, arrived($p, 'before')))[0]], ["shop.example/$shop/rsa-sha256 ok"], 'what was signed before still verifies';
};

subtest 'a reload brings it' => sub {
	my $q = PosthornTest->new(conf => { smtpd_processes => 1 });
	$q->sink('-b', $q->dir . '/bodies');
	$q->{policy} = $q->default_policy;
	$q->start;
	like send_message($q, 'unsigned', $odd{plain}), qr/^250/, 'mail without';
	unlike arrived($q, 'unsigned'), qr/^DKIM-Signature/m, 'is not signed';
	$q->posthorn('dkim', 'keygen', $_, '--selector', 'r', '--bits', $bits) for qw(esp.example elsewhere.example);
	# What is below the directory by name only is not reachable for the role, whoever made the link.
	rename $q->etc . '/dkim/elsewhere.example/r.key', $q->dir . '/outside.key';
	symlink $q->dir . '/outside.key', $q->etc . '/dkim/elsewhere.example/r.key';
	PosthornTest::write_file($q->etc . '/policy.lua', $q->default_policy . "posthorn.dkim { domain = 'esp.example', selector = 'r', senders = '*' }\n" .
		"kumo.on('smtp_server_message_received', function(msg)\n" .
		"  if msg:get_first_named_header_value('Subject') == 'link' then msg:dkim_sign { domain = 'elsewhere.example', selector = 'r' } end\nend)\n");
	my ($status, undef, $err) = $q->posthorn('reload');
	is $status, 0, 'reload' or diag $err;
	like send_message($q, 'signed', $odd{plain}), qr/^250/, 'mail with it';
	is_deeply [dkimpy($q, records($q, 'esp.example'), arrived($q, 'signed'))], ['esp.example/r/rsa-sha256 ok'], 'is signed';
	SKIP: {
		skip 'no Landlock', 2 unless PosthornTest::slurp("$q->{dir}/posthorn.err") =~ /role=smtpd\/sign .*landlock=abi/;
		like send_message($q, 'link', "From: a\@shop.example\r\nSubject: link\r\n\r\nx\r\n"), qr/^451 4\.3\.5/, 'a link that leads out of the directory';
		like $q->tail_log, qr{elsewhere\.example/r\.key cannot be read: Permission denied}, 'leads nowhere';
	}
};

subtest 'the role dies' => sub {
	my ($pid) = grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /\0-r\0sign\0/ } $p->daemon_pids('smtpd');
	ok $pid, 'there is one' or return;
	kill 'KILL', $pid;
	like send_message($p, 'after-death', $odd{plain}), qr/^250/, 'mail waits for the next one';
	like((dkimpy($p, $records, arrived($p, 'after-death')))[0], qr/ ok$/, 'and is signed');
};

done_testing;
