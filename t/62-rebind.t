# posthorn queue rebind and the events requeue_message and rebind_message: mail that waits goes another way, over restarts and kills
# of the daemons; mail in flight follows or is finished; what an event does wrong costs nothing but its effect. After KumoMTA's
# scenarios rebind (84-89).
use strict;
use warnings;
use Test::More;
use PosthornTest;

sub say_smtp { PosthornTest::say_smtp(@_) }

sub send_to {
	my ($p, $rcpt, @headers) = @_;
	my $s = $p->connect_smtp;
	say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<s@sender.example>', "RCPT TO:<$rcpt>", 'DATA';
	return like say_smtp($s, join("\r\n", @headers, 'Subject: x', '', 'hello', '.')), qr/^250/, "$rcpt accepted";
}

sub of { my ($p, $rcpt, $type) = @_; return grep { !ref $_->{recipient} && $_->{recipient} eq $rcpt } $p->events($type) }

sub waited_for {
	my ($p, $rcpt, $type, $n) = @_;
	return $p->wait_for("$type of $rcpt", sub { my @e = of($p, $rcpt, $type); @e >= ($n // 1) ? \@e : undef }, 30);
}

# The verb, its exit status and what it says.
sub rebind {
	my ($p, @args) = @_;
	my ($status, $out, $err) = $p->posthorn('queue', 'rebind', @args);
	return ($status, $out . $err);
}

sub rebinds {
	my ($p, $n, @args) = @_;
	my ($status, $said) = rebind($p, @args);
	is $status, 0, "rebind @args" or diag $said;
	like $said, qr/^$n recipients? rebound/, "... $n";
}

sub kill_queued {
	my ($p) = @_;
	my ($old) = $p->daemon_pids('queued');
	kill 'KILL', $old;
	ok $p->wait_for('a new queued', sub { my ($new) = $p->daemon_pids('queued'); defined $new && $new != $old && ($p->json('status'))[0] }, 30),
	    'queued is killed, and there again';
}

subtest 'by order' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1h', max_retry_interval => '1h' });
	$p->sink->start;
	is +($p->posthorn('suspend', '--domain', 'one.example', '--until', 'cancelled'))[0], 0, 'a queue is suspended';
	send_to($p, 'a@one.example', 'X-Tenant: acme');
	send_to($p, 'b@one.example');
	ok waited_for($p, "$_\@one.example", 'Delayed'), "$_ waits" for 'a', 'b';
	rebinds($p, 1, '--tenant', 'acme', '--to-domain', 'two.example', '--reason', 'they have moved');
	ok waited_for($p, 'a@one.example', 'Delivery'), 'it is delivered';
	my ($d) = of($p, 'a@one.example', 'Delivery');
	is "$d->{queue} $d->{domain} $d->{tenant} $d->{num_attempts}", 'acme@two.example two.example acme 0', '... from its new queue, by its own address';
	my @r = of($p, 'a@one.example', 'AdminRebind');
	is scalar @r, 1, 'one AdminRebind';
	is $r[0]{response}{content}, 'rebound from acme@one.example to acme@two.example: they have moved', '... says from where, to where, why';
	is "$r[0]{queue} $r[0]{num_attempts} $r[0]{response}{code}", 'acme@two.example 0 250', '... of the new queue';

	rebinds($p, 1, '--domain', 'one.example', '--to-tenant', 'globex', '--to-campaign', 'spring', '--suppress-logging');
	kill_queued($p);
	my ($m) = $p->json('queue', 'list');
	is $m->{queue}, 'spring:globex@one.example', 'over a kill';
	is $m->{recipient}, 'b@one.example', '... and the recipient is who it was';
	($m) = $p->json('queue', 'show', $m->{id});
	is "$m->{tenant} $m->{campaign}", 'globex spring', '... whose it is, too';
	is scalar(of($p, 'b@one.example', 'AdminRebind')), 0, 'nothing is recorded if it is not to be';
	rebinds($p, 0, '--tenant', 'globex', '--to-tenant', 'globex');
	is +($p->posthorn('restart', 'queued'))[0], 0, 'restarted';
	rebinds($p, 1, '--all', '--to-queue', 'other.example');
	ok waited_for($p, 'b@one.example', 'Delivery'), 'delivered';
	is +(of($p, 'b@one.example', 'Delivery'))[0]{queue}, 'other.example', '... from the queue that was named';

	for my $case (['say where', '--all'], ['wants a filter', '--to-tenant', 'x'], ['exclude', '--all', '--domain', 'x', '--to-tenant', 'x'],
		['not a tenant', '--all', '--to-tenant', 'a b'], ['not a campaign', '--all', '--to-campaign', 'a b'], ['control characters', '--all', '--to-campaign', "a\x01"], ['not a destination', '--all', '--to-domain', 'a@b'],
		['not a destination', '--all', '--to-domain', ''], ['not a destination', '--all', '--to-domain', '[192.0.2.1]:99999'],
		['not a queue', '--all', '--to-queue', 'a@b@c d'], ['KEY=VALUE', '--all', '--set', 'tenant'], ['KEY=VALUE', '--all', '--set', '=x'],
		['no event rebind_message', '--all', '--trigger-rebind-event'], ['unexpected argument|not a message id', '--all', 'x', 'y']) {
		my ($what, @args) = @$case;
		my ($status, $said) = rebind($p, @args);
		isnt $status, 0, join ' ', 'refused:', map { s/\x01/^A/r } @args;
		like $said, qr/$what/, '... with a sentence';
	}
};

subtest 'ports' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1h', max_retry_interval => '1h' });
	$p->sink;
	my ($port, $closed) = ($p->{sink_port}, PosthornTest::free_port());
	$p->{policy} = $p->default_policy =~ s/remote_port = $port/remote_port = $closed/gr;
	$p->start;
	my @to = (['--to-domain', "gateway.example:$port"], ['--to-domain', "[127.0.0.1]:$port"], ['--routing-domain', "gateway.example:$port"],
		['--set', "routing_domain=[127.0.0.1]:$port"]);
	send_to($p, "r$_\@shut.example") for 0 .. $#to;
	for my $i (0 .. $#to) {
		ok $p->wait_for('no way', sub { of($p, "r$i\@shut.example", 'TransientFailure') || of($p, "r$i\@shut.example", 'Delayed') }, 30), 'no way at the usual port';
		rebinds($p, 1, '--recipient', "r$i\@shut.example", @{ $to[$i] });
		my $d = waited_for($p, "r$i\@shut.example", 'Delivery');
		ok $d, 'delivered at the other one';
		is $d->[0]{queue}, $to[$i][1] =~ s/.*=//r, '... whose queue says so';
		like $d->[0]{site}, qr/:$port$|\]:$port$/, '... and whose site';
	}
};

