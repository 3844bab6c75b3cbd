# MTA-STS (RFC 8461) with real web servers: which policies count, what they forbid, how long they are kept, and that DANE comes first.
# KumoMTA's scenarios 54 and 55 are among these. Each domain's policy host has an address of its own, since the port is fixed.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Socket::INET;
use IO::Socket::SSL;
use Test::More;
use PosthornTest;

plan skip_all => 'needs root: policies are served at port 443' unless $> == 0;
my $p = PosthornTest->new(tls => 1, users => []);
my $etc = $p->etc;
my $ec = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
my @names = qw(good wrongmx wild nomx unreachable redirect big slow garbage html expired wrongname notls badmxcert testing testingbad
	testingcert none idchange keep off danebad danegood badtxt twotxt chunked old status disabled shared1 shared2);
system("openssl req -x509 $ec -days 30 -subj /CN=ca -keyout $etc/ca.key -out $etc/ca.crt >/dev/null 2>&1") == 0 or die 'openssl';

# A certificate for these names by the CA, of now or of the last year.
sub certificate {
	my ($file, $names, @dates) = @_;
	PosthornTest::write_file("$etc/$file.ext", 'subjectAltName=' . join(',', map { "DNS:$_" } @$names) . "\n");
	PosthornTest::write_file("$etc/$file.cnf", "[ca]\ndefault_ca=c\n[c]\ndatabase=$etc/$file.db\nnew_certs_dir=$etc\nserial=$etc/$file.srl\n" .
		"default_md=sha256\npolicy=p\n[p]\ncommonName=optional\n");
	PosthornTest::write_file("$etc/$file.db", '');
	PosthornTest::write_file("$etc/$file.srl", sprintf "%02X%06X\n", length $file, int rand 1 << 24);
	system("(openssl req $ec -subj /CN=x -keyout $etc/$file.key -out $etc/$file.csr && openssl ca -batch -notext -config $etc/$file.cnf -cert $etc/ca.crt " .
		"-keyfile $etc/ca.key -in $etc/$file.csr -out $etc/$file.crt -extfile $etc/$file.ext @dates) >$etc/$file.log 2>&1") == 0
		or die 'openssl ca: ' . PosthornTest::slurp("$etc/$file.log");
	return;
}
my @all = map { ("mta-sts.$_.test", "$_.test") } grep { !/^(?:expired|wrongname)\z/ } @names;
certificate('web', \@all, '-days 30');
certificate('expired', ['mta-sts.expired.test'], '-startdate 20240101000000Z -enddate 20250101000000Z');
certificate('wrongname', ['wrongname.test', 'mta-sts.other.test'], '-days 30');
certificate('mx', [map { "mx.$_.test" } grep { !/^(?:badmxcert|testingcert)\z/ } @names], '-days 30');

my %addr = map { $names[$_] => '127.0.44.' . ($_ + 1) } 0 .. $#names;
my %txt = map { $_ => ['v=STSv1; id=1;'] } @names;
$txt{badtxt} = ['v=STSv1; id=has-dashes;'];
$txt{twotxt} = ['v=STSv1; id=1;', 'v=STSv1; id=2;'];
$txt{good} = ['v=spf1 -all', 'v=STSv1; id=20160831085700Z'];    # others at the same name do not count

