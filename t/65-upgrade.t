# A spool that an older release left is taken over as it is, and what a newer one left is refused and not touched. Rows of
# posthorn-faults(7): "upgrade over an older spool", "spool of a newer release".
use strict;
use warnings;
use Digest::SHA ();
use File::Find ();
use Test::More;
use PosthornTest;

plan skip_all => 'sanitizers want to be preloaded themselves' if `ldd $PosthornTest::build/libexec/smtpd` =~ /libasan/;

my %made = ('t/data/spool-1.tar.gz' => 1795673467);    # when, in seconds since the epoch

# An instance with that spool, and a clock of soon after it was made: its messages are not to expire of the age of this file.
sub instance {
	my ($tar) = @_;
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, segment_size => '1M' });
	system('tar', '-C', $p->dir, '-xzf', $tar) == 0 or die 'tar';
	my ($uid, $gid) = (getpwnam 'posthorn-queued')[2, 3];
	($uid, $gid) = (getpwnam 'nobody')[2, 3] unless defined $uid;
	system('chown', '-R', "$uid:$gid", $p->queue_dir) if $> == 0;
	my $control = $p->dir . '/inject';
	PosthornTest::write_file($control, "\0" x 256 . pack('q', $made{$tar} + 3600 - time));
	$p->{env} = { LD_PRELOAD => "$PosthornTest::build/tools/inject.so", INJECT => $control };
	return $p;
}

for my $tar (sort keys %made) {
	my $p = instance($tar);
	$p->sink->start;
	my $log = PosthornTest::slurp($p->dir . '/posthorn.err');
	unlike $log, qr/damage/, "$tar: nothing is found damaged";
	ok $p->wait_for('delivery', sub { $p->ledger_count >= 16 }, 30), "$tar: what was due is delivered";
	is join(' ', sort map { $_->{id} } $p->ledger), join(' ', sort((map { "soft-$_" } 0 .. 11), 'large-0', map { "fresh-$_" } 0 .. 2)),
		"$tar: each message once, those that no index knew too";
	my %size = map { $_->{id} => $_->{size} } $p->ledger;
	cmp_ok $size{'large-0'}, '>', 1_200_000, "$tar: the large one whole";
	my %end = map { $_->{recipient} => $_ } $p->events('Delivery');
	my ($one) = grep { /\@one\.example/ } sort keys %end;
	is $end{$one}{campaign}, 'autumn', "$tar: with its campaign";
	cmp_ok $end{$one}{num_attempts}, '>=', 1, "$tar: and the attempts that were made before";
	my ($held) = $p->json('queue', 'list');
	is "$held->{recipient} $held->{state}", 'held@three.example held', "$tar: what was held is held";
	$p->posthorn('queue', 'release', '--all');
	ok $p->wait_for('released', sub { grep { $_->{id} eq 'held-0' } $p->ledger }, 20), "$tar: until it is released";
	is $p->load('-c', 1, '-m', 5, '-d', 10, '-p', 'new')->{acked}, 5, "$tar: new mail is taken";
	ok $p->wait_for('new mail', sub { 5 == grep { $_->{id} =~ /^new/ } $p->ledger }, 20), "$tar: and delivered";
	is $p->stop, 0, "$tar: stops cleanly";
}

# Every file of the spool, by its bytes; lock files are not content, and a suppression list is made where there is none.
sub fingerprint {
	my ($p) = @_;
	my $sha = Digest::SHA->new(256);
	my @files;
	File::Find::find({ no_chdir => 1, wanted => sub { push @files, $_ if -f && !m{/(?:lock\.mdb|queued\.lock)$|/suppress/} } }, $p->queue_dir);
	for (sort @files) { $sha->add($_); $sha->addfile($_) }
	return $sha->hexdigest;
}

sub refused {
	my ($what, $change, $says) = @_;
	my $p = instance('t/data/spool-1.tar.gz');
	$change->($p);
	my $before = fingerprint($p);
	$p->sink->configure;
	my $main = $p->spawn('posthorn', "$PosthornTest::build/sbin/posthorn", '-c', $p->etc, 'start');
	$p->{main} = $main;
	ok $p->wait_for($what, sub { PosthornTest::slurp($p->dir . '/posthorn.err') =~ $says }, 15), "$what: refused, and it says why";
	unlike PosthornTest::slurp($p->dir . '/posthorn.out'), qr/^ready$/m, "$what: never ready";
	$p->stop;
	is fingerprint($p), $before, "$what: not a byte was changed";
}

# A row of `meta`, which holds the schema version, in each page that has it.
refused('index of a newer schema', sub {
	my ($p) = @_;
	my $file = $p->queue_dir . '/index/data.mdb';
	my $bytes = PosthornTest::slurp($file);
	my $n = $bytes =~ s/(\x04\0\0\0\0\0\x06\0schema\0\0\0)\x01/$1\x63/g;
	ok $n, 'the schema version was found';
	PosthornTest::write_file($file, $bytes, 0600);
}, qr/has a schema version that this queued does not know/);

# The version in the header of a segment's first record, or of a later one, and the CRC of the header after it (record.h).
sub newer_record {
	my ($p, $which) = @_;
	my ($file) = sort grep { PosthornTest::slurp($_) =~ /X-Test-Id: fresh-1/ } glob $p->queue_dir . '/segments/*.seg';
	my $bytes = PosthornTest::slurp($file);
	my $at = $which eq 'first' ? index($bytes, "PH\nR\rec\0") : rindex($bytes, "PH\nR\rec\0");
	cmp_ok $at, '>=', 0, 'a record was found';
	substr($bytes, $at + 8, 4) = pack('N', 2);
	substr($bytes, $at + 124, 4) = pack('N', crc32c(substr $bytes, $at, 124));
	PosthornTest::write_file($file, $bytes, 0600);
}

sub crc32c {
	my ($bytes) = @_;
	my $crc = 0xffffffff;
	for (unpack 'C*', $bytes) {
		$crc ^= $_;
		$crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
	}
	return $crc ^ 0xffffffff;
}

refused('segment of a newer release', sub { newer_record($_[0], 'first') }, qr/was written by a newer release: install that one/);

refused('index of a newer LMDB', sub {
	my ($p) = @_;
	open(my $f, '+<:raw', $p->queue_dir . '/index/data.mdb') or die;
	for my $page (0, 1) { sysseek $f, 4096 * $page + 20, 0; syswrite $f, pack('L<', 2) }
	close $f;
}, qr/version mismatch/i);

# The newer release ran in between: its record is the last of a segment that began with an older one. It is met only by the scan.
{
	my $p = instance('t/data/spool-1.tar.gz');
	newer_record($p, 'last');
	my ($file) = sort grep { PosthornTest::slurp($_) =~ /X-Test-Id: fresh-1/ } glob $p->queue_dir . '/segments/*.seg';
	my $before = Digest::SHA->new(256)->addfile($file)->hexdigest;
	$p->sink->configure;
	$p->dns;
	$p->{main} = $p->spawn('posthorn', "$PosthornTest::build/sbin/posthorn", '-c', $p->etc, 'start');
	ok $p->wait_for('said', sub { (() = PosthornTest::slurp($p->dir . '/posthorn.err') =~ /was written by a newer release, from offset/g) >= 2 }, 20),
		'record of a newer release in the middle: queued ends each time, and says why';
	$p->stop;
	is(Digest::SHA->new(256)->addfile($file)->hexdigest, $before, 'record of a newer release in the middle: its segment is as it was');
}
done_testing;
