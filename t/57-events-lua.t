# Events of policy in smtpd: the example policies of conf/examples, each with clients and a sink; name servers that answer slowly
# or not at all hold up the session that asks and no other; a handler that runs wild costs its command and nothing else.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use Socket qw(unpack_sockaddr_in inet_aton pack_sockaddr_in);
use Test::More;
use PosthornTest;

sub say_smtp { PosthornTest::say_smtp(@_) }

sub one_message {
	my ($s, $from, $to, $text) = @_;
	for my $line ("MAIL FROM:<$from>", (map { "RCPT TO:<$_>" } ref $to ? @$to : $to), 'DATA') {
		my $r = say_smtp($s, $line);
		return $r unless $r =~ /^[23]/;
	}
	$text =~ s/\n/\r\n/g;
	return say_smtp($s, "$text\r\n.");
}

# The last event of the kind about that address.
sub event_of {
	my ($p, $type, $rcpt) = @_;
	my ($e) = grep { ref $_->{recipient} ? grep { $_ eq $rcpt } @{ $_->{recipient} } : $_->{recipient} eq $rcpt } reverse $p->events($type);
	return $e;
}

sub delivered {
	my ($p, $rcpt) = @_;
	return $p->wait_for("mail to $rcpt", sub { my ($l) = grep { $_->{rcpt} eq $rcpt } $p->ledger; $l });
}

# The message with one recipient as the sink has it.
sub body_of {
	my ($p, $rcpt) = @_;
	return $p->wait_for("the body for $rcpt", sub { my ($b) = grep { /for <\Q$rcpt\E>/ } map { PosthornTest::slurp($_) } glob "$p->{dir}/bodies/*"; $b })
		// '';
}

subtest 'rejections' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, mynetworks => '127.0.0.9/32' });
	$p->sink;
	$p->{policy} = $p->example('events-reject');
	$p->start;
	my $s = $p->connect_smtp;
	like say_smtp($s, 'EHLO host-1.dynamic.isp.example'), qr/^550 5\.7\.1 Use the mail server/, 'a name is rejected';
	like say_smtp($s, 'MAIL FROM:<a@b.example>'), qr/^503/, 'and counts as not said';
	like say_smtp($s, 'HELO mail.isp.example'), qr/^250/, 'another is not';
	print $s "MAIL FROM:<a\@b.example>\r\nRCPT TO:<nobody\@shop.example>\r\nRCPT TO:<sales\@shop.example>\r\nDATA\r\n";
	my @r = map { PosthornTest::reply($s) } 1 .. 4;
	is join(' ', map { substr $_, 0, 3 } @r), '250 550 250 354', 'pipelined commands keep their order';
	like $r[1], qr/^550 5\.1\.1 There is no nobody\@shop\.example here/, 'with the text of policy';
	like say_smtp($s, "Subject: x\r\n\r\nx\r\n."), qr/^250/, 'and the message is accepted';
	like say_smtp($s, 'MAIL FROM:<x@spam.example>'), qr/^554 5\.7\.1 Good bye/, 'disconnect says so';
	is PosthornTest::reply($s), undef, 'and does it';
	my @e = $p->events('Rejection');
	ok scalar(grep { $_->{recipient} eq 'nobody@shop.example' && $_->{response}{code} == 550 } @e), 'a Rejection is recorded';
	ok delivered($p, 'sales@shop.example'), 'the mail is delivered';
};

subtest 'users and tenants' => sub {
	my $p = PosthornTest->new(tls => 1, conf => { smtpd_processes => 1, smtpd_tls_auth_only => 'no', tenant_mismatch => 'reject' },
		users => [['filed', 'secret', '--tenant', 'other']]);
	$p->{sink_addresses} = ['127.0.0.1'];
	$p->sink;
	$p->{policy} = $p->example('events-auth');
	$p->start;
	my $login = sub {
		my ($user, $password, $plain) = @_;
		my $s = $p->connect_smtp($p->{submission});
		like say_smtp($s, 'EHLO x'), qr/AUTH PLAIN LOGIN/, 'AUTH is offered';
		return ($s, say_smtp($s, 'AUTH PLAIN ' . encode_base64("\0$user\0$password", ''))) if $plain;
		say_smtp($s, 'AUTH LOGIN');
		say_smtp($s, encode_base64($user, ''));
		return ($s, say_smtp($s, encode_base64($password, '')));
	};
	my ($s, $r) = $login->('newsletter', 'wrong', 1);
	like $r, qr/^535/, 'a wrong password';
	($s, $r) = $login->('newsletter', 'wonderland', 1);
	like $r, qr/^235/, 'AUTH PLAIN';
	like one_message($s, 'a@b.example', 'n@dest.example', "X-Mailing: spring 26\nX-Tenant: promotional\n\nx"), qr/^250/, 'a message';
	like one_message($s, 'a@b.example', 'n@dest.example', "X-Tenant: transactional\n\nx"), qr/^550/, 'in nobody else\'s name';
	($s, $r) = $login->('shop', 'looking-glass', 0);
	like $r, qr/^235/, 'AUTH LOGIN';
	like one_message($s, 'a@b.example', 's@dest.example', "Subject: x\n\nx"), qr/^250/, 'a message';
	($s, $r) = $login->('filed', 'secret', 1);
	like $r, qr/^235/, 'nil leaves it to the passwd file';
	my $e = $p->wait_for('reception', sub { event_of($p, 'Reception', 'n@dest.example') });
	is "$e->{tenant} $e->{campaign} $e->{queue} $e->{meta}{login}", 'promotional spring_26 spring_26:promotional@dest.example newsletter',
		'tenant, campaign, queue and meta';
	is delivered($p, 'n@dest.example')->{client} =~ s/:\d+\z//r, '127.0.2.2', 'the tenant decides the pool';
	is delivered($p, 's@dest.example')->{client} =~ s/:\d+\z//r, '127.0.2.3', 'of each';
};

