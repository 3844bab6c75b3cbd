package Bench;
# What every part of `make bench` needs: processor time of a tree of processes, memory, medians, tables, results as JSON.
#
# Processor time is read from /proc (nanoseconds of every thread that lives, and what ended children left to their parents), summed
# over all processes of a suite, whatever they are called: nothing that a peer does in short-lived processes is missed.
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);
use File::Path qw(make_path);
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);
use PosthornTest;

our @EXPORT_OK = qw(tree cpu_us cpu_by_name memory_by_name median ratio table save note openssl_speed count_syncs wait_until $rounds $scale);
our $rounds = $ENV{ROUNDS} // 5;
our $scale = $ENV{SCALE} // 1;    # of the numbers of messages: 0.1 for a quick look
my $tick = POSIX::sysconf(POSIX::_SC_CLK_TCK());

# The processes at and below a pid: pid => { name, reaped } (reaped: clock ticks that ended children left).
sub tree {
	my ($root) = @_;
	my (%all, %below);
	for my $stat (glob '/proc/[0-9]*/stat') {
		my ($pid, $name, $rest) = PosthornTest::slurp($stat) =~ /^(\d+) \((.*)\) (.*)/s or next;
		my @f = split ' ', $rest;
		$all{$pid} = { name => $name, reaped => $f[13] + $f[14] };
		push @{ $below{ $f[1] } }, $pid;
	}
	my (%tree, @todo);
	@todo = ($root);
	while (defined(my $pid = shift @todo)) {
		next unless $all{$pid};
		$tree{$pid} = $all{$pid};
		push @todo, @{ $below{$pid} // [] };
	}
	return \%tree;
}

# Processor time that a tree has used so far, in microseconds, by name of the program; what ended is 'ended'.
sub cpu_by_name {
	my ($root) = @_;
	my %us;
	my $tree = tree($root);
	for my $pid (keys %$tree) {
		for my $task (glob "/proc/$pid/task/*/schedstat") {
			$us{ $tree->{$pid}{name} } += (split ' ', PosthornTest::slurp($task) || '0')[0] / 1000;
		}
		$us{ended} += $tree->{$pid}{reaped} * 1e6 / $tick;
	}
	return \%us;
}

sub cpu_us { my ($root) = @_; my $sum = 0; $sum += $_ for values %{ cpu_by_name($root) }; return $sum }

# Memory of a tree by name of the program, in KiB: anonymous (private, by any name), private in all, shared.
sub memory_by_name {
	my ($root) = @_;
	my %m;
	my $tree = tree($root);
	for my $pid (keys %$tree) {
		my %s = PosthornTest::slurp("/proc/$pid/smaps_rollup") =~ /^(\w+):\s+(\d+) kB/mg;
		my $m = $m{ $tree->{$pid}{name} } //= { anonymous => 0, private => 0, shared => 0, descriptors => 0 };
		$m->{anonymous} += $s{Anonymous} // 0;
		$m->{private} += ($s{Private_Clean} // 0) + ($s{Private_Dirty} // 0);
		$m->{shared} += ($s{Shared_Clean} // 0) + ($s{Shared_Dirty} // 0);
		$m->{descriptors} += () = glob "/proc/$pid/fd/*";
	}
	return \%m;
}

sub median {
	my @s = sort { $a <=> $b } grep { defined } @_;
	return @s == 0 ? undef : @s % 2 ? $s[$#s / 2] : ($s[@s / 2 - 1] + $s[@s / 2]) / 2;
}

# The median of the ratios of what was measured side by side, round by round.
sub ratio {
	my ($xs, $ys) = @_;
	return median(map { $ys->[$_] ? $xs->[$_] / $ys->[$_] : undef } 0 .. $#$xs);
}

# Prints rows (array references, the first is the head), numbers to the right.
sub table {
	my (@rows) = @_;
	my @width;
	for my $row (@rows) { for my $i (0 .. $#$row) { my $n = length($row->[$i] // ''); $width[$i] = $n if $n > ($width[$i] // 0) } }
	for my $row (@rows) {
		my @cells = map { my $c = $row->[$_] // ''; $c =~ /^[-+\d.]+\S{0,3}$/ ? sprintf('%*s', $width[$_], $c) : sprintf('%-*s', $width[$_], $c) } 0 .. $#$row;
		print '    ', join('  ', @cells) =~ s/\s+\z//r, "\n";
	}
	print "\n";
}

sub note { print STDERR @_, "\n" if -t STDERR || $ENV{VERBOSE}; return }

# Writes run/bench/PART.json (RESULTS: another directory): what the machine is, when, and the part's results.
sub save {
	my ($part, $results) = @_;
	my $dir = $ENV{RESULTS} // 'run/bench';
	make_path($dir);
	my ($model) = PosthornTest::slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)$/m;
	my ($memory) = PosthornTest::slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	my $cores = () = PosthornTest::slurp('/proc/cpuinfo') =~ /^processor/mg;
	chomp(my $kernel = `uname -sr`);
	my $all = { part => $part, at => POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime), rounds => $rounds, scale => $scale,
		machine => { cpu => $model // 'unknown', cores => $cores, memory_mib => int(($memory // 0) / 1024), kernel => $kernel },
		results => $results };
	PosthornTest::write_file("$dir/$part.json", JSON::PP->new->canonical->pretty->encode($all));
	return;
}

# Operations a second of one core, by openssl's own measure, one second: ('rsa2048' => signs, ...).
sub openssl_speed {
	my ($what) = @_;
	my $out = `openssl speed -seconds 1 $what 2>/dev/null`;
	return $1 + 0 if $what =~ /^rsa/ && $out =~ /^rsa\s+\d+ bits\s+\S+\s+\S+\s+([\d.]+)/m;
	return $1 + 0 if $out =~ /([\d.]+)\s+[\d.]+\s*$/m;
	return;
}

sub count_syncs { my ($file) = @_; return unpack 'Q<', PosthornTest::slurp($file) }

sub wait_until {
	my ($what, $cond, $seconds) = @_;
	my $end = time + $seconds;
	until ($cond->()) {
		croak "gave up waiting for: $what" if time > $end;
		sleep 0.02;
	}
	return;
}

1;
