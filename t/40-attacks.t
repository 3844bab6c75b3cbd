# Attack inputs against smtpd and their right answers: line discipline and smuggling, STARTTLS, BDAT and sizes, resources, addresses.
use strict;
use warnings;
use Test::More;
use IO::Socket::SSL;
use PosthornTest;

my $p = PosthornTest->new(tls => 1, users => [['u', 'secret']], conf => {
	mynetworks => '127.0.0.1/32', message_size_limit => '200000', smtpd_timeout => '4s', submission_timeout => '4s',
	smtpd_bare_newline => 'reject', smtpd_data_time_limit => '10s' });
$p->sink('-b', $p->dir . '/bodies')->start;

my @hello = ('EHLO attacker.example');
my @tx = (@hello, 'MAIL FROM:<a@b.example>', 'RCPT TO:<r@x.example>');

sub session { my ($port) = @_; return $p->connect_smtp($port) }
sub talk { my ($s, @lines) = @_; my $r; $r = PosthornTest::say_smtp($s, $_) for @lines; return $r }
# Sends raw bytes in one write and returns everything until the connection closes or is silent for a moment.
sub raw {
	my ($s, $bytes, $seconds) = @_;
	local $SIG{PIPE} = 'IGNORE';
	syswrite $s, $bytes;
	my $all = '';
	my $end = time + ($seconds // 2);
	while (time <= $end) {
		my $r = '';
		vec($r, fileno($s), 1) = 1;
		select $r, undef, undef, 0.3 or last;
		sysread($s, my $buf, 65536) or return ($all, 1);
		$all .= $buf;
	}
	return ($all, 0);
}

# --- smuggling: none of these ends DATA; the message is refused and nothing is queued
for my $eod ("\n.\n", "\n.\r\n", "\r.\r\n", "\r.\r", "\r.\n", "\n.\r", "\r\n.\n", "\r\n.\r", "\r\n\0.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n") {
	my $name = $eod =~ s/\r/\\r/gr =~ s/\n/\\n/gr =~ s/\0/\\0/gr;
	my $s = session();
	talk($s, @tx, 'DATA');
	my ($out) = raw($s, "Subject: x\r\n\r\nbody${eod}MAIL FROM:<evil\@b.example>\r\nRCPT TO:<smuggled\@x.example>\r\nDATA\r\nSubject: y\r\n\r\n.\r\n", 3);
	like $out, qr/^55[04] 5\.(?:6\.11|5\.2|6\.0)/m, "end of data as $name is refused";
	unlike $out, qr/^250/m, 'and nothing of it was accepted';
	unlike $out, qr/^354/m, 'no second transaction was begun';
}

# --- commands
my ($out, $closed) = raw(session(), "EHLO x.example\nMAIL FROM:<a\@b.example>\n", 3);
like $out, qr/^5\d\d /, 'bare LF in commands is refused';
unlike $out, qr/^250/m, 'and not taken as two commands';
($out, $closed) = raw(session(), 'EHLO ' . ('x' x 100_000), 3);
like $out, qr/^5\d\d 5\.5\.[24]/, 'an over-long command is refused';
ok $closed, 'and the connection dropped';
($out, $closed) = raw(session(), "MAIL FROM:<a\0b\@x.example>\r\n", 2);
like $out, qr/^50[01] 5\./, 'NUL in a command';
for my $first ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . ('x' x 64)) {
	my ($o, $c) = raw(session(), $first, 3);
	ok $c, 'another protocol is dropped: ' . substr($first, 0, 4) =~ s/[^ -~]/?/gr;
	unlike $o, qr/^250/m, 'with no success';
}
($out, $closed) = raw(session(), "EHLO x.example\r\nMAIL FROM:<a\@b.example>\r\n", 2);
ok $closed || $out =~ /^5\d\d/m, 'pipelining past EHLO is refused on the relay port' or diag $out;

