# Whether a message costs the same when there are more connections or more queues. (More messages waiting: see deep.pl.)
use strict;
use warnings;
use Bench qw(table save median $scale);
use Bench::Relay qw(compare summary);

# The same suite is measured in each way in turn.
sub ways {
	my ($who, $n, %way) = @_;
	my $one = Bench::Relay->new(who => $who, load => [], messages => int($n * $scale), warm => int($n * $scale / 4), name => $who);
	return map { bless { %$one, rounds => [], name => ucfirst("$who, $_"), load => ['-s', 4000, '-h', 'X-Tenant: promotional|transactional', @{ $way{$_} }] },
		'Bench::Relay' } sort { ($a =~ /(\d+)/)[0] <=> ($b =~ /(\d+)/)[0] } keys %way;
}

# A file of domains, all alike in weight.
my $files = PosthornTest->new;
sub domains {
	my ($n) = @_;
	my $file = $files->dir . "/domains-$n";
	PosthornTest::write_file($file, join '', map { "q$_.example 1\n" } 1 .. $n);
	return ('-D', $file);
}

my @connections = ways('posthorn', 10_000, map { ("$_ connections" => ['-c', $_, '-t', 'u%u@one.example']) } 1, 4, 16, 40, 64);
my @peer = ways('postfix', 2000, map { ("$_ connections" => ['-c', $_, '-t', 'u%u@one.example']) } 1, 64);
my @queues = ways('posthorn', 20_000, map { ("$_ queues" => ['-c', 40, domains($_)]) } 1, 100, 2000);
compare([@connections, @peer, @queues]);
$_->stop for $connections[0], $peer[0], $queues[0];
for my $set (\@connections, \@peer, \@queues) {
	my ($rows, $results) = summary(@$set);
	my @costs = map { $results->{ $_->{name} }{median}{cpu_us} } @$set;
	splice @$_, 5 for @$rows;
	push @{ $rows->[0] }, 'of the first';
	push @{ $rows->[$_ + 1] }, sprintf '%.2f', $costs[$_] / $costs[0] for 0 .. $#costs;
	table(@$rows);
}
my ($rows, $results) = summary(@connections, @peer, @queues);
save('scaling', { rows => $results });
