# What an operator gets wrong: `posthorn check` and `start` say it in one sentence each, exit with 1, and change nothing; a reload
# with it leaves the old configuration in force. What is allowed but hardly meant is a warning.
use strict;
use warnings;
use Test::More;
use File::Copy qw(copy);
use IO::Socket::INET;
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);
use PosthornTest;

my $is_root = $> == 0;
my $p = PosthornTest->new(conf => { smtpd_processes => 1 }, tls => 1, users => [['u', 'secret']]);
my $dir = $p->dir;
my $etc = $p->etc;
$p->configure;
my %good = map { $_ => PosthornTest::slurp("$etc/$_") } qw(main.cf policy.lua passwd server.crt server.key);

# The good configuration with changes: file => text, or a parameter => value.
sub with {
	my (%change) = @_;
	for my $file (keys %good) {
		my $text = $good{$file};
		if ($file eq 'main.cf') {
			for my $name (grep { !exists $good{$_} } keys %change) {
				$text =~ s/^\Q$name\E =.*\n//m;
				$text .= "$name = $change{$name}\n";
			}
		}
		$text = $change{$file} if exists $change{$file};
		unlink "$etc/$file";
		PosthornTest::write_file("$etc/$file", $text, $file =~ /key|passwd/ ? 0600 : 0644);
	}
}

# The supervisor must end by itself, and soon.
sub start_fails {
	my $pid = $p->spawn('bad', "$PosthornTest::build/sbin/posthorn", '-c', $etc, 'start');
	my $is_ended = $p->wait_for('end of start', sub { waitpid($pid, WNOHANG) == $pid }, 20);
	my $status = $? >> 8;
	delete $p->{pids}{$pid} if $is_ended;
	my $err = PosthornTest::slurp("$dir/bad.err");
	truncate "$dir/bad.err", 0;
	return ($is_ended ? $status : -1, $err);
}

sub refused {
	my ($what, $like) = @_;
	my ($st, $out, $err) = $p->posthorn('check');
	is $st, 1, "check: $what";
	like $err, $like, 'says so';
	is scalar(grep { !/: warning: / } split /\n/, $err), 2, 'in one sentence, and a count' or diag $err;
	($st, $err) = start_fails();
	is $st, 1, "start: $what";
	like $err, $like, 'says so';
	ok !-e "$dir/run/queued.sock", 'no daemon was started';
}

sub warned {
	my ($what, $like) = @_;
	my ($st, $out, $err) = $p->posthorn('check');
	is $st, 0, "check: $what is allowed";
	like $err, $like, 'with a warning';
}

with();
my ($st, $out, $err) = $p->posthorn('check');
is $st, 0, 'the good configuration is good' or diag $err;
like $err, qr/prohibited_hosts is empty/, 'params_warn is asked';
my ($json) = $p->json('check');
ok $json->{ok} && (grep { $_->{text} =~ /prohibited_hosts is empty/ && $_->{line} } @{ $json->{warnings} }), 'and in JSON has a line';

with(smtpd_listen => '203.0.113.5:25');
refused('an address that is not here', qr/^smtpd_listen: the address of 203\.0\.113\.5:25 is not on this host$/m);
with(queue_directory => "$etc/main.cf");
refused('a queue directory that is a file', qr/queue_directory|is not a directory/);
with(dns_trust_anchor_file => '/nonexistent/root.key');
refused('a trust anchor that is missing', qr{^/nonexistent/root\.key: the trust anchor .*No such file}m);
with(daemon_directory => $dir, queue_directory => "$dir/queue");
($st, $out, $err) = $p->posthorn('check');
is $st, 1, 'no daemons in daemon_directory';
like $err, qr{\Q$dir\E/queued: No such file or directory \(see daemon_directory\)}, 'says so';
with();
unlink "$etc/server.key";
refused('no private key', qr{^\Q$etc\E/server\.key: the private key cannot be read: No such file or directory$}m);
with();
chmod 0644, "$etc/server.key";
refused('a private key for everybody', qr{server\.key: the private key is open to everybody \(mode 0644\): chmod o= it$}m);
with();
unlink "$etc/passwd";
mkdir "$etc/passwd", 0700;
refused('a directory as passwd file', qr{passwd: the passwd file is not a regular file$}m);
rmdir "$etc/passwd";
with('policy.lua' => "while true do end\n");
refused('a policy that loops', qr/policy\.lua:1: used more than \d+ ms/);

