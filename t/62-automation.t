# Automation rules at work, from a reply to what happens on the wire. After KumoMTA's shaping daemon scenarios: basic, bounce,
# bounce_tenant, bounce_campaign, tenant_suspension, campaign_suspension. The row "provider complains" of posthorn-faults(7).
use strict;
use warnings;
use Test::More;
use PosthornTest;

# Each domain has a mail exchanger, and an address, of its own.
my %n = (basic => 21, closed => 22, spam => 23, camp => 24, compl => 25, unread => 26, trial => 27, often => 28, often2 => 29, crowd => 30,
	p1 => 31, p2 => 32, p3 => 33, strict => 34);
my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1s', max_retry_interval => '2s' },
	shaping => PosthornTest::slurp('conf/examples/shaping/automation.lua'));
for my $d (sort keys %n) {
	my $host = $d =~ /^p\d/ ? "mx.$d.prov.example" : "mx.$d.example";
	$p->{zone} .= "$d.example. 60 IN MX 10 $host.\n$host. 60 IN A 127.0.0.$n{$d}\n";
}
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->{sink_addresses} = ['127.0.0.1', map { "127.0.0.$n{$_}" } sort keys %n];
sub rule { my ($d, $times, $reply) = @_; return ('-s', "rcpt*$times\@127.0.0.$n{$d}:$port=$reply") }
$p->sink(rule('basic', 1, '450 4.7.0 Please slow down'), rule('closed', 1, '550 5.7.1 This domain closed'),
	rule('spam', 1, '550 5.7.1 A known spammer'), rule('camp', 1, '550 5.7.1 No more of this campaign'),
	rule('compl', 1, '450 4.7.1 Too many complaints'), rule('unread', 1, '450 4.7.1 Mostly unread'),
	rule('trial', 1, '450 4.7.1 You are greylisted'), rule('often', 3, '451 4.7.1 Busy, try later'),
	rule('often2', 2, '451 4.7.1 Busy, try later'), rule('crowd', 1, '421 4.7.0 Too many connections'),
	rule('p1', 2, '451 4.7.1 Low reputation'), rule('p2', 1, '451 4.7.1 Low reputation'));
$p->start;
is +($p->posthorn('shaping', 'check', 'conf/examples/shaping/automation.lua'))[0], 0, 'the example is good';

