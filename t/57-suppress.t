# The suppression list: mail to who is on it is accepted and ended, or refused where that is wanted; mail that was queued before is stopped;
# an unknown user gets onto it by itself, with where from; lists of other services come in while mail flows, and whatever was said to be in it
# is in it, also if the daemon is killed; a list that is damaged holds mail and lets nobody be mailed.
use strict;
use warnings;
use Test::More;
use PosthornTest;
use MIME::Base64;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1s', smtpd_tls_auth_only => 'no' }, tls => 1,
	bounce_rules => PosthornTest::slurp('conf/bounce_rules'),
	users => [['strict', 'secret', '--tenant', 'acme', '--suppressed', 'reject'], ['mautic', 'secret']]);
$p->sink->start;

sub login {
	my ($user) = @_;
	my $s = $p->connect_smtp($p->{submission});
	PosthornTest::say_smtp($s, 'EHLO x.example');
	like PosthornTest::say_smtp($s, 'AUTH PLAIN ' . encode_base64("\0$user\0secret", '')), qr/^235/, "$user logs in";
	return $s;
}

sub send_to {
	my ($rcpt, $from, @headers) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<' . ($from // 's@sender.example') . '>';
	my $r = PosthornTest::say_smtp($s, "RCPT TO:<$rcpt>");
	return $r if $r !~ /^250/;
	PosthornTest::say_smtp($s, 'DATA');
	return PosthornTest::say_smtp($s, join("\r\n", @headers, 'Subject: x', '', 'hello', '.'));
}

