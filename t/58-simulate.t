# posthorn simulate: events of a real run under a policy that swaps a tenant; a large file made up here; records that are none;
# policies with errors; queues beyond the limit; and nothing is written.
use strict;
use warnings;
use JSON::PP ();
use Test::More;
use PosthornTest;

my $posthorn = ($ENV{BUILD} // 'build') . '/sbin/posthorn';
my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
my $dir = $p->dir;
$p->sink;
$p->start;

sub put {
	my ($name, $text) = @_;
	open my $f, '>', "$dir/$name" or die "$dir/$name: $!";
	print $f $text;
	close $f or die "$dir/$name: $!";
	chmod 0644, "$dir/$name";
	return "$dir/$name";
}

# (exit status, standard output, standard error); with a file as standard input.
sub simulate_from {
	my ($input, @args) = @_;
	system 'sh', '-c', 'i=$1 o=$2 e=$3; shift 3; exec "$@" <"$i" >"$o" 2>"$e"', 'sh', $input, "$dir/out", "$dir/err",
		'timeout', '120', $posthorn, @args;
	return ($? >> 8, PosthornTest::slurp("$dir/out"), PosthornTest::slurp("$dir/err"));
}
sub simulate { return simulate_from('/dev/null', '-c', $p->etc, '--json', 'simulate', @_) }

sub rows {
	my ($table, @keys) = @_;
	return join ' ', sort map { my $r = $_; join ':', map { $r->{$_} // '' } @keys } @$table;
}

my $s = $p->connect_smtp;
PosthornTest::say_smtp($s, 'EHLO client.example');
my ($header) = ($p->posthorn('conf', 'tenant_header'))[1] =~ /^(\S+)$/ or die 'no tenant_header';

sub message {
	my ($tenant, @to) = @_;
	PosthornTest::say_smtp($s, $_) for 'MAIL FROM:<a@shop.example>', (map { "RCPT TO:<$_>" } @to), 'DATA';
	return PosthornTest::say_smtp($s, ($tenant ? "$header: $tenant\r\n" : '') . "Subject: x\r\n\r\nx\r\n.");
}
like message('', 'one@a.example'), qr/^250/, 'mail without a tenant';
like message('promotional', 'two@a.example', 'three@B.example'), qr/^250/, 'and of one, to two domains';
$p->wait_for('deliveries', sub { $p->events('Delivery') >= 3 });
my @logs = glob $p->log_dir . '/events/*.jsonl';
my $old = PosthornTest::slurp($p->etc . '/policy.lua');

my $swapped = $old;
$swapped =~ s/if tenant == 'promotional'/if tenant ~= 'promotional'/ or die;
my $new = put('swapped.lua', $swapped);
my ($status, $out, $err) = simulate('--policy', $new, @logs);
is $status, 0, 'a real run' or diag $err;
my $r = JSON::PP::decode_json($out);
is "$r->{messages} $r->{recipients} $r->{elsewhere} $r->{not_understood}", '2 3 3 0', 'all of it would go elsewhere';
is rows($r->{pools}, qw(old_pool new_pool recipients)), 'pool-promo:pool-transactional:2 pool-transactional:pool-promo:1', 'each to the other pool';
is rows($r->{tenants}, qw(tenant old_pool recipients)), ':pool-transactional:1 promotional:pool-promo:2', 'by tenant';
is rows($r->{domains}, qw(domain new_pool recipients)), 'a.example:pool-promo:1 a.example:pool-transactional:1 b.example:pool-transactional:1',
	'by domain';
($status, $out) = simulate('--policy', put('same.lua', $old), @logs);
is JSON::PP::decode_json($out)->{elsewhere}, 0, 'under the same policy nothing would';

# The daemons are gone, and the policy in force is another by now: the records know better.
$p->stop;
put('etc/policy.lua', $swapped);
($status, $out) = simulate('--policy', $new, @logs);
is JSON::PP::decode_json($out)->{elsewhere}, 3, 'where mail went is taken from the records';
put('receptions.jsonl', join '', grep { /^\{"type":"Reception"/ } map { /^.*\n/mg } map { PosthornTest::slurp($_) } @logs);
($status, $out) = simulate('--policy', $new, "$dir/receptions.jsonl");
is JSON::PP::decode_json($out)->{elsewhere}, 0, 'without them from the policy in force';
put('other.cf', "policy_file = $dir/same.lua\n");
($status, $out) = simulate('--policy', $new, '--main-cf', "$dir/other.cf", "$dir/receptions.jsonl");
is JSON::PP::decode_json($out)->{elsewhere}, 3, 'or from that of another main.cf';
($status, $out, $err) = simulate('--policy', $new, '--main-cf', "$dir/nonexistent.cf", "$dir/receptions.jsonl");
is rows(JSON::PP::decode_json($out)->{pools}, 'old_pool'), '(unknown) (unknown)', 'or is not known';
like $err, qr/so the old pool is known only/, 'which is said';

# A large file, with what may stand in one.
my $big = "$dir/big.jsonl";
open my $f, '>', $big or die "$big: $!";
for my $i (1 .. 200_000) {
	my $tenant = (qw(promotional acme wild))[$i % 3];
	printf $f qq({"type":"Reception","id":"%d","recipient":"u%d\@d%d.example","queue":"%s\@d%d.example","tenant":"%s","timestamp":%d}\n),
		$i, $i, $i % 1000, $tenant, $i % 1000, $tenant, $i;
}
print $f qq(no JSON\n\n[1]\n{"type":"Recep{"type":"Reception","id":"x","recipient":["q\@d1.example"],"queue":"acme\@d1.example"}\n);
print $f qq({"type":"Reception","recipient":[]}\n), 'x' x (5 << 20), "\n", qq({"type":"Reception","recipi);
close $f or die "$big: $!";
chmod 0644, $big;
(my $wild = $old) =~ s/(kumo\.on\('get_egress_pool'.*\n)/$1  if tenant == 'wild' then error('who is that') end\n/ or die;
put('etc/policy.lua', $old);
my $before = join ' ', sort glob "$dir/etc/* $dir/log/* $dir/queue/*";
($status, $out, $err) = simulate('--policy', put('wild.lua', $wild), $big);
is $status, 0, 'a large file' or diag $err;
$r = JSON::PP::decode_json($out);
is "$r->{messages} $r->{recipients} $r->{queues}", '200001 200001 3000', 'everything is counted, and a record behind a fragment';
is "$r->{not_understood} $r->{first_not_understood}", "5 $big:200001: not JSON", 'and what is no record';
is "$r->{elsewhere} $r->{without_pool} $r->{without_pool_queues}", '0 66667 1000', 'queues without a pool';
is scalar @{ $r->{reasons} }, 1, 'for one reason';
like $r->{reasons}[0]{reason}, qr/wild\.lua:\d+: who is that/, 'which is named';
is scalar @{ $r->{domains} }, 20, 'the largest rows only';
($status, $out) = simulate('--all', '--policy', "$dir/wild.lua", $big);
is scalar @{ JSON::PP::decode_json($out)->{domains} }, 1000, '--all shows all';
($status, $out) = simulate_from($big, '-c', $p->etc, 'simulate', '--policy', "$dir/wild.lua", '--max-queues', 10, '-');
is $status, 0, 'from standard input';
like $out, qr/^asked about: .* in 10 queues\n(?:.*\n)*other: +199,\d+ recipients/m, 'queues beyond the limit are counted together';
is join(' ', sort glob "$dir/etc/* $dir/log/* $dir/queue/*"), $before, 'nothing was written';

# Errors.
my $bad = put('bad.lua', "posthorn.pool { nam = 'a' }\nposthorn.source { nam = 'b' }\n");
($status, $out, $err) = simulate('--policy', $bad, $big);
is "$status $out", '1 ', 'a policy with errors';
like $err, qr/bad\.lua:1: .*bad\.lua:2: /s, 'all of them are listed';
put('none.jsonl', "what\nis this\n");
($status, $out, $err) = simulate('--policy', $new, "$dir/none.jsonl");
is "$status $out", '1 ', 'a file without any record';
like $err, qr/none\.jsonl:1: not JSON/, 'says so';
($status, $out, $err) = simulate('--policy', $new, "$dir/missing.jsonl");
is $status, 1, 'a file that does not exist';
($status, $out, $err) = simulate('--policy', $new, "$dir/missing.jsonl", "$dir/receptions.jsonl");
is $status, 0, 'beside one that does';
like $err, qr/missing\.jsonl: No such file/, 'is named';
is((simulate('--policy', $new))[0], 2, 'no file at all is a wrong usage');
is((simulate($big))[0], 2, 'so is no policy');
done_testing;
