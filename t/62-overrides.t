# Suspensions, limits and bounces made by the admin command: what waits, what arrives, what a restart of the daemons keeps. After
# KumoMTA's suspend_delivery_scheduled_q(_and_deliver) and bounce scenarios; unlike there, a suspension is no attempt.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1s' });
$p->sink->start;

sub send_to {
	my ($rcpt, @headers) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>', "RCPT TO:<$rcpt>", 'DATA';
	like PosthornTest::say_smtp($s, join("\r\n", @headers, 'Subject: x', '', 'hello', '.')), qr/^250/, "$rcpt accepted";
}
sub of { my ($rcpt, $type) = @_; return grep { $_->{recipient} eq $rcpt && $_->{type} eq $type } $p->events }
sub overrides { return grep { defined $_->{id} } $p->json('overrides') }

my ($status, $out) = $p->posthorn('suspend', '--domain', 'one.example', '--duration', '1h', '--reason', 'too many complaints');
is $status, 0, 'suspend' or diag $out;
send_to('a@one.example');
send_to('a@two.example');
ok $p->wait_for('delivery', sub { of('a@two.example', 'Delivery') }, 20), 'other domains go on';
ok $p->wait_for('delayed', sub { of('a@one.example', 'Delayed') }, 20), 'what waits says so';
like((of('a@one.example', 'Delayed'))[0]{response}{content}, qr/suspended by override \d+ .*too many complaints/, '... and why');

for my $daemon (qw(queued deliverd smtpd)) {
	for my $name (grep { m{^$daemon(/|$)} } map { $_->{name} // () } map { @{ $_->{daemons} // [] } } $p->json('status')) {
		($status, $out) = $p->posthorn('restart', $name);
		is $status, 0, "restart $name" or diag $out;
	}
}
my ($o) = overrides();
is $o->{scope}, 'domain one.example', 'it is kept over restarts';
like $o->{made_by}, qr/^admin /, '... with who made it';
send_to('b@one.example');
send_to('b@two.example');
ok $p->wait_for('delivery', sub { of('b@two.example', 'Delivery') }, 20), 'other domains still go on';
is scalar(grep { $_->{recipient} =~ /\@one\.example$/ && $_->{type} ne 'Reception' && $_->{type} ne 'Delayed' } $p->events), 0,
    'nothing but waiting happens to what is suspended';
($status, $out) = $p->posthorn('resume', '--domain', 'one.example');
is $status, 0, 'resume' or diag $out;
for my $rcpt ('a@one.example', 'b@one.example') {
	ok $p->wait_for('delivery', sub { of($rcpt, 'Delivery') }, 20), "$rcpt is delivered when it ends";
	is((of($rcpt, 'Delivery'))[0]{num_attempts}, 0, '... and no attempt was counted');
}
is scalar(overrides()), 0, 'the list is empty again';

($status, $out) = $p->posthorn('bounce', '--domain', 'gone.example', '--duration', '1h', '--reason', 'list was bought');
is $status, 0, 'bounce' or diag $out;
send_to('a@gone.example');
ok $p->wait_for('bounce', sub { of('a@gone.example', 'AdminBounce') }, 20), 'what arrives is bounced';
is((of('a@gone.example', 'AdminBounce'))[0]{response}{content}, 'list was bought', '... with the reason');
($o) = overrides();
($status, $out) = $p->posthorn('overrides', 'cancel', $o->{id});
is $status, 0, 'cancel' or diag $out;
send_to('b@gone.example');
ok $p->wait_for('delivery', sub { of('b@gone.example', 'Delivery') }, 20), 'then mail goes out again';

($status, $out, my $err) = $p->posthorn('limit', 'conection_limit=1', '--provider', 'google');
isnt $status, 0, 'a setting that does not exist is refused';
like $err, qr/there is no setting conection_limit/, '... with a sentence';
($status, $out) = $p->posthorn('suspend');
isnt $status, 0, 'a suspension of nothing is refused';

is_deeply [map { $_->{override}{action} } grep { $_->{type} eq 'Override' } $p->events], [qw(begun ended begun ended)],
    'the event log has it all';
done_testing;
