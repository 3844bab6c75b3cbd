#!/usr/bin/perl
# Writes the seeds of the targets whose inputs are binary or many into t/fuzz/corpus/: `perl t/fuzz/seeds.pl`. Files that
# are there already and have other names (what a fuzzer found) stay.
use strict;
use warnings;
use File::Path ();

sub seed {
	my ($target, $name, $bytes) = @_;
	my $dir = "t/fuzz/corpus/$target";
	File::Path::make_path($dir);
	open(my $f, '>:raw', "$dir/$name") or die "$dir/$name: $!";
	print $f $bytes;
	close $f or die "$dir/$name: $!";
}

# The encodings of base/wire.h, a frame as it is on the wire, and a step of t/fuzz/frames.h.
sub str { pack 'N/a*', $_[0] }
sub wire { my ($type, $id, $body) = @_; pack('NnnN', length $body, $type, 0, $id) . $body }
sub frame { my ($type, $id, $body) = @_; pack 'CCn/a*', $type, $id, $body }
use constant FD => 0x80;

# ipc: steps of the peer and of the owner
my $turn = "\x02";
my $resume = "\x07";
my $eof = "\x0b";
sub put { my ($bytes, $fds) = @_; join '', map { chr($fds ? 0x10 | $fds << 2 : 0) . chr(length) . $_ } $bytes =~ /.{1,255}/gs }
my $plain = wire(1, 7, 'hello');
seed('ipc', 'plain', put($plain) . $turn);
seed('ipc', 'two', put($plain x 2) . $turn . put(wire(1, 8, '')) . $turn . $eof . $turn);
seed('ipc', 'cut', put(substr $plain, 0, 5) . $turn . put(substr $plain, 5) . $turn);
seed('ipc', 'cut-eof', put(substr $plain, 0, 14) . $eof . $turn);
seed('ipc', 'fd', put(wire(2, 1, 'x'), 1) . $turn);
seed('ipc', 'fds', put(wire(2, 1, 'x') . wire(4, 2, ''), 2) . $turn . put(wire(5, 3, 'answer')) . $turn);
seed('ipc', 'fd-missing', put(wire(2, 1, 'x')) . $turn);
seed('ipc', 'fd-unasked', put($plain, 1) . $turn);
seed('ipc', 'fds-too-many', put($plain, 3) . put($plain, 3) . $turn);
seed('ipc', 'long', put(pack('NnnN', 100 * 1024, 3, 0, 1)) . "\x01\x64" . $turn x 4 . put($plain) . $turn);
seed('ipc', 'too-long', put(pack('NnnN', 17, 1, 0, 1) . 'x' x 17) . $turn);
seed('ipc', 'huge', put(pack('NnnN', 0xffffffff, 3, 0, 1)) . $turn);
seed('ipc', 'unknown', put(wire(99, 1, '')) . $turn);
seed('ipc', 'no-frame', put(pack('NnnN', 0, 1, 1, 1)) . $turn);
seed('ipc', 'closes', put(wire(6, 1, '') . $plain) . $turn);
seed('ipc', 'refuses', put(wire(7, 1, '') . $plain) . $turn);
seed('ipc', 'pauses', put(wire(8, 1, '') . $plain) . $turn x 2 . $resume . $turn);

# main.cf
seed('conf', 'empty', '');
seed('conf', 'usual', "# a comment\nmyhostname = mx.example.com\nmynetworks = 127.0.0.0/8,\n  [::1]/128 10.0.0.0/8\n"
    . "smtpd_listen = 192.0.2.1:25, [2001:db8::1]:25\nmessage_size_limit = 10M\nretry_interval = 20 min\n");
seed('conf', 'names', "myhostname = a.example\nrelayhost = [\${myhostname}]:587\ntenant_header = X-\$(campaign_header)\ncampaign_header = Y\n");
seed('conf', 'circle', "myhostname = \$relayhost\nrelayhost = \$myhostname\n");
seed('conf', 'deep', join '', "tenant_header = \$campaign_header\$campaign_header\n", "campaign_header = \$admin_group\$admin_group\n",
    "admin_group = " . 'g' x 40000 . "\n");
seed('conf', 'dollar', "tenant_header = X\$\$\nmyhostname = \${\nrelayhost = \$\n");
seed('conf', 'unknown', "myhostnme = a\nno equals\n  \n9 = \n= x\nmyhostname = a\nmyhostname = b\n");
seed('conf', 'continued', " lost\nmyhostname =\n a.example\n# between\n\n\t.b\r\n");
seed('conf', 'control', "myhostname = a\x01b\nrelayhost = \x1b[31m\nlog_level = \0\n");
seed('conf', 'bounds', "smtpd_processes = 99999999999999999999\nmessage_size_limit = 9999999T\nretry_interval = -1\n"
    . "smtp_port = 0\nindex_commit_interval = 1w\nlog_level = loud\nbounce_notice = maybe\n");
seed('conf', 'units', "retry_interval = 90s\nmax_retry_interval = 1 hour\nmaximal_queue_lifetime = 5 days\nindex_commit_interval = 200ms\n"
    . "segment_size = 64k\nmin_free_space = 1G\n");
seed('conf', 'addresses', "smtpd_listen = 127.0.0.1:99999, [::1, :25, x:25, [::]:0\nmynetworks = 1.2.3.4/33 ::/129 /8 1.2.3.4.5\n"
    . "dns_servers = 127.0.0.1\@53, ::1\@5353, \@, a\@b\nprohibited_hosts = 10.0.0.0/8\n");
seed('conf', 'relayhost', "relayhost = [192.0.2.1]:25\nsmtpd_tls_cert_file = /nonexistent\n");

