# Policy that runs for ever, raises an error, or eats memory, in every event: only the message or the session that it was asked for
# fails, temporarily; the log has a traceback; the process lives and everything else goes on. `posthorn status` counts it.
use strict;
use warnings;
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);
use Test::More;
use PosthornTest;

sub say_smtp { PosthornTest::say_smtp(@_) }

my $p = PosthornTest->new(tls => 1, conf => { smtpd_processes => 1, smtpd_tls_auth_only => 'no', retry_interval => '1s', max_retry_interval => '2s' });
$p->sink;
my $port = $p->{sink_port};
$p->{policy} = <<"L";
posthorn.source { name = 's', source_address = '127.0.0.2', remote_port = $port }
posthorn.pool { name = 'all', entries = { { name = 's' } } }

local function wild(text)
  if text:find('loop') then while true do end end
  if text:find('error') then error('oh dear') end
  if text:find('memory') then local t = {} while true do t[#t + 1] = ('x'):rep(100000) end end
end

kumo.on('smtp_server_connection_accepted', function(conn)
  wild(({ ['127.0.0.11'] = 'loop', ['127.0.0.12'] = 'error', ['127.0.0.13'] = 'memory' })[conn:get_meta('received_from'):match('^[%d.]+')] or '')
end)
kumo.on('smtp_server_ehlo', function(domain) wild(domain) end)
kumo.on('smtp_server_auth_plain', function(authz, authc) wild(authc) return true end)
kumo.on('smtp_server_mail_from', function(address) wild(address.user) end)
kumo.on('smtp_server_rcpt_to', function(address) wild(address.user) end)
kumo.on('smtp_server_message_received', function(msg) wild(msg:get_first_named_header_value('Subject')) end)
kumo.on('get_queue_config', function(domain) if domain:find('^queue') then wild(domain) end end)
kumo.on('get_egress_pool', function(domain) if domain:find('^pool') then wild(domain) end return 'all' end)
kumo.on('get_egress_path_config', function(domain) if domain:find('^path') then wild(domain) end end)
L
# A site of its own for each of these, for all domains of a site share a path. (Below a name of their own: a wildcard does not reach
# beside names that exist.)
my @ways = qw(loop error memory);
$p->{zone} = join "*.wild. IN MX 10 mx.test.\n", '', map { my $d = "path-$_.wild"; "$d. IN MX 10 mx.$d.\nmx.$d. IN A 127.0.0.1\n" } @ways;
$p->start;
my @pids = sort $p->daemon_pids('smtpd'), $p->daemon_pids('queued'), $p->daemon_pids('deliverd');
my $n = 0;

# The last answer to these commands in a session of its own; it ends with the first that is refused.
sub session_at {
	my ($port, @commands) = @_;
	my $s = $p->connect_smtp($port);
	my $r;
	for (@commands) {
		$r = say_smtp($s, $_) // 'closed';
		return $r unless $r =~ /^[23]/;
	}
	return $r;
}

sub session { return session_at($p->port, @_) }

sub message { my ($rcpt, $subject) = @_; return ('EHLO x', 'MAIL FROM:<a@b.example>', "RCPT TO:<$rcpt>", 'DATA', 'Subject: ' . ($subject // 'x') . "\r\n\r\nx\r\n.") }

sub others_go_on {
	my ($what) = @_;
	my $rcpt = 'good' . ++$n . '@dest.example';
	like session(message($rcpt)), qr/^250/, "$what: another message is accepted";
	ok $p->wait_for("mail to $rcpt", sub { grep { $_->{rcpt} eq $rcpt } $p->ledger }), '... and delivered';
}

for my $way (@ways) {
	my $from = { loop => '127.0.0.11', error => '127.0.0.12', memory => '127.0.0.13' }->{$way};
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port, LocalAddr => $from, Proto => 'tcp') or die "connect: $!";
	like PosthornTest::reply($s), qr/^4\d\d 4\.3\.5 /, "$way when connected";
	like session("EHLO $way.example"), qr/^451 4\.3\.5 /, "$way at EHLO";
	like session_at($p->{submission}, 'EHLO x', 'AUTH PLAIN ' . encode_base64("\0$way\0secret", '')), qr/^4\d\d 4\.\d\.\d /, "$way at AUTH";
	like session('EHLO x', "MAIL FROM:<$way\@b.example>"), qr/^451 4\.3\.5 /, "$way at MAIL";
	like session('EHLO x', 'MAIL FROM:<a@b.example>', "RCPT TO:<$way\@dest.example>"), qr/^451 4\.3\.5 /, "$way at RCPT";
	like session(message('x@dest.example', $way)), qr/^451 4\.3\.5 /, "$way at the end of the message";
	others_go_on("$way in a session");

	for my $event (qw(queue pool path)) {
		my $rcpt = "x\@$event-$way.wild";
		like session(message($rcpt)), qr/^250/, "mail whose $event is asked for";
		my $why;
		ok $p->wait_for("what becomes of $rcpt", sub {
			($why) = grep { /policy\.lua:\d+: |the policy for this path failed/ } map { $_->{reason} // $_->{last_error}{text} // '', JSON::PP::encode_json($_) }
				$p->json('queue', 'list', '--recipient', $rcpt);
			$why;
		}), "$way in an event of the $event: it waits, for that reason";
		others_go_on("$way in an event of the $event");
	}
}
is_deeply [sort $p->daemon_pids('smtpd'), $p->daemon_pids('queued'), $p->daemon_pids('deliverd')], \@pids, 'no process has died';
is scalar(grep { /\@(?:queue|pool|path)/ } map { $_->{rcpt} } $p->ledger), 0, 'none of the waiting mail has left';

my $log = PosthornTest::slurp("$p->{dir}/posthorn.err");
my @lines = split /\n/, $p->{policy};
for my $event (qw(connection_accepted ehlo auth_plain mail_from rcpt_to message_received)) {
	my ($line) = grep { $lines[$_ - 1] =~ /smtp_server_$event\b/ } 1 .. @lines;
	my $last = $event eq 'connection_accepted' ? $line + 1 : $line;
	like $log, qr/smtpd[^\n]*policy\.lua:\d+: used more than 100 ms of CPU time[^\n]*traceback[^\n]*policy\.lua:(?:$line|$last)\b/, "traceback of smtp_server_$event";
}
like $log, qr/queued[^\n]*policy\.lua:\d+: used more than 100 ms of CPU time[^\n]*traceback/, 'traceback in queued';
like $log, qr/deliverd[^\n]*policy\.lua:\d+: used more than 100 ms of CPU time[^\n]*traceback/, 'traceback in deliverd';

# Counted, by daemon and event.
my %count;
ok $p->wait_for('the counters', sub {
	my ($status) = $p->json('status');
	%count = map { ("$_->{daemon} $_->{event}" => $_->{errors}) } @{ $status->{queue}{policy_errors} };
	($count{'smtpd smtp_server_message_received'} // 0) >= @ways && $count{'deliverd/all get_egress_path_config'};
}), 'posthorn status has the errors of policy' or diag explain \%count;
is $count{"smtpd smtp_server_$_"}, scalar @ways, "as many as there were in smtp_server_$_" for qw(connection_accepted ehlo auth_plain mail_from rcpt_to message_received);
cmp_ok $count{$_} // 0, '>=', scalar @ways, "and in $_" for 'queued get_queue_config', 'queued get_egress_pool', 'deliverd/all get_egress_path_config';
like +($p->posthorn('status'))[1], qr/warning: errors of policy since start: \d.* in get_queue_config \(queued\).*3 in smtp_server_ehlo \(smtpd\)/, 'in words as well';
done_testing;