# --- STARTTLS
my $s = session($p->{submission});
talk($s, @hello);
($out, $closed) = raw($s, "STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<a\@b.example>\r\n", 3);
unlike $out, qr/^220/m, 'plaintext behind STARTTLS: no 220';
ok $closed, 'and the connection is dropped';
$s = session($p->{submission});
talk($s, @hello);
like talk($s, 'STARTTLS x'), qr/^501 5\.5\.4/, 'STARTTLS with an argument';
like talk($s, 'AUTH PLAIN AHUAc2VjcmV0'), qr/^53[08] 5\.7\.\d+/, 'AUTH without TLS';
like talk($s, 'MAIL FROM:<a@b.example>'), qr/^530 5\.7\.0/, 'MAIL before STARTTLS and AUTH on submission';
like talk($s, 'STARTTLS'), qr/^220/, 'STARTTLS';
IO::Socket::SSL->start_SSL($s, SSL_verify_mode => 0) or die "TLS: $SSL_ERROR";
like talk($s, 'MAIL FROM:<a@b.example>'), qr/^50[03]|^530/, 'EHLO is forgotten after STARTTLS';
unlike talk($s, @hello), qr/STARTTLS/, 'STARTTLS is not offered inside TLS';
like talk($s, 'STARTTLS'), qr/^50[23]|^554/, 'nor taken';
like talk($s, 'AUTH CRAM-MD5'), qr/^504 5\.5\.4/, 'unknown mechanism';
like talk($s, 'AUTH PLAIN !!!'), qr/^501 5\.5\.[24]/, 'bad base64';
like talk($s, 'AUTH PLAIN AHUAd3Jvbmc='), qr/^535 5\.7\.8/, 'wrong password';
like talk($s, 'AUTH PLAIN AHUAc2VjcmV0'), qr/^235 2\.7\.0/, 'right password';
like talk($s, 'AUTH PLAIN AHUAc2VjcmV0'), qr/^503 5\.5\.1/, 'AUTH twice';
talk($s, 'MAIL FROM:<a@b.example>', 'RCPT TO:<mid@x.example>');
like talk($s, 'AUTH PLAIN AHUAc2VjcmV0'), qr/^503 5\.5\.1/, 'AUTH in a transaction';
# close_notify in mid-BDAT, then a plaintext byte: the connection is over.
print $s "BDAT 100 LAST\r\n0123456789";
$s->flush;
$s->close(SSL_no_shutdown => 0);

# --- BDAT and sizes
for my $bad ('BDAT 99999999999999999999 LAST', 'BDAT -1', 'BDAT 0x10', 'BDAT 5 last x') {
	my $c = session();
	talk($c, @tx);
	my ($o, $cl) = raw($c, "$bad\r\n", 3);
	like $o, qr/^5(?:21|01) 5\.5\.4/, "$bad";
}
$s = session();
like talk($s, @hello, 'MAIL FROM:<a@b.example> SIZE=1000000000000'), qr/^552 5\.3\.4/, 'SIZE over the limit';
$s = session();
talk($s, @tx);
like +(raw($s, "BDAT 250000\r\n" . ('x' x 250000), 5))[0], qr/^552 5\.3\.4/, 'BDAT over the limit: octets swallowed, 552';
like talk($s, 'DATA'), qr/^503 5\.5\.1/, 'no DATA without a new transaction';
like talk($s, 'RSET'), qr/^250/, 'RSET';
like talk($s, 'MAIL FROM:<a@b.example>', 'RCPT TO:<after@x.example>'), qr/^250/, 'and all is well again';
like talk($s, 'RSET', @tx[1 .. 2], 'DATA'), qr/^354/, 'DATA';
like +(raw($s, "Subject: x\r\n\r\n" . ("y" x 70 . "\r\n") x 4000 . ".\r\n", 5))[0], qr/^552 5\.3\.4/, 'DATA over the limit';
like talk($s, 'RCPT TO:<c@x.example>'), qr/^503 5\.5\.1/, 'the envelope is gone after a refused end of data';
like talk($s, 'DATA'), qr/^503 5\.5\.1/, 'so no second message slips through';
$s = session();
talk($s, @tx);
raw($s, "BDAT 3\r\nabc", 1);
like talk($s, 'DATA'), qr/^503 5\.5\.1/, 'DATA after BDAT';
$s = session();
talk($s, @tx);
raw($s, "BDAT 3\r\nabc", 1);
like talk($s, 'RCPT TO:<late@x.example>'), qr/^503 5\.5\.1/, 'RCPT after BDAT';
like talk(session(), @hello, 'MAIL FROM:<a@b.example> BODY=BINARYMIME'), qr/^5(?:01|55) 5\.5\.4/, 'BINARYMIME is not offered';
$s = session();
talk($s, @tx);
talk($s, "VRFY \xc3\xa4");
like talk($s, 'DATA'), qr/^354/, 'VRFY leaves the transaction alone';

