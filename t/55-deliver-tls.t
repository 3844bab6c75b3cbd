# STARTTLS with receiving hosts: used when offered, sessions resumed, and given up for plaintext where a handshake fails.
use strict;
use warnings;
use Test::More;
use IO::Socket::SSL;
use PosthornTest;

my $p = PosthornTest->new(tls => 1, conf => { smtpd_processes => 1, smtp_idle_timeout => '1s', smtp_deliveries_per_connection => 1 },
	zone => <<'Z');
resume.test. IN MX 10 resume.mx.test.
resume.mx.test. IN A 127.0.0.20
broken.test. IN MX 10 broken.mx.test.
broken.mx.test. IN A 127.0.0.21
Z
my ($cert, $key) = $p->certificate;
$p->sink('-t', "$cert:$key")->start;
my $port = $p->{sink_port};

# A server of one's own: says what it saw of each connection into a file.
sub server {
	my ($addr, $name, $tls) = @_;
	my $l = IO::Socket::INET->new(LocalAddr => $addr, LocalPort => $port, Listen => 5, ReuseAddr => 1) or die "listen $addr: $!";
	my $ctx = $tls ? IO::Socket::SSL::SSL_Context->new(SSL_server => 1, SSL_cert_file => $cert, SSL_key_file => $key,
		SSL_session_id_context => 'test') : undef;
	my $pid = fork // die;
	if ($pid) { $p->{pids}{$pid} = $name; return }
	open my $log, '>>', $p->dir . "/$name.log" or die;
	$log->autoflush(1);
	while (my $s = $l->accept) {
		$s->autoflush(1);
		print $s "220 $name\r\n";
		my $in_tls = 0;
		while (defined(my $line = <$s>)) {
			if ($line =~ /^EHLO/) { print $s "250-$name\r\n" . ($in_tls ? '' : "250-STARTTLS\r\n") . "250 PIPELINING\r\n" }
			elsif ($line =~ /^STARTTLS/ && !$tls) { print $s "220 go\r\n"; sysread $s, my $hello, 1; print $s "no TLS here\r\n"; last }
			elsif ($line =~ /^STARTTLS/) {
				print $s "220 go\r\n";
				IO::Socket::SSL->start_SSL($s, SSL_server => 1, SSL_reuse_ctx => $ctx) or last;
				$in_tls = 1;
				print $log 'tls resumed=', ($s->get_session_reused ? 1 : 0), ' sni=', $s->get_servername // '', "\n";
			}
			elsif ($line =~ /^DATA/) {
				print $s "354 go\r\n";
				while (defined($line = <$s>)) { last if $line eq ".\r\n" }
				print $log "message tls=$in_tls\n";
				print $s "250 taken\r\n";
			}
			elsif ($line =~ /^QUIT/) { print $s "221 bye\r\n"; last }
			else { print $s "250 ok\r\n" }
		}
		close $s;
	}
	POSIX::_exit(0);
}
server('127.0.0.20', 'resume', 1);
server('127.0.0.21', 'broken', 0);

sub send_to {
	my ($rcpt) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', 'MAIL FROM:<>', "RCPT TO:<$rcpt>", 'DATA';
	like PosthornTest::say_smtp($s, "Subject: x\r\n\r\nhello\r\n."), qr/^250/, "$rcpt accepted";
	return $p->wait_for("delivery to $rcpt", sub { my ($e) = grep { $_->{recipient} eq $rcpt } $p->events('Delivery'); return $e }, 30);
}
my $e = send_to('a@sink.example');
like $e->{tls_protocol_version}, qr/^TLSv1\.[23]$/, 'the event says the TLS version';
like $e->{tls_cipher}, qr/^TLS_/, '... and the cipher';
my ($row) = grep { $_->{rcpt} eq 'a@sink.example' } $p->ledger;
is $row->{tls}, 1, 'the sink took it under TLS';

send_to("$_\@resume.test") for qw(one two three);
my $log = PosthornTest::slurp($p->dir . '/resume.log');
is scalar(() = $log =~ /^message tls=1$/mg), 3, 'three messages under TLS';
is scalar(() = $log =~ /^tls /mg), 3, '... on three connections';
is scalar(() = $log =~ /resumed=1/g), 2, '... the later two with a resumed session';
is scalar(() = $log =~ /sni=resume\.mx\.test$/mg), 3, '... with the name of the host';

$e = send_to('one@broken.test');
is $e->{tls_cipher}, undef, 'after a broken handshake: in the clear';
my $n = () = $p->events('TransientFailure');
is $n, 0, '... in the same attempt';
like PosthornTest::slurp($p->dir . '/broken.log'), qr/^message tls=0$/m, '... the server took it';
done_testing;
