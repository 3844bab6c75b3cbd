# The private keys of TLS are in the key role and nowhere else: every kind of signature works all the same, no memory of a worker
# holds a key, and a key role that dies costs handshakes and no session.
use v5.36;
use lib 't/lib';
use PosthornTest;
use IO::Socket::SSL;
use Test::More;

my $p = PosthornTest->new(tls => 1, users => [['app', 'secret']], conf => { smtpd_processes => 2 });
my $etc = $p->etc;
my %kind = (ec => '-newkey ec -pkeyopt ec_paramgen_curve:P-256', rsa => '-newkey rsa:2048', ed => '-newkey ed25519');
for my $k (keys %kind) {
	system("openssl req -x509 $kind{$k} -nodes -days 60 -subj /CN=mail.test -keyout $etc/$k.key -out $etc/$k.crt >/dev/null 2>&1") == 0 or die 'openssl req';
	chmod 0600, "$etc/$k.key";
}
$p->{conf}{smtpd_tls_cert_file} = join ' ', map { "$etc/$_.crt" } qw(ec rsa ed);
$p->{conf}{smtpd_tls_key_file} = join ' ', map { "$etc/$_.key" } qw(ec rsa ed);
$p->start;

sub s_client {
	my (@args) = @_;
	return scalar qx(openssl s_client -connect 127.0.0.1:$p->{submission} -starttls smtp -name c.example @args </dev/null 2>&1);
}
for my $sig (qw(RSA-PSS+SHA256 RSA-PSS+SHA384 RSA-PSS+SHA512 ECDSA+SHA256 ed25519)) {
	my $name = $sig =~ s/\+.*//r;
	like s_client('-tls1_3 -sigalgs', $sig), qr/Peer signature type: \Q$name\E/i, "TLS 1.3, $sig";
}
for my $sig (qw(RSA-PSS+SHA256 RSA+SHA256 RSA+SHA384 RSA+SHA512 RSA+SHA1 ECDSA+SHA256 ECDSA+SHA384 ed25519)) {
	next if $sig eq 'RSA+SHA1';    # below OpenSSL's security level
	my $name = $sig =~ s/\+.*//r;
	like s_client('-tls1_2 -sigalgs', $sig), qr/Peer signature type: \Q$name\E/i, "TLS 1.2, $sig";
}
unlike s_client('-tls1_2 -cipher kRSA'), qr/^New, TLS/m, 'no key exchange that the key decrypts';

# --- memory ---
sub hex_of {
	my ($text, $what) = @_;
	my ($hex) = $text =~ /^\Q$what\E:?\s*\n((?: +[0-9a-f:]+\n)+)/m or die "no $what";
	$hex =~ s/[\s:]//g;
	return pack('H*', $hex) =~ s/^\0+//r;
}
my %secret;
my $rsa = qx(openssl pkey -in $etc/rsa.key -noout -text 2>/dev/null);
$secret{"RSA $_"} = hex_of($rsa, $_) for qw(prime1 prime2 privateExponent);
$secret{'EC priv'} = hex_of(scalar qx(openssl pkey -in $etc/ec.key -noout -text 2>/dev/null), 'priv');
$secret{'Ed25519 priv'} = hex_of(scalar qx(openssl pkey -in $etc/ed.key -noout -text 2>/dev/null), 'priv');
for my $k (keys %kind) {
	my @lines = grep { !/-----/ && length > 20 } split /\n/, PosthornTest::slurp("$etc/$k.key");
	$secret{"the file of $k"} = $lines[-1];
}

