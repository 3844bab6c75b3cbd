package Bench::Postfix;
# The peer: Postfix from Debian's package, unpacked and not installed, in a directory of its own, with the configuration in
# t/bench/postfix/. As an ordinary user it runs under t/bench/asroot.c.
use strict;
use warnings;
use Carp qw(croak);
use File::Path qw(make_path);
use PosthornTest;

# name, sink (port), tls (0|1)
sub new {
	my ($class, %o) = @_;
	my $host = PosthornTest->new;
	my $self = bless { host => $host, dir => $host->dir . '/postfix', port => PosthornTest::free_port(), %o }, $class;
	croak 'Postfix is not here: run `make build/postfix`' unless -x "$PosthornTest::postfix/usr/lib/postfix/sbin/master";
	$self->configure;
	return $self;
}

sub port { $_[0]{port} }
sub main_pid { $_[0]{pid} }

# Some user and group that every Debian has and that Postfix does not refuse; an ordinary user is itself.
sub owner { return $> == 0 ? 'mail' : scalar getpwuid $> }
sub group { return $> == 0 ? 'news' : (grep { $_ ne getgrgid($) + 0) } qw(news mail))[0] }

sub configure {
	my ($self) = @_;
	my ($d, $owner, $group) = ($self->{dir}, owner(), group());
	make_path(map { "$d/$_" } qw(etc data log spool), map { "spool/$_" } qw(active bounce corrupt defer deferred flush hold
		incoming maildrop pid private public saved trace));
	chmod 0755, $self->{host}->dir, $d;
	my ($cert, $key) = $self->{tls} ? $self->{host}->certificate : ('', '');
	my %w = (dir => $d, top => $PosthornTest::postfix, owner => $owner, group => $group, sink => $self->{sink}, port => $self->{port},
		cert => $cert, key => $key, tls_in => $self->{tls} ? 'may' : 'none', tls_out => $self->{tls} ? 'encrypt' : 'none',
		tls_reuse => $self->{tls} ? 'yes' : 'no');
	for my $file (qw(main.cf master.cf)) {
		my $text = PosthornTest::slurp("t/bench/postfix/$file");
		$text =~ s/\@(\w+)\@/$w{$1} \/\/ croak "$file: $1"/ge;
		PosthornTest::write_file("$d/etc/$file", $text);
	}
	PosthornTest::write_file("$d/etc/postfix-files", '');
	return unless $> == 0;
	my ($uid, $gid) = (scalar getpwnam($owner), scalar getgrnam($group));
	chown $uid, -1, "$d/data", "$d/log", map { "$d/spool/$_" } qw(active bounce corrupt defer deferred flush hold incoming private
		saved trace);
	chown $uid, $gid, "$d/spool/maildrop", "$d/spool/public";
	chmod 01730, "$d/spool/maildrop";
	chmod 0710, "$d/spool/public";
}

sub start {
	my ($self) = @_;
	my @preload = grep { defined } $> == 0 ? undef : "$PosthornTest::build/tools/asroot.so", $self->{preload};
	local $ENV{LD_LIBRARY_PATH} = "$PosthornTest::postfix/usr/lib/postfix";
	local %ENV = (%ENV, @preload ? (LD_PRELOAD => join ':', @preload) : (), MAIL_CONFIG => "$self->{dir}/etc", %{ $self->{env} // {} });
	$self->{pid} = $self->{host}->spawn('postfix', "$PosthornTest::postfix/usr/lib/postfix/sbin/master", '-d', '-c', "$self->{dir}/etc");
	$self->{host}->wait_for('postfix', sub {
		my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Proto => 'tcp', Timeout => 5) or return;
		return (PosthornTest::reply($s, 5) // '') =~ /^220/;
	}, 20) or croak "postfix did not start:\n" . PosthornTest::slurp($self->{host}->dir . '/postfix.err')
	    . PosthornTest::slurp("$self->{dir}/log/maillog");
	return $self;
}

sub stop { my ($self) = @_; return $self->{host}->end_pid(delete $self->{pid}) }

1;
