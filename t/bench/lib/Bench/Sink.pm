package Bench::Sink;
# A sink whose ledger is counted while it grows, each byte read once.
use strict;
use warnings;
use Carp qw(croak);
use Time::HiRes qw(time);
use PosthornTest;

# host: the PosthornTest that ends it; args: options of t/bench/sink.c; addresses: where it listens
sub new {
	my ($class, %o) = @_;
	my $self = bless { host => $o{host}, name => $o{name} // 'sink', port => $o{port} // PosthornTest::free_port(), lines => 0, offset => 0 }, $class;
	$self->{ledger} = $o{host}->dir . "/$self->{name}.ledger";
	$self->{json} = $o{host}->dir . "/$self->{name}.json";
	$self->{pid} = $o{host}->spawn($self->{name}, "$PosthornTest::tools/sink", '-l', $self->{ledger}, '-j', $self->{json}, @{ $o{args} // [] },
		map { "$_:$self->{port}" } @{ $o{addresses} // ['127.0.0.1'] });
	$o{host}->wait_for($self->{name}, sub { PosthornTest::slurp($o{host}->dir . "/$self->{name}.out") =~ /ready/ }, 10)
		or croak 'the sink did not start';
	return $self;
}

sub port { $_[0]{port} }
sub ledger { $_[0]{ledger} }

# Recipients taken so far.
sub count {
	my ($self) = @_;
	open(my $f, '<', $self->{ledger}) or return 0;
	seek $f, $self->{offset}, 0;
	while (my $n = read $f, my $buf, 1 << 20) {
		$self->{lines} += $buf =~ tr/\n//;
		$self->{offset} += $n;
	}
	return $self->{lines};
}

# The sink's own statistics (sink -j), as of now.
sub statistics {
	my ($self) = @_;
	unlink $self->{json};
	kill 'USR1', $self->{pid};
	my $stats;
	$self->{host}->wait_for('statistics', sub { $stats = eval { JSON::PP::decode_json(PosthornTest::slurp($self->{json})) } }, 10)
		or croak 'the sink gave no statistics';
	return $stats;
}

sub stop { my ($self) = @_; return $self->{host}->end_pid($self->{pid}) }

1;
