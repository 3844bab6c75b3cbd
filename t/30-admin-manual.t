# posthorn(8) says what the code does, both ways: every verb, every verb of `queue`, every option. The same for the options of the
# daemons.
use strict;
use warnings;
use Test::More;

sub slurp {
	my ($file) = @_;
	open(my $f, '<', $file) or die "$file: $!";
	local $/;
	return scalar <$f>;
}

sub same {
	my ($code, $manual, $least, $what) = @_;
	my (%code, %manual);
	@code{@$code} = ();
	@manual{@$manual} = ();
	cmp_ok scalar keys %code, '>=', $least, "$what: found in the code";
	is join(' ', grep { !exists $manual{$_} } sort keys %code), '', "$what: all of the code are in the manual";
	is join(' ', grep { !exists $code{$_} } sort keys %manual), '', "$what: all of the manual are in the code";
}

my $manual = slurp('man/posthorn.8');
my ($description) = $manual =~ /^\.Sh DESCRIPTION\n(.*?)^\.Sh /ms or die 'no description';
my %section = $description =~ /^\.Ss ([^\n]+)\n(.*?)(?=^\.Ss |\z)/gms;

my ($table) = slurp('posthorn/verbs.c') =~ /admin_verb verbs\[\] = \{\n(.*?)^\};/ms or die 'no table of verbs';
my @verbs = $table =~ /^\t\{ "(\w+)"/gm;
my @documented = map { /^\.It Cm (\w+)/gm } map { $section{$_} } grep { $_ ne 'systemd' } keys %section;
same(\@verbs, \@documented, 10, 'verbs');

my ($queue_table) = slurp('posthorn/cmd_queue.c') =~ /queue_verbs\[\] = \{\n(.*?)^\};/ms or die 'no table of queue verbs';
my @queue_verbs = $queue_table =~ /^\t\{ "(\w+)"/gm;
same(\@queue_verbs, [$section{Queue} =~ /^\.It Cm queue (?:Op Cm )?(\w+)/gm], 8, 'verbs of queue');

# What `posthorn --help` and the usage of a verb tell.
my ($queue_usage) = $table =~ /\{ "queue", \w+, "\[(.*?)\]/s or die 'no usage of queue';
same(\@queue_verbs, [$queue_usage =~ /\b([a-z]+)\b/g], 8, 'usage of queue');

my %options_in = (Queue => 'queue', Explanations => 'explain', Overrides => 'override', Events => 'events', DKIM => 'dkim', Configuration => 'passwd shaping simulate doctor bounce_rules');
for my $section (sort keys %options_in) {
	my $text = $section{$section};
	# conf and check stand in the same section as passwd and have options of one letter.
	my @long = $text =~ /\bFl -([a-z-]+)/g;
	my @code = map { slurp("posthorn/cmd_$_.c") =~ /\{ "([a-z-]+)", (?:no|required)_argument/g } split / /, $options_in{$section};
	same(\@code, [grep { $_ ne 'json' } @long], 4, "long options of $options_in{$section}");
}

# Single letters: what getopt takes, and what is listed. -r and -n are between a parent and its roles.
sub letters {
	my ($file) = @_;
	my ($spec) = slurp($file) =~ /getopt(?:_long)?\(argc, argv, "\+?([^"]*)"/ or die "no getopt in $file";
	return $spec =~ /([A-Za-z])/g;
}
same([letters('posthorn/main.c')], [map { /\bFl (\w)\b/g } $description =~ /^\.It (Fl .*)/gm], 2, 'options of posthorn');
for my $daemon (qw(smtpd queued deliverd bouncerd fblproc)) {
	my $is_report = $daemon =~ /bouncerd|fblproc/; # one main function for both
	my @code = grep { !/[rn]/ } letters($is_report ? 'lib/mail/report_main.c' : "$daemon/main.c");
	same(\@code, [slurp("man/$daemon.8") =~ /^\.It Fl (\w)\b/gm], 1, "options of $daemon");
}

# The roles of a daemon are those that its manual and ARCHITECTURE.md name.
my $architecture = slurp('ARCHITECTURE.md');
for my $daemon (qw(smtpd deliverd)) {
	my @roles = map { slurp($_) =~ /strcmp\((?:\w+(?:->|\.))?role, "(\w+)"\) == 0/g } glob "$daemon/*main.c";
	cmp_ok scalar @roles, '==', $daemon eq 'smtpd' ? 6 : $daemon eq 'deliverd' ? 3 : 2, "$daemon has its roles";
	for my $role (@roles) {
		like slurp("man/$daemon.8"), qr/\b$role\b/, "the manual of $daemon knows its role $role";
		like $architecture, qr/^\| \| `$role`/m, 'and so does ARCHITECTURE.md';
	}
}

done_testing;
