# Bounces that come as mail, end to end: a message goes out with a return path that names its recipient, what comes back to that is
# written down against recipient, tenant and campaign, and suppresses only what a signature of ours proves.
use strict;
use warnings;
use Test::More;
use PosthornTest;
use Corpus;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, mynetworks => '127.0.0.9/32', verp_lifetime => '10d' },
	bounce_rules => PosthornTest::slurp('conf/bounce_rules'));
$p->sink('-b', $p->dir . '/bodies');
$p->{policy} = $p->default_policy . <<'L';
posthorn.listener_domain { name = 'bounces.shop.example', log_oob = true }
posthorn.sender_domain { name = 'shop.example', verp_domain = 'bounces.shop.example', verp_prefix = 'ret' }
L
$p->start;

sub dialogue {
	my ($local, $from, $to, $text) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port, LocalAddr => $local, Timeout => 10) or die "connect: $!";
	PosthornTest::reply($s);
	PosthornTest::say_smtp($s, 'EHLO host.example');
	PosthornTest::say_smtp($s, "MAIL FROM:<$from>");
	my $r;
	for (ref $to ? @$to : $to) { $r = PosthornTest::say_smtp($s, "RCPT TO:<$_>"); return $r unless $r =~ /^250/ }
	PosthornTest::say_smtp($s, 'DATA');
	$text =~ s/\r?\n/\r\n/g;
	$text =~ s/^\./../mg;
	return PosthornTest::say_smtp($s, "$text\r\n.");
}
sub outgoing { my ($from, $to, $id) = @_; return dialogue('127.0.0.9', $from, $to, "From: <$from>\nSubject: offers\nMessage-ID: <$id\@shop.example>\nX-Tenant: promotional\nX-Campaign: autumn\n\nDear reader") }
sub bounce { my ($to, $text, $from) = @_; return dialogue('127.0.0.1', $from // '', $to, $text) }
sub sent { my ($rcpt) = @_; return $p->wait_for("mail for $rcpt", sub { (grep { $_->{rcpt} eq $rcpt } $p->ledger)[0] }, 30) }
sub content { my ($id) = @_; return (grep { /^Message-ID: <\Q$id\E\@/m } map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*')[0] }
sub oob { my ($to) = @_; return grep { $_->{oob}{to} eq $to } $p->events('OOB') }
sub wait_oob { my ($to, $n) = @_; return $p->wait_for("record of $to", sub { my @r = oob($to); @r >= ($n // 1) ? $r[-1] : undef }, 30) // {} }
sub is_listed { my ($address) = @_; my ($st, $out) = $p->posthorn('suppress', 'check', $address); return $out =~ /hard-bounce/ }
sub report {
	my ($rcpt, $original, $diagnostic) = @_;
	$diagnostic //= '550 5.1.1 User unknown';
	my ($headers) = defined $original ? $original =~ /^(.*?\r?\n)\r?\n/s : "Subject: x\n";
	return <<"M";
From: MAILER-DAEMON\@mx.remote.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

It failed.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.remote.example

Final-Recipient: rfc822; $rcpt
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; $diagnostic

--b
Content-Type: text/rfc822-headers

$headers
--b--
M
}

# Each recipient has a return path of its own, however odd its address; mail of other domains and the null sender keep theirs.
like outgoing('news@shop.example', ['ann@one.example', 'bob@one.example', '"odd+\\"x"@one.example'], 'm1'), qr/^250/, 'a message for three goes out';
my %verp = map { $_ => sent($_)->{sender} } 'ann@one.example', 'bob@one.example', '"odd+\\"x"@one.example';
like $_, qr/^ret\+[a-z2-7]{48}\@bounces\.shop\.example$/, 'a return path of ours' for values %verp;
is scalar(keys %{ { reverse %verp } }), 3, 'each its own';
like outgoing('news@other.example', 'eve@one.example', 'm2'), qr/^250/, 'another sender';
is sent('eve@one.example')->{sender}, 'news@other.example', 'keeps its sender';
like dialogue('127.0.0.9', '', 'null@one.example', "Subject: x\n\nx"), qr/^250/, 'the null sender';
is sent('null@one.example')->{sender}, '', 'stays';
is +(grep { $_->{recipient} eq 'ann@one.example' } $p->events('Delivery'))[0]{sender}, 'news@shop.example', 'the record has the sender that was given';

# A bounce that returns our headers.
my $ann = $verp{'ann@one.example'};
like bounce($ann, report('ann@one.example', content('m1'))), qr/^250/, 'its bounce is taken at port 25 from a stranger';
my $e = wait_oob($ann);
is $e->{recipient}, 'ann@one.example', 'recipient';
is $e->{tenant}, 'promotional', 'tenant';
is $e->{campaign}, 'autumn', 'campaign';
is $e->{bounce_classification}, 'InvalidRecipient', 'classification';
is $e->{response}{code}, 550, 'code';
ok $e->{oob}{trusted}, 'proven';
is $e->{oob}{proof}, 'verp', 'by the return path';
is $e->{oob}{suppressed}, 'global', 'suppressed';
ok $p->wait_for('end', sub { grep { $_->{recipient} eq $ann && $_->{delivery_protocol} eq 'OOB' } $p->events('Delivery') }, 20), 'the bounce ends with a record';
ok is_listed('ann@one.example'), 'on the list';

# The same again is a duplicate; altered, it is forged; without headers and in prose the return path is enough to know the message.
bounce($ann, report('ann@one.example', content('m1')));
ok wait_oob($ann, 2)->{oob}{duplicate}, 'replayed: said to be there before';
my $forged = $verp{'bob@one.example'} =~ s/\+(.)/'+' . ($1 eq 'a' ? 'b' : 'a')/er;
bounce($forged, report('bob@one.example'));
$e = wait_oob($forged);
ok !$e->{oob}{trusted}, 'an altered return path proves nothing';
is $e->{oob}{suppressed}, undef, 'and nobody is suppressed';
ok !is_listed('bob@one.example'), 'not on the list';
bounce('ret@bounces.shop.example', report('victim@one.example'));
$e = wait_oob('ret@bounces.shop.example');
is $e->{recipient}, 'victim@one.example', 'without any proof: what it says is written down';
is $e->{oob}{recipient_by}, 'report', 'as its own word';
ok !is_listed('victim@one.example'), 'and nothing comes of it';
bounce($verp{'bob@one.example'}, report('victim@one.example'));
$e = wait_oob($verp{'bob@one.example'});
ok !is_listed('victim@one.example'), 'a return path of another recipient suppresses nobody else';
is $e->{recipient}, 'bob@one.example', 'but the one that it is of, whom our own log names';
is $e->{sender}, 'news@shop.example', 'with the sender';

# The trace header alone, at an address that has no token.
like outgoing('news@other.example', 'dan@one.example', 'm3'), qr/^250/, 'mail without VERP';
sent('dan@one.example');
bounce('any@bounces.shop.example', report('dan@one.example', content('m3')));
$e = wait_oob('any@bounces.shop.example');
is $e->{oob}{proof}, 'trace', 'proven by the trace header';
is $e->{recipient}, 'dan@one.example', 'recipient';
ok is_listed('dan@one.example'), 'suppressed';

# Real shapes, each to the return path of a message of its own.
my @shapes = grep { $_->{kind} eq 'failed' && !$_->{held} && ($_->{rcpt} // '') !~ /,/ } Corpus::read('t/data/dsn/standard.txt', 't/data/dsn/prose.txt');
@shapes = @shapes[0 .. 19] if @shapes > 20;
my $n = 0;
for my $m (@shapes) {
	my $rcpt = 's' . $n++ . '@shapes.example';
	outgoing('news@shop.example', $rcpt, "shape-$n");
	my $path = sent($rcpt)->{sender};
	(my $text = $m->{text}) =~ s/^Return-Path:.*\n//mi;
	like bounce($path, $text), qr/^250/, "$m->{name} is taken";
	my $r = wait_oob($path);
	is $r->{oob}{kind}, 'failed', "$m->{name}: a failure";
	is $r->{oob}{proof}, 'verp', 'of a message of ours';
	is "$r->{recipient} $r->{tenant} $r->{campaign}", "$rcpt promotional autumn", 'and whose it was, by our own log';
}

# An automatic reply is none; a question of a person is refused.
like outgoing('news@shop.example', 'away@one.example', 'm4'), qr/^250/, 'mail to somebody on holidays';
my $away = sent('away@one.example')->{sender};
bounce($away, "From: away\@one.example\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nBack on Monday");
$e = wait_oob($away);
is $e->{oob}{kind}, 'auto-reply', 'an automatic reply is recognised';
is $e->{bounce_classification}, 'AutoReply', 'and counted as such';
ok !is_listed('away@one.example'), 'nobody is suppressed';

# What attacks: read in bounds, and the daemon goes on.
my $deep = join '', map { "Content-Type: multipart/mixed; boundary=b$_\n\n--b$_\n" } 1 .. 10_000;
like bounce('deep@bounces.shop.example', "Subject: deep\n$deep"), qr/^250/, '10,000 levels of MIME';
like bounce('long@bounces.shop.example', 'X-Long: ' . join("\n ", ('x' x 900) x 1100) . "\n" . report('long@one.example')), qr/^250|^552/, 'a megabyte of headers';
like bounce('junk@bounces.shop.example', join '', map { chr(33 + $_ % 90) . ($_ % 70 ? '' : "\n") } 1 .. 100_000), qr/^250/, 'garbage';
ok $p->wait_for("$_ ends", sub { my $to = "$_\@bounces.shop.example"; grep { $_->{recipient} eq $to } $p->events('Bounce'), $p->events('Delivery') }, 60), "$_: ends" for qw(deep junk);

# bouncerd restarted, its reading role killed, while bounces come: none is lost.
my @paths;
for my $i (1 .. 30) { outgoing('news@shop.example', "r$i\@restart.example", "r$i") }
push @paths, sent("r$_\@restart.example")->{sender} for 1 .. 30;
for my $i (0 .. 29) {
	like bounce($paths[$i], report('r' . ($i + 1) . '@restart.example')), qr/^250/, 'taken' if $i % 10 == 0;
	bounce($paths[$i], report('r' . ($i + 1) . '@restart.example')) if $i % 10;
	if ($i == 10) { is +($p->posthorn('restart', 'bouncerd'))[0], 0, 'restart bouncerd' }
	if ($i == 20) { kill 'KILL', grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /\0-r\0parse\0/ } $p->daemon_pids('bouncerd') }
}
for my $path (@paths) {
	$p->wait_for("record of $path", sub { oob($path) }, 60) or fail 'a bounce was lost';
}
pass 'every bounce has its record';
is $p->stop, 0, 'stops cleanly';
done_testing;
