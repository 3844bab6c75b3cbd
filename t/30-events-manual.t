# The event log and its manual say the same: every key that the code writes is in events(5), and nothing else is;
# likewise the record types and the phases. The manual's example is a record that the code could have written.
use strict;
use warnings;
use JSON::PP ();
use Test::More;

sub slurp {
	my ($file) = @_;
	open(my $f, '<', $file) or die "$file: $!";
	local $/;
	return scalar <$f>;
}

# Keys with the objects around them, "response.enhanced_code.class", in the order of the text.
sub keys_written {
	my ($source) = @_;
	my (%key, @open);
	my $put = qr/\b(?:json|put)_(\w+)\s*\(\s*j\s*,\s*(?:"(\w+)"|NULL)/;
	while ($source =~ /^(\})|\b(json_obj_end|json_arr_end)\b|$put/gm) {
		if ($1) { die 'an object is left open' if @open; next }
		if ($2) { pop @open; next }
		my ($how, $name) = ($3, $4);
		$key{ join '.', grep { length } @open, $name } = 1 if defined $name;
		push @open, $name // '' if $how eq 'obj' || $how eq 'arr';
	}
	return %key;
}

sub flatten {
	my ($object, $prefix) = @_;
	return map {
		my $path = "$prefix$_";
		($path, ref $object->{$_} eq 'HASH' ? flatten($object->{$_}, "$path.") : ());
	} keys %$object;
}

sub same {
	my ($code, $manual, $what) = @_;
	cmp_ok scalar keys %$code, '>', 4, "$what were found in the code";
	is_deeply [sort grep { !$manual->{$_} } keys %$code], [], "all $what of the code are in the manual";
	is_deeply [sort grep { !$code->{$_} } keys %$manual], [], "all $what of the manual are in the code";
}

my %code = map { keys_written(slurp($_)) } glob 'lib/mail/eventlog*.c';
my $manual = slurp('man/events.5');
my ($fields) = $manual =~ /^\.Ss What is in every record\n(.*)^\.Ss Guarantees/ms or die 'no fields in the manual';
my %manual = map { $_ => 1 } $fields =~ /^\.It Va (\S+)/mg;
same(\%code, \%manual, 'keys');
ok $code{$_}, "$_ is written"
    for qw(type response.enhanced_code.class peer_address.addr meta.authn_id v seq writer timing.queue);

my %types = map { $_ => 1 } slurp('lib/mail/eventlog_json.c') =~ /\[EV_\w+\] = "(\w+)"/g;
my ($table) = $manual =~ /^\.Ss Record types\n(.*?)^\.El/ms or die 'no table in the manual';
my %table = map { $_ => 1 } $table =~ /^\.It (\w+) Ta \w+(?:, \w+)* Ta ./mg;
same(\%types, \%table, 'record types');

my %phases = map { $_ => 1 } grep { $_ ne 'none' } slurp('lib/mail/queue_link_result.c') =~ /\[PHASE_\w+\] = "(\w+)"/g;
my ($list) = $fields =~ /^\.It Va phase\n(.*?)^\.It/ms or die 'no phases in the manual';
my %list = map { $_ => 1 } $list =~ /^\.Ql (\w+)/mg;
same(\%phases, \%list, 'phases');

my ($example) = $manual =~ /^\.Bd -literal\n(\{.*?)^\.Ed/ms or die 'no example in the manual';
(my $line = $example) =~ s/\n//g;
my $record = eval { JSON::PP::decode_json($line) };
ok $record, 'the example is JSON' or diag $@;
my %example = map { $_ => 1 } flatten($record // {}, '');
is_deeply [sort keys %example], [sort grep { !/^(?:override|oob|bounce|alert|feedback)\b/ } keys %code], 'the example has all keys but those of certain records, and no other';
is index($line, '{"type":"'), 0, 'and begins as promised';
is rindex($line, '{"type":"'), 0, 'once';

done_testing;