sub policy { my ($mode, $mx, $age) = @_; return "version: STSv1\r\nmode: $mode\r\n" . join('', map { "mx: $_\r\n" } @$mx) . 'max_age: ' . ($age // 86400) . "\r\n" }
sub reply { my ($body, $head) = @_; return ($head // "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " . length($body) . "\r\n") . "\r\n$body" }
my %answer = map { $_ => reply(policy('enforce', ["mx.$_.test"])) } @names;
$answer{wrongmx} = reply(policy('enforce', ['other.test', '*.example.test']));
$answer{wild} = reply(policy('enforce', ['*.WILD.test']));
$answer{nomx} = reply(policy('enforce', []));
$answer{redirect} = "HTTP/1.1 302 Found\r\nLocation: https://mta-sts.good.test/.well-known/mta-sts.txt\r\nContent-Length: 0\r\n\r\n";
$answer{big} = reply(policy('enforce', ['other.test']) . "x: y\r\n" x 20000);
$answer{garbage} = reply("mode: enforce\nthis is no policy\n");
$answer{html} = reply(policy('enforce', ['other.test']), "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n");
$answer{status} = reply(policy('enforce', ['other.test']), "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n");
$answer{chunked} = reply(join('', map { sprintf "%x\r\n%s\r\n", length, $_ } policy('enforce', ['other.test']) =~ /.{1,7}/gs) . "0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n");
$answer{testing} = reply(policy('testing', ['mx.testing.test']));
$answer{testingbad} = reply(policy('testing', ['other.test']));
$answer{testingcert} = reply(policy('testing', ['mx.testingcert.test']));
$answer{none} = reply(policy('none', []));
$answer{$_} = reply(policy('enforce', ['other.test'])) for qw(expired wrongname off danegood danebad badtxt twotxt disabled);
$answer{$_} = reply(policy('enforce', ['mx.keep.test'])) for qw(keep old);
$answer{shared1} = reply(policy('enforce', ['mx.badmxcert.test']));

# A web server for each, in one process: what it says stands in files, so that it can be changed. Requests are noted.
PosthornTest::write_file($p->dir . "/say-$_", $answer{$_}) for keys %answer;
my (%listener, %web);
sub serve {
	my ($name) = @_;
	$listener{$name} = IO::Socket::INET->new(LocalAddr => $addr{$name}, LocalPort => 443, Listen => 20, ReuseAddr => 1) or die "$addr{$name}:443: $!";
	my $pid = fork // die;
	if ($pid) { $p->{pids}{$pid} = "web $name"; close $listener{$name}; return $web{$name} = $pid }
	my $cert = $name =~ /^(?:expired|wrongname)\z/ ? $name : 'web';
	@SIG{qw(TERM PIPE)} = qw(DEFAULT IGNORE);
	while (my $s = $listener{$name}->accept) {
		IO::Socket::SSL->start_SSL($s, SSL_server => 1, SSL_cert_file => "$etc/$cert.crt", SSL_key_file => "$etc/$cert.key") or next;
		my $request = '';
		while (defined(my $line = <$s>)) { $request .= $line; last if $line eq "\r\n" }
		open(my $log, '>>', $p->dir . '/requests') or die;
		syswrite $log, "$name " . ($request =~ m{^GET /\.well-known/mta-sts\.txt HTTP/1\.1\r\n.*^Host: mta-sts\.\Q$name\E\.test\r$}ms ? 'good' : 'bad') . "\n";
		close $log;
		if ($name eq 'slow') {    # an octet now and then, for longer than anybody waits
			for (split //, $answer{slow}) { print $s $_ or last; select undef, undef, undef, 0.2 }
		}
		print $s PosthornTest::slurp($p->dir . "/say-$name");
		close $s;
	}
	POSIX::_exit(0);
}
serve($_) for grep { !/^(?:unreachable|shared2)\z/ } @names;
sub requests { my ($name) = @_; return scalar grep { /^\Q$name\E / } split /\n/, PosthornTest::slurp($p->dir . '/requests') }

# Mail exchangers: mx.NAME.test at the sink, but for one without TLS and those in need of TLSA records.
my $spki = sha256_hex(qx(openssl x509 -in $etc/mx.crt -noout -pubkey | openssl pkey -pubin -outform DER));
my $other = sha256_hex('something else');
sub zone {
	my $z = '';
	for (@names) {
		my $mx = /^shared/ ? 'mx.badmxcert.test.' : "mx.$_.test.";
		$z .= "$_.test. IN MX 10 $mx\nmx.$_.test. IN A " . ($_ eq 'notls' ? '127.0.44.200' : '127.0.0.1') . "\nmta-sts.$_.test. IN A $addr{$_}\n";
	}
	for my $name (@names) { $z .= "_mta-sts.$name.test. IN TXT \"$_\"\n" for @{ $txt{$name} } }
	return $z . "second.test. IN MX 10 mx.second.test.\nsecond.test. IN MX 20 mx.good.test.\nmx.second.test. IN A 127.0.0.1\n" .
		"_25._tcp.mx.danegood.test. IN TLSA 3 1 1 $spki\n_25._tcp.mx.danebad.test. IN TLSA 3 1 1 $other\n";
}
$txt{shared2} = [];
$p->{zone} = zone();
$p->{signed} = 1;
$p->{conf} = { smtpd_processes => 1, dns_validation => 'yes', dns_trust_anchor_file => "$etc/root.key", smtp_tls_CAfile => "$etc/ca.crt",
	smtp_connection_limit => 1, retry_interval => '1h', max_retry_interval => '1h', mta_sts_timeout => '10s',
	tls_report_contact => 'tls@mail.test' };
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->{policy} = $p->default_policy . <<'L';
kumo.on('get_egress_path_config', function(domain)
  if domain == 'disabled.test' then return { enable_mta_sts = false } end
  if domain == 'off.test' then return { enable_tls = 'Disabled' } end
end)
L
$p->sink('-t', "$etc/mx.crt:$etc/mx.key");
my $plain = IO::Socket::INET->new(LocalAddr => '127.0.44.200', LocalPort => $port, Listen => 5, ReuseAddr => 1) or die "listen: $!";
my $pid = fork // die;
if (!$pid) {
	while (my $s = $plain->accept) {
		$s->autoflush(1);
		print $s "220 notls\r\n";
		while (defined(my $line = <$s>)) {
			if ($line =~ /^QUIT/) { print $s "221 bye\r\n"; last }
			print $s "250 ok\r\n";
			PosthornTest::write_file($p->dir . '/clear', $line) if $line =~ /^MAIL/;
		}
	}
	POSIX::_exit(0);
}
$p->{pids}{$pid} = 'notls';
close $plain;
$p->start;

# [verified by, policy, TLS?] or a pattern of the failure
my %want = (
	good => ['certificate', 'sts'], wild => ['certificate', 'sts'],
	wrongmx => qr/^451 4\.4\.4 the domain's MTA-STS policy is to be enforced, and names none of the mail exchangers/,
	chunked => qr/^451 4\.4\.4 the domain's MTA-STS policy/,
	notls => qr/^451 4\.7\.4 .*TLS is required by the domain's MTA-STS policy, but the server does not offer it/,
	badmxcert => qr/^451 4\.7\.5 .*certificate cannot be verified, as the domain's MTA-STS policy wants: hostname mismatch/i,
	(map { $_ => [undef, undef] } qw(nomx unreachable redirect big slow garbage html status expired wrongname badtxt twotxt none)),
	testing => [undef, 'sts'], testingbad => [undef, 'sts'], testingcert => [undef, 'sts'],
	idchange => ['certificate', 'sts'], keep => ['certificate', 'sts'], disabled => [undef, undef], off => [undef, undef, 'clear'],
	danegood => ['dane', 'tlsa'], danebad => qr/^451 4\.7\.5 .*does not match its TLSA records \(DANE\)/,
	# one host set, two demands: what is open for one is not for the other
	shared1 => qr/^451 4\.7\.5 .*as the domain's MTA-STS policy wants/, shared2 => [undef, undef],
);
sub try_all {
	my ($local, @domains) = @_;
	my %got;
	$p->load('-p', $local, '-c', 1, '-m', scalar @domains, '-d', 60, '-q', '-t', join ',', map { "$local\@$_.test" } @domains);
	ok $p->wait_for("a record each ($local)", sub {
		%got = map { $_->{recipient} => $_ } grep { $_->{recipient} =~ /^$local\@/ } $p->events('Delivery'), $p->events('TransientFailure');
		keys %got == @domains;
	}, 60), "all were tried ($local)";
	return map { ($_ =~ /\@(.*)\.test/)[0] => $got{$_} } keys %got;
}
sub says {
	my ($e) = @_;
	my $r = $e->{response} // {};
	return sprintf '%d %s %s', $r->{code} // 0, join('.', map { $r->{enhanced_code}{$_} // '' } qw(class subject detail)), $r->{content} // '';
}
sub check {
	my ($what, $e, $w) = @_;
	if (ref $w eq 'Regexp') { like says($e), $w, "$what: refused"; return }
	is $e->{type}, 'Delivery', "$what: delivered" or diag says($e);
	is $e->{tls_verified}, $w->[0], "$what: known by " . ($w->[0] // 'nothing');
	is $e->{tls_policy}, $w->[1], "$what: wanted by " . ($w->[1] // 'nobody');
	if ($w->[2]) { is $e->{tls_cipher}, undef, "$what: in the clear" } else { like $e->{tls_cipher} // '', qr/^TLS_/, "$what: with TLS" }
	return;
}
my %got = try_all('mail', sort keys %want);
check($_, $got{$_} // {}, $want{$_}) for sort keys %want;
ok !-e $p->dir . '/clear', 'nothing went in the clear where TLS is required';
is scalar(grep { / bad$/ } split /\n/, PosthornTest::slurp($p->dir . '/requests')), 0, 'requests are as they should be';
is requests('badtxt') + requests('twotxt'), 0, 'without a good record nobody asks for the policy';
my $log = PosthornTest::slurp($p->dir . '/posthorn.err');
my %why = (unreachable => qr/Connection refused/i, redirect => qr/redirect \(302\)/, big => qr/too long/, slow => qr/timeout/, garbage => qr/not 'name: value'/,
	nomx => qr/names no mx/, html => qr/not text\/plain/, status => qr/the answer is 404/, expired => qr/certificate has expired/, wrongname => qr/hostname mismatch/i);
like $log, qr/MTA-STS: no policy of $_\.test: .*$why{$_}/, "$_: the log says why" for sort keys %why;

# What reports to receivers are made from (RFC 8460), testing among it.
my %result = (good => 'sts success', wrongmx => 'sts validation-failure', notls => 'sts starttls-not-supported', badmxcert => 'sts certificate-host-mismatch',
	testing => 'sts success', testingbad => 'sts validation-failure', testingcert => 'sts certificate-host-mismatch', none => 'no-policy-found success',
	redirect => 'sts sts-policy-fetch-error', garbage => 'sts sts-policy-invalid', expired => 'sts sts-webpki-invalid', badtxt => 'no-policy-found success',
	danegood => 'tlsa success', danebad => 'tlsa validation-failure');
my %session = map { ($_->{domain} =~ /^(.*)\.test/)[0] => "$_->{tls_policy} $_->{tls_result}" } $p->events('TlsSession');
is_deeply { map { $_ => $session{$_} } keys %result }, \%result, 'what became of TLS with each';
ok !exists $session{off}, 'where no TLS is wanted there is nothing to report';

# What an operator sees.
my (undef, $text) = $p->posthorn('explain', 'someone@wrongmx.test');
like $text, qr/MTA-STS.*enforce, id 1, for .*: other\.test \*\.example\.test/, 'explain shows the policy';
(undef, $text) = $p->posthorn('explain', 'someone@expired.test');
like $text, qr/MTA-STS problem.*certificate has expired/, 'and why there is none';

# A policy that is in force stays so while its host is away, and whatever the name service says; it outlives deliverd.
my %before = map { $_ => requests($_) } @names;
$p->end_pid($web{keep});
$txt{keep} = [];
$txt{idchange} = ['v=STSv1; id=2;'];
$txt{old} = ['v=STSv1; id=2;'];
PosthornTest::write_file($p->dir . '/say-idchange', reply(policy('enforce', ['other.test'])));
PosthornTest::write_file($p->dir . '/data/mta-sts/old.test', 'posthorn-sts 1' . "\nid 1\nfetched " . (time - 3600) . "000\nused " . (time - 3600) .
	"000\n\n" . policy('enforce', ['other.test']));
PosthornTest::write_file($p->dir . '/data/mta-sts/status.test', 'posthorn-sts 1' . "\nid 9\nfetched " . (time - 90000) . "000\nused " . (time - 3600) .
	"000\n\n" . policy('enforce', ['other.test']));
PosthornTest::write_file($p->dir . '/data/mta-sts/badtxt.test', "posthorn-sts 1\nid 9\nfetched 17");
$p->end_pid($web{old});
$p->stop;
my @st = stat $p->dir . '/data/mta-sts';
is $st[2] & 07777, 0700, 'the cache is nobody else\'s';
$p->end_pid($p->{dns_pid});
$p->{zone} = zone();
$p->dns;
$p->start_suite;
my %again = try_all('again', qw(good keep idchange old status badtxt testing));
check('again: good', $again{good}, ['certificate', 'sts']);
check('again: no record, no host', $again{keep}, ['certificate', 'sts']);
check('again: another id', $again{idchange}, qr/^451 4\.4\.4 the domain's MTA-STS policy/);
check('again: another id, but no host', $again{old}, qr/^451 4\.4\.4 the domain's MTA-STS policy/);
check('again: what has expired', $again{status}, [undef, undef]);
check('again: a damaged file', $again{badtxt}, [undef, undef]);
is requests('good'), $before{good}, 'what is in the cache is not fetched again';
is requests('idchange'), $before{idchange} + 1, 'unless its id has changed';
ok !-e $p->dir . '/data/mta-sts/status.test', 'what has expired goes';
unlike PosthornTest::slurp($p->dir . '/posthorn.err'), qr/role ended: .*role=sts/, 'the role lives';
is $p->stop, 0, 'stop';
done_testing;
