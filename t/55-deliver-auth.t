# What we show of ourselves to receiving hosts: a user and password (AUTH PLAIN), a certificate; to whom, and what nobody gets to
# see. The scenarios 33 to 43 of KumoMTA's tests are among these.
use v5.36;
use Test::More;
use IO::Socket::SSL;
use MIME::Base64 qw(decode_base64 encode_base64);
use PosthornTest;

my $p = PosthornTest->new(tls => 1, users => []);
my $etc = $p->etc;
my $secrets = "$etc/secrets";
mkdir $secrets;
my $password = 'Tiger-9f31';

# A root, an intermediate below it, a client's certificate by that; and the server's, by the root.
my $ec = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
PosthornTest::write_file("$etc/ca.ext", "basicConstraints=critical,CA:TRUE\n");
PosthornTest::write_file("$etc/mx.ext", "subjectAltName=DNS:mx.test\n");
system("(cd $etc && openssl req -x509 $ec -days 30 -subj /CN=root -keyout root.key -out root.crt && " .
	"openssl req $ec -subj /CN=between -keyout between.key -out between.csr && " .
	'openssl x509 -req -in between.csr -CA root.crt -CAkey root.key -CAcreateserial -days 30 -extfile ca.ext -out between.crt && ' .
	"openssl req $ec -subj /CN=our-client -keyout client.key -out client.csr && " .
	'openssl x509 -req -in client.csr -CA between.crt -CAkey between.key -CAcreateserial -days 30 -out client.crt && ' .
	"openssl req $ec -subj /CN=mx -keyout mx.key -out mx.csr && " .
	'openssl x509 -req -in mx.csr -CA root.crt -CAkey root.key -CAcreateserial -days 30 -extfile mx.ext -out mx.crt && ' .
	"openssl ecparam -name prime256v1 -genkey -noout -out other.key) >$etc/openssl.log 2>&1") == 0 or die 'openssl: ' . PosthornTest::slurp("$etc/openssl.log");
PosthornTest::write_file("$secrets/whole.pem", PosthornTest::slurp("$etc/client.crt") . PosthornTest::slurp("$etc/between.crt"));
PosthornTest::write_file("$secrets/leaf.pem", PosthornTest::slurp("$etc/client.crt"));
PosthornTest::write_file("$secrets/$_.key", PosthornTest::slurp("$etc/$_.key"), 0640) for qw(client other);
PosthornTest::write_file("$secrets/password", "$password\n", 0640);
PosthornTest::write_file("$secrets/open", "$password\n", 0644);
if ($> == 0 && defined(my $gid = getgrnam 'posthorn-deliverd')) {
	chown 0, $gid, glob "$secrets/*";
}

# Domains by what is at their host: what the server does, and what the path says.
my %server = (good => '20', noauth => '21', login => '22', clear => '23', refuse => '24', asks => '25');
my $port = $p->{sink_port} = PosthornTest::free_port();
my $auth = "smtp_auth_plain_username = 'scott'";
my $data = "smtp_auth_plain_password = { key_data = '$password' }";
my $known = "enable_tls = 'Required'";
my $cert = "tls_certificate = 'whole.pem', tls_private_key = 'client.key', enable_tls = 'RequiredInsecure'";
my %domain = (
	'good.test' => [good => "$auth, $data, $known"],
	'file.test' => [good => "$auth, smtp_auth_plain_password = 'password', $known"],
	'absolute.test' => [good => "$auth, smtp_auth_plain_password = '$secrets/password', $known"],
	'open.test' => [good => "$auth, smtp_auth_plain_password = 'open', $known"],
	'outside.test' => [good => "$auth, smtp_auth_plain_password = '../passwd', $known"],
	'lone.test' => [good => "$auth, $known"],
	'wrong.test' => [refuse => "$auth, $data, $known"],
	'noauth.test' => [noauth => "$auth, $data, $known"],
	'login.test' => [login => "$auth, $data, $known"],
	'clear.test' => [clear => "$auth, $data, enable_tls = 'OpportunisticInsecure'"],
	'allowed.test' => [clear => "$auth, $data, enable_tls = 'OpportunisticInsecure', allow_smtp_auth_plain_without_tls = true"],
	'stranger.test' => [good => "$auth, $data, enable_tls = 'RequiredInsecure'"],
	'anybody.test' => [good => "$auth, $data, enable_tls = 'RequiredInsecure', allow_smtp_auth_plain_without_valid_certificate = true"],
	'nocert.test' => [asks => "enable_tls = 'RequiredInsecure'"],
	'cert.test' => [asks => $cert],
	'certdata.test' => [asks => "tls_certificate = { key_data = whole }, tls_private_key = { key_data = key }, enable_tls = 'RequiredInsecure'"],
	'otherkey.test' => [asks => $cert =~ s/client\.key/other.key/r],
	'leaf.test' => [asks => $cert =~ s/whole\.pem/leaf.pem/r],
	'both.test' => [asks => "$cert, $auth, $data, allow_smtp_auth_plain_without_valid_certificate = true"],
	'unread.test' => [asks => $cert =~ s/whole\.pem/nosuch.pem/r],
);
# Those that are to be verified share the name that the certificate has; each domain has a site of its own by a second host.
for my $d (sort keys %domain) {
	my ($s, $keys) = @{ $domain{$d} };
	my $host = $keys =~ /'Required'/ ? 'mx' : "mx-$s";
	my $name = $d =~ s/\.test$//r;
	$p->{zone} .= "$d. IN MX 10 $name.$host.test.\n$name.$host.test. IN A 127.0.0.$server{$s}\n";
}
PosthornTest::write_file("$etc/mx.ext", 'subjectAltName=DNS:*.mx.test');
system("(cd $etc && openssl x509 -req -in mx.csr -CA root.crt -CAkey root.key -CAcreateserial -days 30 -extfile mx.ext -out mx.crt) >/dev/null 2>&1") == 0 or die;
my $paths = join '', map { "  ['$_'] = { $domain{$_}[1] },\n" } sort keys %domain;
my ($whole, $key) = map { PosthornTest::slurp("$secrets/$_") } 'whole.pem', 'client.key';
my @key_lines = grep { !/-----/ && length > 20 } split /\n/, $key;
my $pool = $p->default_policy;
$p->{policy} = <<"L";
$pool
local whole = [[$whole]]
local key = [[$key]]
local paths = {
$paths}
kumo.on('get_egress_path_config', function(domain) return paths[domain] end)
L
$p->{conf} = { smtpd_processes => 1, smtp_tls_CAfile => "$etc/root.crt", retry_interval => '1h', max_retry_interval => '1h',
	log_level => 'debug' };

