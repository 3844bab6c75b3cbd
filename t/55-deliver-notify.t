# NOTIFY=SUCCESS (RFC 3461 section 5.2): who is handed the message together with the request says so itself; if that server cannot,
# the sender gets a `relayed' notice, once.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, smtp_idle_timeout => '1s' });
$p->sink('-b', $p->dir . '/bodies')->start;

sub send_one {
	my ($from, $rcpt, $args) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', "MAIL FROM:<$from>", "RCPT TO:<$rcpt>$args", 'DATA';
	like PosthornTest::say_smtp($s, "Subject: x\r\n\r\nhello\r\n."), qr/^250/, "$rcpt accepted";
	ok $p->wait_for('delivery', sub { grep { $_->{rcpt} eq $rcpt } $p->ledger }, 30), '... and delivered';
}
sub notices { grep { $_->{sender} eq '' } $p->ledger }

send_one('able@shop.example', 'a@x.example', ' NOTIFY=SUCCESS,FAILURE');
send_one('mark@shop.example', 'mark@x.example', ''); # later: a notice would have been on its way before it
is scalar(notices()), 0, 'no notice of ours when the server offers DSN';

$p->stop_sink;
sleep 2; # connections to it are closed
$p->sink('-n', '-b', $p->dir . '/bodies');
send_one('unable@shop.example', 'b@x.example', ' NOTIFY=SUCCESS,FAILURE');
send_one('silent@shop.example', 'c@x.example', ' NOTIFY=FAILURE');
ok $p->wait_for('notice', sub { notices() }, 30), 'a notice when it does not';
send_one('mark@shop.example', 'mark2@x.example', '');
is_deeply [map { $_->{rcpt} } notices()], ['unable@shop.example'], '... to that sender, and no other';
my ($dsn) = grep { /^To: <?unable\@/m } map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*';
like $dsn, qr/^Action: relayed\r$/m, '... which says relayed';
like $dsn, qr/^Final-Recipient: rfc822; ?b\@x\.example\r$/m, '... of that recipient';
like $dsn, qr/^Diagnostic-Code: smtp; 250 /m, '... with the reply';
done_testing;