with('policy.lua' => '');
warned('a policy without pools', qr/policy\.lua: warning: no pool is defined/);
with('policy.lua' => "posthorn.source { name = 's', source_address = '203.0.113.9', ehlo_domain = 'a.test' }\n" .
	"posthorn.pool { name = 'p', entries = { { name = 's' } } }\n");
warned('a source that is not here', qr/warning: the source 's' has the address 203\.0\.113\.9, which is not on this host/);
with(myhostname => 'localhost');
warned('a name without a domain', qr/warning: myhostname is localhost/);
with(passwd => "# people\nu:\$6\$x\$y\njunk\nv:plain\nu:\$6\$x\$y:tenant=t\nw:\$6\$x\$y:rate=often\n");
warned('wrong lines in passwd', qr{passwd:3: warning: no `:'.*passwd:4: warning: the hash.*passwd:5: warning: the user is in.*passwd:6: warning: a rate}s);

SKIP: {
	skip 'owners and groups need root', 14 unless $is_root;
	skip 'the suite has no users here', 14 unless getgrnam('posthorn') && getpwnam('posthorn-queued');
	with();
	chmod 0700, $etc;
	refused('a configuration directory that only root can enter',
		qr{^\Q$etc\E: closed to the daemons, .*chgrp posthorn it, and chmod g\+x$}m);
	chown 0, scalar getgrnam('posthorn'), $etc;
	chmod 0710, $etc;
	is +($p->posthorn('check'))[0], 0, 'which the group may enter is good';
	chmod 0755, $etc;
	mkdir "$dir/theirs";
	PosthornTest::write_file("$dir/theirs/precious", 'x');
	with(queue_directory => "$dir/theirs");
	refused('a queue directory of somebody else', qr{^(?:posthorn: )?\Q$dir\E/theirs is not owned by posthorn-queued and not empty}m);
	is +(stat "$dir/theirs")[4], 0, 'and it stays theirs';
}

($st, $out, $err) = $p->posthorn('conf', 'myhostnam');
is $st, 1, 'conf of an unknown parameter';
like $err, qr/did you mean 'myhostname'/, 'with a suggestion';
($st, $out, $err) = $p->posthorn('quueue');
is $st, 2, 'an unknown verb';
is $err, "posthorn: there is no verb `quueue'; did you mean 'queue'?; posthorn --help lists them\n", 'is one sentence with a suggestion';

# While it runs.
with();
$p->sink->start;
my $q = "$dir/second";
mkdir $q;
for my $file (keys %good) {
	copy("$etc/$file", "$q/$file");
	chmod $file =~ /key|passwd/ ? 0600 : 0644, "$q/$file";
}
sub second {
	my (%value) = @_;
	my $text = $good{'main.cf'};
	$text =~ s/^\Q$_\E =.*/$_ = $value{$_}/m for keys %value;
	PosthornTest::write_file("$q/main.cf", $text);
	my $o = qx("$PosthornTest::build/sbin/posthorn" -c $q start 2>&1);
	return ($? >> 8, $o);
}
my @other = (smtpd_listen => '127.0.0.1:' . PosthornTest::free_port(), submission_listen => '127.0.0.1:' . PosthornTest::free_port());
($st, $out) = second(@other);
is $st, 1, 'a second instance on one run_directory';
like $out, qr/already running on \Q$dir\E\/run with pid \d+$/, 'is told of the first';
($st, $out) = second(@other, run_directory => "$dir/run2");
is $st, 1, 'a second instance on one queue_directory';
like $out, qr/^posthorn: queue_directory \Q$dir\E\/queue is in use by another instance$/m, 'is told so: mail would go out twice';
($st, $out) = second(run_directory => "$dir/run3", queue_directory => "$dir/queue3", log_directory => "$dir/log3");
is $st, 1, 'a second instance on the same port';
like $out, qr/^posthorn: cannot listen on 127\.0\.0\.1:\d+ \(smtpd_listen\): Address already in use$/m, 'is told so';

unlink "$etc/server.key";
($st, $out, $err) = $p->posthorn('reload');
is $st, 1, 'a reload without the private key is refused';
like $err, qr/^posthorn: reload: .*server\.key: the private key cannot be read/, 'with a sentence';
is $p->load('-m', 1, '-c', 1, '-d', 20, '-p', 'still')->{acked}, 1, 'and smtpd serves on';
PosthornTest::write_file("$etc/server.key", $good{'server.key'}, 0600);
is +($p->posthorn('reload'))[0], 0, 'with the key back it is done';

# A reload to an address that somebody else has is refused at once, and the old addresses serve on.
my $busy = PosthornTest::free_port();
my $thief = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $busy, Proto => 'tcp', Listen => 1, ReuseAddr => 1);
with(smtpd_listen => "127.0.0.1:$busy");
my $begin = time;
($st, $out, $err) = $p->posthorn('reload');
is $st, 1, 'a reload to a busy address is refused';
like $err, qr/^posthorn: reload: cannot listen on 127\.0\.0\.1:$busy \(smtpd_listen\): Address already in use$/m, 'with a sentence';
cmp_ok time - $begin, '<', 4, 'at once';
is $p->load('-m', 1, '-c', 1, '-d', 20, '-p', 'busy')->{acked}, 1, 'and the old address serves on';
undef $thief;
is +($p->posthorn('reload'))[0], 0, 'when it is free the reload is done';
is $p->load('-m', 1, '-c', 1, '-d', 3, '-p', 'gone')->{acked} // 0, 0, 'and the old address is given up';
with();
is +($p->posthorn('reload'))[0], 0, 'and back';

# Output that cannot be written is a failure, also of mailq(1).
my $env = "POSTHORN_CONFIG=$etc";
for my $verb ('queue', 'mailq', 'conf') {
	system("$env $PosthornTest::build/sbin/posthorn $verb >/dev/full 2>$dir/full.err");
	is $? >> 8, 1, "$verb to a full disk";
	like PosthornTest::slurp("$dir/full.err"), qr/standard output: No space left on device/, 'says so';
}

# What stands ready on sendmail -bs's standard input does not overtake the greeting.
my $bs = qx(printf 'QUIT\\r\\n' | $env $PosthornTest::build/sbin/posthorn sendmail -bs);
like $bs, qr/\A220 .*\n221 /, 'sendmail -bs waits for the greeting';

# A supervisor that does not answer is not taken for none.
kill 'STOP', $p->{main};
($st, $out, $err) = $p->posthorn('status');
kill 'CONT', $p->{main};
is $st, 1, 'status of a supervisor that hangs';
like $err, qr/^posthorn: the supervisor does not answer/, 'says so';
like $out, qr/^queue /m, 'and shows the queue all the same';
($st, $out) = $p->posthorn('--version');
like $out, qr/\Aposthorn \d/, '--version';
is $st, 0, 'is understood';

# One wish to stop that comes as two signals (to the process, and to its group) is no wish to be killed.
kill 'TERM', $p->{main};
kill 'TERM', $p->{main};
my $main = delete $p->{main};
ok $p->wait_for('end', sub { waitpid($main, WNOHANG) == $main }, 30), 'two signals at once end it';
is $?, 0, 'in good order';
delete $p->{pids}{$main};
unlike PosthornTest::slurp("$dir/posthorn.err"), qr/stopping at once/, 'without killing anything';
done_testing;