# --- resources
$s = session();
talk($s, @hello);
my $last = '';
for (1 .. 150) { $last = talk($s, 'NOOP') // 'gone'; last if $last !~ /^250/ }
like $last, qr/^421 4\.7\.0|^gone/, 'endless NOOP ends with 421';
$s = session();
talk($s, @hello);
for (1 .. 30) { $last = talk($s, 'FOO') // 'gone'; last if $last =~ /^421|^gone/ }
like $last, qr/^421 4\.7\.0|^gone/, 'endless errors end with 421';
$s = session();
talk($s, @hello, 'MAIL FROM:<a@b.example>');
my %codes;
for my $i (1 .. 1100) { my $r = talk($s, "RCPT TO:<r$i\@x.example>") // last; $codes{ substr $r, 0, 9 }++ }
is $codes{'250 2.1.5'}, 1000, 'a thousand recipients';
ok $codes{'452 4.5.3'}, 'more are refused with 452 4.5.3';
$s = session();
talk($s, @hello);
like PosthornTest::reply($s, 20) // '421 gone', qr/^421 4\.4\.2/, 'an idle session times out with 421';
$s = session();
talk($s, @tx, 'DATA');
my $r = '';
for (1 .. 40) { last if !syswrite $s, "x\r\n"; my $v = ''; vec($v, fileno($s), 1) = 1; if (select $v, undef, undef, 0.4) { $r = PosthornTest::reply($s, 5) // 'closed'; last } }
like $r, qr/^421 4\.4\.2|^closed/, 'a DATA phase that drips is ended by its total time';

# --- addresses and relaying
my %rcpt = ('<>' => qr/^5(?:01|53)/, '<a@b@x.example>' => qr/^501 5\.1\.3/, '<a@x..example>' => qr/^501 5\.1\.3/,
	'<@x.example>' => qr/^501 5\.1\.3/, '<a b@x.example>' => qr/^501 5\.1\.3/, "<\xc3\xa4\@x.example>" => qr/^553 5\.6\.7/,
	'<' . ('l' x 65) . '@x.example>' => qr/^501 5\.1\.3/, '<a@' . ('d' x 64) . '.example>' => qr/^501 5\.1\.3/,
	'<postmaster>' => qr/^250/, '<a%victim@x.example>' => qr/^250/, '<victim!a@x.example>' => qr/^250/,
	'<a@x.example> ORCPT=rfc822;a+0D+0Ab' => qr/^501 5\.5\.4/, '<a@x.example> NOTIFY=NEVER,FAILURE' => qr/^501 5\.5\.4/,
	'<a@x.example> FOO=bar' => qr/^5(?:01|55) 5\.5\.4/);
for my $a (sort keys %rcpt) {
	my $c = session();
	talk($c, @hello, 'MAIL FROM:<a@b.example>');
	like talk($c, "RCPT TO:$a"), $rcpt{$a}, 'RCPT TO:' . (length $a > 60 ? substr($a, 0, 30) . '...' : $a) =~ s/[^ -~]/?/gr;
}
$s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port, LocalAddr => '127.0.0.9', Proto => 'tcp') or die $!;
PosthornTest::reply($s);
like talk($s, @hello, 'MAIL FROM:<a@b.example>', 'RCPT TO:<victim@elsewhere.example>'), qr/^55[04] 5\.7\.1/, 'no relaying for strangers';
like talk($s, 'RCPT TO:<"a@victim.example"@elsewhere.example>'), qr/^55[04] 5\.7\.1/, 'not for quoted tricks either';
like talk($s, 'XCLIENT ADDR=127.0.0.1'), qr/^5(?:50 5\.7\.0|02|00|03|01)/, 'XCLIENT from a stranger';
$s = session();
talk($s, @tx, 'DATA');
like +(raw($s, ("Received: from a by b; x\r\n" x 101) . "\r\nx\r\n.\r\n", 4))[0], qr/^554 5\.4\.6/, 'a mail loop';
$s = session();
talk($s, @tx, 'DATA');
like +(raw($s, "X: " . ("y" x 70 . "\r\n ") x 2000 . "\r\n\r\nx\r\n.\r\n", 4))[0], qr/^55[024] 5\.(?:3\.4|6\.0)/, 'a header block over the limit';

# --- dot-stuffing at every split
my $text = "Subject: split\r\nX-Test-Id: split\r\n\r\na\r\n..b\r\n...\r\nc\r\n.\r\n";
my $splits = 0;
for my $at (1 .. length($text) - 1) {
	my $c = session();
	talk($c, @tx[0 .. 1], 'RCPT TO:<split@x.example>', 'DATA');
	syswrite $c, substr $text, 0, $at;
	select undef, undef, undef, 0.002;
	syswrite $c, substr $text, $at;
	$splits++ if (PosthornTest::reply($c) // '') =~ /^250/;
}
is $splits, length($text) - 1, 'accepted at every split';
$p->wait_for('splits', sub { (grep { $_->{id} eq 'split' } $p->ledger) >= $splits }, 60);
my %crc = map { $_->{crc} => 1 } grep { $_->{id} eq 'split' } $p->ledger;
is scalar keys %crc, 1, 'and the same message each time';

# --- none of the refused messages is anywhere, and the log has no raw controls
ok !(grep { $_->{rcpt} =~ /smuggled|late|mid@/ } $p->ledger), 'nothing smuggled was delivered';
ok !(grep { /[\x00-\x08\x0b-\x1f\x7f]/ } map { PosthornTest::slurp($_) } glob $p->log_dir . '/events/*'), 'no raw controls in the event log';
ok PosthornTest::slurp($p->dir . '/posthorn.err') !~ /[\x00-\x08\x0b-\x1f\x7f]/, 'nor in the program log';
like talk(session(), @tx), qr/^250/, 'and smtpd still serves';
done_testing;
