# What follows from failures by the bounce rules and by the event bounce_classified, from a reply to what operators and programs see: the
# example of posthorn-policy(5) among others. Requests to suppress survive a kill of queued.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my %n = (block => 41, fast => 42, patient => 43, move => 44, strict => 45, x => 46);
my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1s', max_retry_interval => '2s', automation => 'on' },
	bounce_rules => PosthornTest::slurp('conf/bounce_rules'), shaping => <<'LUA');
posthorn.shaping.provider { name = 'moving', match = { { domain_suffix = 'move.example' } } }
posthorn.shaping.provider { name = 'strict', match = { { domain_suffix = 'strict.example' } } }
LUA
for my $d (sort keys %n) {
	$p->{zone} .= "$d.example. 60 IN MX 10 mx.$d.example.\nmx.$d.example. 60 IN A 127.0.0.$n{$d}\n";
}
$p->{policy} = $p->default_policy . $p->example('bounce-classified');
my $port = $p->{sink_port};
$p->{sink_addresses} = ['127.0.0.1', map { "127.0.0.$n{$_}" } sort keys %n];
sub rule { my ($d, $times, $reply) = @_; return ('-s', "rcpt*$times\@127.0.0.$n{$d}:$port=$reply") }
$p->sink(rule('block', 5, '550 5.7.1 blocked using zen.spamhaus.org'), rule('fast', 3, '421 4.7.0 Too many messages from your IP address, slow down'),
	rule('patient', 1, '550 5.7.1 blocked using zen.spamhaus.org'), rule('move', 1, '550 5.1.1 User unknown'),
	rule('strict', 1, '421 4.7.0 Too many messages from your IP address, slow down'));
PosthornTest::write_file($p->etc . '/mine', <<'RULES');
throttle_volume /too many messages from your ip/
	421 4.7.0 Too many messages from your IP address
on rcpt_refused hold
on mailbox_full give-up
RULES
$p->{conf}{bounce_rules_files} = $p->etc . '/mine, ' . $p->etc . '/bounce_rules';
$p->start;

sub send_to { my ($n, $rcpt, @more) = @_; is $p->load('-m', $n, '-t', $rcpt, map { ('-h', $_) } @more)->{acked}, $n, join ' ', 'mail for', $rcpt, @more }
sub of { my ($re, $type) = @_; return grep { ($_->{recipient} // '') =~ $re && $_->{type} eq $type } $p->events }
sub event { my ($re, $type, $n) = @_; ok $p->wait_for("$type of $re", sub { of($re, $type) >= ($n // 1) }, 40), "$re: $type" }
sub order { my @r = $p->posthorn(@_); is $r[0], 0, "@_" or diag $r[2]; return }
sub overrides { my ($verdict) = @_; my @r = grep { defined $_->{id} && $_->{made_by} eq "verdict $verdict" } $p->json('overrides'); return @r }
sub type { my ($type) = @_; return grep { $_->{type} eq $type } $p->events }

# A block suspends the path and alerts, and suppresses nobody.
send_to(5, 'a%u@block.example');
event(qr/\@block/, 'Bounce', 5);
ok $p->wait_for('an override', sub { overrides('block_dnsbl/suspend') }, 20), 'an override';
send_to(1, 'b%u@block.example');
event(qr/^b.*\@block/, 'Delayed');
my ($b) = of(qr/\@block/, 'Bounce');
is_deeply $b->{bounce}, { cause => 'block_dnsbl', kind => 'block', scope => 'source-ip', policy => JSON::PP::false,
	action => 'by-code suspend of=path after=5/15m for=2h alert of=path after=5/15m for=1h' }, 'the record says what it means and what is done';
my @o = overrides('block_dnsbl/suspend');
is_deeply [map { "$_->{kind} $_->{scope}" } @o], ['suspend source trans-1, site mx.block.example'], 'the path is suspended';
like $o[0]{evidence}, qr/^550 5\.7\.1 blocked/, '... with the reply';
my @a = type('Alert');
is_deeply [map { $_->{alert} } @a], [{ made_by => 'verdict block_dnsbl/alert', reason => '5 replies within 15m were hit by verdict block_dnsbl/alert' }],
	'one alert';
is $a[0]{bounce_classification}, 'SpamBlock', '... of that class';
order('overrides', 'cancel', $o[0]{id});
event(qr/\@block/, 'Delivery');
is scalar(overrides('block_dnsbl/suspend')), 0, 'cancelled, mail leaves';

# Too fast: a limit.
send_to(3, 'a%u@fast.example');
event(qr/\@fast/, 'TransientFailure', 3);
ok $p->wait_for('a limit', sub { overrides('throttle_volume/slow') }, 20), 'slowed down';
@o = overrides('throttle_volume/slow');
is "$o[0]{kind} $o[0]{setting} $o[0]{value} $o[0]{scope}", 'limit connection_limit 1 source trans-1, site mx.fast.example', '... the path';
event(qr/\@fast/, 'Delivery', 3);

# Words of one's own in front of those that are shipped.
send_to(1, 'full-%u@x.example');
event(qr/^full/, 'Bounce');
is((of(qr/^full/, 'Bounce'))[0]{bounce}{action}, 'give-up', 'a full mailbox is given up');

# The example of the manual.
send_to(1, 'a%u@patient.example', 'X-Tenant: patient');
event(qr/\@patient/, 'TransientFailure');
is((of(qr/\@patient/, 'TransientFailure'))[0]{bounce}{policy}, JSON::PP::true, 'policy decides');
is scalar(of(qr/\@patient/, 'Bounce')), 0, '... that a block is no end';
send_to(1, 'a%u@move.example');
event(qr/\@move/, 'TransientFailure');
like((of(qr/\@move/, 'TransientFailure'))[0]{bounce}{action}, qr/^retry in=6h alert of=provider/, 'nor an unknown user, there');
send_to(1, 'a%u@strict.example');
event(qr/\@strict/, 'TransientFailure');
ok $p->wait_for('a limit', sub { overrides('policy/slow') }, 20), 'a slow-down of policy';
@o = overrides('policy/slow');
is "$o[0]{setting} $o[0]{value} $o[0]{scope}", 'max_message_rate 10/min source trans-1, provider strict', '... of the provider';
order('overrides', 'cancel', $o[0]{id});

# What is wrong is said by the check, with its line.
PosthornTest::write_file($p->etc . '/mine', "on block_dnsbl suppress\non rcpt_unknwon retry\non mailbox_full suppress\non virus suspend\non relaying slow for=1h\n" .
	"on spam_other retry give-up\non virus alert of=tenant\non expired alert afer=2/1h\non helo_fault code=550 retri\n");
my ($status, $out, $err) = $p->posthorn('bounce', 'check', $p->etc . '/mine');
isnt $status, 0, 'mistakes';
like $out . $err, qr/mine:$_/, $_ for '1: block_dnsbl says nothing of the recipient: it cannot suppress', q{2: 'rcpt_unknwon' is neither a cause nor a class; did you mean 'rcpt_unknown'\?},
	'3: mailbox_full once is no reason to suppress', '4: suspend needs a time', '5: slow needs a setting', '6: only one of', '7: of=tenant of alert is wrong',
	'8: alert has no option afer', q{9: 'retri' is nothing that can be done; did you mean 'retry'\?};
PosthornTest::write_file($p->etc . '/mine', "on virus retry\non VirusRelated retry\n");
($status, $out, $err) = $p->posthorn('bounce', 'check', $p->etc . '/mine');
like $out . $err, qr/mine:2: this line never says what is to be done: line 1 does/, 'a line that is never reached';
is $p->stop, 0, 'stops';
done_testing;