# Which of the secrets are in the memory of a process; numbers as OpenSSL has them, and as files do.
sub found_in {
	my ($pid) = @_;
	no warnings 'portable';    # addresses have 64 bits
	my (%found, $n);
	open my $mem, '<:raw', "/proc/$pid/mem" or return;
	for my $line (split /\n/, PosthornTest::slurp("/proc/$pid/maps")) {
		my ($from, $to, $perms, $name) = $line =~ /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)/ or next;
		next if $perms !~ /^r/ || $name =~ /^\[v/;
		my ($at, $end) = (hex $from, hex $to);
		my $keep = '';
		while ($at < $end) {
			sysseek $mem, $at, 0 or last;
			my $got = sysread $mem, my $piece, $end - $at > 1 << 20 ? 1 << 20 : $end - $at;
			last unless $got;
			$n += $got;
			my $window = $keep . $piece;
			for my $what (keys %secret) {
				$found{$what} = 1 if index($window, $secret{$what}) >= 0 || index($window, scalar reverse $secret{$what}) >= 0;
			}
			$keep = substr $window, -512;
			$at += $got;
		}
	}
	return ($n // 0, sort keys %found);
}
my %role;
for my $pid ($p->daemon_pids('smtpd')) {
	my ($role) = PosthornTest::slurp("/proc/$pid/cmdline") =~ /\0-r\0(\w+)\0/;
	push @{ $role{ $role // 'parent' } }, $pid;
}
$role{supervisor} = [$p->{main}];
is scalar @{ $role{worker} // [] }, 2, 'two workers';
is scalar @{ $role{key} // [] }, 2, 'and a key role for each';
SKIP: {
	skip 'only root can read the memory of the daemons', 1 if $> != 0;
	for my $role (sort keys %role) {
		for my $pid (@{ $role{$role} }) {
			my ($n, @found) = found_in($pid);
			cmp_ok $n, '>', 1 << 20, "the memory of $role can be read";
			if ($role eq 'key') { ok +(grep { $_ eq 'RSA prime1' } @found), 'the key role has the keys' or diag "found: @found" }
			else { is "@found", '', "$role: no key in its memory" }
		}
	}
}

# --- a key role that dies ---
sub in_tls {
	my $s = $p->connect_smtp($p->{submission});
	PosthornTest::say_smtp($s, 'EHLO c.example');
	my $r = PosthornTest::say_smtp($s, 'STARTTLS');
	return (undef, $r) if $r !~ /^220/;
	return IO::Socket::SSL->start_SSL($s, SSL_verify_mode => SSL_VERIFY_NONE) ? ($s, $r) : (undef, 'handshake failed');
}
my @sessions = map { (in_tls())[0] } 1 .. 6;
is scalar(grep { defined } @sessions), 6, 'sessions with TLS';
my @plain = map { $p->connect_smtp($p->{submission}) } 1 .. 4;
PosthornTest::say_smtp($_, 'EHLO c.example') for @plain;
kill 'STOP', @{ $role{key} };
my $said;
(undef, $said) = in_tls();
is $said, 'handshake failed', 'a key role that hangs: the handshake fails, and not the worker';
like PosthornTest::say_smtp($_, 'NOOP'), qr/^250/, 'a session goes on' for @sessions[0, 1];
kill 'KILL', @{ $role{key} };
like PosthornTest::say_smtp($_, 'NOOP'), qr/^250/, 'sessions go on without the key role' for @sessions;
ok $p->wait_for('handshakes', sub { (in_tls())[0] }, 30), 'there are handshakes again';
my @again = map { PosthornTest::say_smtp($_, 'STARTTLS') } @plain;
is scalar(grep { /^(?:220|454 4\.7\.0)/ } @again), 4, 'who asks at the wrong moment is told to come back';
ok $p->wait_for('all workers', sub { (grep { defined } map { (in_tls())[0] } 1 .. 8) == 8 }, 30), 'with every worker';

# --- reload with another key: the old session goes on, the old worker's key with it ---
my $old = $sessions[0];
system("openssl req -x509 $kind{rsa} -nodes -days 60 -subj /CN=mail.test -keyout $etc/rsa.key -out $etc/rsa.crt >/dev/null 2>&1") == 0 or die;
my $waits = $p->connect_smtp($p->{submission});
PosthornTest::say_smtp($waits, 'EHLO c.example');
is +($p->posthorn('reload'))[0], 0, 'reload with another key';
like s_client('-sigalgs RSA-PSS+SHA256'), qr/Peer signature type: RSA-PSS/i, 'it is used';
like PosthornTest::say_smtp($old, 'NOOP'), qr/^250/, 'the session of before goes on';
like PosthornTest::say_smtp($waits, 'STARTTLS'), qr/^220/, 'one that had not started TLS may still';
ok +IO::Socket::SSL->start_SSL($waits, SSL_verify_mode => SSL_VERIFY_NONE), 'with the key of then';
is $p->stop, 0, 'stop';
done_testing;