# A server of one's own: writes what it hears of us into a file.
sub server {
	my ($name) = @_;
	my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.$server{$name}", LocalPort => $port, Listen => 20, ReuseAddr => 1) or die "listen $name: $!";
	my %tls = (SSL_server => 1, SSL_cert_file => "$etc/mx.crt", SSL_key_file => "$etc/mx.key");
	%tls = (%tls, SSL_ca_file => "$etc/root.crt", SSL_verify_mode => SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT) if $name eq 'asks';
	my $ctx = IO::Socket::SSL::SSL_Context->new(%tls) or die IO::Socket::SSL::errstr();
	my $pid = fork // die;
	if ($pid) { $p->{pids}{$pid} = $name; return }
	$SIG{PIPE} = 'IGNORE';
	open my $log, '>>', $p->dir . "/$name.log" or die;
	$log->autoflush(1);
	my $mechanisms = $name eq 'noauth' ? '' : $name eq 'login' ? "250-AUTH LOGIN CRAM-MD5\r\n" : "250-AUTH LOGIN PLAIN\r\n";
	while (my $s = $l->accept) {
		next if fork;
		$s->autoflush(1);
		print $s "220 $name\r\n";
		my ($in_tls, $user) = ('', '-');
		while (defined(my $line = <$s>)) {
			if ($line =~ /^EHLO/) { print $s "250-$name\r\n" . ($in_tls || $name eq 'clear' ? '' : "250-STARTTLS\r\n") . $mechanisms . "250 PIPELINING\r\n" }
			elsif ($line =~ /^STARTTLS/) {
				print $s "220 go\r\n";
				if (!IO::Socket::SSL->start_SSL($s, SSL_server => 1, SSL_reuse_ctx => $ctx)) { print $log "handshake failed\n"; last }
				$in_tls = join ' ', $s->get_sslversion, $s->get_cipher, ($name eq 'asks' ? $s->peer_certificate('commonName') : 'nobody');
			}
			elsif ($line =~ /^AUTH (\S+) (\S*)/) {
				$user = join '/', split /\0/, decode_base64($2);
				print $log "auth $1 $user tls=$in_tls\n";
				print $s $name eq 'refuse' ? "535 5.7.8 no: $2\r\n" : "235 2.7.0 hello\r\n";
			}
			elsif ($line =~ /^RCPT TO:<(.*)>/) { print $log "rcpt $1 as $user tls=$in_tls\n"; print $s "250 ok\r\n" }
			elsif ($line =~ /^DATA/) {
				print $s "354 go\r\n";
				while (defined($line = <$s>)) { last if $line eq ".\r\n"; print $log "body $line" }
				print $s "250 taken\r\n";
			}
			elsif ($line =~ /^QUIT/) { print $s "221 bye\r\n"; last }
			else { print $s "250 ok\r\n" }
		}
		close $s;
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}
local $SIG{CHLD} = 'DEFAULT';
server($_) for sort keys %server;
$p->start;

my $auth_451 = qr/^451 4\.7\.0 auth /;
my $config_451 = qr/^451 4\.3\.5 .*the settings of this path cannot be used: /;
my %want = (
	'good.test' => 1, 'file.test' => 1, 'absolute.test' => 1, 'allowed.test' => 1, 'anybody.test' => 1, 'cert.test' => 1, 'certdata.test' => 1, 'both.test' => 1,
	'open.test' => qr/${config_451}smtp_auth_plain_password: \S+open may be read by everybody/,
	'outside.test' => qr/${config_451}smtp_auth_plain_password: \S+ is not below smtp_secret_directory/,
	'lone.test' => qr/${config_451}smtp_auth_plain_username and smtp_auth_plain_password go together/,
	'wrong.test' => qr/^454 4\.7\.0 auth the server did not take our password \(smtp_auth_plain_username scott\): 535 \(with our password, not shown\)/,
	'noauth.test' => qr/${auth_451}the server does not offer AUTH$/,
	'login.test' => qr/${auth_451}the server does not offer AUTH PLAIN, but other mechanisms/,
	'clear.test' => qr/${auth_451}the password is not sent without TLS/,
	'stranger.test' => qr/${auth_451}the password is not sent to a server whose certificate was not verified/,
	'nocert.test' => qr/^451 4\.\d\.\d /, 'leaf.test' => qr/^451 4\.\d\.\d /,
	'otherkey.test' => qr/${config_451}the tls_private_key other\.key does not belong to the tls_certificate whole\.pem/,
	'unread.test' => qr/${config_451}tls_certificate: \S+nosuch\.pem cannot be read: No such file/,
);
is join(' ', sort keys %want), join(' ', sort keys %domain), 'each domain has its expectation';
$p->load('-p', 'mail', '-c', 1, '-m', scalar(keys %want), '-d', 30, '-q', '-t', join ',', map { "u\@$_" } sort keys %want);
my %got;
ok $p->wait_for('a record each', sub { %got = map { $_->{recipient} => $_ } $p->events('Delivery'), $p->events('TransientFailure'); keys %got == keys %want }, 60),
	'all were tried';
for my $domain (sort keys %want) {
	my ($e, $w) = ($got{"u\@$domain"} // {}, $want{$domain});
	my $r = $e->{response} // {};
	my $says = sprintf '%d %s %s%s', $r->{code} // 0, join('.', map { $r->{enhanced_code}{$_} // '' } qw(class subject detail)),
		(($e->{phase} // '') eq 'auth' ? 'auth ' : ''), $r->{content} // '';
	if (ref $w) { is $e->{type}, 'TransientFailure', "$domain: not delivered"; like $says, $w, "$domain: why" }
	else { is $e->{type}, 'Delivery', "$domain: delivered" or diag $says }
}
my %log = map { $_ => PosthornTest::slurp($p->dir . "/$_.log") } keys %server;
like $log{good}, qr/^rcpt u\@$_\.test as \/scott\/$password tls=TLSv/m, "$_: with user and password, under TLS" for qw(good file absolute anybody);
like $log{clear}, qr/^rcpt u\@allowed\.test as \/scott\/$password tls=$/m, 'without TLS where policy allows it';
is scalar(() = $log{clear} =~ /^auth/mg), 1, 'and nowhere else';
unlike $log{good}, qr/stranger/, 'no mail to whom the password is not for';
is scalar(() = $log{"$_"} =~ /^auth/mg), 0, "$_: the password was not said" for qw(noauth login);
like $log{asks}, qr/^rcpt u\@$_\.test as \S+ tls=\S+ \S+ our-client$/m, "$_: the server knows us" for qw(cert certdata both);
unlike $log{asks}, qr/^rcpt u\@(?:leaf|nocert|otherkey)/m, 'and has no mail of those that it does not know';
like $log{asks}, qr/^handshake failed$/m, 'it refused them';

# Both ends say the same of the connection (scenario 43).
my ($seen) = $log{good} =~ /^rcpt u\@good\.test \S+ \S+ tls=(\S+ \S+)/m;
my ($version, $cipher) = split ' ', $seen;
is $got{'u@good.test'}{tls_protocol_version} =~ s/[v.]//gr, $version =~ s/[v_.]//gr, 'the same protocol';
is $got{'u@good.test'}{tls_cipher}, $cipher, 'the same cipher';
is $got{'u@good.test'}{tls_verified}, 'certificate', 'and the server was known';
my $in = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port) or die;
PosthornTest::reply($in);
PosthornTest::say_smtp($in, $_) for 'EHLO client.example', 'STARTTLS';
IO::Socket::SSL->start_SSL($in, SSL_verify_mode => SSL_VERIFY_NONE) or die;
($version, $cipher) = ($in->get_sslversion =~ s/_/./r, $in->get_cipher);
PosthornTest::say_smtp($in, $_) for 'EHLO client.example', 'MAIL FROM:<>', 'RCPT TO:<in@good.test>', 'DATA';
like PosthornTest::say_smtp($in, "Subject: in\r\n\r\nx\r\n."), qr/^250/, 'mail by TLS';
ok $p->wait_for('it', sub { $log{good} = PosthornTest::slurp($p->dir . '/good.log'); $log{good} =~ /^body Subject: in/m }, 20), 'sent on';
like $log{good} =~ s/\r\nbody[ \t]+/ /gr, qr/\bReceived: from client\.example.*\(using \Q$version\E with cipher \Q$cipher\E\) by .* with ESMTPS id /m,
	'Received says protocol and cipher as the client saw them';

# Nothing that people see has a secret in it.
my $shown = '';
for my $d (sort keys %domain) {
	my (undef, $out, $err) = $p->posthorn('explain', "u\@$d");
	my (undef, $json) = $p->posthorn('--json', 'explain', "u\@$d");
	$shown .= "$out$err$json";
}
like $shown, qr/smtp_auth_plain_username\W+scott/, 'explain: the user';
like $shown, qr/smtp_auth_plain_password\W+\(?key_data, not shown/, 'explain: that there is a password';
like $shown, qr/tls_private_key\W+client\.key/, 'explain: the file of a key';
my ($st, $simulated, $said) = $p->posthorn('simulate', '--policy', "$etc/policy.lua", glob $p->log_dir . '/events/*.jsonl');
is $st, 0, 'simulate';
my $all = join '', $shown, $simulated, $said, PosthornTest::slurp($p->dir . '/posthorn.err'), map { PosthornTest::slurp($_) } glob $p->log_dir . '/events/*';
my $base64 = encode_base64("\0scott\0$password", '');
unlike $all, qr/\Q$_\E/, 'not shown: ' . substr($_, 0, 12) for $password, $base64, @key_lines;

# Another password: what was opened with the old one is not used any more.
my $policy = PosthornTest::slurp("$etc/policy.lua");
PosthornTest::write_file("$etc/policy.lua", $policy =~ s/\Q$password\E/Lion-77aa/gr);
is +($p->posthorn('reload'))[0], 0, 'reload with another password';
$p->load('-p', 'again', '-c', 1, '-m', 1, '-d', 30, '-q', '-t', 'v@good.test');
ok $p->wait_for('again', sub { grep { $_->{recipient} eq 'v@good.test' } $p->events('Delivery') }, 20), 'delivered';
like PosthornTest::slurp($p->dir . '/good.log'), qr{^rcpt v\@good\.test as /scott/Lion-77aa }m, 'as the new one';

# In shaping data they are looked at before the configuration is in force.
sub shaping {
	my ($settings) = @_;
	PosthornTest::write_file("$etc/shaping.lua", "posthorn.shaping.domain { name = 'shaped.test', $settings }\n");
	my ($status, $out, $err) = $p->posthorn('reload');
	return "$status $out$err";
}
my $pair = "tls_certificate = 'whole.pem', tls_private_key";
like shaping("$pair = 'client.key'"), qr/^0 /, 'a certificate and its key';
like shaping("$pair = 'other.key'"), qr/^1 .*shaping\.lua.*the tls_private_key other\.key does not belong to the tls_certificate whole\.pem/s, 'and another key';
like shaping("$pair = { key_data = 'nothing' }"), qr/^1 .*tls_private_key: \(key_data, not shown\) has no private key in PEM/s, 'what is no key';
like shaping("$pair = { key = 'nothing' }"), qr/^1 .*tls_private_key is a table other than \{ key_data = '\.\.\.' \}/s, 'what is no source';
like shaping("$auth, smtp_auth_plain_password = 'open'"), qr/^1 .*open may be read by everybody/s, 'a password that everybody may read';
unlike shaping("$auth, smtp_auth_plain_password = [[$password\n]]"), qr/\Q$password\E/, 'a password where the name of its file should be is not repeated';
like shaping("$auth, $data"), qr/^0 /, 'a password';
my (undef, $out) = $p->posthorn('shaping', 'show', 'shaped.test');
like $out, qr/key_data, not shown/, 'shaping show has it';
unlike $out, qr/\Q$password\E/, 'and does not show it';
is $p->stop, 0, 'stop';
done_testing;
