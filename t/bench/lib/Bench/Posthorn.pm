package Bench::Posthorn;
# An instance of the suite as the bench runs it: the product's own defaults, but for addresses, directories and what a load
# from a single host needs.
use strict;
use warnings;
use PosthornTest;

my %defaults = map { $_ => undef } qw(smtpd_processes min_free_space retry_interval max_retry_interval segment_size);

# sink (port), tls (0|1), conf, policy, zone
sub new {
	my ($class, %o) = @_;
	my $p = PosthornTest->new(tls => $o{tls} // 0, policy => $o{policy}, zone => $o{zone} // '',
		conf => { %defaults, smtp_connection_limit => 40, %{ $o{conf} // {} } });
	$p->{sink_port} = $o{sink};
	return bless { host => $p }, $class;
}

sub host { $_[0]{host} }
sub port { $_[0]{host}->port }
sub main_pid { $_[0]{host}{main} }

sub start {
	my ($self) = @_;
	$self->{host}{env} = { LD_PRELOAD => $self->{preload}, %{ $self->{env} // {} } } if $self->{preload};
	$self->{host}->start;
	return $self;
}

sub stop { $_[0]{host}->stop }

1;
