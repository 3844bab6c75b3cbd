package CrashTest;
# What both crash tests need: a load of messages of which it is known what must become of each, and a hard end of a whole suite.
use strict;
use warnings;
use Exporter qw(import);
use Time::HiRes qw(sleep time);
use PosthornTest;

our @EXPORT_OK = qw(body_crc start_load is_refused suite_pids stop_all kill_all);

# The recipients, in turn: some at once, some after one or two deferrals (so that there is always mail whose only copy is on the
# disk), some refused for good (whose notice must come to the sender, of whom there is one for each message).
my @recipients = ('u%u@one.example', 'defer-1-u%u@two.example', 'u%u@three.example', 'defer-2-u%u@four.example',
	'defer-1-u%u@five.example', 'unknown-u%u@six.example');

# Load generators in the background, one for each [prefix, bytes, connections, messages a second, recipients if others].
sub start_load {
	my ($p, $pace, @kinds) = @_;
	return map {
		my ($prefix, $size, $connections, $rate, @to) = @$_;
		@to = @recipients unless @to;
		$p->load_start('-q', '-p', $prefix, '-s', $size, '-c', $connections, '-r', $rate * $pace, '-m', 10_000_000,
			'-f', "$prefix-%u\@origin.example", '-t', join(',', map { s/u%u/$prefix-%u/r } @to));
	} @kinds;
}

sub is_refused { my ($recipient) = @_; return $recipient =~ /^unknown/ }

sub crc32c {
	my ($data) = @_;
	our @table;
	@table = map { my $c = $_; $c = $c & 1 ? 0x82f63b78 ^ $c >> 1 : $c >> 1 for 1 .. 8; $c } 0 .. 255 unless @table;
	my $crc = 0xffffffff;
	$crc = $table[($crc ^ $_) & 255] ^ $crc >> 8 for unpack 'C*', $data;
	return sprintf '%08x', $crc ^ 0xffffffff;
}

# What t/bench/load.c writes for -s, and what t/bench/sink.c makes a checksum of: the blank line and the body.
sub body_crc {
	my ($size) = @_;
	my $body = '';
	for (my $at = 0; length $body < $size; $at += 78) {
		$body .= join('', map { chr(ord('a') + ($at + $_) % 26) } 0 .. 75) . "\r\n";
	}
	$body = substr $body, 0, $size;
	$body =~ s/\r\z/x/;
	return crc32c("\r\n$body\r\n");
}

# The processes of one suite: those whose configuration is in its directory, which is nobody else's.
sub suite_pids {
	my ($p) = @_;
	my $mark = "\0-c\0" . $p->etc . "\0";
	return grep { index(PosthornTest::slurp("/proc/$_/cmdline"), $mark) >= 0 } map { m{(\d+)} } glob '/proc/[0-9]*';
}

# No process of the suite runs any more: it is stopped (T), or in a call that it does not return from before it is (D).
sub stop_all {
	my ($p) = @_;
	my $end = time + 20;
	my $before = '';
	while (1) {
		my @pids = suite_pids($p);
		kill 'STOP', @pids;
		# Once more if somebody still runs, or was started meanwhile.
		last if "@pids" eq $before && !grep { PosthornTest::slurp("/proc/$_/stat") =~ /\) [^TDZX] / } @pids;
		die "these do not stop: @pids\n" if time > $end;
		$before = "@pids";
	}
}

# Stopped first, so that nobody starts anybody again.
sub kill_all {
	my ($p) = @_;
	my $end = time + 20;
	stop_all($p);
	while (my @pids = suite_pids($p)) {
		die "these do not die: @pids\n" if time > $end;
		kill 'KILL', @pids;
		sleep 0.005;
	}
	my $main = delete $p->{main} or return;
	waitpid $main, 0;
	delete $p->{pids}{$main};
}

1;