subtest 'changed messages' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1s' });
	$p->sink('-b', "$p->{dir}/bodies");
	$p->{policy} = $p->example('events-edit');
	$p->start;
	my $s = $p->connect_smtp;
	say_smtp($s, 'EHLO x');
	like one_message($s, 'a@b.example', 'x@old.example', "X-Order: 7\nX-Client-Id: 9\nSubject: x\n\nThe body\n"), qr/^250/, 'accepted';
	like one_message($s, 'a@b.example', 'x@partner.example', "Subject: x\n\nx"), qr/^250/, 'accepted';
	like one_message($s, 'a@b.example', 'x@vip.example', "Subject: x\n\nx"), qr/^250/, 'accepted';
	like one_message($s, 'a@b.example', 'x@later.example', "Subject: x\n\nx"), qr/^250/, 'accepted';
	ok delivered($p, 'x@new.example'), 'another recipient';
	my $e = event_of($p, 'Reception', 'x@new.example');
	is $e->{meta}{x_order}, 7, 'headers were imported';
	my $body = body_of($p, 'x@new.example');
	like $body, qr/\A(?:X-Posthorn-Ref: \S+\r\n(?: \S+\r\n)*)?Received: .*?for <x\@new\.example>.*?\r\nFeedback-ID: shop:7\r\nSubject: x\r\n.*X-Report-Abuse: abuse\@shop.example\r\n(?:.*\r\n)*\r\nThe body/s,
		'and the message is what policy made of it, trace first';
	unlike $body, qr/X-Order|X-Client/, 'without what it removed';
	is event_of($p, 'Reception', 'x@partner.example')->{queue}, 'gateway.example', 'routed by domain';
	ok delivered($p, 'x@partner.example'), 'and delivered';
	is event_of($p, 'Reception', 'x@vip.example')->{queue}, 'fast:vip@vip.example', 'a queue by name';
	ok delivered($p, 'x@vip.example'), 'and delivered';

	# X-Schedule: trusted senders only, checked, removed.
	my $line = sub { one_message($s, 'a@b.example', 'x@dest.example', "X-Schedule: $_[0]\nSubject: x\n\nx") };
	like $line->('{"first_attempt": 0, "expires": 3600}'), qr/^250/, 'a schedule';
	like $line->('{"first_attempt": '), qr/^550 5\.6\.0 Bad X-Schedule header: it is not a JSON object/, 'no JSON';
	like $line->('{"dow": "Mon"}'), qr/^550 5\.6\.0 .*delivery windows/, 'a window';
	like $line->('{"expires": "2001-01-01T00:00:00Z"}'), qr/^550 5\.6\.0 .*expired/, 'the past';
	like $line->("{}\nX-Schedule: {}"), qr/^550 5\.6\.0 .*two of them/, 'two';
	ok delivered($p, 'x@dest.example'), 'the scheduled one is delivered';
	unlike body_of($p, 'x@dest.example'), qr/X-Schedule/, 'the header does not leave';
};

# A name server in front of the real one that never answers for names with "slow" in them.
sub dns_filter {
	my ($to) = @_;
	my $port = PosthornTest::free_port();
	my $in = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'udp') or die "udp: $!";
	my $pid = fork // die "fork: $!";
	return ($port, $pid) if $pid;
	my $out = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to, Proto => 'udp') or POSIX::_exit(1);
	my (%from, $msg);
	my $sel = IO::Select->new($in, $out);
	while (getppid() != 1) {
		for my $h ($sel->can_read(1)) {
			my $peer = $h->recv($msg, 4096);
			next unless defined $peer && length $msg > 2;
			if ($h == $in) {
				next if $msg =~ /slow/i;
				$from{ substr $msg, 0, 2 } = $peer;
				$out->send($msg);
			} elsif (my $back = delete $from{ substr $msg, 0, 2 }) {
				$in->send($msg, 0, $back);
			}
		}
	}
	POSIX::_exit(0);
}