sub send_to { my ($n, $rcpt, @more) = @_; is $p->load('-m', $n, '-t', $rcpt, map { ('-h', $_) } @more)->{acked}, $n, join ' ', 'mail for', $rcpt, @more }
sub to { my ($re) = @_; return grep { $_->{rcpt} =~ $re } $p->ledger }
sub of { my ($re, $type) = @_; return grep { ($_->{recipient} // '') =~ $re && $_->{type} eq $type } $p->events }
sub event { my ($re, $type, $n) = @_; ok $p->wait_for("$type of $re", sub { of($re, $type) >= ($n // 1) }, 40), "$re: $type" }
sub order { my @r = $p->posthorn(@_); is $r[0], 0, "@_" or diag $r[2]; return }
sub overrides { my ($rule) = @_; my @r = grep { defined $_->{id} && $_->{made_by} eq "rule $rule" } $p->json('overrides'); return @r }
sub path { my ($rcpt) = @_; my ($x) = $p->json('explain', $rcpt); return $x->{sources}[0] // {} }
sub setting { my ($rcpt, $name) = @_; my ($x) = grep { $_->{name} eq $name } @{ path($rcpt)->{settings} // [] }; return $x // {} }
sub said { my ($rule) = @_; return map { $_->{override}{action} } grep { $_->{type} eq 'Override' && $_->{override}{made_by} eq "rule $rule" } $p->events }
sub restart {
	my ($daemon) = @_;
	order('restart', $_) for grep { m{^$daemon(/|$)} } map { $_->{name} // () } map { @{ $_->{daemons} // [] } } $p->json('status');
}

# basic: a reply suspends the path for an hour and makes it slower for as long.
send_to(1, 'a%u@basic.example');
event(qr/\@basic/, 'Delayed');
my @o = overrides('default/slow-down');
is_deeply [map { join ' ', $_->{kind}, $_->{setting} // (), $_->{value} // () } @o],
    ['suspend', 'limit max_message_rate 3/min', 'limit max_deliveries_per_connection 1'], 'three effects' or diag explain \@o;
is_deeply [map { $_->{scope} } @o], [('source trans-1, site mx.basic.example') x 3], '... on the path';
is scalar(grep { $_->{remaining} > 3_000_000 && $_->{remaining} <= 3_600_000 } @o), 3, '... for an hour';
is $o[0]{evidence}, '450 4.7.0 Please slow down', '... with the reply';
like((of(qr/\@basic/, 'Delayed'))[0]{response}{content}, qr{^suspended by override \d+ \(rule default/slow-down\): a reply was hit}, 'mail waits, and says why');
is setting('basic.example', 'max_message_rate')->{value}, '3/min', 'the limit holds';
like setting('basic.example', 'max_message_rate')->{origin}, qr{^override \d+ \(rule default/slow-down\)}, '... by the override';
like path('basic.example')->{waits}, qr/^suspended by override/, '... and the suspension';
order('limit', 'max_message_rate=10/min', '--site', 'mx.basic.example');
like setting('basic.example', 'max_message_rate')->{origin}, qr{^override \d+ \(rule default/slow-down\)}, '... also over a looser one of an administrator';
restart($_) for qw(queued deliverd);
is_deeply [map { $_->{id} } overrides('default/slow-down')], [map { $_->{id} } @o], 'restarts keep them';
send_to(2, 'b%u@basic.example');
event(qr/^b.*\@basic/, 'Delayed', 2);
is to(qr/\@basic/), 0, 'nothing leaves';
is_deeply [said('default/slow-down')], [('begun') x 3], 'one event for each beginning';
order('overrides', 'cancel', $o[0]{id});
ok $p->wait_for('all', sub { of(qr/\@basic/, 'Delivery') >= 3 }, 100), 'then all leaves';
my @when = sort { $a <=> $b } map { $_->{time} } to(qr/\@basic/);
cmp_ok $when[-1] - $when[0], '>', 25, 'without the suspension three messages take two thirds of a minute';
my %sessions;
$sessions{ $_->{session_id} }++ for of(qr/\@basic/, 'Delivery');
is scalar(keys %sessions), 3, '... each over a connection of its own';
is_deeply [said('default/slow-down')], [('begun') x 3, 'ended'], 'one event for the end';
is_deeply [map { $_->{num_attempts} } of(qr/^b.*\@basic/, 'Delivery')], [0, 0], 'waiting was no attempt';

# bounce, of a domain, a tenant, a campaign.
send_to(1, 'a%u@closed.example');
event(qr/^a.*\@closed/, 'Bounce');
send_to(2, 'b%u@closed.example');
event(qr/^b.*\@closed/, 'AdminBounce', 2);
@o = overrides('default/no-mail');
is_deeply [map { "$_->{kind} $_->{scope}" } @o], ['bounce domain closed.example'], 'a bounce of the domain';
ok $o[0]{remaining} > 3_000_000, '... for an hour';
send_to(1, 'a%u@spam.example', 'X-Tenant: acme');
event(qr/^a.*\@spam/, 'Bounce');
send_to(1, 'b%u@spam.example', 'X-Tenant: acme');
send_to(1, 'c%u@spam.example', 'X-Tenant: other');
event(qr/^b.*\@spam/, 'AdminBounce');
event(qr/^c.*\@spam/, 'Delivery');
is_deeply [map { $_->{scope} } overrides('default/bad-tenant')], ['domain spam.example, tenant acme'], 'of a tenant at a domain, others go on';
send_to(1, 'a%u@camp.example', 'X-Tenant: acme', 'X-Campaign: spring');
event(qr/^a.*\@camp/, 'Bounce');
send_to(1, 'b%u@camp.example', 'X-Tenant: acme', 'X-Campaign: spring');
send_to(1, 'c%u@camp.example', 'X-Tenant: acme', 'X-Campaign: summer');
event(qr/^b.*\@camp/, 'AdminBounce');
event(qr/^c.*\@camp/, 'Delivery');
is_deeply [map { $_->{scope} } overrides('default/bad-campaign')], ['domain camp.example, tenant acme, campaign spring'], 'of a campaign, others go on';

# Suspensions of a tenant, a campaign.
send_to(1, 'a%u@compl.example', 'X-Tenant: acme');
event(qr/^a.*\@compl/, 'TransientFailure');
send_to(1, 'b%u@compl.example', 'X-Tenant: acme');
send_to(1, 'c%u@compl.example', 'X-Tenant: other');
event(qr/^c.*\@compl/, 'Delivery');
event(qr/^b.*\@compl/, 'Delayed');
send_to(1, 'a%u@unread.example', 'X-Tenant: acme', 'X-Campaign: spring');
event(qr/^a.*\@unread/, 'TransientFailure');
send_to(1, 'b%u@unread.example', 'X-Tenant: acme', 'X-Campaign: spring');
send_to(1, 'c%u@unread.example', 'X-Tenant: acme', 'X-Campaign: summer');
event(qr/^c.*\@unread/, 'Delivery');
event(qr/^b.*\@unread/, 'Delayed');
my ($t, $c) = (overrides('default/complaints'), overrides('default/unread'));
is "$t->{kind} $t->{tenant} $t->{domain}", 'suspend acme compl.example', 'a suspended tenant is listed';
is "$c->{kind} $c->{tenant} $c->{campaign} $c->{domain}", 'suspend acme spring unread.example', 'a suspended campaign too';
restart('queued');
is to(qr/^[ab].*\@(compl|unread)/), 0, 'they wait, over a restart';
order('overrides', 'cancel', '--rule', 'default/complaints');
order('overrides', 'cancel', $c->{id});
event(qr/^[ab].*\@(compl|unread)/, 'Delivery', 4);

# A dry run says what it would do.
send_to(1, 'a%u@trial.example');
event(qr/\@trial/, 'Delivery');
@o = overrides('default/on-trial');
ok @o == 1 && $o[0]{is_dry_run}, 'a rule on trial is listed as such';
my ($ev) = grep { $_->{type} eq 'Override' && $_->{override}{made_by} eq 'rule default/on-trial' } $p->events;
ok $ev->{override}{dry_run}, '... and logged as such' or diag explain $ev;

# Windows: three within an hour, of one site.
send_to(2, 'a%u@often2.example');
event(qr/\@often2/, 'TransientFailure', 2);
event(qr/\@often2/, 'Delivery', 2);
is scalar(overrides('default/often')), 0, 'two hits are not three';
send_to(1, 'a%u@often.example');
event(qr/\@often\./, 'Delayed');
is scalar(of(qr/\@often\./, 'TransientFailure')), 3, 'three are';
is_deeply [map { $_->{scope} } overrides('default/often')], ['source trans-1, site mx.often.example'], '... of one site, that is, hits of others do not count';

# ... of a provider: hits of all its sites count, and all are suspended.
send_to(2, 'a%u@p1.example');
event(qr/\@p1/, 'Delivery', 2);
is scalar(grep { ($_->{provider} // '') eq 'prov' } $p->json('overrides')), 0, 'two hits at one site of a provider';
send_to(1, 'a%u@p2.example');
event(qr/\@p2/, 'Delayed');
@o = grep { ($_->{provider} // '') eq 'prov' } $p->json('overrides');
is_deeply [map { $_->{scope} } @o], ['source trans-1, provider prov'], '... a third at another';
send_to(1, 'a%u@p3.example');
event(qr/\@p3/, 'Delayed');
order('overrides', 'cancel', $o[0]{id}) if @o;
event(qr/\@p[23]/, 'Delivery', 2);

# Of several limits the strictest wins, whoever made it.
for (['20/min', 'tenth'], ['4/min', 'hand'], ['10/min', 'other']) {
	order('limit', "max_message_rate=$_->[0]", '--site', 'mx.strict.example', '--reason', $_->[1]);
	order('limit', "max_message_rate=30/min", '--source', 'trans-1', '--reason', 'source');
	order('limit', "max_message_rate=4/min", '--path', 'trans-1->mx.strict.example', '--reason', 'path');
}
like setting('strict.example', 'max_message_rate')->{origin}, qr/: path$/, 'the strictest of three limits wins';
is setting('strict.example', 'max_message_rate')->{value}, '4/min', '... with its value';
order('overrides', 'cancel', map { $_->{id} } grep { ($_->{reason} // '') eq 'path' } $p->json('overrides'));
is setting('strict.example', 'max_message_rate')->{value}, '10/min', 'then the next';
order('overrides', 'cancel', map { $_->{id} } grep { ($_->{reason} // '') =~ /^(other|source)$/ } $p->json('overrides'));

# A limit is raised step by step while mail goes through, up to what is configured.
send_to(1, 'a%u@crowd.example');
event(qr/^a.*\@crowd/, 'TransientFailure');
is setting('crowd.example', 'connection_limit')->{value}, 1, 'a limit';
restart('queued');
my $i = 0;
ok $p->wait_for('recovery', sub {
	$p->load('-m', 1, '-t', 'r' . $i++ . '%u@crowd.example');
	return grep { $_ eq 'ended' } said('default/crowded');
}, 60), 'it ends';
my @steps = map { $_->{override} } grep { $_->{type} eq 'Override' && $_->{override}{made_by} eq 'rule default/crowded' } $p->events;
is_deeply [map { "$_->{action} $_->{value}" } @steps], ['begun 1', 'changed 2', 'ended 4'], '... by steps of twice as much' or diag explain \@steps;
is setting('crowd.example', 'connection_limit')->{value}, 3, '... and what is configured holds again';
done_testing;
