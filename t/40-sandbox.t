# Every role says what its sandbox achieved, runs under its own user where there are users, holds no capability, and has a filter.
use strict;
use warnings;
use Test::More;
use PosthornTest;

# A policy that answers events of smtpd gives its workers a dns role each, one that has mail signed a sign role, one that asks who sent a
# message a check role.
my $p = PosthornTest->new(tls => 1, users => [['u', 'secret']], sandbox => 'required', conf => { smtpd_processes => 1 });
$p->sink;
$p->{policy} = $p->default_policy . <<'L';
posthorn.dkim { domain = 'never.example' }
kumo.on('smtp_server_mail_from', function(address)
  assert(kumo.dns.lookup_mx(address.domain))
end)
kumo.on('smtp_server_message_received', function(msg)
  assert(kumo.spf.check_msg(msg).disposition == 'none')
  assert(#msg:dkim_verify() == 0)
end)
L
$p->start;
is $p->load('-m', 20, '-c', 2, '-d', 30, '-T', '-A', 'u:secret')->{acked}, 20, 'mail is accepted with sandbox = required';
ok $p->wait_for('delivery', sub { $p->ledger_count == 20 }, 30), 'and delivered';
my $separate = $> == 0 && defined getpwnam 'posthorn-smtpd';
my %user = (smtpd => 'posthorn-smtpd', queued => 'posthorn-queued', deliverd => 'posthorn-deliverd',
	bouncerd => 'posthorn-bouncerd', fblproc => 'posthorn-fblproc');
for my $daemon (sort keys %user) {
	my $confined = 0;
	for my $pid ($p->daemon_pids($daemon)) {
		my $s = PosthornTest::slurp("/proc/$pid/status");
		my %f = $s =~ /^(\w+):\s*(.*)$/mg;
		# A daemon's parent starts the roles and reads nothing from the network; it stays privileged.
		next if $f{PPid} == $p->{main} && $daemon ne 'queued';
		is $f{Seccomp}, 2, "$daemon $pid: has a filter";
		$confined++;
		my ($uid) = split ' ', $f{Uid};
		is $f{NoNewPrivs}, 1, "$daemon $pid: no_new_privs";
		is $f{CapEff}, '0' x 16, "$daemon $pid: no capability";
		my $is_sign = PosthornTest::slurp("/proc/$pid/cmdline") =~ /\0-r\0(?:sign|key)\0/;
		is getpwuid $uid, $is_sign ? 'posthorn-sign' : $user{$daemon}, "$daemon $pid: user" if $separate;
	}
	ok $confined >= ($daemon eq 'smtpd' ? 5 : 1), "$daemon: $confined confined role(s)";
}
my $log = PosthornTest::slurp($p->dir . '/posthorn.err');
like $log, qr/sandbox.*landlock/i, 'the log says what was achieved';
if ($separate) {
	my ($dev, $ino, $mode) = stat $p->queue_dir;
	is $mode & 0777, 0700, 'the spool is closed to others';
	is getpwuid((stat _)[4]), 'posthorn-queued', 'and belongs to queued';
}
done_testing;