sub of { my ($rcpt, $type) = @_; return grep { ($_->{recipient} // '') eq $rcpt && $_->{type} eq $type } $p->events }

sub ends_suppressed {
	my ($rcpt, $why) = @_;
	ok $p->wait_for("end of $rcpt", sub { of($rcpt, 'AdminBounce') }, 30), "$why: ended";
	my ($e) = of($rcpt, 'AdminBounce');
	is $e->{bounce_classification}, 'Suppressed', "$why: class";
	return $e->{response}{content};
}

# By hand.
my ($st, $out, $err) = $p->posthorn('suppress', 'check', 'ann@a.example');
is $st, 0, 'check' or diag $err;
like $out, qr/is not suppressed/, 'nobody is, at first';
($st, $out, $err) = $p->posthorn('suppress', 'add', 'Ann@A.example', '--note', 'asked by phone');
is $st, 0, 'add' or diag $err;
like $out, qr/^ann\@a\.example: added$/m, 'added, as it is compared';
($st, $out) = $p->posthorn('suppress', 'add', 'ann@a.example');
like $out, qr/unchanged/, 'twice is the same as once';
like send_to('ann@a.example'), qr/^250/, 'a suppressed recipient is accepted';
like ends_suppressed('ann@a.example', 'by hand'), qr/suppressed: manual since .*, scope global.*asked by phone/, 'the record says why';
is scalar(of('ann@a.example', 'Delivery')), 0, '... it is not delivered';
is scalar(grep { $_->{type} eq 'Reception' && $_->{recipient} eq 's@sender.example' } $p->events), 0, '... and no notice goes to the sender';
($st, $out) = $p->posthorn('explain', 'ann@a.example');
like $out, qr/suppressed: manual/, 'explain says so';

# Refused, for a user who is to be told.
my $s = login('strict');
PosthornTest::say_smtp($s, 'MAIL FROM:<s@sender.example>');
like PosthornTest::say_smtp($s, 'RCPT TO:<ann@a.example>'), qr/^550 5\.7\.1 .*suppressed: manual/, 'refused at RCPT, with the reason';
like PosthornTest::say_smtp($s, 'RCPT TO:<ANN@a.example>'), qr/^550/, '... however it is written' for 1 .. 30;
like PosthornTest::say_smtp($s, 'RCPT TO:<bob@a.example>'), qr/^250/, '... which is no mistake of the client';
$s = login('mautic');
PosthornTest::say_smtp($s, 'MAIL FROM:<s@sender.example>');
like PosthornTest::say_smtp($s, 'RCPT TO:<ann@a.example>'), qr/^250/, 'another user is not told';
my ($rejection) = of('ann@a.example', 'Rejection');
is $rejection->{bounce_classification}, 'Suppressed', 'the refusal is recorded as that';

# Scopes.
is scalar(($p->posthorn('suppress', 'add', 'tom@a.example', '--tenant', 'acme', '--reason', 'complaint', '--expires', '90d'))[0]), 0, 'for a tenant';
is scalar(($p->posthorn('suppress', 'add', 'eve@a.example', '--sender-domain', 'shop.example', '--reason', 'unsubscribe'))[0]), 0, "for a sender's domain";
is scalar(($p->posthorn('suppress', 'add', 'gone.example'))[0]), 0, 'a whole domain';
like send_to('tom@a.example', undef, 'X-Tenant: acme'), qr/^250/, 'the tenant comes with the header';
ends_suppressed('tom@a.example', 'tenant');
like send_to('eve@a.example', 'news@shop.example'), qr/^250/, "of the sender's domain";
ends_suppressed('eve@a.example', "sender's domain");
like send_to('who@gone.example'), qr/^250/, 'of a domain';
ends_suppressed('who@gone.example', 'domain');
send_to('tom@a.example', 's@other.example', 'X-Tenant: other');
send_to('eve@a.example', 's@other.example');
ok $p->wait_for('others', sub { of('tom@a.example', 'Delivery') && of('eve@a.example', 'Delivery') }, 30), 'others may mail them';

# What was queued before.
send_to('defer-9@a.example');
ok $p->wait_for('deferred', sub { of('defer-9@a.example', 'TransientFailure') }, 30), 'deferred';
is scalar(($p->posthorn('suppress', 'add', 'defer-9@a.example'))[0]), 0, 'then suppressed';
ends_suppressed('defer-9@a.example', 'queued before');

# By itself.
send_to('unknown-7@a.example');
ok $p->wait_for('bounce', sub { of('unknown-7@a.example', 'Bounce') }, 30), 'an unknown user bounces';
my $row;
ok $p->wait_for('on the list', sub { ($row) = $p->json('suppress', 'check', 'unknown-7@a.example'); $row }, 30), '... is on the list';
is $row->{reason}, 'hard-bounce', '... as that' or diag explain $row;
is $row->{event_id}, (of('unknown-7@a.example', 'Bounce'))[0]{id}, '... with the message it was';
send_to('unknown-7@a.example');
ends_suppressed('unknown-7@a.example', 'the next one');

# Out again.
($st, $out) = $p->posthorn('suppress', 'remove', 'ann@a.example', 'nobody@a.example');
like $out, qr/^ann\@a\.example: removed\nnobody\@a\.example: was not on the list/, 'remove';
send_to('ann@a.example');
ok $p->wait_for('delivered', sub { of('ann@a.example', 'Delivery') }, 30), 'mailed again';

# Many at once, while mail flows; the daemon is killed in between.
my $list = $p->dir . '/million.csv';
my $n = $ENV{POSTHORN_SUPPRESS_ROWS} // 1_000_000;
open my $f, '>', $list or die;
print $f "\xef\xbb\xbfemail,reason,status,created\r\n";
printf $f "user%07d\@d%d.example,550 no such user,5.1.1,1700000000\r\n", $_, $_ % 1000 for 1 .. $n;
print $f "soft\@d1.example,452 full,4.2.2,1700000000\r\nnot an address,550,5.1.1,1\r\n";
close $f;
my $load = $p->load_start('-m', 300, '-c', 3);
my ($o, $e) = map { $p->dir . "/import.$_" } qw(out err);
my $pid = fork // die;
if (!$pid) {
	open STDOUT, '>', $o; open STDERR, '>', $e;
	exec "$PosthornTest::build/sbin/posthorn", '-c', $p->etc, '--json', 'suppress', 'import', $list or POSIX::_exit(127);
}
ok $p->wait_for('some of it', sub { (($p->json('suppress', 'stats'))[0]{total} // 0) > 1000 }, 60), 'an import is under way';
kill 'KILL', $p->daemon_pids('bouncerd');
waitpid $pid, 0;
is $? >> 8, 1, 'import says that a line was bad' or diag PosthornTest::slurp($e), PosthornTest::slurp($o);
my ($bad, $sum) = map { JSON::PP::decode_json($_) } split /\n/, PosthornTest::slurp($o);
is $bad->{line}, $n + 3, '... which one';
is $sum->{soft_bounces}, 1, '... and that a soft bounce was left out';
is $sum->{rows}, $n, '... all others were taken';
is $sum->{added} + $sum->{unchanged}, $n, '... and are there, though the daemon was killed';
my $load_report = $p->load_wait($load);
is $load_report->{status}, 0, 'mail went on meanwhile';
my ($stats) = $p->json('suppress', 'stats');
cmp_ok $stats->{total}, '>=', $n, 'the list has them';
for my $i (1, int($n / 2), $n) {
	my ($found) = $p->json('suppress', 'check', sprintf('USER%07d@d%d.example', $i, $i % 1000));
	is $found->{reason}, 'hard-bounce', "number $i";
}
send_to(sprintf 'user%07d@d%d.example', 7, 7);
ends_suppressed(sprintf('user%07d@d%d.example', 7, 7), 'an imported one');

# Out and in again: nothing is lost.
($st, $out, $err) = $p->posthorn('suppress', 'export', '--domain', 'd5.example', '--output', $p->dir . '/d5.csv');
is $st, 0, 'export' or diag $err;
my $before = PosthornTest::slurp($p->dir . '/d5.csv');
my @lines = split /\n/, $before;
is scalar(@lines), int($n / 1000) + 1, 'a domain of it';
is scalar(($p->posthorn('suppress', 'remove', map { /^([^,]+)/ } @lines[1 .. 20]))[0]), 0, 'some are removed';
($st, $out, $err) = $p->posthorn('suppress', 'import', $p->dir . '/d5.csv');
like $out, qr/^20 added, 0 updated, \d+ there already/, 'our own export is read back' or diag $err;
$p->posthorn('suppress', 'export', '--domain', 'd5.example', '--output', $p->dir . '/again.csv');
is PosthornTest::slurp($p->dir . '/again.csv'), $before, '... without loss';
is scalar(() = $p->json('suppress', 'list', '--domain', 'd5.example', '--limit', '7')), 7, 'list --limit';
($st, $out) = $p->posthorn('suppress', 'add', 'info@real.example.net', 'x@127.example.con');
($st, $out) = $p->posthorn('suppress', 'report');
like $out, qr/info\@real\.example\.net: an address of a function/, 'report: roles';

# Damage: mail waits, nobody is mailed, and it is said.
is $p->stop, 0, 'stops';
my $data = $p->queue_dir . '/suppress/data.mdb';
my $whole = PosthornTest::slurp($data);
open $f, '+<:raw', $data or die;
my $size = -s $data;
for (my $at = 8192; $at < $size; $at += 4096) { seek $f, $at + 16, 0; print $f "\xff" x 64 }
close $f;
$p->start_suite;
like send_to('dan@a.example'), qr/^250/, 'mail is accepted';
ok $p->wait_for('waits', sub { of('dan@a.example', 'Delayed') }, 30), '... and waits';
like +(of('dan@a.example', 'Delayed'))[0]{response}{content}, qr/suppression list .* cannot be read/, '... for a reason that is told';
$s = login('strict');
PosthornTest::say_smtp($s, 'MAIL FROM:<s@sender.example>');
like PosthornTest::say_smtp($s, 'RCPT TO:<dan@a.example>'), qr/^451 4\.3\.0 .*suppression list/, 'who is told is told to wait';
($st, undef, $err) = $p->posthorn('suppress', 'check', 'dan@a.example');
is $st, 1, 'check fails';
like $err, qr/suppression list .* cannot be used: .*import the last export/, '... and says what to do';
is scalar(of('dan@a.example', 'Delivery')), 0, 'nobody was mailed';
is $p->stop, 0, 'stops';
open $f, '>:raw', $data or die;
print $f $whole;
close $f;
$p->start_suite;
$p->posthorn('queue', 'retry', '--domain', 'a.example');
ok $p->wait_for('delivered', sub { of('dan@a.example', 'Delivery') }, 30), 'with the list mended it is delivered';
is $p->stop, 0, 'stops';
done_testing;
