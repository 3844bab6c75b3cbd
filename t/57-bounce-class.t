# What failures mean is in the event log: replies by the bounce rules that are shipped, what we say ourselves by what was being done, and
# other rules after a reload, all without a restart. The class chooses the retry schedule.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, maximal_queue_lifetime => '1h' }, bounce_rules => PosthornTest::slurp('conf/bounce_rules'),
    zone => <<'Z');
nothing.test. IN TXT "neither MX nor address"
null.test. IN MX 0 .
mute.test. IN MX 10 mx.mute.test.
mx.mute.test. IN A 127.0.0.99
Z
$p->{policy} = $p->default_policy . <<'LUA';
kumo.on('get_queue_config', function(domain)
  if domain == 'short.example' then
    return { retry_interval = '1s', max_age = '2s' }
  end
  return { retry_interval = '1h', max_retry_interval = '1h', retry_by_class = { QuotaIssues = { retry_interval = '1s' } } }
end)
LUA
$p->sink->start;

sub send_to {
	my ($rcpt) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>', "RCPT TO:<$rcpt>", 'DATA';
	like PosthornTest::say_smtp($s, "Subject: x\r\n\r\nhello\r\n."), qr/^250/, "$rcpt accepted";
}

sub of { my ($rcpt, $type) = @_; return grep { $_->{recipient} eq $rcpt && $_->{type} eq $type } $p->events }

sub class_is {
	my ($rcpt, $type, $class, $why) = @_;
	ok $p->wait_for("$type of $rcpt", sub { of($rcpt, $type) }, 30), "$rcpt: $type";
	is((of($rcpt, $type))[0]{bounce_classification}, $class, $why);
}

my @mail = (
	['unknown1@a.example', 'Bounce', 'InvalidRecipient', 'an unknown user'],
	['defer-1@a.example', 'TransientFailure', 'TransientFailure', 'greylisting'],
	['full-1@a.example', 'TransientFailure', 'QuotaIssues', 'a full mailbox'],
	['421rcpt-1@a.example', 'TransientFailure', 'SpamBlock', 'closed for policy'],
	['droprcpt-1@a.example', 'TransientFailure', 'BadConnection', 'a connection that breaks, which nobody said'],
	['x@null.test', 'Bounce', 'BadDomain', 'a null MX'],
	['x@mute.test', 'TransientFailure', 'NoAnswerFromHost', 'nobody there'],
	['full-1@short.example', 'Expiration', 'MessageExpired', 'expired'],
);
send_to($_->[0]) for @mail;
class_is(@$_) for @mail;
ok $p->wait_for('the schedule of the class', sub { of('full-1@a.example', 'TransientFailure') > 2 }, 30), 'a class has a schedule of its own';
is scalar(of('defer-1@a.example', 'TransientFailure')), 1, '... and others have theirs';

my ($status, $out) = $p->posthorn('bounce', '--domain', 'a.example', '--duration', '1m', '--reason', 'user unknown');
is $status, 0, 'bounce' or diag $out;
class_is('defer-1@a.example', 'AdminBounce', 'Administrative', 'what an operator ends is not taken for a reply, whatever he says');

# Other rules.
my $mine = $p->etc . '/mine';
PosthornTest::write_file($mine, "policy_rcpt /user unknown/\n\t550 user unknown\n");
my $cf = $p->etc . '/main.cf';
PosthornTest::write_file($cf, PosthornTest::slurp($cf) . "bounce_rules_files = $mine, " . $p->etc . "/bounce_rules\n");
($status, $out) = $p->posthorn('reload');
is $status, 0, 'reload' or diag $out;
send_to('unknown2@b.example');
class_is('unknown2@b.example', 'Bounce', 'PolicyRelated', 'by the new rules');
PosthornTest::write_file($mine, "policy_rcpt /(user unknown/\n");
($status) = $p->posthorn('reload');
isnt $status, 0, 'a mistake refuses the reload';
my ($answer) = $p->json('reload');
like $answer->{text}, qr/mine:1: the pattern .* is wrong/, '... and is shown';
PosthornTest::write_file($mine, "# nothing\n");
($status) = $p->posthorn('reload');
is $status, 0, 'mended';
send_to('unknown3@b.example');
class_is('unknown3@b.example', 'Bounce', 'InvalidRecipient', 'by the shipped rules again');
is $p->stop, 0, 'stops';
done_testing;
