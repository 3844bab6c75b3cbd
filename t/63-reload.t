#!/usr/bin/perl
# Reload as one step over all daemons: one generation in force, files that are edited later are nobody's configuration,
# a daemon that dies comes up with what is in force, policy_reload = auto.
use v5.36;
use lib 't/lib';
use PosthornTest;
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

# By itself, and as editors do it.
PosthornTest::write_file($policy, "$good\n-- three\n");
my $main = PosthornTest::slurp($p->etc . '/main.cf');
PosthornTest::write_file($p->etc . '/main.cf', "${main}policy_reload = auto\n");
($st) = $p->posthorn('reload');
is($st, 0, 'automatic from now on');
PosthornTest::write_file("$policy.tmp", "$good\n-- four\n");
rename "$policy.tmp", $policy or die "rename: $!";
$p->wait_for('generation 4', sub { (generations())[0]{generation} == 4 });
$p->wait_for('all daemons', sub { my (undef, @g) = generations(); return !grep { $_ != 4 } @g });
is((generations())[0]{generation_by}, 'auto', 'reloaded by itself');
$p->stop;
done_testing;
