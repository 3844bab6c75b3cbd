# The clients that users have: Symfony Mailer (Mautic), PHPMailer, msmtp, swaks, Python's smtplib; AUTH and STARTTLS on reused
# connections, and with a wrong password.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(tls => 1, users => [['mautic', 'secret']]);
$p->sink->start;
my ($port, $dir) = ($p->{submission}, $p->dir);
my $total = 0;

sub run_client {
	my ($name, @cmd) = @_;
	my $pid = $p->spawn($name, @cmd);
	my $done = $p->wait_for($name, sub { waitpid($pid, POSIX::WNOHANG()) == $pid ? 'ended' : 0 }, 120);
	my $status = $?;
	delete $p->{pids}{$pid} if $done;
	return ($done ? $status >> 8 : -1, PosthornTest::slurp("$dir/$name.out") . PosthornTest::slurp("$dir/$name.err"));
}

sub have { my ($what) = @_; return -e $what || length `command -v $what 2>/dev/null` }

SKIP: {
	skip 'php-symfony-mailer is not here', 4 unless have('/usr/share/php/Symfony/Component/Mailer/autoload.php');
	PosthornTest::write_file("$dir/symfony.php", <<'P');
<?php
require '/usr/share/php/Symfony/Component/Mailer/autoload.php';
use Symfony\Component\Mailer\Transport;
use Symfony\Component\Mime\Email;
[, $port, $password, $n] = $argv;
$t = Transport::fromDsn("smtp://mautic:$password@127.0.0.1:$port?verify_peer=0");
$ok = 0;
for ($i = 0; $i < $n; $i++) {
	try {
		$t->send((new Email())->from('news@shop.example')->to("s$i@one.example")->subject("n $i")
			->text(str_repeat("Grüße $i\n", 20)));
		$ok++;
	} catch (Exception $e) { fwrite(STDERR, $e->getMessage() . "\n"); }
}
echo "sent $ok\n";
P
	my ($st, $out) = run_client('symfony', 'php', "$dir/symfony.php", $port, 'secret', 1000);
	like $out, qr/^sent 1000$/m, 'Symfony Mailer: 1,000 messages by AUTH and STARTTLS on reused connections';
	$total += 1000;
	my %sessions;
	$sessions{ $_->{session_id} }++ for $p->events('Reception');
	cmp_ok scalar keys %sessions, '<=', 11, 'a hundred on each connection';
	($st, $out) = run_client('symfony-wrong', 'php', "$dir/symfony.php", $port, 'wrong', 3);
	like $out, qr/^sent 0$/m, 'wrong password: nothing is sent';
	like $out, qr/535/, 'and the client is told 535';
}
SKIP: {
	skip 'PHPMailer is not here', 1 unless have('/usr/share/php/libphp-phpmailer/src/PHPMailer.php');
	PosthornTest::write_file("$dir/phpmailer.php", <<'P');
<?php
foreach (['Exception', 'SMTP', 'PHPMailer'] as $f) require "/usr/share/php/libphp-phpmailer/src/$f.php";
$m = new PHPMailer\PHPMailer\PHPMailer(true);
$m->isSMTP();
[$m->Host, $m->Port, $m->SMTPAuth, $m->Username, $m->Password, $m->SMTPSecure] = ['127.0.0.1', (int)$argv[1], true, 'mautic', 'secret', 'tls'];
$m->SMTPOptions = ['ssl' => ['verify_peer' => false, 'verify_peer_name' => false, 'allow_self_signed' => true]];
$m->SMTPKeepAlive = true;
$m->setFrom('news@shop.example');
$m->Subject = 'x';
$m->Body = 'hello';
for ($i = 0; $i < 20; $i++) { $m->clearAddresses(); $m->addAddress("p$i@two.example"); $m->send(); }
echo "sent $i\n";
P
	my ($st, $out) = run_client('phpmailer', 'php', "$dir/phpmailer.php", $port);
	like $out, qr/^sent 20$/m, 'PHPMailer';
	$total += 20;
}
SKIP: {
	skip 'msmtp is not here', 1 unless have('msmtp');
	PosthornTest::write_file("$dir/mail.txt", "From: a\@shop.example\nSubject: x\n\nhello\n.\n");
	my ($st, $out) = run_client('msmtp', 'sh', '-c', "msmtp --file=/dev/null --host=127.0.0.1 --port=$port --auth=on --user=mautic " .
		"--passwordeval='echo secret' --tls=on --tls-certcheck=off --from=a\@shop.example m\@one.example <$dir/mail.txt");
	is $st, 0, 'msmtp' or diag $out;
	$total += 1;
}
SKIP: {
	skip 'swaks is not here', 3 unless have('swaks');
	my @common = ('swaks', '--server', "127.0.0.1:$port", '--from', 'a@shop.example', '--to', 'sw@one.example', '-tls', '--auth-user', 'mautic');
	my ($st, $out) = run_client('swaks', @common, '--auth', 'LOGIN', '--auth-password', 'secret');
	is $st, 0, 'swaks with AUTH LOGIN' or diag $out;
	($st, $out) = run_client('swaks-pipeline', @common, '--auth', 'PLAIN', '--auth-password', 'secret', '--pipeline');
	is $st, 0, 'swaks with PIPELINING' or diag $out;
	$total += 2;
	($st, $out) = run_client('swaks-wrong', @common, '--auth-password', 'nonsense');
	is $st, 28, 'swaks with a wrong password';
}
SKIP: {
	skip 'Python is not here', 1 unless have('/usr/bin/python3');
	PosthornTest::write_file("$dir/client.py", <<'P');
import smtplib, ssl, sys
c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
s = smtplib.SMTP('127.0.0.1', int(sys.argv[1])); s.starttls(context=c); s.login('mautic', 'secret')
for i in range(20):
    s.sendmail('a@shop.example', ['py%d@one.example' % i, 'py%d@two.example' % i], 'Subject: x\r\n\r\n.dot\r\nhello\r\n')
s.quit(); print('sent')
P
	my ($st, $out) = run_client('smtplib', '/usr/bin/python3', "$dir/client.py", $port);
	like $out, qr/^sent$/m, "Python's smtplib" or diag $out;
	$total += 40;
}
ok $p->wait_for('deliveries', sub { $p->ledger_count >= $total }, 90), "all $total were delivered";
is $p->ledger_count, $total, 'and none twice';
done_testing;