subtest 'in flight' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no' }, zone => "*.example. IN MX 10 mx.test.\nslow.example. IN MX 10 mx11.test.\nmx11.test. IN A 127.0.0.11\n");
	$p->{sink_addresses} = ['127.0.0.1', '127.0.0.11'];
	my $port = $p->{sink_port} = PosthornTest::free_port();
	$p->sink('-s', "dot*100000\@127.0.0.11:$port=slow 3000");
	$p->{policy} = $p->default_policy . "kumo.on('get_egress_path_config', function(domain) return { connection_limit = domain == 'slow.example' and 2 or 20 } end)\n";
	$p->start;
	is $p->load('-m', 40, '-t', 'm%u@slow.example')->{acked}, 40, 'mail for a slow host';
	ok $p->wait_for('a transaction', sub { ($p->json('queue', 'summary'))[0]{outstanding} // 0 }, 30), 'it is with deliverd';
	my ($status, $said) = rebind($p, '--domain', 'slow.example', '--to-domain', 'fast.example');
	is $status, 0, 'rebound' or diag $said;
	like $said, qr/\d+ recipients? rebound.*unless the attempt under way succeeds/, '... also what is under way: ' . $said;
	ok $p->wait_for('deliveries', sub { $p->ledger_count >= 40 }, 60), 'all are delivered';
	my %to;
	$to{$_->{rcpt}}++ for $p->ledger;
	is scalar(keys %to), 40, '... each';
	is scalar(grep { $_ != 1 } values %to), 0, '... once';
	cmp_ok scalar(grep { $_->{listener} =~ /^127\.0\.0\.1:/ } $p->ledger), '>=', 30, '... nearly all by the other host';
	ok $p->wait_for('an empty queue', sub { ($p->json('status'))[0] && !$p->json('queue', 'list') }, 30), 'nothing is left';
};

subtest 'rebind_message' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1h', max_retry_interval => '1h' });
	$p->sink('-b', "$p->{dir}/bodies");
	$p->{policy} = $p->example('requeue');
	$p->start;
	is +($p->posthorn('suspend', '--domain', 'one.example', '--until', 'cancelled'))[0], 0, 'suspended';
	send_to($p, "$_\@one.example") for 'a', 'b';
	ok waited_for($p, "$_\@one.example", 'Delayed'), "$_ waits" for 'a', 'b';
	rebinds($p, 2, '--domain', 'one.example', '--trigger-rebind-event', '--set', 'reason=by hand');
	kill_queued($p);
	is +($p->posthorn('resume', '--domain', 'one.example'))[0], 0, 'resumed';
	for my $who ('a', 'b') {
		my $d = waited_for($p, "$who\@one.example", 'Delivery');
		is "$d->[0]{queue} $d->[0]{egress_pool}", 'slow:@one.example slow', 'the event has put it there';
		my ($body) = grep { /for <$who\@one\.example>/ } map { PosthornTest::slurp($_) } glob "$p->{dir}/bodies/*";
		like $body, qr/^X-Rebound: by hand\r\nReceived: (?:.*\r\n)+?Subject: x\r\n(?:.*\r\n)*\r\nhello/m, 'with the header that it added';
		is scalar(() = $body =~ /^X-Rebound/gm), 1, '... once';
	}
	is scalar(() = $p->events('AdminRebind')), 2, 'each is recorded';

	# What goes wrong in the event leaves the message as it was.
	for my $bad (['an error', "error('bad')"], ['a loop', 'while true do end'], ['a queue that is none', "msg:set_meta('queue', 'a b')"],
		['a recipient', "msg:set_recipient('x\@y.example')"], ['a header that cannot be', "msg:append_header('X', 'gr\\u{fc}n')"]) {
		my ($what, $code) = @$bad;
		PosthornTest::write_file($p->etc . '/policy.lua', $p->{policy} =~ s/kumo\.on\('rebind_message', function\(msg, data\)\K/ msg:set_meta('tenant', 'x') $code/r);
		my ($status, $out, $err) = $p->posthorn('reload');
		is $status, 0, "$what: reloaded" or diag $err;
		my $rcpt = "$what\@bad.example" =~ s/ /./gr;
		$p->posthorn('suspend', '--domain', 'bad.example', '--until', 'cancelled');
		send_to($p, $rcpt);
		ok waited_for($p, $rcpt, 'Delayed'), 'it waits';
		(my $st, my $said) = rebind($p, '--recipient', $rcpt, '--trigger-rebind-event');
		is $st, 0, '... asked' or diag $said;
		like $said, qr/^0 recipients rebound; 1 could not be/, '... and could not be' or diag $said;
		is +(of($p, $rcpt, 'TransientFailure'))[0]{num_attempts}, 0, '... which is recorded, and no attempt';
		is +($p->json('queue', 'list', '--recipient', $rcpt))[0]{queue}, 'bad.example', '... and it is where it was';
		$p->posthorn('resume', '--domain', 'bad.example');
		ok waited_for($p, $rcpt, 'Delivery'), '... and delivered from there';
		is +(of($p, $rcpt, 'Delivery'))[0]{tenant}, undef, '... as it was';
	}
	like PosthornTest::slurp($p->dir . '/posthorn.err'), qr/policy\.lua:\d+: .*bad(?:.*\n)*?.*traceback/i, 'with a traceback in the log';
};

subtest 'requeue_message' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no', retry_interval => '1s', max_retry_interval => '1s' });
	my $port = $p->{sink_port} = PosthornTest::free_port();
	$p->{sink_addresses} = ['127.0.0.1', '127.0.0.11'];
	$p->{zone} = "*.example. IN MX 10 mx.test.\nlisted.example. IN MX 10 mx11.test.\nmx11.test. IN A 127.0.0.11\n";
	$p->sink('-s', "mail*1\@127.0.0.11:$port=451 4.7.1 Bad IP reputation");
	$p->{policy} = $p->example('requeue');
	$p->start;
	send_to($p, 'a@listed.example', 'X-Tenant: acme');
	my $d = waited_for($p, 'a@listed.example', 'Delivery');
	is "$d->[0]{queue} $d->[0]{egress_pool} $d->[0]{num_attempts}", 'slow:acme@listed.example slow 1', 'by the reply to another queue and pool';
	my ($f) = of($p, 'a@listed.example', 'TransientFailure');
	is "$f->{queue} $f->{egress_pool}", 'acme@listed.example main', 'the failure is recorded where it was';
	is scalar(() = $p->events('AdminRebind')), 0, 'no operator did that';

	send_to($p, 'defer-2-x@routed.example');
	$d = waited_for($p, 'defer-2-x@routed.example', 'Delivery');
	is "$d->[0]{queue} $d->[0]{num_attempts}", 'relay.example 2', 'by the number of attempts through a relay';

	PosthornTest::write_file($p->etc . '/policy.lua', $p->{policy} =~ s/'mailbox full'/'full'/r);
	is +($p->posthorn('reload'))[0], 0, 'reloaded';
	send_to($p, 'full-1@full.example');
	ok waited_for($p, 'full-1@full.example', 'Bounce'), 'rejected by the event';
	my ($b) = of($p, 'full-1@full.example', 'Bounce');
	like "$b->{response}{code} $b->{response}{content}", qr/^550 .*full three times/, '... with its reply';
	is scalar(of($p, 'full-1@full.example', 'TransientFailure')), 3, '... after three failures';

	PosthornTest::write_file($p->etc . '/policy.lua', $p->{policy} =~ s/kumo\.on\('requeue_message', function\(msg, response\)\K/ while true do end/r);
	is +($p->posthorn('reload'))[0], 0, 'an event that never ends';
	is $p->load('-m', 200, '-t', 'defer-1-%u@loop.example')->{acked}, 200, 'mail that fails once';
	ok $p->wait_for('deliveries', sub { 200 <= grep { $_->{rcpt} =~ /loop\.example/ } $p->ledger }, 90), 'all is delivered nevertheless';
	is scalar(grep { $_->{queue} ne 'loop.example' } grep { $_->{recipient} =~ /loop/ } $p->events('Delivery')), 0, '... from its own queue';
};

subtest 'many' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice => 'no' });
	$p->sink->start;
	is +($p->posthorn('suspend', '--domain', 'one.example', '--until', 'cancelled'))[0], 0, 'suspended';
	is $p->load('-m', 5000, '-s', 10, '-t', 'm%u@one.example')->{acked}, 5000, 'five thousand messages';
	rebinds($p, '5,?000', '--all', '--to-tenant', 'promotional');
	kill_queued($p);
	my ($q) = $p->json('queue', 'summary');
	is "$q->{queue} $q->{messages}", 'promotional@one.example 5000', 'all are there after a kill';
	rebinds($p, '5,?000', '--tenant', 'promotional', '--to-domain', 'two.example');
	ok $p->wait_for('deliveries', sub { $p->ledger_count >= 5000 }, 120), 'all are delivered';
	my %to;
	$to{$_->{rcpt}}++ for $p->ledger;
	is scalar(keys %to), 5000, '... each';
	is scalar(grep { $_->{egress_pool} ne 'pool-promo' } $p->events('Delivery')), 0, '... by the pool of its new tenant';
	is scalar(() = $p->events('AdminRebind')), 10000, 'and each rebinding is recorded';
};
done_testing;
