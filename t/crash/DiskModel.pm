package DiskModel;
# A disk as cutpoints.pl describes it: fed with what t/crash/record.c wrote, up to some place in the log, it can build a directory that the
# disk may hold if the power goes there.
use strict;
use warnings;
use Fcntl qw(O_APPEND O_TRUNC);
use File::Path qw(make_path);
use List::Util qw(max);

# enum what of record.c
use constant { WRITE => 1, SYNC => 2, TRUNCATE => 3, ALLOCATE => 4, CREATE => 5, RENAME => 6, UNLINK => 7, MKDIR => 8, SYMLINK => 9,
	REPLY => 10 };
use constant { SECTOR => 512, FIRST => 16, HEADER => 72 };

# All entries of a log, in order. Data stay where they are.
sub entries {
	my ($log) = @_;
	my ($at, @entries) = (FIRST);
	while ($at < length $$log) {
		my %e = (at => $at);
		(@e{qw(what size ino dir began ended off result flags)}, my $alen, my $blen) = unpack 'L2 Q4 q2 Q L2', substr $$log, $at, HEADER;
		die "the log is damaged at $at\n" if $e{size} < HEADER || $e{what} < WRITE || $e{what} > REPLY;
		@e{qw(data len)} = ($at + HEADER, $alen);
		@e{qw(a b)} = (substr($$log, $at + HEADER, $alen), substr($$log, $at + HEADER + $alen, $blen)) if $e{what} >= CREATE;
		push @entries, \%e;
		$at += $e{size};
	}
	return \@entries;
}

# root: of the paths in the log. weak: nothing is ever synced.
sub new {
	my ($class, $root, $log, $entries, $weak) = @_;
	# LMDB commits by writing a meta page through O_DSYNC.
	my @commits = map { $_->{at} } grep { $_->{what} == SYNC && $_->{off} } @$entries;
	# Each queued opens its lock file so that it is made if need be.
	my @starts = map { $_->{at} } grep { $_->{what} == CREATE && $_->{a} =~ m{/queued\.lock\z} } @$entries;
	return bless { root => $root, commits => \@commits, starts => \@starts, log => $log, entries => $entries, next => 0, weak => $weak, file => {}, dir => {}, live => {}, names => [],
		forced => 0 }, $class;
}

