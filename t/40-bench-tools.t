# The load generator against the sink, without the suite: what both say is true, whatever is later measured with them.
use strict;
use warnings;
use Compress::Zlib ();
use IO::Socket::INET;
use List::Util qw(sum min max uniq);
use Test::More;
use Time::HiRes qw(time sleep);
use PosthornTest;

my $seed = $ENV{POSTHORN_SEED} // 1;
diag "seed $seed (POSTHORN_SEED)";

# A sink of its own, and load that goes straight to it.
sub pair {
	my (%o) = @_;
	my $p = PosthornTest->new;
	$p->{sink_port} = PosthornTest::free_port();
	$p->{port} = $p->{submission} = $p->{sink_port};
	$p->{sink_addresses} = $o{addresses} if $o{addresses};
	$p->sink('-j', $p->dir . '/account', @{ $o{sink} // [] });
	return $p;
}
sub account { my ($p) = @_; return JSON::PP::decode_json(PosthornTest::slurp($p->dir . '/account')) }
sub ended { my ($p) = @_; $p->stop_sink; return account($p) }
sub bodies { my ($p) = @_; return map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*' }
sub near { my ($got, $want, $off, $name) = @_; ok abs($got - $want) <= $off, $name or diag "got $got, want $want +- $off" }
# Four standard deviations of a binomial distribution.
sub share { my ($got, $n, $part, $name) = @_; near($got, $n * $part, 4 * sqrt($n * $part * (1 - $part)), $name) }
sub say_all { my ($s, @lines) = @_; my $r; $r = PosthornTest::say_smtp($s, $_) for @lines; return $r // '' }

subtest 'the account agrees on both sides' => sub {
	my $p = pair();
	my $r = $p->load('-c', 10, '-m', 500, '-s', 1000);
	kill USR1 => $p->{sink_pid};
	ok $p->wait_for('account at SIGUSR1', sub { -e $p->dir . '/account' }, 10), 'SIGUSR1 writes the account';
	is account($p)->{connections_peak}, 10, 'ten connections';
	my $account = ended($p);
	my @l = $p->ledger;
	is $r->{status}, 0, 'exit status';
	is $r->{acked}, 500, 'acknowledged';
	is $r->{connections}, 10, 'connections were used again';
	is join(' ', sort map { $_->{id} } @l), join(' ', sort map { "m-$_" } 0 .. 499), 'each id once in the ledger';
	is join(' ', sort $p->acked), join(' ', sort map { $_->{id} } @l), 'and in the list of load';
	is scalar(uniq map { $_->{crc} } @l), 1, 'the plain bodies are all the same';
	is $account->{$_}, 500, "$_ in the account" for qw(messages recipients);
	is $account->{bytes}, $r->{bytes}, 'as many bytes arrived as were sent';
	is sum(map { $_->{size} } @l), $r->{bytes}, 'and are in the ledger';
	is $account->{connections}, 10, 'connections in the account';
	is $account->{time_in_queue}{count}, 500, 'X-Test-Time is in each message';
	cmp_ok $account->{$_}, '>', 1.6e9, $_ for qw(first_message last_message);
	cmp_ok $_->{cpu_ms}, '>', 0, 'CPU time' for $account, $r;
	for my $h (@$r{qw(latency_dot latency_arrival)}, $account->{time_in_queue}) {
		my @v = @$h{qw(p50_ms p90_ms p99_ms p999_ms max_ms)};
		is "@v", join(' ', sort { $a <=> $b } @v), 'percentiles rise';
		cmp_ok $v[0], '>', 0, 'from above zero';
		cmp_ok $h->{mean_ms}, '<=', $v[4], 'mean below maximum';
	}
	cmp_ok $r->{latency_arrival}{mean_ms}, '>', $r->{latency_dot}{mean_ms}, 'a transaction takes longer than its end';
};

# Times in the queue that are made up: 1 s, 2 s ... 1000 s.
subtest 'percentiles are less than one in a hundred off' => sub {
	my $p = pair();
	my $s = $p->connect_smtp;
	for my $k (1 .. 1000) {
		my $sent = int((time - $k) * 1e6);
		my $out = "MAIL FROM:<a\@b.example>\r\nRCPT TO:<c\@d.example>\r\nDATA\r\nX-Test-Time: $sent\r\n\r\nx\r\n.\r\n";
		print $s $out;
		PosthornTest::reply($s) for 1 .. 4;
	}
	my $h = ended($p)->{time_in_queue};
	is $h->{count}, 1000, 'counted';
	near($h->{p50_ms}, 501_000, 5_000, 'p50');
	near($h->{p90_ms}, 901_000, 9_000, 'p90');
	near($h->{p99_ms}, 991_000, 9_900, 'p99');
	near($h->{max_ms}, 1000_000, 1_000, 'max is exact');
	near($h->{mean_ms}, 500_500, 1_000, 'so is the mean');
};

subtest 'the open loop does not wait for replies' => sub {
	my $p = pair(sink => ['-w', 100]);
	my $r = $p->load('-c', 1, '-r', 100, '-m', 20, '-o');
	cmp_ok $r->{latency_dot}{p50_ms}, '>=', 95, 'a slow sink: 100 ms from the dot';
	cmp_ok $r->{latency_dot}{p50_ms}, '<', $r->{latency_arrival}{p50_ms} / 2, 'and not what it waited before';
	cmp_ok $r->{latency_arrival}{max_ms}, '>=', 1750, 'the last of 20 was due at 0.2 s and done after 2: not hidden';
	cmp_ok $r->{latency_arrival}{p50_ms}, '>=', 800, 'nor in the middle';
	my $closed = $p->load('-c', 1, '-r', 100, '-m', 10, '-p', 'closed');
	cmp_ok $closed->{latency_arrival}{p50_ms}, '<', $r->{latency_arrival}{p50_ms} / 2, 'the closed loop does hide it';
	$r = $p->load('-c', 40, '-r', 100, '-m', 150, '-o', '-p', 'wide');
	cmp_ok $r->{seconds}, '>=', 1.58, 'with connections enough: not before the schedule';
	cmp_ok $r->{seconds}, '<', 3, 'and not much after';
	cmp_ok $r->{latency_arrival}{p50_ms}, '<', 400, 'and nothing waits for one';
	my $account = ended($p);
	cmp_ok $account->{time_in_queue}{max_ms}, '>=', 1600, 'X-Test-Time is the scheduled arrival';
};

subtest 'schedules' => sub {
	for my $way (['-o', 0, .001], ['-O', 1, .25]) {
		my ($option, $cv, $off) = @$way;
		my $p = pair();
		$p->stop_sink;
		$p->sink('-b', $p->dir . '/bodies');
		is $p->load('-c', 20, '-r', 400, '-m', 400, $option, '-z', $seed)->{acked}, 400, "$option: sent";
		my @t = sort { $a <=> $b } map { /^X-Test-Time: (\d+)\r$/m } bodies($p);
		my @gap = map { $t[$_] - $t[ $_ - 1 ] } 1 .. $#t;
		my $mean = sum(@gap) / @gap;
		near($mean, 2500, $cv ? 600 : 3, "$option: the mean interval");
		near(sqrt(sum(map { ($_ - $mean)**2 } @gap) / @gap) / $mean, $cv, $off, "$option: its variation");
	}
};

subtest 'domains, headers, sizes and bodies' => sub {
	my $p = pair(sink => []);
	$p->stop_sink;
	$p->sink('-b', $p->dir . '/bodies', '-j', $p->dir . '/account');
	PosthornTest::write_file($p->dir . '/domains', "# weights\nbig.example 70\nmid.example 20\n\nsmall.example 10\n");
	my @mix = ('-D', $p->dir . '/domains', '-S', '100-100000', '-h', 'X-Tenant: t%{1-500}', '-h', 'X-A: a|b', '-h', 'X-B: c|d|e%{7-7}f');
	is $p->load('-c', 10, '-m', 1000, '-z', $seed, @mix)->{acked}, 1000, 'sent';
	my $account = ended($p);
	my (%domain, %crc);
	for ($p->ledger) {
		my ($n) = $_->{id} =~ /-(\d+)/;
		$_->{rcpt} =~ /^u$n\@(.*)$/ or fail "recipient $_->{rcpt} of $_->{id}";
		$domain{$1}++;
		$crc{ $_->{crc} }++;
	}
	share($domain{"$_->[0].example"}, 1000, $_->[1], "weight of $_->[0]") for [big => .7], [mid => .2], [small => .1];
	is scalar(keys %crc), 1000, 'each body is another';
	is $account->{corrupt}, 0, 'and arrives as it was sent';
	my @b = bodies($p);
	is scalar(@b), 1000, 'all are looked at';
	my @length = map { length((split /\r\n\r\n/, $_, 2)[1]) - 2 } @b;
	cmp_ok min(@length), '>=', 100, 'smallest body';
	cmp_ok max(@length), '<=', 100_000, 'largest';
	share(scalar(grep { $_ < 562 } @length), 1000, .25, 'a quarter is in the first quarter of the logarithms');
	share(scalar(grep { $_ < 3162 } @length), 1000, .5, 'a half in the first half');
	is scalar(grep { /[^\x20-\x7e\r\n]|[^\r]\n|\r[^\n]|[^\r\n]{79}/ } map { (split /\r\n\r\n/, $_, 2)[1] } @b), 0, '7 bit, CRLF, short lines';
	my ($large) = sort { length $b <=> length $a } @b;
	cmp_ok length(Compress::Zlib::compress($large)), '>', length($large) / 2, 'not compressible to nothing';
	my @tenant = map { /^X-Tenant: t(\d+)\r$/m } @b;
	is scalar(@tenant), 1000, 'a number in each';
	cmp_ok min(@tenant), '>=', 1, 'not below';
	cmp_ok max(@tenant), '<=', 500, 'nor above its range';
	cmp_ok scalar(uniq @tenant), '>', 380, 'of all sorts';    # 432 expected
	my %pairs;
	for (@b) { $pairs{"$1-$2"}++ if /^X-A: (.*)\r\nX-B: (.*)\r$/m }
	is join(' ', sort keys %pairs), 'a-c a-d a-e7f b-c b-d b-e7f', 'all combinations';
	cmp_ok max(values %pairs) - min(values %pairs), '<=', 1, 'in turn';

	my $q = pair();
	$q->load('-c', 3, '-m', 1000, '-z', $seed, @mix);
	is join(' ', map { "$_->{rcpt} $_->{crc}" } sort { $a->{id} cmp $b->{id} } $q->ledger),
		join(' ', map { "$_->{rcpt} $_->{crc}" } sort { $a->{id} cmp $b->{id} } $p->ledger), 'the same seed, the same mail';
	my $o = pair();
	$o->load('-c', 3, '-m', 1000, '-z', $seed + 1, @mix);
	isnt join(' ', sort map { $_->{rcpt} } $o->ledger), join(' ', sort map { $_->{rcpt} } $p->ledger), 'another, other mail';
	my $s = $o->connect_smtp;
	like say_all($s, 'EHLO x', 'MAIL FROM:<a@b>', 'RCPT TO:<c@d>', 'DATA', "X-Test-Crc: 00000001\r\n\r\nspoiled\r\n."), qr/^250/, 'a body that is not what it says';
	is ended($o)->{corrupt}, 1, 'is noticed';
};

subtest 'what a message looks like to the sink' => sub {
	my $p = pair();
	$p->stop_sink;
	$p->sink('-b', $p->dir . '/bodies');
	my $content = "Subject: dots\r\n.odd: x\r\n\r\n..\r\n.x\r\nbare\n.\nlf\r\n" . 'l' x 20_000 . "\r\n\r\n.";
	(my $stuffed = $content) =~ s/(?:^|(?<=\r\n))\./../g;
	my $all = "EHLO x\r\nMAIL FROM:<a\@b>\r\nRCPT TO:<c\@d>\r\nDATA\r\n$stuffed\r\n.\r\nQUIT\r\n";
	for my $piece (1, 2, 3, 7, 5000, length $all) {
		my $s = $p->connect_smtp;
		for (my $at = 0; $at < length $all; $at += $piece) {
			syswrite $s, substr $all, $at, $piece;
		}
		PosthornTest::reply($s) for 1 .. 5;
		like PosthornTest::reply($s), qr/^221/, "in pieces of $piece: the session goes on";
	}
	my @b = bodies($p);
	is scalar(@b), 6, 'all arrived';
	is scalar(grep { $_ eq "$content\r\n" } @b), 6, 'unstuffed, and not ended by a bare LF';
	is scalar(uniq map { "$_->{crc} $_->{size}" } $p->ledger), 1, 'one checksum';
};

subtest 'TLS' => sub {
	my $p = pair();
	$p->stop_sink;
	$p->sink('-t', join(':', $p->certificate), '-j', $p->dir . '/account');
	my $r = $p->load('-c', 2, '-m', 60, '-k', 5, '-T', '-d', 60);
	is $r->{acked}, 60, 'sent';
	cmp_ok $r->{tls}, '>=', 12, 'a handshake for five messages';
	cmp_ok $r->{tls}, '>=', $r->{connections} - 2, 'on each connection, but those that were opened at the very end';
	cmp_ok $r->{tls_resumed}, '>=', $r->{tls} - 2, 'all resumed but the first';
	my $full = $p->load('-c', 2, '-m', 20, '-k', 5, '-T', '-R', '-d', 60, '-p', 'full');
	is $full->{tls_resumed}, 0, '-R: none';
	is $full->{acked}, 20, 'sent';
	my $account = ended($p);
	is $account->{tls_resumed}, $r->{tls_resumed}, 'the sink saw as many';
	is scalar(grep { $_->{tls} } $p->ledger), 80, 'and all mail by TLS';
};

subtest 'many connections that are kept' => sub {
	my $p = pair();
	my $r = $p->load('-c', 300, '-b', '127.0.0.1,127.0.0.7', '-r', 100, '-o', '-m', 50, '-i', 1.5);
	is $r->{status}, 0, 'all acknowledged';
	is $r->{open}, 300, 'all open before the first message';
	is $r->{connections}, 300, 'and none opened again';
	cmp_ok abs($r->{send_rate} - 100), '<', 15, 'at the rate asked for, the opening not counted';
	cmp_ok $r->{seconds}, '>=', 1.5, 'kept open after the last message';
	my $account = ended($p);
	is $account->{connections_peak}, 300, 'all at a time';
	is join(' ', sort { $a cmp $b } uniq map { $_->{client} } $p->ledger), '127.0.0.1 127.0.0.7', 'from both addresses';
	my $q = pair();
	$r = $q->load('-c', 20, '-m', 0, '-i', 1, '-N', .2);
	is $r->{status}, 0, 'only connections';
	my $idle = ended($q);
	is $idle->{connections_peak}, 20, 'were there';
	cmp_ok $idle->{noop}, '>=', 40, 'each with a NOOP now and then';
	cmp_ok $idle->{noop}, '<=', 100, 'but not more often';
};

subtest 'refusals' => sub {
	my $p = pair(sink => ['-D', 30]);
	my @to = ('-t', 'defer-2-a%u@x.example,deferdot-1-b%u@x.example,u%u@x.example');
	for my $way (['plain'], ['pipelined', '-P']) {
		my ($prefix, @o) = @$way;
		my $r = $p->load('-c', 5, '-m', 90, '-q', '-d', 60, '-p', $prefix, @o, map { s/([ab])%/$1$prefix%/gr } @to);
		is $r->{acked}, 90, "$prefix: all in the end";
		cmp_ok $r->{refused}, '>=', 90, "$prefix: after as many refusals as asked for";
		is $r->{lost_connections}, 0, "$prefix: on the same connections";
		is scalar(grep { $_->{id} =~ /^$prefix/ } $p->ledger), 90, "$prefix: and once each";
	}
	my $account = ended($p);
	is $account->{refused}{deferred_dot}, 60, 'at end of data';
	my $by_hash = $account->{refused}{deferred} - 120;
	share($by_hash, 30, .3, 'some of the others, at the first attempt, and none with a word');
	my $d = pair(sink => ['-D', 30]);
	$d->load('-c', 5, '-m', 500, '-q', '-d', 60, '-p', $_) for 1 .. 2;
	share(ended($d)->{refused}{deferred}, 500, .3, '-D: the first attempt only');

	my $e = pair(sink => ['-E', '20:0']);
	is $e->load('-c', 5, '-m', 1000, '-q', '-d', 120)->{acked}, 1000, '-E 20: all in the end';
	my $n = ended($e)->{refused}{deferred_dot};
	share($n, 1000 + $n, .2, 'a fifth of the attempts deferred');
	my $r = pair(sink => ['-R', '0:10']);
	my $l = $r->load('-c', 20, '-m', 1000, '-q', '-d', 4);
	is $l->{status}, 1, '-R 0:10: exit status when not all were taken';
	share($l->{acked}, 1000, .9, 'all but a tenth');
	my $f = pair(sink => ['-F', 10]);
	share($f->load('-c', 20, '-m', 1000, '-q', '-d', 4)->{acked}, 1000, .9, '-F: for ever');
};

subtest 'answers at every stage' => sub {
	my @stages = qw(banner ehlo mail rcpt data dot);
	my %do = (reply => '451 4.3.0 rule', closing => '421 4.3.2 rule', drop => 'drop', slow => 'slow 300');
	my (@case, @address);
	for my $what (sort keys %do) { push @case, [$_, $what, '127.1.0.' . (@case + 1)] for @stages }
	my $p = PosthornTest->new;
	my $port = $p->{sink_port} = PosthornTest::free_port();
	$p->{sink_addresses} = [map { $_->[2] } @case];
	$p->sink('-j', $p->dir . '/account', map { ('-s', "$_->[0]*1\@$_->[2]:$port=$do{$_->[1]}") } @case);
	for my $c (@case) {
		my ($stage, $what, $addr) = @$c;
		my $s = IO::Socket::INET->new(PeerAddr => $addr, PeerPort => $port, Timeout => 10) or die "connect: $!";
		my @say = ('EHLO x', 'MAIL FROM:<a@b.example>', 'RCPT TO:<c@d.example>', 'DATA', "Subject: x\r\n\r\nx\r\n.");
		my ($got, $t);
		for my $at (@stages) {
			$t = time;
			print $s shift(@say) . "\r\n" unless $at eq 'banner';
			$got = PosthornTest::reply($s);
			last if $at eq $stage;
			like $got, qr/^[23]/, "$stage $what: not yet at $at" or last;
		}
		my $closes = $what =~ /drop|closing/ || ($what eq 'reply' && $stage eq 'banner');
		if ($what eq 'drop') { is $got, undef, "$stage: dropped" }
		elsif ($what eq 'slow') { like $got, qr/^[23]/, "$stage: slow"; cmp_ok time - $t, '>=', .29, "$stage: so much" }
		else { like $got, qr/^4[25]1 4.3.[02] rule\r\n$/, "$stage: $what" }
		is PosthornTest::reply($s, 5), undef, "$stage $what: closed" if $closes;
		next if $closes;
		$got = $stage eq 'banner' ? say_all($s, 'EHLO x') : $stage eq 'data' && $what eq 'slow' ? say_all($s, '.') : say_all($s, 'NOOP');
		like $got, qr/^250/, "$stage $what: goes on";
	}
	my $account = ended($p);
	is $account->{refused}{rule}, 18, 'counted';
	is $account->{messages}, 2, 'those that were slow at DATA and at the dot were taken';
};

subtest 'answers by local part' => sub {
	my $p = pair();
	my %stage = (mail => 'MAIL FROM:<%s@x.example>', rcpt => 'RCPT TO:<%s@x.example>', data => 'DATA', dot => "x: y\r\n\r\n.");
	for my $c (
		['421mail-2-a', 'mail', '421', 2], ['dropmail-a', 'mail', undef, 1], ['defermail-1-a', 'mail', '451', 1], ['rejectmail-a', 'mail', '550'],
		['421rcpt-1-a', 'rcpt', '421', 1], ['droprcpt-a', 'rcpt', undef, 1], ['defer-2-a', 'rcpt', '451', 2], ['full-a', 'rcpt', '452'], ['unknown-a', 'rcpt', '550'],
		['421data-a', 'data', '421', 1], ['dropdata-a', 'data', undef, 1], ['deferdata-1-a', 'data', '451', 1], ['rejectdata-a', 'data', '554'],
		['421dot-a', 'dot', '421', 1], ['dropdot-1-a', 'dot', undef, 1], ['dropafter-1-a', 'dot', undef, 1], ['deferdot-1-a', 'dot', '451', 1], ['reject-dot-a', 'dot', '554'])
	{
		my ($who, $where, $code, $times) = @$c;
		my @got;
		for my $try (1 .. ($times // 1) + 1) {
			my $s = $p->connect_smtp;
			my $r;
			for my $at (qw(mail rcpt data dot)) {
				my $name = $where eq 'mail' ? ($at eq 'mail' ? $who : 'ok') : $at eq 'mail' ? 'ok' : $who;
				$r = PosthornTest::say_smtp($s, $stage{$at} =~ s/%s/$name/r);
				last if $at eq $where;
			}
			push @got, defined $r ? substr($r, 0, 3) : 'end';
		}
		my $success = $where eq 'data' ? 354 : 250;
		is "@got", join(' ', ($code // 'end') x ($times // 1), defined $times ? $success : $code), "$who at $where";
	}
	for my $c (['slowmail', 'mail'], ['slowrcpt', 'rcpt'], ['slowdata', 'data'], ['slow', 'dot']) {
		my $s = $p->connect_smtp;
		my $t;
		for my $at (qw(mail rcpt data dot)) {
			$t = time;
			my $r = PosthornTest::say_smtp($s, $stage{$at} =~ s/%s/$c->[0]-300-a/r);
			last if $at eq $c->[1];
			cmp_ok time - $t, '<', .29, "$c->[0]: not at $at";
		}
		cmp_ok time - $t, '>=', .29, "$c->[0] at $c->[1]";
	}
	my $account = ended($p);
	is $account->{refused}{$_->[0]}, $_->[1], "$_->[0] counted" for [closed => 5], [dropped => 5], [unknown => 2], [full => 2],
		[deferred => 4], [deferred_dot => 1], [rejected => 4], [rejected_dot => 2];
};

subtest 'limits of domains' => sub {
	my $limits = PosthornTest->new;
	my $file = $limits->dir . '/limits';
	PosthornTest::write_file($file, "# domain connections rate messages\ntwo.example 2 -\nfive.example - - 5\nrate.example - 20 -\n* 3 1000\n");
	my $p = PosthornTest->new;
	my $port = $p->{port} = $p->{sink_port} = PosthornTest::free_port();
	$p->{sink_addresses} = ['127.0.0.1'];
	my $pid = $p->spawn('sink', "$PosthornTest::tools/sink", '-j', $p->dir . '/account', '-l', $p->dir . '/ledger', '-L', $file,
		"127.0.0.1:$port", "127.0.0.9:$port=two.example");
	$p->wait_for('sink', sub { PosthornTest::slurp($p->dir . '/sink.out') =~ /ready/ }, 10);
	$p->{sink_pid} = $pid;

	my $open = sub { my $s = IO::Socket::INET->new(PeerAddr => $_[0], PeerPort => $port, Timeout => 10) or die "connect: $!"; return ($s, PosthornTest::reply($s)) };
	my @c = map { [$open->('127.0.0.9')] } 1 .. 3;
	is join(' ', map { substr $_->[1], 0, 3 } @c), '220 220 421', 'a listener that is a domain\'s: 421 at the banner';
	@c = map { ($open->('127.0.0.1'))[0] } 1 .. 4;
	is join(' ', map { substr say_all($_, 'MAIL FROM:<a@b>', 'RCPT TO:<c@Other.example>'), 0, 3 } @c), '250 250 250 421', 'else at RCPT; * is for all others';
	like say_all($c[0], 'RSET', 'MAIL FROM:<a@b>', 'RCPT TO:<c@another.example>'), qr/^250/, 'another domain';
	my ($s) = $open->('127.0.0.1');
	like say_all($s, 'MAIL FROM:<a@b>', 'RCPT TO:<c@other.example>'), qr/^250/, 'takes its place with it';

	my $t = time;
	my $r = $p->load('-c', 6, '-m', 60, '-q', '-d', 60, '-t', 'u%u@rate.example', '-p', 'rate');
	is $r->{acked}, 60, 'within the rate in the end';
	cmp_ok time - $t, '>=', 1.9, 'not sooner than the rate allows';
	$r = $p->load('-c', 2, '-m', 60, '-q', '-d', 60, '-t', 'u%u@five.example', '-p', 'five');
	is $r->{acked}, 60, 'five a connection';
	cmp_ok $r->{connections}, '>=', 11, 'on so many connections';
	$r = $p->load('-c', 6, '-m', 60, '-q', '-d', 60, '-t', 'u%u@third.example', '-p', 'third');
	is $r->{acked}, 60, 'three connections';
	my $account = ended($p);
	my %d = %{ $account->{domains} };
	is $d{'two.example'}{over_connections}, 1, 'refused connections are counted';
	is $d{'two.example'}{connections_peak}, 3, 'and the peak';
	is $d{'other.example'}{over_connections}, 1, 'of others too';
	is $d{'rate.example'}{messages}, 60, 'messages of a domain';
	cmp_ok $d{'rate.example'}{over_rate}, '>', 0, 'refused for the rate';
	cmp_ok $d{'rate.example'}{rate_peak}, '<=', 41, 'the bucket and a second more';
	cmp_ok $d{'five.example'}{over_messages}, '>=', 10, 'refused for messages of a connection';
	cmp_ok $d{'third.example'}{over_connections}, '>', 0, 'refused for connections';
	is $account->{refused}{connection_limit}, sum(map { $_->{over_connections} } values %d), 'the sums agree';
	is $account->{refused}{rate_limit}, $d{'rate.example'}{over_rate}, 'of rates too';

	my $q = pair(sink => ['-L', $file, '-C']);
	$r = $q->load('-c', 6, '-m', 30, '-q', '-d', 60, '-t', 'u%u@rate.example');
	is $r->{acked}, 30, '-C: also by closing';
	cmp_ok $r->{lost_connections}, '>', 0, 'connections were';
};

# The ledger line of a message is written before its 250 leaves.
subtest 'a sink that is killed has written what it acknowledged' => sub {
	my $p = pair();
	my $l = $p->load_start('-c', 20, '-m', 1_000_000, '-q', '-s', 200, '-P', '-d', 60);
	ok $p->wait_for('some mail', sub { $p->ledger_count > 2000 }, 30), 'under load';
	kill KILL => $p->{sink_pid};
	$p->end_pid($p->{sink_pid}, 'KILL');
	ok $p->wait_for('load noticed', sub {
		my $n = -s $p->dir . '/acked';
		sleep .3;
		return $n == -s $p->dir . '/acked';
	}, 20), 'nothing more is acknowledged';
	$p->end_pid($l->{pid}, 'TERM');
	my %in = map { $_->{id} => 1 } $p->ledger;
	my @acked = $p->acked;
	cmp_ok scalar(@acked), '>', 1000, 'many were acknowledged';
	is scalar(grep { !$in{$_} } @acked), 0, 'and all are in the ledger';
};

subtest 'wrong usage' => sub {
	my $run = sub { my $st = system("@_ >/dev/null 2>&1"); return $st >> 8 };
	my $load = "$PosthornTest::tools/load";
	my $sink = "$PosthornTest::tools/sink";
	is $run->($load, @$_), 2, "load @$_" for [], ['-Y'], ['127.0.0.1'], ['x:25'], ['-o', '127.0.0.1:25'], ['-S', '9-1', '127.0.0.1:25'],
		['-h', 'nonsense', '127.0.0.1:25'], ['-h', '"X: %{9-1}"', '127.0.0.1:25'], ['-b', 'x', '127.0.0.1:25'];
	is $run->($load, '-D', '/nonexistent', '127.0.0.1:25'), 1, 'load -D of no file';
	is $run->($load, '-q', '-m', 1, '-d', .3, '127.0.0.1:' . PosthornTest::free_port()), 1, 'load against nobody';
	is $run->($sink, @$_), 2, "sink @$_" for ['-Y'], ['-s', 'nowhere=drop', '127.0.0.1:1'], ['-s', 'dot=explode', '127.0.0.1:1'], ['-E', '60:60', '127.0.0.1:1'], ['127.0.0.1'];
};

done_testing;