subtest 'name servers' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, dns_timeout => '3s' }, zone => <<'Z');
9.0.0.127.bl.example. IN A 127.0.0.2
9.0.0.127.bl.example. IN TXT "127.0.0.9 sends spam"
good.example. IN MX 10 mx2.good.example.
good.example. IN MX 5 mx1.good.example.
good.example. IN TXT "v=spf1 " "-all"
null.example. IN MX 0 .
Z
	$p->sink;
	$p->{policy} = $p->example('events-dns');
	my ($port, $pid) = dns_filter($p->{dns_port});
	$p->{pids}{$pid} = 'filter';
	$p->{conf}{dns_servers} = "127.0.0.1\@$port";
	$p->start;
	my $bad = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port, LocalAddr => '127.0.0.9', Proto => 'tcp');
	PosthornTest::reply($bad);
	like say_smtp($bad, 'EHLO x'), qr/^550 5\.7\.1 127\.0\.0\.9 sends spam/, 'listed';
	my $s = $p->connect_smtp;
	like say_smtp($s, 'EHLO x'), qr/^250/, 'not listed';
	like say_smtp($s, 'MAIL FROM:<a@null.example>'), qr/^550 5\.7\.27/, 'null MX';
	like one_message($s, 'a@good.example', 'x@dest.example', "Subject: x\n\nx"), qr/^250/, 'a good one';
	my $e = event_of($p, 'Reception', 'x@dest.example');
	is_deeply $e->{meta}, { ptr => 'localhost.', sender_mx => 'mx1.good.example.', spf => 'v=spf1 -all' }, 'what the servers said';

	# One session hangs in a question that nobody answers; the same worker serves another.
	my $stuck = $p->connect_smtp;
	say_smtp($stuck, 'EHLO x');
	print $stuck "MAIL FROM:<a\@slow.example>\r\nRCPT TO:<x\@dest.example>\r\n";
	$stuck->flush;
	for (1 .. 5) {
		like one_message($s, 'a@good.example', "y$_\@dest.example", "Subject: x\n\nx"), qr/^250/, 'others go on';
	}
	ok !IO::Select->new($stuck)->can_read(0), 'while it still waits';
	my $gone = $p->connect_smtp;
	say_smtp($gone, 'EHLO x');
	print $gone "MAIL FROM:<a\@slow2.example>\r\n";
	close $gone;
	like PosthornTest::reply($stuck), qr/^450 4\.1\.8 Your domain: /, 'in the end it hears that there is no answer';
	like PosthornTest::reply($stuck), qr/^503/, 'and its next command is answered in order';
	like say_smtp($stuck, 'MAIL FROM:<a@good.example>'), qr/^250/, 'it goes on';

	# The helper dies: a temporary answer, and a new one.
	my @dns = grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /-r\0dns/ } $p->daemon_pids('smtpd');
	is scalar @dns, 1, 'a dns role for a worker';
	kill 'KILL', @dns;
	ok $p->wait_for('a new dns role', sub { my $r = say_smtp($s, 'MAIL FROM:<a@good.example>'); say_smtp($s, 'RSET'); $r =~ /^250/ }),
		'a new role answers';

	# So does it for a new worker, and for those of a reload, whose old ones go with their helpers.
	my $role = sub { my $name = shift; grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /-r\0$name\0/ } $p->daemon_pids('smtpd') };
	my $asks = sub {
		my $s = eval { $p->connect_smtp } or return;
		(say_smtp($s, 'EHLO x') // '') =~ /^250/ && (say_smtp($s, 'MAIL FROM:<a@good.example>') // '') =~ /^250/;
	};
	my ($worker) = $role->('worker');
	kill 'KILL', $worker;
	ok $p->wait_for('a new worker', sub { my @w = $role->('worker'); @w == 1 && $w[0] != $worker && $asks->() }), 'a new worker asks';
	($worker, my $dns) = ($role->('worker'), $role->('dns'));
	my ($status) = $p->posthorn('reload');
	is $status, 0, 'reload';
	ok $p->wait_for('the old ones to go', sub { my @d = $role->('dns'); @d == 1 && $d[0] != $dns && $asks->() }), 'new ones ask';
};

subtest 'running wild' => sub {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
	$p->sink;
	$p->{policy} = $p->default_policy . <<'L';
kumo.on('smtp_server_mail_from', function(address)
  if address.user == 'loop' then while true do end end
  if address.user == 'error' then error('oh dear') end
  if address.user == 'memory' then local t = {} while true do t[#t + 1] = ('x'):rep(100000) end end
end)
L
	$p->start;
	my $s = $p->connect_smtp;
	my ($worker) = grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /-r\0worker/ } $p->daemon_pids('smtpd');
	say_smtp($s, 'EHLO x');
	like say_smtp($s, "MAIL FROM:<$_\@b.example>"), qr/^451 4\.3\.5 /, "$_: a temporary failure" for qw(loop error memory);
	like one_message($s, 'good@b.example', 'x@dest.example', "Subject: x\n\nx"), qr/^250/, 'the session goes on';
	is_deeply [grep { $_ == $worker } $p->daemon_pids('smtpd')], [$worker], 'in the same process';
	like PosthornTest::slurp("$p->{dir}/posthorn.err"), qr/oh dear.*traceback/, 'the traceback is in the log';
	$p->wait_for('mail', sub { $p->ledger_count == 1 });
};

done_testing;