sub path_of {
	my ($self, $e, $path) = @_;
	$path = ($self->{dir}{ $e->{dir} } // return) . "/$path" if $path !~ m{^/};
	return $path =~ m{^\Q$self->{root}\E/(.*)\z} ? $1 : undef;
}

# A change of names: what it does is in ns_apply().
sub name_op {
	my ($self, $e, %op) = @_;
	push @{ $self->{names} }, { %op, e => $e };
	ns_apply($self->{live}, \%op);
}

sub ns_apply {
	my ($ns, $op) = @_;
	if (defined $op->{from}) {
		$ns->{ $op->{path} } = delete $ns->{ $op->{from} } if $ns->{ $op->{from} };
	} elsif ($op->{object}) {
		$ns->{ $op->{path} } = $op->{object};
	} else {
		delete $ns->{ $op->{path} };
	}
}

sub on_create {
	my ($self, $e) = @_;
	my $path = $self->path_of($e, $e->{a}) // return;
	my $object = $self->{live}{$path};
	if (!$object) {
		$object = $self->{file}{ $e->{ino} } = { durable => '', length => 0, live => 0, pending => [], created => scalar @{ $self->{names} } };
		$self->name_op($e, path => $path, object => $object);
	} elsif ($e->{flags} & O_TRUNC) {
		push @{ $object->{pending} }, { %$e, what => TRUNCATE, off => 0 };
		$object->{live} = 0;
	}
}

sub on_data {
	my ($self, $e) = @_;
	my $object = $self->{file}{ $e->{ino} } or return;
	my %w = %$e;
	if ($w{what} == WRITE) {
		$w{len} = $w{result} if $w{ended};    # or else it was never finished: any of it may be there
		$w{off} = $object->{live} if $w{off} == -1;
		$object->{live} = max($object->{live}, $w{off} + $w{len});
	} else {
		$object->{live} = $w{what} == TRUNCATE ? $w{off} : max($object->{live}, $w{off});
	}
	push @{ $object->{pending} }, \%w;
}

sub dir_of { my ($path) = @_; return $path =~ m{^(.*)/[^/]*\z} ? $1 : '' }

sub sync_dir {
	my ($self, $e, $dir) = @_;
	my $names = $self->{names};
	for (my $i = $#$names; $i >= $self->{forced}; $i--) {
		my $op = $names->[$i];
		next unless $op->{e}{ended} && $op->{e}{ended} <= $e->{began};
		next unless dir_of($op->{path}) eq $dir || dir_of($op->{from} // $op->{path}) eq $dir;
		$self->{forced} = $i + 1;
		return;
	}
}

sub on_sync {
	my ($self, $e) = @_;
	return if $self->{weak};
	if (defined(my $dir = $self->{dir}{ $e->{ino} })) {
		$self->sync_dir($e, $dir =~ s{^\Q$self->{root}\E/?}{}r);
		return;
	}
	my $object = $self->{file}{ $e->{ino} } or return;
	my @still;
	for my $w (@{ $object->{pending} }) {
		if ($e->{off} ? $w->{at} == $e->{off} : $w->{ended} && $w->{ended} <= $e->{began}) {
			$self->put($object, $w);
		} else {
			push @still, $w;
		}
	}
	$object->{pending} = \@still;
	$self->{forced} = max($self->{forced}, $object->{created} + 1) unless $e->{off};
}

# Takes what is in the log before that place.
sub advance {
	my ($self, $at) = @_;
	my $entries = $self->{entries};
	for (; $self->{next} < @$entries && $entries->[$self->{next}]{at} < $at; $self->{next}++) {
		my $e = $entries->[$self->{next}];
		my $what = $e->{what};
		next if $e->{ended} && $e->{result} < 0 || $what == REPLY;
		if ($what == WRITE || $what == TRUNCATE || $what == ALLOCATE) { $self->on_data($e) }
		elsif ($what == SYNC) { $self->on_sync($e) }
		elsif ($what == CREATE) { $self->on_create($e) }
		else { $self->on_name($e) }
	}
}

sub on_name {
	my ($self, $e) = @_;
	my $path = $self->path_of($e, $e->{what} == RENAME || $e->{what} == SYMLINK ? $e->{b} : $e->{a}) // return;
	if ($e->{what} == MKDIR) {
		$self->{dir}{ $e->{ino} } = "$self->{root}/$path";
		$self->name_op($e, path => $path, object => { is_dir => 1 });
	} elsif ($e->{what} == SYMLINK) {
		$self->name_op($e, path => $path, object => { target => $e->{a} });
	} elsif ($e->{what} == RENAME) {
		my $from = $self->path_of($e, $e->{a}) // return;
		$self->name_op($e, path => $path, from => $from);
	} else {
		$self->name_op($e, path => $path);
	}
}

# --- what the disk holds

# Changes an object (or a copy of one). `sectors`: a function that says whether a sector is kept.
sub put {
	my ($self, $object, $w, $sectors) = @_;
	if ($w->{what} == TRUNCATE) {
		$object->{length} = $w->{off};
		$object->{durable} = substr $object->{durable}, 0, $w->{off} if length $object->{durable} > $w->{off};
		return;
	}
	if ($w->{what} == ALLOCATE) {
		$object->{length} = max($object->{length}, $w->{off});
		return;
	}
	my ($off, $end) = ($w->{off}, $w->{off} + $w->{len});
	while ($off < $end) {
		my $to = !$sectors ? $end : ($off - $off % SECTOR) + SECTOR;
		$to = $end if $to > $end;
		if (!$sectors || $sectors->()) {
			$object->{durable} .= "\0" x ($off - length $object->{durable}) if length $object->{durable} < $off;
			substr($object->{durable}, $off, $to - $off) = substr ${ $self->{log} }, $w->{data} + $off - $w->{off}, $to - $off;
			$object->{length} = max($object->{length}, $to);
		}
		$off = $to;
	}
}

# how: least, most, random.
sub content {
	my ($self, $object, $how) = @_;
	return $object if !@{ $object->{pending} } || $how eq 'least';
	my %copy = (durable => $object->{durable}, length => $object->{length});
	for my $w (@{ $object->{pending} }) {
		my $luck = $how eq 'most' ? 0 : rand;
		next if $luck > 0.7;
		$self->put(\%copy, $w, $luck > 0.45 && $w->{what} == WRITE ? sub { rand() < 0.5 } : undef);
	}
	return \%copy;
}

sub write_object {
	my ($self, $path, $object, $how) = @_;
	if ($object->{is_dir}) {
		mkdir $path or die "$path: $!\n";
		chmod 0700, $path;
		return;
	}
	if (defined $object->{target}) {
		symlink $object->{target}, $path or die "$path: $!\n";
		return;
	}
	my $content = $self->content($object, $how);
	open(my $f, '>:raw', $path) or die "$path: $!\n";
	print $f $content->{durable};
	close $f or die "$path: $!\n";
	truncate $path, $content->{length} or die "$path: $!\n";
	chmod 0600, $path;
}

# Builds it below $to, with the owners of the trees at its top.
sub build {
	my ($self, $to, $how, $owner) = @_;
	my $names = $self->{names};
	my $keep = $how eq 'least' ? $self->{forced} : $how eq 'most' ? @$names : $self->{forced} + int rand(@$names - $self->{forced} + 1);
	my %ns;
	ns_apply(\%ns, $_) for @$names[0 .. $keep - 1];
	for my $path (sort keys %ns) {
		my ($top) = split m{/}, $path;
		$self->write_object("$to/$path", $ns{$path}, $how);
		chown @{ $owner->{$top} }, "$to/$path" if !$> && !-l "$to/$path";
	}
}

1;
