# Suspensions and limits of egress paths, made by the admin command. After KumoMTA's suspend_delivery_ready_q(_and_deliver); unlike
# there, other sources of the pool carry on, and waiting is no attempt. The row "override over a restart" of posthorn-faults(7).
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '2s' }, zone => <<'Z', shaping => <<'L');
*.big. 60 IN MX 10 mx.big.
mx.big. 60 IN A 127.0.0.1
*.one. 60 IN MX 10 mx.one.
mx.one. 60 IN A 127.0.0.1
*.two. 60 IN MX 10 mx.two.
mx.two. 60 IN A 127.0.0.1
Z
posthorn.shaping.provider { name = 'big', match = { { mx_suffix = '.big' } } }
posthorn.shaping.default { connection_limit = 5 }
L
$p->{policy} = $p->example('two-addresses');
$p->sink->start;

sub send_to { my ($n, $rcpt, @more) = @_; is $p->load('-m', $n, '-t', $rcpt, @more)->{acked}, $n, "mail for $rcpt" }
sub to { my ($re) = @_; return grep { $_->{rcpt} =~ $re } $p->ledger }
sub from { my %n; $n{ $_->{client} }++ for to(@_); return join ' ', sort keys %n }
sub of { my ($re, $type) = @_; return grep { ($_->{recipient} // '') =~ $re && $_->{type} eq $type } $p->events }
sub done { my ($re, $n) = @_; ok $p->wait_for("$re", sub { to($re) >= $n }, 60), "$re: delivered" }
sub order { my @r = $p->posthorn(@_); is $r[0], 0, "@_" or diag $r[2]; return }
sub answer { my @r = $p->json('explain', @_); return $r[0] }
sub named { my ($list, $name) = @_; my ($x) = grep { $_->{name} eq $name } @{ $list // [] }; return $x // {} }
sub restart {
	my ($daemon) = @_;
	order('restart', $_) for grep { m{^$daemon(/|$)} } map { $_->{name} // () } map { @{ $_->{daemons} // [] } } $p->json('status');
}

# One source for one site.
order('suspend', '--path', 'ip-1->mx.one', '--duration', '1h', '--reason', 'blocked by this site');
send_to(8, 'a%u@x.one');
send_to(8, 'a%u@x.two');
done(qr/\@x\.one/, 8);
done(qr/\@x\.two/, 8);
is from(qr/\@x\.one/), '127.0.2.12', 'a suspended path is not taken, the other source carries on';
is from(qr/\@x\.two/), '127.0.2.11 127.0.2.12', 'other sites are sent to from both';
my $x = answer('x.one');
like named($x->{sources}, 'ip-1')->{waits}, qr/^suspended by override \d+ \(admin .*\): blocked by this site$/, 'explain says so of the source';
is named($x->{sources}, 'ip-2')->{waits}, undef, '... and not of the other';
like $x->{conclusion}, qr/would go at once, from ip-2\.$/, '... and concludes' or diag $x->{conclusion};

# Every source for one site; over restarts.
order('suspend', '--path', 'ip-2->mx.one', '--duration', '2h', '--reason', 'blocked too');
send_to(1, 'b%u@x.one');
ok $p->wait_for('Delayed', sub { of(qr/^b.*\.one/, 'Delayed') }, 30), 'with no source left, mail waits';
like((of(qr/^b.*\.one/, 'Delayed'))[0]{response}{content}, qr/suspended by override \d+ .*blocked by this site/, '... which an event says, for what ends first');
my ($row) = $p->json('queue', 'list', '--domain', 'x.one');
my (undef, $out) = $p->posthorn('queue', 'show', $row->{id});
like $out, qr/^It is still here: its path is suspended by .*override \d+ .*blocked/m, '... and queue show';
like answer('x.one')->{conclusion}, qr/^The next message would go in 59m\S*: suspended by override/, '... and explain';
restart($_) for qw(queued deliverd);
send_to(1, 'c%u@x.one');
send_to(1, 'c%u@x.two');
done(qr/^c.*\.two/, 1);
ok $p->wait_for('Delayed', sub { of(qr/^c.*\.one/, 'Delayed') }, 30), 'what comes after restarts waits too';
is to(qr/^[bc].*\.one/), 0, 'nothing leaves';
order('resume', '--path', 'ip-2->mx.one');
done(qr/^[bc].*\.one/, 2);
is from(qr/\.one/), '127.0.2.12', 'it leaves when the suspension is cancelled, from that source';
is_deeply [map { $_->{num_attempts} } of(qr/^[bc].*\.one/, 'Delivery')], [0, 0], '... and waiting was no attempt';
is scalar(of(qr/\.one/, 'TransientFailure')), 0, '... nor a failure';
is scalar(of(qr/^b.*\.one/, 'Delayed')), 1, '... and said once';
order('resume', '--path', 'ip-1->mx.one');

# A message that has failed before keeps its count and its back-off.
send_to(1, 'defer-2-%u@x.one');
ok $p->wait_for('a failure', sub { of(qr/^defer-2/, 'TransientFailure') }, 30), 'a failure';
order('suspend', '--site', 'mx.one', '--duration', '1h', '--reason', 'no');
($row) = $p->json('queue', 'list', '--domain', 'x.one');
order('queue', 'retry', $row->{id});
ok $p->wait_for('Delayed', sub { of(qr/^defer-2/, 'Delayed') }, 30), 'then a suspension of the whole site';
my $before = $row->{attempts};
($row) = $p->json('queue', 'list', '--domain', 'x.one');
is $row->{attempts}, $before, 'attempts stay';
order('resume', '--site', 'mx.one');
done(qr/^defer-2/, 1);
is((of(qr/^defer-2/, 'Delivery'))[0]{num_attempts}, scalar(of(qr/^defer-2/, 'TransientFailure')), '... and count real attempts only');

# A provider, with a duration that ends.
order('suspend', '--provider', 'big', '--duration', '8s', '--reason', 'complaints');
send_to(3, 'd%u@' . $_) for 'x.big', 'y.big', 'x.two';
done(qr/^d.*\.two/, 3);
ok $p->wait_for('Delayed', sub { of(qr/^d.*x\.big/, 'Delayed') >= 3 && of(qr/^d.*y\.big/, 'Delayed') >= 3 }, 30), 'all domains of the provider wait';
done(qr/^d.*\.big/, 6);
my ($end) = grep { $_->{type} eq 'Override' && $_->{override}{action} eq 'ended' && $_->{response}{content} =~ /expired/ } $p->events;
ok $end, 'an event says that it has expired' or diag explain [grep { $_->{type} eq 'Override' } $p->events];
is scalar(grep { $_->{timestamp} < ($end->{timestamp} // 0) } of(qr/^d.*\.big/, 'Delivery')), 0, '... and nothing left before';

# One tenant at a provider, and a source everywhere.
order('suspend', '--provider', 'big', '--tenant', 'acme', '--duration', '1h', '--reason', 'bad list');
send_to(1, 'e%u@x.big', '-h', 'X-Tenant: acme');
send_to(1, 'e%u@x.two', '-h', 'X-Tenant: acme');
send_to(1, 'e%u@x.big', '-h', 'X-Tenant: other');
ok $p->wait_for('both', sub { of(qr/^e.*\.two/, 'Delivery') && of(qr/^e.*\.big/, 'Delivery') }, 30), 'others at the provider and the tenant elsewhere go on';
is_deeply [map { $_->{tenant} } of(qr/^e.*\.big/, 'Delivery')], ['other'], '... the tenant at the provider waits';
order('suspend', '--source', 'ip-2', '--duration', '1h');
order('resume', '--provider', 'big', '--tenant', 'acme');
ok $p->wait_for('acme', sub { of(qr/^e.*\.big/, 'Delivery') >= 2 }, 30), '... until it may';
send_to(4, 'f%u@' . $_) for 'x.one', 'x.two', 'x.big';
done(qr/^f/, 12);
is from(qr/^f/), '127.0.2.11', 'a source that is suspended sends nothing anywhere';
order('resume', '--source', 'ip-2');

# Limits.
order('limit', 'max_deliveries_per_connection=1', 'max_message_rate=2/s', 'connection_limit=100', '--site', 'mx.one', '--duration', '1h', '--reason', 'slowly');
$x = named(answer('x.one')->{sources}, 'ip-1');
like named($x->{settings}, 'max_message_rate')->{origin}, qr/^override \d+ \(admin .*\): slowly$/, 'explain names the override of a limit';
is named($x->{settings}, 'max_message_rate')->{value}, '2/s', '... and its value' or diag explain $x;
like named($x->{settings}, 'connection_limit')->{origin}, qr/shaping\.lua/, '... and no override that is looser than what is configured';
send_to(20, 'g%u@x.one');
done(qr/^g/, 20);
my @when = sort { $a <=> $b } map { $_->{time} } to(qr/^g/);
cmp_ok $when[-1] - $when[0], '>', 2.5, 'the rate holds';
my %sessions;
$sessions{ $_->{session_id} }++ for of(qr/^g/, 'Delivery');
is scalar(keys %sessions), 20, '... and each message has a connection of its own';
order('limit', 'max_message_rate=2/h', '--site', 'mx.two', '--duration', '1h', '--reason', 'hardly');
send_to(6, 'i%u@x.two');
ok $p->wait_for('Delayed', sub { of(qr/^i/, 'Delayed') >= 4 && of(qr/^i/, 'Delivery') >= 2 }, 30), 'what a limit leaves waits';
($row) = $p->json('queue', 'list', '--domain', 'x.two');
like $row->{reason}, qr/^its path is limited by .*override \d+ /, '... which is told';
order('overrides', 'cancel', grep { defined } map { ($_->{reason} // '') eq 'hardly' ? $_->{id} : () } $p->json('overrides'));
done(qr/^i/, 6);
restart('queued');
send_to(4, 'h%u@x.one');
done(qr/^h/, 4);
%sessions = ();
$sessions{ $_->{session_id} }++ for of(qr/^h/, 'Delivery');
is scalar(keys %sessions), 4, 'over a restart too';
order('overrides', 'cancel', map { $_->{id} // () } $p->json('overrides'));
ok $p->wait_for('the settings of before', sub { !named(named(answer('x.one')->{sources}, 'ip-1')->{settings}, 'max_message_rate')->{value} }, 20),
    'cancelled, the settings are those of before';
done_testing;
