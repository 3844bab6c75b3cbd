# A damaged index, in every way that a file can be damaged: queued notices before it uses it, sets it aside as index.bad-TIME (at most
# three are kept), says so, rebuilds it from the segments, and everything that was not yet delivered is delivered. Row of
# posthorn-faults(7): "damaged index".
use strict;
use warnings;
use File::Path qw(remove_tree);
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

my $seed = $ENV{POSTHORN_SEED} // time;
srand $seed;
diag "POSTHORN_SEED=$seed";

my $n = 400;
my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1h', max_retry_interval => '1h' });
my $log = $p->dir . '/posthorn.err';
$p->start;    # no sink: everything stays
is $p->load('-c', 4, '-m', $n, '-s', 1000, '-d', 20, '-q', '-t', 'u%u@one.example,v%u@two.example')->{acked}, $n, "$n messages are queued";
ok $p->wait_for('deferrals', sub { scalar(grep { $_->{type} eq 'TransientFailure' } $p->events) >= $n }, 30), 'and deferred';
my ($uuid) = map { $_->{nodeid} } grep { $_->{nodeid} } $p->events;

sub in_queue { my ($s) = $p->json('status'); return $s->{queue}{messages} // -1 }
is in_queue(), $n, 'the queue knows all recipients';

my $data = $p->queue_dir . '/index/data.mdb';

sub edit {
	my ($code) = @_;
	open(my $f, '+<:raw', $data) or die "$data: $!";
	$code->($f, -s $f);
	close $f;
}

sub put { my ($f, $at, $bytes) = @_; sysseek $f, $at, 0; syswrite $f, $bytes }
sub noise { my ($len) = @_; return join '', map { chr int rand 256 } 1 .. $len }

# A page that LMDB would read: a leaf of a tree in use. Those that were freed may look the same, so the newest of their kind counts.
sub leaf_page {
	my ($f, $size) = @_;
	my @leaves;
	for my $page (2 .. $size / 4096 - 1) {
		sysseek $f, 4096 * $page, 0;
		sysread $f, my $head, 16;
		my ($no, $pad, $flags, $lower, $upper) = unpack 'Q< S< S< S< S<', $head;
		push @leaves, $page if $no == $page && ($flags & 0xff) == 2 && $lower > 64;
	}
	return $leaves[int rand @leaves];
}

my %damage = (
	'overwritten with garbage' => sub { edit(sub { my ($f, $size) = @_; put($f, 0, noise($size)) }) },
	'one meta page bad' => sub { edit(sub { put($_[0], 4096, noise(4096)) }) },
	'a flipped bit in a meta page' => sub { edit(sub { my ($f) = @_; sysseek $f, 16, 0; sysread $f, my $c, 1; put($f, 16, chr(ord($c) ^ 4)) }) },
	'truncated to a third' => sub { edit(sub { my ($f, $size) = @_; truncate $f, int($size / 4096 / 3) * 4096 }) },
	'every leaf but one bad' => sub { edit(sub { my ($f, $size) = @_; my $keep = leaf_page($f, $size);
		put($f, 4096 * $_, noise(4096)) for grep { $_ != $keep } 2 .. $size / 4096 - 1 }) },
	'zero length' => sub { edit(sub { truncate $_[0], 0 }) },
	'deleted' => sub { remove_tree($p->queue_dir . '/index') },
	'the mark of an earlier run' => sub { PosthornTest::write_file($p->queue_dir . '/index.broken', '') },
	'a file instead of the directory' => sub { remove_tree($p->queue_dir . '/index'); PosthornTest::write_file($p->queue_dir . '/index', 'x') },
);

my $aside = sub { return sort glob $p->queue_dir . '/index.bad-*' };
for my $how (sort keys %damage) {
	is $p->stop, 0, "$how: stopped";
	$damage{$how}->();
	my %before = map { $_ => 1 } $aside->();
	my $at = -s $log;
	my $started = time;
	$p->start_suite;
	ok $p->wait_for('rebuilt', sub { in_queue() == $n }, 20), "$how: all recipients are queued again"
		or diag in_queue();
	cmp_ok time - $started, '<', 10, "$how: soon";
	my $said = substr PosthornTest::slurp($log), $at;
	my $is_gone = $how =~ /^(?:zero|deleted)/;
	like $said, qr/error: the index is damaged: [^;]+; it is set aside as \S+index\.bad-\d{8}T\d{6}Z/, "$how: the log says why, and where it is" unless $is_gone;
	like $said, qr/error: the index is rebuilt from \d+ segments/, "$how: the log says that it is rebuilt";
	is scalar(grep { !$before{$_} } $aside->()), $is_gone ? 0 : 1, "$how: " . ($is_gone ? 'nothing' : 'it') . ' was set aside';
	cmp_ok scalar(my @kept = $aside->()), '<=', 3, "$how: three are kept at most";
	unlike $said, qr/(?:killed by|SIG(?:SEGV|BUS|ABRT)|signal)/, "$how: no daemon died of it";
}
my (undef, $out, $err) = $p->posthorn('check');
like $out . $err, qr/index\.bad-/, 'posthorn check says that damaged ones were set aside';

# While it runs: the pages that LMDB has mapped change under it. queued dies of it, or takes it for an index without mail; the next start
# sees what it is.
ok $p->wait_for('deferred', sub { my $n_deferred = 0; $n_deferred += $_->{deferred} for $p->json('queue', 'summary'); $n_deferred == $n }, 20),
	'all is deferred once more, and so in the index only';
is scalar(() = $p->events('Delivery')), 0, 'nothing was delivered so far';
my $at = -s $log;
edit(sub { my ($f, $size) = @_; put($f, 4096 * $_, noise(4096)) for 2 .. $size / 4096 - 1 });
$p->sink;
$p->posthorn('queue', 'retry', '--all');
my $tries = 0;
ok $p->wait_for('damaged while it runs: delivery', sub {
	$p->posthorn('queue', 'retry', '--all');
	$p->posthorn('restart', 'queued') if ++$tries == 20;
	my %got = map { $_->{rcpt} => 1 } $p->ledger;
	keys %got >= $n;
}, 30), 'damaged while it runs: it is replaced, rebuilds, and everything is delivered';
my $said = substr PosthornTest::slurp($log), $at;
like $said, qr/the index is rebuilt from/, 'by way of a new index';
cmp_ok scalar(() = $said =~ /posthorn\[\d+\] error: queued /g), '<=', 2, 'queued did not die over and over';

is $p->load('-c', 1, '-m', 1, '-d', 10, '-p', 'after')->{acked}, 1, 'and it goes on';
ok $p->wait_for('after', sub { grep { $_->{id} =~ /^after/ } $p->ledger }, 20), 'delivering';
my %uuids = map { $_->{nodeid} => 1 } grep { $_->{nodeid} } $p->events;
is_deeply [keys %uuids], [$uuid], 'the node has kept its id through all of it';
is((stat $p->queue_dir . '/identity')[2] & 0777, 0600, 'of which nobody else may read the copy');
is $p->stop, 0, 'stops cleanly';
done_testing;
