#!/usr/bin/perl
# Reload as one step over all daemons: one generation in force, files that are edited later are nobody's configuration,
# a daemon that dies comes up with what is in force, policy_reload = auto.
use v5.36;
use lib 't/lib';
use PosthornTest;
use POSIX ();
use Test::More;

my $p = PosthornTest->new;
$p->sink;
$p->configure;
$p->start;
my $policy = $p->etc . '/policy.lua';
my $good = PosthornTest::slurp($policy);

# The generation in force, and what each daemon says it runs.
sub generations {
	my ($all) = $p->json('status');
	return ($all->{supervisor}, map { $_->{generation} } @{ $all->{daemons} });
}

my ($sup, @have) = generations();
is($sup->{generation}, 1, 'the first generation');
is_deeply([@have], [(1) x @have], 'all daemons run it');

PosthornTest::write_file($policy, "$good\n-- two\n");
my ($st, $out) = $p->posthorn('reload');
is($st, 0, 'reload');
like($out, qr/generation 2 is in force/, 'says which');
($sup, @have) = generations();
is_deeply([@have], [(2) x @have], 'all daemons run it when reload has answered');
is($sup->{generation_by}, 'hand', 'by hand');

# Broken: refused as a whole. Whoever dies meanwhile comes up with what is in force.
PosthornTest::write_file($policy, "posthorn.define_egress_pool { name = 1 \n");
($st) = $p->posthorn('reload');
isnt($st, 0, 'a broken policy is refused');
my ($all) = $p->json('status');
my ($d) = grep { $_->{name} =~ /^deliverd/ } @{ $all->{daemons} };
kill KILL => $d->{pid};
$p->wait_for('deliverd again', sub {
	my ($s) = $p->json('status');
	my ($now) = grep { $_->{name} eq $d->{name} } @{ $s->{daemons} };
	return $now->{restarts} > $d->{restarts} && $now->{state} eq 'ready';
});
($sup, @have) = generations();
is_deeply([@have], [(2) x @have], 'with the generation in force, not with the broken file');
cmp_ok($sup->{disk_errors}, '>', 0, 'status knows of the errors on disk');

# More errors than an answer holds: it says how many more, and the log has them all.
my $cf = $p->etc . '/main.cf';
my $good_cf = PosthornTest::slurp($cf);
PosthornTest::write_file($policy, $good);
PosthornTest::write_file($cf, join '', $good_cf, map { "no_such_parameter_$_ = 1\n" } 1 .. 80);
my ($answer) = $p->json('reload');
like $answer->{text}, qr/main\.cf:\d+: unknown parameter 'no_such_parameter_1'\n/, 'errors with file and line';
my ($more) = $answer->{text} =~ /\nand (\d+) more errors: `posthorn check' lists all\z/;
is +($more // 0) + (() = $answer->{text} =~ /unknown parameter/g), 80, 'those left out are counted';
my $log = PosthornTest::slurp("$p->{dir}/posthorn.err");
is scalar(() = $log =~ /reload refused: .*no_such_parameter_\d+'/g), 80, 'the log has all';
PosthornTest::write_file($cf, $good_cf);

# Files that change all the while: a reload takes one of the two texts, or refuses; never a mixture, nor two in two daemons.
my $writer = fork // die "fork: $!";
if ($writer == 0) {
	for (my $i = 0;; $i++) {
		PosthornTest::write_file("$policy.new", "$good\n-- text " . ($i % 2) . "\n" . "-- more\n" x ($i % 2 * 2000));
		rename "$policy.new", $policy or POSIX::_exit(1);
	}
}
for (1 .. 15) {
	my ($status) = $p->posthorn('reload');
	my ($now, @all) = generations();
	is_deeply [grep { $_ != $now->{generation} } @all], [], 'all daemons run one generation' if $status == 0;
}
kill KILL => $writer;
waitpid $writer, 0;
PosthornTest::write_file($policy, "$good\n-- quiet\n");
is +($p->posthorn('reload'))[0], 0, 'and the last text is taken';

# By itself, and as editors do it.
PosthornTest::write_file($policy, "$good\n-- three\n");
my $main = PosthornTest::slurp($p->etc . '/main.cf');
PosthornTest::write_file($p->etc . '/main.cf', "${main}policy_reload = auto\n");
($st) = $p->posthorn('reload');
is($st, 0, 'automatic from now on');
my ($before) = generations();
PosthornTest::write_file("$policy.tmp", "$good\n-- four\n");
rename "$policy.tmp", $policy or die "rename: $!";
my $next = $before->{generation} + 1;
$p->wait_for("generation $next", sub { (generations())[0]{generation} == $next });
$p->wait_for('all daemons', sub { my (undef, @g) = generations(); return !grep { $_ != $next } @g });
is((generations())[0]{generation_by}, 'auto', 'reloaded by itself');

# A file that the new main.cf names first, and that is not right at first, is looked at too.
my $shaping = $p->etc . '/more.lua';
$main = PosthornTest::slurp($p->etc . '/main.cf');
PosthornTest::write_file($p->etc . '/main.cf', "${main}shaping_files = $shaping\n");
ok $p->wait_for('refused', sub { (generations())[0]{disk_errors} }), 'a file that is not there is refused';
PosthornTest::write_file($shaping, "nonsense\n");
sleep 3;
is scalar(() = PosthornTest::slurp($p->dir . '/posthorn.err') =~ /reload refused: .*more\.lua/g), 2, 'each time once';
PosthornTest::write_file($shaping, "-- nothing yet\n");
$next++;
ok $p->wait_for("generation $next", sub { (generations())[0]{generation} == $next }, 15), 'and taken when it is mended';

# The sockets stay where they are until the suite starts again.
$main = PosthornTest::slurp($p->etc . '/main.cf');
my $moved = $main =~ s/^run_directory\s*=\K.*$/ @{[ $p->dir . '\/elsewhere' ]}/mr;
isnt $moved, $main, 'another run_directory';
PosthornTest::write_file($p->etc . '/main.cf', $moved);
$next++;
ok $p->wait_for('moved', sub { PosthornTest::slurp($p->dir . '/posthorn.err') =~ /smtpd\[\d+\] info: ready generation=$next\b/ }, 20),
	'the rest of it is taken';
my $had = $p->events('Delivery');
$p->load('-p', 'mail', '-c', 1, '-m', 2, '-d', 10, '-q');
ok $p->wait_for('mail', sub { $p->events('Delivery') == $had + 2 }, 20), 'mail is taken and delivered';
PosthornTest::write_file($p->etc . '/main.cf', $main);
$p->stop;
done_testing;
