# The loop that keeps a sender's reputation: an unknown user bounces, is suppressed with what is known of it, and is not mailed again.
# Requests that bouncerd was not there to take wait for it, over kills of queued.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', smtpd_suppressed => 'reject', smtpd_recipient_limit => 100 },
	bounce_rules => PosthornTest::slurp('conf/bounce_rules'));
$p->sink->start;

sub rcpt {
	my ($rcpt) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>';
	return PosthornTest::say_smtp($s, "RCPT TO:<$rcpt>");
}
sub send_one {
	my ($rcpt, @more) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>', "RCPT TO:<$rcpt>", 'DATA';
	like PosthornTest::say_smtp($s, join '', map { "$_\r\n" } @more, 'Subject: x', '', 'hello', '.'), qr/^250/, "$rcpt accepted";
}
sub of { my ($rcpt, $type) = @_; return grep { ($_->{recipient} // '') eq $rcpt && $_->{type} eq $type } $p->events }
sub check { my ($rcpt) = @_; my @r = $p->json('suppress', 'check', $rcpt); return grep { defined $_->{reason} } @r }
sub outbox { my ($s) = $p->json('status'); return $s->{queue}{outbox} // $s->{outbox} // {} }

# unknown user -> Bounce with its class -> suppressed -> next RCPT refused -> visible with provenance
my $gone = 'unknown-1@a.example';
like rcpt($gone), qr/^250/, 'at first it is like any other';
send_one($gone);
ok $p->wait_for('a bounce', sub { of($gone, 'Bounce') }, 30), 'bounced';
my ($bounce) = of($gone, 'Bounce');
is "$bounce->{bounce_classification} $bounce->{bounce}{cause}", 'InvalidRecipient rcpt_unknown', '... of its class';
ok $p->wait_for('suppressed', sub { check($gone) }, 30), 'suppressed';
my ($row) = check($gone);
is "$row->{scope} $row->{reason} $row->{origin}", 'global hard-bounce reply', 'where, why, by what' or diag explain $row;
is $row->{event_id}, $bounce->{id}, 'the message that it came from';
like $row->{note}, qr/^550 5\.1\.1 .*User unknown/, 'the reply';
ok $p->wait_for('refused', sub { rcpt($gone) =~ /^550 5\.7\.1 / }, 30), 'the next RCPT is refused' or diag rcpt($gone);
like rcpt('other@a.example'), qr/^250/, 'others are not';

# A list from elsewhere may say anything; the reply to RCPT is one line all the same.
my ($csv) = ($p->posthorn('suppress', 'export'))[1];
my ($head) = $csv =~ /\A(.*)\n/;
my ($line) = $csv =~ /^(unknown-1\@a\.example,.*)$/m;
ok $line =~ s/^unknown-1/two-lines/ && $line =~ s/rcpt_unknown/"x\n250 2.1.5 Ok"/, 'a cause of two lines' or diag $csv;
PosthornTest::write_file($p->dir . '/two.csv', "$head\n$line\n");
is +($p->posthorn('suppress', 'import', $p->dir . '/two.csv'))[0], 0, '... is imported';
my $s = $p->connect_smtp;
PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>';
like PosthornTest::say_smtp($s, 'RCPT TO:<two-lines@a.example>'), qr/^550 5\.7\.1 .* since .*\r\n\z/, 'one line';
like PosthornTest::say_smtp($s, 'NOOP'), qr/^250 2\.0\.0 /, '... and the next command has its own';

# They are no mistakes, and yet not without end in one transaction.
$s = $p->connect_smtp;
PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>';
is scalar(grep { PosthornTest::say_smtp($s, "RCPT TO:<$gone>") =~ /^550 5\.7\.1 / } 1 .. 100), 100, 'each is refused';
like PosthornTest::say_smtp($s, "RCPT TO:<$gone>"), qr/^452 4\.5\.3 /, '... and then another transaction is due';
PosthornTest::say_smtp($s, $_) for 'RSET', 'MAIL FROM:<s@sender.example>';
like PosthornTest::say_smtp($s, 'RCPT TO:<other@a.example>'), qr/^250/, '... which goes on';

# Blocks suppress nobody, nor does what is not for good.
send_one('full-1@a.example');
ok $p->wait_for('a failure', sub { of('full-1@a.example', 'TransientFailure') }, 30), 'a full mailbox';
is scalar(check('full-1@a.example')), 0, '... is not suppressed by one reply';

# bouncerd away, queued killed: nothing is lost.
my ($d) = grep { $_->{name} eq 'bouncerd' } map { @{ $_->{daemons} // [] } } $p->json('status');
ok $d->{pid}, 'bouncerd runs';
kill 'STOP', $d->{pid}, map { /(\d+)/ } qx(pgrep -P $d->{pid});
send_one("unknown-$_\@b.example") for 2 .. 6;
ok $p->wait_for('bounces', sub { 5 == grep { of("unknown-$_\@b.example", 'Bounce') } 2 .. 6 }, 30), 'five bounced';
ok $p->wait_for('outbox', sub { (outbox()->{suppressions} // 0) >= 5 }, 30), 'five wait on disk' or diag explain outbox();
my ($q) = grep { $_->{name} eq 'queued' } map { @{ $_->{daemons} // [] } } $p->json('status');
kill 'KILL', $q->{pid};
ok $p->wait_for('queued is back', sub { my ($s) = eval { grep { $_->{name} eq 'queued' } map { @{ $_->{daemons} // [] } } $p->json('status') };
	$s && $s->{pid} && $s->{pid} != $q->{pid} && ($s->{state} // '') ne 'down' && defined outbox()->{suppressions} }, 60), 'queued was killed and is back';
is outbox()->{suppressions}, 5, 'they still wait';
kill 'CONT', $d->{pid}, map { /(\d+)/ } qx(pgrep -P $d->{pid});
ok $p->wait_for('suppressed', sub { 5 == grep { check("unknown-$_\@b.example") } 2 .. 6 }, 60), 'bouncerd goes on: all are suppressed';
ok $p->wait_for('outbox', sub { (outbox()->{suppressions} // 1) == 0 }, 30), 'nothing is left to say';
is $p->stop, 0, 'stops';
done_testing;
