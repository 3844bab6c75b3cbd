# `make bench`: runs the parts, each a program of its own that prints tables and leaves run/bench/PART.json.
#
#   PART="relay large"  some parts        ROUNDS=5  of what is compared        SCALE=0.1  of the numbers of messages
#   DEEP=1000000,5000000  sizes of the deep queue        SOAK=1200  seconds of the soak        VERBOSE=1  what goes on
#   RESULTS=dir  instead of run/bench
use strict;
use warnings;

my %about = (
	relay => 'relay of 4 KB, plain and TLS, beside Postfix',
	dkim => 'what DKIM signatures cost, plain and with TLS',
	handshake => 'what a full TLS handshake costs',
	large => 'relay of 100 KB, beside Postfix',
	scaling => 'processor time from 1 to 64 connections, from 1 to 2,000 queues',
	mix => 'realistic mix at 50, 80 and 100 % of capacity',
	deep => 'a deep queue',
	domains => '20,000 destination domains, 2,000 queues at work',
	connections => '10,000 connections in, 5,000 out',
	soak => 'soak with restarts',
);
my @parts = split ' ', $ENV{PART} // 'relay dkim handshake large scaling mix deep domains connections soak';
die "bench: there is no part `$_'; there are: @{[sort keys %about]}\n" for grep { !$about{$_} } @parts;
my ($model) = do { local (@ARGV, $/) = '/proc/cpuinfo'; <> } =~ /^model name\s*:\s*(.*)$/m;
chomp(my @facts = (`nproc`, `uname -sr`));
printf "%s, %s cores, %s; medians of %s rounds\n\n", $model // 'unknown processor', @facts, $ENV{ROUNDS} // 5;
my @failed;
for my $part (@parts) {
	print "$part: $about{$part}\n\n";
	push @failed, $part if system($^X, '-It/lib', '-It/bench/lib', "t/bench/parts/$part.pl") != 0;
}
print @failed ? "failed: @failed\n" : "results: ", $ENV{RESULTS} // 'run/bench', "/*.json\n";
exit(@failed ? 1 : 0);