# dkim: even, a message; 1, a question to the sign role; 3, an answer; 5, a record
{
	my $head = "From: a\@example.com\r\nTo: b\@example.net\r\nSubject: x\r\n";
	seed('dkim', 'message', "\0$head\r\nHello.\r\n");
	seed('dkim', 'simple', "\2$head\r\n a  b\t \r\n\r\n\r\n");
	seed('dkim', 'folded', "\4From:\r\n\t\"x \\\" y\" (c (d))\r\n <\@r.example:a\@Example.COM>\r\nSubject : \t x\r\n  y \t\r\n z\r\n\r\nx");
	seed('dkim', 'group', "\6From: friends: a\@example.com, b\@example.net;\r\n\r\n \t\r\n \r\n");
	seed('dkim', 'twice', "\10$head$head\r\n\r\n\r\n");
	seed('dkim', 'many', "\12" . "Cc: x\r\n" x 200 . "\r\nx\r\n");
	seed('dkim', 'bare', "\14${head}\r\nx\ry\nz\r\r\n\n \n");
	seed('dkim', 'empty', "\16");
	my $ask = str('example.com') . str('s202611') . str('') x 2;
	seed('dkim', 'ask', "\1$ask\1\0" . 'h' x 32);
	seed('dkim', 'ask-slash', "\1" . str('../x') . str('s') . str('') x 2 . "\0\0" . 'h' x 32);
	seed('dkim', 'ask-short', "\1$ask\0\0" . 'h' x 31);
	seed('dkim', 'answer', "\3\1\0" . str('') . str('s' x 256));
	seed('dkim', 'answer-other', "\3\2\1" . str('s202612') . str(''));
	seed('dkim', 'answer-failed', "\3\3\0" . str('there is no key') . str(''));
	seed('dkim', 'record', "\5v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
	seed('dkim', 'record-tags', "\5 v = DKIM1 ;h=sha1: sha256; s=email:*; t=y:s; k=\ted25519;p = AA A=;;");
	seed('dkim', 'record-revoked', "\5p=");
}

# key_link: what the first byte chooses; an even first octet of the id stands for the key that is there
my $hash = pack 'C32', 1 .. 32;
sub key_ask { my ($operation, $data, $first) = @_; return pack('C', $first // 0) . "\x07" x 31 . pack('C', $operation) . str($data) }
seed('key_link', 'ask', "\x00" . key_ask(3, $hash));
seed('key_link', 'ask-operation', "\x00" . key_ask(5, $hash));
seed('key_link', 'ask-empty', "\x00" . key_ask(1, ''));
seed('key_link', 'answer', "\x01" . str('signature'));
seed('key_link', 'answer-long', "\x01" . str('s' x 2049));
seed('key_link', 'role', "\x02" . frame(1, 1, key_ask(1, $hash)) . frame(1, 2, key_ask(2, "\x00" . 'm' x 127)) . frame(1, 3, key_ask(3, $hash)) .
	frame(1, 4, key_ask(1, $hash, 1)) . frame(1, 5, key_ask(2, 'm' x 126 . "\xbc")));
seed('key_link', 'role-malformed', "\x02" . frame(1, 1, 'x'));
seed('key_link', 'worker', "\x03" . frame(2, 1, str('signature')));
seed('key_link', 'worker-two', "\x03" . frame(2, 1, str('signature')) . frame(2, 2, str('signature')));
seed('key_link', 'worker-raw', "\x03" . frame(0x7f, 0, "\xff\xff\xff\xff\x00\x02\x00\x00\x00\x00\x00\x01"));

# auth_link: what the first byte chooses
my $ask = "\x01" . str('app') . str('secret');
my $answer = "\x01" . str('app') . str('t') . str('a.example,.b.example') . pack('Q>Q>C', 5, 1000, 2);
seed('auth_link', 'ask', "\x00$ask");
seed('auth_link', 'ask-lookup', "\x00\x02" . str('app') . str(''));
seed('auth_link', 'ask-kind', "\x00\x03" . str('app') . str(''));
seed('auth_link', 'ask-long', "\x00\x01" . str('n' x 256) . str('p'));
seed('auth_link', 'answer', "\x01$answer");
seed('auth_link', 'answer-bad', "\x01\x02" . str('') x 3 . pack('Q>Q>C', 0, 0, 0));
seed('auth_link', 'answer-rate', "\x01\x01" . str('a') . str('') x 2 . pack('Q>Q>C', 1 << 40, 0, 9));
seed('auth_link', 'role', "\x02" . frame(1, 1, $ask) . frame(1, 2, "\x01" . str('app') . str('wrong')) . frame(1, 3, "\x02" . str('plain') . str(''))
    . frame(1, 4, "\x01" . str('nobody') . str('secret')) . frame(1, 1, $ask));
seed('auth_link', 'role-raw', "\x02" . frame(0x7f, 0, wire(1, 9, $ask)) . frame(2, 1, $ask));
seed('auth_link', 'role-fd', "\x02" . frame(FD | 1, 1, $ask));
seed('auth_link', 'worker', "\x03" . frame(2, 1, $answer) . frame(2, 3, "\x02" . str('') x 3 . pack('Q>Q>C', 0, 0, 0)) . frame(2, 2, $answer)
    . frame(2, 200, $answer));
seed('auth_link', 'worker-malformed', "\x03" . frame(2, 1, substr $answer, 1));

# check: what the first byte chooses
my $check_begin = "\x0f" . str('192.0.2.1') . str('h.example') . str('a@b.example') . str('mx.example') . pack('NQ>', 22, 3);
my $result = "\x02\x00" . str('a@b.example') . str('b.example') . str('why') . "\x02" . str('') . "\x01" . "\x02" . str('b.example') . str('s')
    . str('rsa-sha256') . str('abcd') . str('') . "\x02" . str('b.example') . str('reject') . str('')
    . "\x02\x01\x02" . str('c.example') . str('why');
my $check_question = pack('Nn', 1, 16) . str('s._domainkey.b.example');
seed('check', 'begin', "\x00$check_begin");
seed('check', 'result', "\x00$result");
seed('check', 'question', "\x00$check_question");
my $check_reply = pack('N', 1) . "\x01\x00" . pack('N', 60) . str('') . "\x00";
seed('check', 'role', "\x01" . frame(1, 1, $check_begin) . frame(2, 1, "From: a\@b.example\r\n\r\n") . frame(4, 1, $check_reply) . frame(2, 1, "x\r\n") . frame(3, 1, ''));
seed('check', 'role-twice', "\x01" . frame(1, 1, $check_begin) . frame(1, 1, $check_begin));
seed('check', 'role-long', "\x01" . frame(1, 1, $check_begin) . frame(2, 1, 'x' x 100));
seed('check', 'role-fd', "\x01" . frame(FD | 1, 1, $check_begin));
seed('check', 'worker', "\x02" . frame(5, 1, $check_question) . frame(6, 1, pack 'N', 65536) . frame(7, 1, $result) . frame(7, 3, $result) . frame(7, 2, $result));
seed('check', 'worker-bad', "\x02" . frame(6, 1, pack 'N', 1 << 30));
seed('check', 'worker-many', "\x02" . frame(5, 1, $check_question) x 20);
# arc: the first byte: even, a header block; odd, the algorithm and a key record
{
	my $set = sub {
		my ($i, $more) = @_;
		my $cv = $i == 1 ? 'none' : 'pass';
		return "ARC-Seal: i=$i; a=rsa-sha256; t=1528637909; cv=$cv;\r\n\td=b.example; s=s; b=AAAA\r\n BBBB\r\n"
		    . "ARC-Message-Signature: i=$i; a=ed25519-sha256; c=relaxed/simple; d=b.example; s=s; h=from : subject:from;$more"
		    . " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=AAAA\r\nARC-Authentication-Results: i=$i; mx.example; spf=pass\r\n";
	};
	my $author = "From: a\@b.example\r\nSubject : x\r\n y\r\nDKIM-Signature: v=1\r\n\r\n";
	seed('arc', 'none', "\0$author");
	seed('arc', 'one', "\0" . $set->(1, '') . $author);
	seed('arc', 'three', "\2" . $set->(3, '') . $set->(2, '') . $set->(1, '') . $author);
	seed('arc', 'fifty', "\4" . join('', map { "ARC-Seal: i=$_; cv=pass\r\n" } 1 .. 51) . $author);
	seed('arc', 'times', "\6" . $set->(1, ' t=1; x=2;') . $author);
	seed('arc', 'length', "\6" . $set->(1, ' l=1;') . $author);
	seed('arc', 'failed', "\0" . ($set->(1, '') =~ s/cv=none/cv=fail/r) . $author);
	seed('arc', 'missing', "\0" . $set->(2, '') . $author);
	seed('arc', 'tags', "\0ARC-Seal: ;;i=1;;=;i = 1;\r\n\r\n");
	seed('arc', 'key', "\1" . "\0" . 'v=DKIM1; k=rsa; h=sha256:sha1; s=*; t=s; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB');
	seed('arc', 'key-ed25519', "\1" . "\1" . 'k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=');
	seed('arc', 'key-test', "\1" . "\0" . 't=y:s; p=AAAA');
}

sub records { join '', map { pack 'n/a*', $_ } @_ }
my $rsa = 'v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC'
    . 'DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB';
my $football = "From: Joe SixPack <joe\@football.example.com>\r\nTo: Suzie Q <suzie\@shopping.example.net>\r\nSubject: Is dinner ready?\r\n"
    . "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J\@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
my $ed = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=\@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    . " subject : date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n";
seed('check', 'signed', "\x03\xff" . records('v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=', 'v=DMARC1; p=reject; sp=none; adkim=s; rua=mailto:a@b', 'v=spf1 ip4:192.0.2.0/24 -all') . $ed . $football);
seed('check', 'signed-pieces', "\x03\x00" . records('v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=', '', '') . $ed . $football);
seed('check', 'wrong-key', "\x03\xff" . records($rsa, 'v=DMARC1; p=whatever', 'v=spf1 include:b.example') . $ed . $football);
seed('check', 'tags', "\x03\xff" . records('p=', 'v=DMARC1', '') . "DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=s; h=from:from::; l=0; x=1; t=2; z=a:b|c; q=dns; i=\@x; bh=AA==; b=AA==\r\n" x 9 . $football);
seed('check', 'no-from', "\x03\x10" . records('', '', '') . "Subject: x\r\n\r\nx\r\n");
seed('check', 'empty', "\x03\x10\x00\x29\x00\x00\x00\x00\r\nx");
seed('check', 'body-only', "\x03\x10" . records('', '', '') . "\r\nx");
seed('check', 'forged', "\x04Authentication-Results: mx.example; spf=pass\r\nFrom: a\@b\r\nauthentication-results :\r\n (c (d)) \"mx.\\example\" 1; none\r\nAuthentication-Results: other; none\r\nAuthentication-Results: (\r\n\r\n");

# role_link: reload 2, drain 3, stop 4, partner 5
seed('role_link', 'words', frame(2, 0, '') . frame(3, 0, '') . frame(4, 0, ''));
seed('role_link', 'partner', frame(FD | 5, 0, '') . frame(2, 0, ''));
seed('role_link', 'partner-without', frame(5, 0, '') . frame(2, 0, ''));
seed('role_link', 'ready', frame(1, 0, ''));
seed('role_link', 'body', frame(2, 0, 'x'));
seed('role_link', 'fd-unasked', frame(FD | 2, 0, ''));
seed('role_link', 'raw', frame(0x7f, 0, wire(2, 0, '') . substr wire(3, 0, ''), 0, 7));
seed('role_link', 'empty', '');

# index_rows: the first byte, a key with its length, the value
sub row { my ($which, $key, $value) = @_; chr($which) . chr(length $key) . $key . $value }
my $id = join '', map { chr } 1 .. 16;
my $env = pack 'Q>Q>NnnQ>Q>nCnn', 5, 4096, 9, 2, 1, 1700000000000, 1700000360000, 451, 4, 4, 1;
seed('index_rows', 'env', row(0x80, "$id\0\1", $env . 'connection refused' . "\0\0\0\0"));
my $rebound = pack 'CC N/a* C C N CN', 1, 1, 'acme', 0, 0, 0, 0, 0;
my $env_rebound = pack 'Q>Q>NnnQ>Q>nCnn', 5, 4096, 9, 2, 0x40, 1700000000000, 1700000360000, 451, 4, 4, 1;
seed('index_rows', 'env-rebound', row(0x80, "$id\0\1", $env_rebound . pack('N/a*', $rebound) . "failed\0\0\0\0"));
seed('index_rows', 'env-rebound-head', row(0x80, "$id\0\1", $env_rebound . pack('N/a*', pack('CC C C N N/a* N/a* C N/a*', 1, 0, 0, 1, 1, 'k', 'v', 1,
    "X: y\r\n\r\n")) . "\0\0\0\0"));
seed('index_rows', 'env-rebound-short', row(0x80, "$id\0\1", $env_rebound . pack('N', 100) . "\0\0\0\0"));
seed('index_rows', 'env-rebound-bad', row(0x80, "$id\0\1", $env_rebound . pack('N/a*', "\2$rebound") . "\0\0\0\0"));
seed('index_rows', 'env-no-text', row(0x80, "$id\0\0", "$env\0\0\0\0"));
seed('index_rows', 'env-checksum', row(0, "$id\0\0", "$env\0\0\0\0"));
seed('index_rows', 'env-short', row(0x80, "$id\0\0", substr $env, 0, 20));
seed('index_rows', 'env-key', row(0x80, 'short', "$env\0\0\0\0"));
seed('index_rows', 'env-absent', row(0xc0, "$id\0\0", ''));
seed('index_rows', 'seg', row(1, pack('Q>', 7), pack 'CCQ>Q>Q>', 1, 1, 65536, 12, 3));
seed('index_rows', 'seg-short', row(1, pack('Q>', 7), 'x'));
seed('index_rows', 'queue', row(2, pack('N', 3), pack('Q>Q>', 10, 1) . 'campaign:tenant@domain.example'));
seed('index_rows', 'queue-long', row(2, pack('N', 3), pack('Q>Q>', 10, 1) . 'q' x 600));
seed('index_rows', 'queue-empty', row(2, pack('N', 3), pack('Q>Q>', 10, 1)));
seed('index_rows', 'qname', row(3, 'campaign:tenant@domain.example', pack 'N', 3));
seed('index_rows', 'qname-long', row(3, 'q' x 255, pack 'N', 3));
seed('index_rows', 'due', row(4, pack('NQ>', 3, 1700000000000) . "$id\0\0", ''));
seed('index_rows', 'exp', row(4, pack('Q>', 1700000000000) . "$id\0\0", ''));
seed('index_rows', 'nodeid', row(5, '', '12345678-1234-4234-8234-123456789abc'));
seed('index_rows', 'nodeid-broken', row(5, '', "\0" x 36));
seed('index_rows', 'token-current', row(5, '', "\1" . pack 'Q>', 1700000000000));

# passwd: the user to be added (name, tenant, domains, rate), then the file
sub user { join '', map { chr(length) . $_ } @_ }
seed('passwd', 'empty', user('', '', '', ''));
seed('passwd', 'usual', user('new', 't', 'a.example,.b.example', '5/s')
    . "# users\n\napp:\$y\$j9T\$salt\$hash:tenant=t domains=a.example rate=100/h\nb:\$6\$x\$y\n");
seed('passwd', 'replace', user('app', '', '', '') . "  app:\$6\$a\nother:\$6\$b:envelope_from_return_path=yes\n");
seed('passwd', 'twice', user('x', '', '', '') . "a:\$6\$a\nb:\$6\$b\na:\$6\$c\n");
seed('passwd', 'crlf', user('x', '', '', '') . "a:\$6\$a:rate=5/s\r\n\r\n#\r\nb:\$6\$b\r\n");
seed('passwd', 'attributes', user('x', '', '', '') . "a:\$6\$a:foo=bar\nb:\$6\$b:tenant\nc:\$6\$c:=x\nd:\$6\$d:tenant=a tenant=b\n"
    . "e:\$6\$e:envelope_from_return_path=maybe\nf:\$6\$f:rate=5/y\n");
seed('passwd', 'hash', user('x', '', '', '') . "a:plain\nb:\nc\nd:\$6 x:tenant=t\n:\$6\$x\ne f:\$6\$x\n");
seed('passwd', 'names', user('#x', '', '', '') . "\0:\$6\$x\na\0b:\$6\$x\n\xff:\$6\$x\n");
seed('passwd', 'no-newline', user('y', 'a b', ',', '0/s') . "a:\$6\$a");

# supervisor: admin requests, readiness messages (0x7e), a daemon's state (0x7d)
sub request { my ($verb, @args) = @_; str($verb) . pack('N', @args / 2) . join '', map { str($_) } @args }
seed('supervisor', 'status', frame(18, 1, request('status')));
seed('supervisor', 'stop', frame(18, 1, request('stop')) . frame(18, 2, request('status')));
seed('supervisor', 'reload', frame(18, 1, request('reload')) . frame(0x7d, 0, ''));
seed('supervisor', 'restart', frame(18, 1, request('restart', 'daemon', 'queued')) . frame(0x7d, 0, '') . frame(18, 2, request('status')));
seed('supervisor', 'restart-pools', frame(18, 1, request('restart', 'daemon', 'deliverd')) . frame(0x7d, 3, ''));
seed('supervisor', 'restart-nobody', frame(18, 1, request('restart', 'daemon', 'x')) . frame(18, 2, request('restart')));
seed('supervisor', 'twice', frame(18, 1, request('restart', 'daemon', 'queued')) . frame(18, 2, request('reload')));
seed('supervisor', 'unknown', frame(18, 1, request('format', 'disk', 'a')));
seed('supervisor', 'malformed', frame(18, 1, substr request('status'), 0, 7));
seed('supervisor', 'gone', frame(18, 1, request('restart', 'daemon', 'queued')) . frame(0x7f, 0, "\0"));
seed('supervisor', 'fd', frame(FD | 18, 1, request('status')));
seed('supervisor', 'ready', frame(0x7e, 1, 'READY=1'));
seed('supervisor', 'ready-lines', frame(0x7e, 1, "STATUS=x\nREADY=1\nMAINPID=1\n"));
seed('supervisor', 'ready-not', frame(0x7e, 1, "XREADY=1\nREADY=10\nREADY=1 \n"));
seed('supervisor', 'ready-stranger', frame(0x7e, 0, 'READY=1'));
seed('supervisor', 'ready-nul', frame(0x7e, 1, "\0READY=1"));
seed('supervisor', 'ready-cut', frame(0x7e, 1, 'x' x 1016 . "\nREADY=10"));
seed('supervisor', 'ready-fd', frame(FD | 0x7e, 1, 'READY=1'));

# adm_client: which peer, then its frames
my $welcome = pack('n', 1) . '12345678-1234-4234-8234-123456789abc' . "\1" . 'k' x 32;
my $end = "\0" . str('done');
seed('adm_client', 'answer', "\0" . frame(2, 0, $welcome) . frame(FD | 3, 0, str('20260101T00')) . frame(19, 1, str('{"a": 1}')) . frame(20, 1, $end));
seed('adm_client', 'refused', "\1" . frame(20, 1, "\1" . str("no\x1b[31m")));
seed('adm_client', 'rows', "\1" . frame(19, 1, str('{}')) x 20 . frame(20, 1, $end));
seed('adm_client', 'no-object', "\1" . frame(19, 1, str('[1]')));
seed('adm_client', 'no-json', "\1" . frame(19, 1, str('{"a"')));
seed('adm_client', 'malformed', "\1" . frame(19, 1, "\0\0\0\xff"));
seed('adm_client', 'malformed-end', "\1" . frame(20, 1, "\0"));
seed('adm_client', 'closed', "\0");
seed('adm_client', 'cut', "\1" . frame(0x7f, 0, substr wire(20, 1, $end), 0, 15));
seed('adm_client', 'huge', "\1" . frame(0x7f, 0, pack('NnnN', 0xffffffff, 19, 0, 1)));

# sendmail: options, the full name, the message
my $head = "To: a\@b.example, \"C, D\" <c\@d.example>\nCc: list: e\@f.example;\nBcc: secret\@g.example\nSubject: x\n";
seed('sendmail', 'recipients', "\1\0${head}\nbody\n.\nnot this\n");
seed('sendmail', 'ignore-dots', "\3\0${head}\n.\nbody\n");
seed('sendmail', 'resent', "\1\0Resent-To: a\@b.example\nTo: x\@y.example\nResent-Bcc: z\@y.example\n\n");
seed('sendmail', 'crlf', "\0\0Subject: x\r\n\r\na\r\r\nb\rc\n\r\n");
seed('sendmail', 'bare-cr', "\0\0From: a\@b\rBcc: x\@y\r\rbody\r");
seed('sendmail', 'folded-bcc', "\1\0To: a\@b.example\nBcc: c\@d.example,\n e\@f.example\n\tg\@h.example\nDate: x\n\n");
seed('sendmail', 'no-header', "\0\0just text\nSubject: not a header\n");
seed('sendmail', 'mbox', "\0\0From a\@b Thu Jan  1\nMessage-ID: <x\@y>\n\n");
seed('sendmail', 'full-name', "\x0c\x0dA \"B\"\\\r\nBcc: Subject: x\n\n");
seed('sendmail', 'nul', "\1\0To: a\0b\@c.example\n\n\0\n");
seed('sendmail', 'large', "\0\0Subject: x\n\n" . ('y' x 99 . "\n") x 90);
seed('sendmail', 'cut', "\0\0Subject: x");
seed('sendmail', 'comment', "\1\0To: (c (d) \\) x) <\@a,\@b:e\@f.example>, g, \"h\\\"i\"\@j.example, [k\n\n");

# mailargs: MAIL 0, RCPT 1 (5: SMTPUTF8), xtext 2, 3
seed('mailargs', 'mail', "\0SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B314159 AUTH=<>");
seed('mailargs', 'mail-twice', "\0SIZE=1 SIZE=2");
seed('mailargs', 'mail-size', "\0SIZE=99999999999999999999");
seed('mailargs', 'mail-envid', "\0ENVID=" . '+41' x 100);
seed('mailargs', 'mail-control', "\0ENVID=a+0D+0Ab");
seed('mailargs', 'rcpt', "\1NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb\@c.example");
seed('mailargs', 'rcpt-never', "\1NOTIFY=NEVER,SUCCESS");
seed('mailargs', 'rcpt-utf8', "\5ORCPT=utf-8;\\x{E4}\@b.example");
seed('mailargs', 'rcpt-utf8-raw', "\5ORCPT=utf-8;\xc3\xa4\@b.example");
seed('mailargs', 'rcpt-type', "\1ORCPT=;x");
seed('mailargs', 'rcpt-long', "\1ORCPT=rfc822;" . 'a' x 500);
seed('mailargs', 'decode', "\2a+2B+3D+20+C3+A4");
seed('mailargs', 'decode-cut', "\2a+2");
seed('mailargs', 'encode', "\3a+b=c d\xc3\xa4");

# text: token 0, base64 1, domains 2, suggestions 3
seed('text', 'suggestion', "\3myhostnmae");
seed('text', 'suggestion-same', "\3smtpd");
seed('text', 'suggestion-long', "\3" . 'm' x 70);
seed('text', 'token', "\0" . 'A' x 40);
seed('text', 'token-version', "\0AQ" . 'A' x 38);
seed('text', 'token-short', "\0AQE");
seed('text', 'base64', "\1AHVzZXIAc2VjcmV0");
seed('text', 'base64-padded', "\1YQ==");
seed('text', 'base64-stray', "\1YR==");
seed('text', 'base64-inside', "\1YQ==YQ==");
seed('text', 'idna', "\2B\xc3\xbccher.Example.");
seed('text', 'idna-long', "\2" . "\xc3\xbc" x 60 . '.example');
seed('text', 'idna-ascii', "\2xn--bcher-kva.example");
seed('text', 'idna-dots', "\2..\xe3\x80\x82");

# client: TLS or not, then what the server says; \xff waits for the client, \xfe is the next connection
my $wait = "\xff";
my $hello = "220 peer ESMTP\r\n${wait}250-peer\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 10000000\r\n250 DSN\r\n";
my $old = "220 peer\r\n${wait}500 what\r\n${wait}250 peer\r\n";
my $group = "${wait}250 ok\r\n250 2.1.5 a\r\n250 b\r\n354 go\r\n${wait}250 2.0.0 taken\r\n";
my $single = "${wait}250 ok\r\n${wait}250 a\r\n${wait}250 b\r\n${wait}354 go\r\n${wait}250 taken\r\n";
seed('client', 'pipelined', "\0$hello$group$group");
seed('client', 'one-by-one', "\0$old$single$single");
seed('client', 'one-of-two', "\0$hello${wait}250 ok\r\n550 5.1.1 no such user\r\n250 b\r\n354 go\r\n${wait}250 taken\r\n${wait}221 bye\r\n");
seed('client', 'none', "\0$hello${wait}250 ok\r\n550 no\r\n451 later\r\n554 no valid recipients\r\n$group");
seed('client', 'none-354', "\0$hello${wait}250 ok\r\n550 no\r\n550 no\r\n354 go\r\n${wait}554 nothing\r\n$group");
seed('client', 'sender-refused', "\0$hello${wait}550 5.7.1 not you\r\n550 no\r\n550 no\r\n503 no\r\n$group");
seed('client', 'dot-refused', "\0$hello${wait}250 ok\r\n250 a\r\n250 b\r\n354 go\r\n${wait}554-5.7.1 spam\r\n554 5.7.1 really\r\n");
seed('client', 'taken-before', "\0$hello${wait}250 ok\r\n250 a\r\n250 b\r\n354 go\r\n250 taken\r\n");
seed('client', 'half-taken-before', "\0$hello${wait}250 ok\r\n250 a\r\n250 b\r\n354 go\r\n25${wait}0 taken\r\n");
seed('client', 'one-too-many', "\0$old${wait}250 ok\r\n550 extra\r\n${wait}250 a\r\n");
seed('client', 'one-too-few', "\0$hello${wait}250 ok\r\n250 a\r\n354 go\r\n${wait}250 taken\r\n");
seed('client', 'farewell', "\0$hello${wait}250 ok\r\n421 4.3.2 down\r\n\xfe$hello$group");
seed('client', 'busy', "\x00421 4.3.2 busy\r\n\xfe554 no\r\n");
seed('client', 'idle', "\0$hello$group" . '25');
seed('client', 'idle-then-more', "\0$hello$group" . "421 timeout\r\n\xfe$hello$group");
seed('client', 'reset-first', "\0$hello${wait}250 ok\r\n250 a\r\n250 b\r\n452 full\r\n${wait}250 reset\r\n$group");
seed('client', 'controls', "\x00220 \x1b[31m\0\x7f\xc3\r\n${wait}250-\xe4\r\n250 \r\r\n${wait}550 \x07\x0b\xc2\x9b\r\n");
seed('client', 'bare', "\x00220\n${wait}250\n${wait}250\n250\n250\n354\n${wait}250\n");
seed('client', 'codes', "\x00220-a\r\n221 b\r\n\xfe220 a\r\n${wait}250-a\r\nx\r\n\xfe999 x\r\n\xfe2200 x\r\n\xfe150 x\r\n");
seed('client', 'long-line', "\x00220 " . 'x' x 9000 . "\r\n");
seed('client', 'many-lines', "\0" . "220-x\r\n" x 500 . "220 x\r\n");
seed('client', 'size', "\x00220 x\r\n${wait}250-x\r\n250 SIZE 5\r\n${wait}250 ok\r\n");
seed('client', 'starttls', "\x01220 x\r\n${wait}250-x\r\n250 STARTTLS\r\n${wait}220 go\r\n${wait}\x15\x03\x01\0\2\2\x28\xfe$hello$group");
seed('client', 'starttls-injected', "\x01220 x\r\n${wait}250-x\r\n250 STARTTLS\r\n${wait}220 go\r\n250-injected\r\n250 x\r\n\xfe$hello$group");
seed('client', 'starttls-refused', "\x01220 x\r\n${wait}250-x\r\n250 STARTTLS\r\n${wait}454 not now\r\n$single");
seed('client', 'starttls-end', "\x01220 x\r\n${wait}250-x\r\n250 STARTTLS\r\n${wait}220 go\r\n\xfe");
seed('client', 'enhanced', "\0$hello${wait}250 ok\r\n550 5.1.1\r\n450 99.999.9999 x\r\n554 5\r\n");
seed('client', 'nothing', "\0");

# queued: greeted or not, then frames; the sender is the id modulo 3: 0 producer, 1 consumer, 2 admin
sub envid { my ($n) = @_; chr($n) x 16 . pack 'n', 0 }
sub seg { my ($n, $kind, $at) = @_; pack 'Q>CQ>', $n, $kind, $at }
my $work = frame(0x7d, 8, '');
my $record = frame(0x7e, 5, '');
my $credit = frame(12, 1, pack 'N', 100);
sub result {
	my ($n, $outcome, $code) = @_;
	return envid($n) . pack('CCCnCnn', $outcome, 10, 0, $code, 2, 0, 0) . str('ok') . "\1" . str('.') . "\1" . str('s1->d') . "\0" x 8
	    . pack('N6', (0) x 6) . "\0";
}
sub query { my ($verb, @args) = @_; frame(18, 2, request($verb, @args)) }
seed('queued', 'nothing', "\1");
seed('queued', 'no-hello', "\0" . frame(4, 0, seg(0, 1, 0)) . frame(12, 1, pack 'N', 1));
seed('queued', 'hello', "\0" . frame(1, 0, pack('nC', 1, 1) . str('smtpd-1') . pack('NN', 1, 1)) . frame(4, 0, seg(0, 1, 0)));
seed('queued', 'hello-role', "\0" . frame(1, 0, pack('nC', 1, 9) . str('x') . pack('NN', 1, 1)));
seed('queued', 'hello-twice', "\1" . frame(1, 0, pack('nC', 1, 2) . str('p1') . pack('NN', 1, 1)));
seed('queued', 'hello-pool', "\0" . frame(1, 1, pack('nC', 1, 2) . str('p9') . pack('NN', 1, 1)) . $credit);
seed('queued', 'record', "\1$credit$record$work" . query('queue.list') . $work);
seed('queued', 'delivered', "\1$credit$record$work" . frame(17, 1, result(5, 1, 250)) . $work . query('status'));
seed('queued', 'failed', "\1$credit$record$work" . frame(17, 1, result(5, 2, 451)) . $work . query('queue.summary'));
seed('queued', 'bounced', "\1$credit$record$work" . frame(17, 1, result(5, 2, 550)) . $work . query('queue.list', 'quiet', 'yes'));
seed('queued', 'returned', "\1$credit$record$work" . frame(17, 1, result(5, 3, 0)) . $work . $work);
seed('queued', 'result-unknown', "\1$credit" . frame(17, 1, result(9, 1, 250)) . $work);
seed('queued', 'held', "\1" . frame(11, 1, envid(5)) . $credit . $record . $work);
seed('queued', 'seg-held', "\1" . frame(6, 0, seg(99, 1, 4096)) . $work);
seed('queued', 'seg-done', "\1$record" . frame(8, 0, seg(0, 0, 512)) . $work . $work);
seed('queued', 'seg-done-far', "\1$record" . frame(8, 0, seg(0, 0, 1 << 40)) . $work);
seed('queued', 'seg-want-many', "\1" . frame(4, 0, seg(0, 1, 0)) x 20 . frame(4, 0, seg(0, 2, 0)) x 20 . $work);
seed('queued', 'received-malformed', "\1" . frame(9, 0, 'x' x 40));
seed('queued', 'same-id', "\1$credit$record$record$work" . frame(17, 1, result(5, 1, 250)) . $work);
seed('queued', 'operator', "\1$record$work" . query('queue.hold', 'all', 'yes') . $work . query('queue.release', 'domain', 'd5.example') . $work
    . query('queue.retry', 'all', 'yes') . $work . query('queue.bounce', 'recipient', 'u@d5.example', 'reason', "no\nmore") . $work);
seed('queued', 'rebind', "\1$record$work" . query('queue.rebind', 'all', 'yes', 'set.tenant', 't', 'set.note', 'x', 'reason', 'why') . $work
    . query('queue.rebind', 'tenant', 't', 'set.queue', "c:u\@[192.0.2.1]:25", 'always_flush', 'yes') . $work . $credit . $work
    . query('queue.rebind', 'all', 'yes', 'set.routing_domain', 'd6.example:99999') . query('queue.rebind', 'all', 'yes', 'trigger_rebind_event', 'yes')
    . query('queue.rebind', 'all', 'yes', 'set.tenant', 'v') . $work);
seed('queued', 'delete', "\1$record$work" . query('queue.delete', 'all', 'yes') . $work . query('queue.show', 'id', 'zz') . $work);
seed('queued', 'show', "\1$record$work" . query('queue.show', 'all', 'yes', 'headers', 'yes', 'limit', '1') . $work);
seed('queued', 'admin-unknown', "\1" . query('queue.destroy') . query('queue.hold') . query('ping') . query('queue.list', 'x', 'y') . $work);
seed('queued', 'fd-unasked', "\1" . frame(FD | 12, 1, pack 'N', 1));
seed('queued', 'credit-huge', "\1" . frame(12, 1, pack 'N', 0xffffffff) x 3 . $record . $work);

# dns_answer: 3 is the link of the dns role; 0, 1, 2 packets for A, AAAA, MX
sub host { my ($pref, $name, @ips) = @_; pack('n', $pref) . str($name) . pack('n', scalar @ips) . join('', map { (length == 4 ? "\4" : "\6") . $_ } @ips) . pack 'Cn', 0, 0 }
sub dns_reply { my ($status, $text, $tail) = @_; "\3" . pack('CCN', $status, 0, 300) . str($text) . ($tail // '') }
seed('dns_answer', 'ask', "\3" . pack('CCnnN', 1, 3, 10, 5, 30000) . str('mail.example') . pack('nnC', 0, 0, 1));
seed('dns_answer', 'ask-txt', "\3" . pack('CCnnN', 3, 0, 0, 0, 30000) . str('mail.example') . pack('nnC', 0, 16, 0));
seed('dns_answer', 'reply-records', dns_reply(1, '', pack('Cn', 9, 2) . pack('n', 0) . str('v=spf1 -all') . pack('n', 0) . str("a\0b")));
seed('dns_answer', 'ask-name', "\3" . pack('CCnnN', 2, 1, 10, 5, 30000) . str('a..b') . pack('nnC', 0, 0, 0));
seed('dns_answer', 'ask-nul', "\3" . pack('CCnnN', 2, 1, 10, 5, 30000) . str("a\0b") . pack('nnC', 0, 0, 0));
seed('dns_answer', 'ask-odd', "\3" . pack('CCnnN', 3, 0, 0, 0, 30000) . str("a+b 'c'._spf.example") . pack('nnC', 0, 1, 0));
seed('dns_answer', 'reply-bogus', "\3" . pack('CCN', 5, 2, 5) . str('wrong signature'));
seed('dns_answer', 'reply-none', dns_reply(2, 'the domain does not exist'));
seed('dns_answer', 'reply-controls', dns_reply(5, "bad\r\n\x1b[31m"));
seed('dns_answer', 'reply-hosts', dns_reply(1, '', pack('CCn', 1, 0, 2) . host(20, 'b.example', "\x7f\0\0\1") . host(10, 'a.example') . "\0"));
seed('dns_answer', 'reply-sts', dns_reply(1, '', pack('CCn', 1, 0, 1) . host(10, 'a.example') . "\1" . str('20260101') . host(0, 'mta-sts.a.example', "\x7f\0\0\1")));
seed('dns_answer', 'reply-twice', dns_reply(1, '', pack('CCn', 1, 0, 2) . host(20, 'a.example', "\x7f\0\0\1") . host(10, 'a.example', "\x7f\0\0\1") . "\0"));
seed('dns_answer', 'reply-dane', dns_reply(1, '', pack('CCn', 1, 1, 1) . pack('n', 10) . str('a.example') . pack('n', 0) . pack('CnCCC', 1, 1, 3, 1, 1) . str('x' x 32) . "\0"));
seed('dns_answer', 'reply-no-hosts', dns_reply(1, '', pack('CCn', 1, 0, 0)));
seed('dns_answer', 'reply-relay', dns_reply(1, '', pack('CCn', 4, 0, 1) . host(1, 'a.example')));
my $question = "\1a\1b\0" . pack 'nn', 1, 1;
seed('dns_answer', 'cname', "\0" . pack('n6', 0, 0x8180, 1, 2, 0, 0) . $question . "\xc0\x0c" . pack('nnNn', 5, 1, 60, 4) . "\1c\1b\0"
    . "\1c\1b\0" . pack('nnNn', 1, 1, 30, 4) . "\x7f\0\0\1");
seed('dns_answer', 'odd-name', "\0" . pack('n6', 0, 0x8180, 1, 1, 0, 0) . "\4A\\.:\1b\0" . pack('nn', 1, 1) . "\xc0\x0c" . pack('nnNn', 1, 1, 60, 4) . "\x7f\0\0\1");
seed('dns_answer', 'pointer-loop', "\0" . pack('n6', 0, 0x8180, 1, 1, 0, 0) . "\xc0\x0c" . pack('nn', 1, 1) . "\xc0\x0c" . pack('nnNn', 1, 1, 60, 4) . "\0\0\0\0");
seed('dns_answer', 'count-lies', "\0" . pack('n6', 0, 0x8180, 1, 65535, 65535, 65535) . $question);

# policy_message: even, a header block; odd, a schedule
seed('policy_message', 'block', "\0Subject: x\r\nX-Client-Id: 7\r\nX-Long: a\r\n\tb\r\nDate: now\r\nTo: a\@b.example\r\n\r\n");
seed('policy_message', 'no-blank', "\0Subject: x\r\n");
seed('policy_message', 'no-field', "\0no field\r\nSubject: x\r\n\r\n");
seed('policy_message', 'blank', "\0\r\n");
seed('policy_message', 'tenant', "\0Tenant: a\r\nQueue: c:t\@d.example\r\nx-\xff: \xff\0\r\n\r\n");
seed('policy_message', 'schedule', "\1{\"first_attempt\": \"2023-11-15T00:00:00+01:00\", \"expires\": 86400.5}");
seed('policy_message', 'schedule-deep', "\1{\"x\":[[[[[[[[[[1]]]]]]]]]]}");
seed('policy_message', 'schedule-window', "\1{\"dow\":\"Mon\",\"tz\":\"Europe/Paris\",\"start\":\"09:00:00\",\"end\":\"17:00:00\"}");
seed('policy_message', 'block-schedule', "\0Copy: {\"expires\": 5}\r\n\r\n");

# mime, dsn_parse, arf_parse: some of the labelled messages; verp: an address of ours, whole and altered
{
	use lib 't/lib';
	require Corpus;
	for my $kind (qw(dsn arf)) {
		my @messages = grep { length $_->{text} < 4000 } Corpus::read(glob "t/data/$kind/*.txt");
		for my $i (grep { $_ % ($kind eq 'dsn' ? 4 : 2) == 0 } 0 .. $#messages) {
			seed("${kind}_parse", $messages[$i]{name}, $messages[$i]{text});
			seed('mime', $messages[$i]{name}, $messages[$i]{text} =~ s/\n/\r\n/gr) if $i % 3 == 0;
		}
	}
	seed('mime', 'deep', join '', map { "Content-Type: multipart/mixed; boundary=b$_\n\n--b$_\n" } 1 .. 30);
	seed('mime', 'cut-base64', "Content-Transfer-Encoding: base64\r\rYWJj\rZG");
	seed('verp', 'made', "\1" . "\1\x9f" x 8 . "\3");
	seed('verp', 'altered', "\1" . "\1\x9f" x 8 . "\3" . "\x0ac");
	seed('verp', 'upper', "\1" . "\1\x9f" x 8 . "\3" . "\x00B\x01O");
	seed('verp', 'other', "\0someone\@b.example");
	seed('verp', 'shape', "\0bounce+" . 'a' x 48 . '@b.example');
}

# parse_link: 0 a question, 1 an answer
{
	my $opt = sub { defined $_[0] ? "\1" . str($_[0]) : "\0" };
	my $dsn = "\1" . $opt->('rfc3464') . "\1" . pack('n', 1) . $opt->('a@b.example') . $opt->() . $opt->('550 5.1.1 gone') . $opt->('mx.b.example')
	    . "\1" . str('5.1.1') . join('', map { $opt->($_) } 'mx.b.example', undef, undef, '1@a', 'me@a.example', 'a@b.example', "\xc3\xa4") . $opt->('token');
	my $arf = "\1\0" . pack('N', 2) . join('', map { $opt->($_) } 'arf', 'Received', undef, undef, 'Original-Rcpt-To', 'abuse', 'x/1', '1', undef, '192.0.2.1',
	    '', undef, 'dns', 'mx.b.example', 'a@b.example', '1@a', 'me@a.example', 's', 'c:t:x:y') . "\1" . str('a@b.example') . "\0\0\0"
	    . "\1" . str('Other') . str('thing') . $opt->("From: a\n\tb\n") . $opt->('token');
	seed('parse_link', 'question', "\0\2\1" . str('a@b.example') . "\1" . str('X-Posthorn-Ref') . str("From: a\r\n\r\n"));
	seed('parse_link', 'question-unknown', "\0\3\0\0" . str(''));
	seed('parse_link', 'bounce', "\1\1$dsn");
	seed('parse_link', 'complaint', "\1\2$arf");
	seed('parse_link', 'both', "\1\3$dsn$arf");
}

# trace: 0 a value, 1 a recipient, 2 the inside of an object that is signed
seed('trace', 'kumomta', "\0eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50IjoidGVzdEBleGFtcGxlLmNvbSJ9");
seed('trace', 'blanks', "\0 eyJf\r\n\tQF8i OiI= ");
seed('trace', 'recipient', "\1a\"b\\\xc3\xa4\n\xff\@b.example");
seed('trace', 'long', "\1" . 'a' x 2500);
seed('trace', 'object', "\2,\"recipient\":\"a\@b\",\"tenant\":1,\"x\":{\"y\":[null,1.5]},\"id\":\"" . '0' x 32 . "\",\"rcpt\":3");
seed('trace', 'no-object', "\2,");
seed('trace', 'id', "\2,\"id\":\"0\",\"rcpt\":-1");

# SPF: flags, sender, helo, then what is answered, a line each, around and around
sub spf { my ($name, $flags, $sender, @answers) = @_; seed('spf', $name, join "\n", $flags, $sender, 'helo.example', @answers) }
spf('usual', '0', 'a@b.example', 'v=spf1 a mx include:c.example ip4:192.0.2.0/24 ?exists:%{i}._spf.%{d2} ~all', '192.0.2.9',
    "m.example\x1fn.example", '192.0.2.8', 'v=spf1 ip6:2001:db8::/32 redirect=_spf.%{d}', 'v=spf1 -all');
spf('macros', '0', 'a-b+c@d.e.example', 'v=spf1 exists:%{s}.%{l2r-+}.%{o1}.%{d3r}.%{i}.%{p}.%{v}.%{h}%%%_%-.x -all exp=%{L}.%{D2}.e',
    'h.example', '192.0.2.1', '!', '%{c} %{r} %{t} %{S3R.-+,/_=} %{p}');
spf('ipv6', '1', 'a@b.example', 'v=spf1 ptr a//64 mx/24//48 -all', "x.b.example\x1fb.example", '2001:db8::1');
spf('survey', '2', 'a@b.example', 'v=spf1 a mx ptr exists:x.y include:c.d redirect=e.f', 'v=spf1 a a a -all', 'v=spf1 include:%{d}.g');
spf('loop', '0', '@b.example', 'v=spf1 include:b.example');
spf('mapped', '4', '', 'v=spf1 ip4:192.0.2.1/32 +all', 'v=spf1 v=spf1', "v=spf1\x1fv=spf1 -all");
spf('errors', '0', 'a@b.example', 'v=spf1 a mx ?all', '?', 'x.example', '?');
spf('syntax', '0', 'a@b.example', 'v=spf1 a:%{d0}.e ip4:1.2.3 redirect=x redirect=y exp= foo=%{z} -all/3 a:b.1 =x 1=2 %{');
spf('long', '0', 'l' x 60 . '@' . join('.', ('d' x 60) x 4), 'v=spf1 exists:' . '%{s}' x 100 . '%{dr}.e -all exp=' . '%{o}' x 90, 'x' x 400);
spf('bytes', '0', "a\x80\@b\xff.example", "v=spf1 a:\x80 -all");

# queue_link: the errors of policy
seed('queue_link', 'policy-errors', "\x0b" . pack('N', 2) . str('get_egress_pool') . pack('Q>', 3) . str('an_event_to_come') . pack('Q>', 1));

# map_csv: whether key and value are named, then the file
seed('map_csv', 'usual', "\0key,value\na,1\n\"b,\"\"c\",\"2\n3\"\n");
seed('map_csv', 'named', "\3name,value,key\r\nx,y,z\r\nx,y,w\r\n");
seed('map_csv', 'bom', "\0\xef\xbb\xbfkey,value\na,b");
seed('map_csv', 'blank', "\0\n\nkey\n\n\"\"\n");
seed('map_csv', 'twice', "\1key,value\na,1\na,2\n");
seed('map_csv', 'twice-column', "\0key,key\na,1\n");
seed('map_csv', 'too-few', "\0key,value\na\n");
seed('map_csv', 'no-column', "\3keys,values\na,b\n");
seed('map_csv', 'quotes', "\0key,value\na,b\"c\n");
seed('map_csv', 'quote-open', "\0key,value\na,\"b\n");
seed('map_csv', 'behind-quote', "\0key,value\na,\"b\"c\n");
seed('map_csv', 'cr', "\0key,value\na,b\rc\n");
seed('map_csv', 'nul', "\0key,value\na\0b,\0\n");
seed('map_csv', 'wide', "\0" . join(',', 1 .. 300) . "\n");
seed('map_csv', 'empty', "\0");

# map_json
seed('map_json', 'usual', '{"a": "b", "c": [1, 2.5, {"d": null}], "e": true, "f": {}}');
seed('map_json', 'escapes', '{"\u0061\n": "\ud83d\ude00\u0000", "b\\\\": "\"}"}');
seed('map_json', 'twice', '{"a": 1, "\u0061": 2}');
seed('map_json', 'twice-within', '{"a": {"b": 1, "b": 2}}');
seed('map_json', 'nul-key', '{"a\u0000": 1}');
seed('map_json', 'deep', '{"a": ' . '[' x 70 . ']' x 70 . '}');
seed('map_json', 'brackets', '{"a": [}, "b": ]}');
seed('map_json', 'no-colon', '{"a" 1}');
seed('map_json', 'no-value', '{"a":, "b": 1}');
seed('map_json', 'comma', '{"a": 1,}');
seed('map_json', 'behind', '{"a": 1} x');
seed('map_json', 'numbers', '{"a": 01, "b": 1e400, "c": 99999999999999999999}');
seed('map_json', 'open', '{"a": "b');
seed('map_json', 'empty', " \n{ }\n");
seed('map_json', 'array', '["a"]');
seed('map_json', 'nothing', '');

# sts: TXT records, policies, answers of web servers, frames
my $sts = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.example.net\r\nmax_age: 86400\r\n";
seed('sts', 'txt', 'tv=STSv1; id=20160831085700Z;');
seed('sts', 'txt-more', "tv=STSv1\t; x-y=!~ ; id=a ;");
seed('sts', 'policy', "p$sts");
seed('sts', 'policy-lf', "pmax_age:1\nmode:none\nversion:STSv1\n\nx: \xc3\xa4");
seed('sts', 'http', "hHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($sts) . "\r\n\r\n$sts");
seed('sts', 'http-chunked', "hHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n");
seed('sts', 'http-end', "hHTTP/1.0 200\nX: y\n\nhello");
seed('sts', 'http-hints', "hHTTP/1.1 103 x\r\nLink: x\r\n\r\nHTTP/1.1 302 Found\r\nLocation: x\r\n\r\n");
seed('sts', 'ask', 'l' . str('a.example') . str('x1') . "\0\1\4\x7f\0\0\1");
seed('sts', 'answer', 'l' . "\2\0" . str('') . str('x1') . pack('Q>Q>', 1000, 2000) . str($sts));
seed('sts', 'answer-none', 'l' . "\1\3" . str('the certificate has expired'));
seed('sts', 'refresh', 'l' . str('a.example'));

# suppress_csv: what services export, and what is no such thing
for my $file (glob "t/data/suppress/*") {
	open(my $in, '<:raw', $file) or die "$file: $!";
	local $/;
	seed('suppress_csv', $file =~ s{.*/}{}r, scalar <$in>);
}
seed('suppress_csv', 'bom', "\xef\xbb\xbfemail\r\na\@b.example\r\n");
seed('suppress_csv', 'quote-open', "email,x\na\@b.example,\"never closed\nc\@d.example,y\n");
seed('suppress_csv', 'nul', "email\na\0b\@c.example\n");
seed('suppress_csv', 'json-lines', "{\"email\":\"a\@b.example\"}\n{\"email\":\n[1]");
seed('suppress_csv', 'ours', "address,scope,scope_value,reason,origin,added,event_time,expires,event_id,class,cause,source,note\n" .
	"a\@b.example,tenant,acme,complaint,report,2026-05-03T10:11:12.000Z,2026-05-03T10:11:12.000Z,,0123456789abcdef0123456789abcdef,c,d,e,\"f,\n\"\n");
