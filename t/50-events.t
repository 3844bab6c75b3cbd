# The event log as a consumer sees it (events(5)): whatever becomes of a message, each recipient has a Reception and exactly one final
# record, notices to senders included; every record has all fields with their types; `posthorn events -f` and `tail -F events/current`
# show every line.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 2, retry_interval => '1s', max_retry_interval => '2s' });
$p->sink('-b', $p->dir . '/bodies');
$p->{policy} = $p->default_policy . <<'L';
kumo.on('get_queue_config', function(domain)
  return { max_age = domain == 'old.example' and '3s' or '1d' }
end)
L
$p->start;
my $events = $p->log_dir . '/events';
ok -l "$events/current", 'events/current is a symbolic link';
like readlink("$events/current"), qr/^\d{8}T\d\d\.jsonl$/, 'to the file of the hour, by a relative name';
$p->spawn('tail', 'tail', '-n', '+1', '-F', "$events/current");
$p->spawn('follow', "$PosthornTest::build/sbin/posthorn", '-c', $p->etc, '--json', 'events', '-n', '100000', '-f');

my ($n, %want) = (0);
sub send_mail {
	my ($from, $headers, @rcpts) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', "MAIL FROM:<$from>", map { "RCPT TO:<$_>" } @rcpts;
	PosthornTest::say_smtp($s, 'DATA');
	my $r = PosthornTest::say_smtp($s, "Subject: s\r\nMessage-ID: <m" . $n++ . "\@client.example>\r\n$headers\r\nx\r\n.");
	like $r, qr/^250/, "from <$from> to @rcpts";
	$want{$_} = 1 for @rcpts;
}
sub of { my ($type, $rcpt) = @_; return grep { $_->{recipient} eq $rcpt } $p->events($type) }
send_mail('a@shop.example', "X-Tenant: promotional\r\nX-Campaign: autumn\r\n", map { "u$_\@ok.example" } 1 .. 5);
send_mail('a@shop.example', "X-Tenant: transactional\r\n", 'ok@mixed.example', 'unknown-1@mixed.example', 'defer-1-m@mixed.example', 'ok@other.example');
send_mail('unknown-s@shop.example', '', 'unknown-2@ok.example');         # the notice bounces too
send_mail('', '', 'unknown-3@ok.example');                               # no notice
send_mail('b@shop.example', '', 'full-1@old.example');                   # expires
send_mail('c@shop.example', '', "full-$_\@admin.example") for 1 .. 2;
send_mail('d@shop.example', '', 'defer-2-h@hold.example');
send_mail('e@shop.example', '', 'reject-dot-1@ok.example');
ok $p->wait_for('deferral', sub { of('TransientFailure', 'defer-2-h@hold.example') && of('TransientFailure', 'full-1@admin.example')
	&& of('TransientFailure', 'full-2@admin.example') }, 30), 'deferred';
is +($p->posthorn('queue', 'hold', '--recipient', 'defer-2-h@hold.example'))[0], 0, 'hold';
ok $p->wait_for('held', sub { grep { $_->{state} eq 'held' } $p->json('queue', 'list') }, 20), 'held';
my $tried = () = of('TransientFailure', 'defer-2-h@hold.example');
is +($p->posthorn('queue', 'bounce', '--recipient', 'full-1@admin.example'))[0], 0, 'bounce';
is +($p->posthorn('queue', 'delete', '--recipient', 'full-2@admin.example'))[0], 0, 'delete';
# Held mail makes no attempt: those of others go on meanwhile.
ok $p->wait_for('expiration', sub { of('Expiration', 'full-1@old.example') }, 30), 'expired';
is scalar(() = of('TransientFailure', 'defer-2-h@hold.example')), $tried, 'no attempt was made for what is held';
is +($p->posthorn('queue', 'release', '--recipient', 'defer-2-h@hold.example'))[0], 0, 'release';
ok $p->wait_for('released', sub { of('Delivery', 'defer-2-h@hold.example') }, 30), 'delivered after the release';
my ($delivery) = of('Delivery', 'defer-2-h@hold.example');
is $delivery->{num_attempts}, 2, 'holding counted as no attempt';
my $s = $p->connect_smtp;
PosthornTest::say_smtp($s, $_) for 'EHLO client.example', 'MAIL FROM:<a@shop.example>';
like PosthornTest::say_smtp($s, 'RCPT TO:<no address>'), qr/^5/, 'a refused recipient';

# The end of everything: the queue is empty, and stays so.
my %final = map { $_ => 1 } qw(Delivery Bounce Expiration AdminBounce);
sub open_ends {
	my %open;
	for my $e ($p->events) {
		if ($e->{type} eq 'Reception') { $open{"$e->{id} $_"}++ for ref $e->{recipient} ? @{ $e->{recipient} } : $e->{recipient} }
		elsif ($final{ $e->{type} }) { $open{"$e->{id} $e->{recipient}"}-- }
	}
	return grep { $open{$_} } keys %open;
}
ok $p->wait_for('all final', sub { my @l = $p->json('queue', 'list'); !@l && !open_ends() }, 60), 'each Reception has its final records';
is $p->stop, 0, 'stop';

my (%received, %ended, %seq, %by_type);
for my $e ($p->events) {
	push @{ $by_type{ $e->{type} } }, $e;
	$seq{ $e->{writer} }{ $e->{seq} }++;
	if ($e->{type} eq 'Reception') {
		$received{ $e->{id} }{$_}++ for ref $e->{recipient} ? @{ $e->{recipient} } : $e->{recipient};
	}
	$ended{ $e->{id} }{ $e->{recipient} } .= $e->{type} if $final{ $e->{type} };
}
is_deeply [sort grep { my $id = $_; grep { $received{$id}{$_} != 1 } keys %{ $received{$id} } } keys %received], [], 'one Reception a recipient';
is_deeply { map { my $id = $_; $id => { map { $_ => 1 } keys %{ $ended{$id} } } } keys %ended }, \%received,
	'a final record for each recipient of each Reception, and for nobody else';
my %fate = map { %$_ } values %ended;
is_deeply [grep { !$fate{$_} } keys %want], [], 'all that was sent is there';
is $fate{'u3@ok.example'}, 'Delivery', 'delivered';
is $fate{'defer-1-m@mixed.example'}, 'Delivery', 'deferred, then delivered';
is $fate{$_}, 'Bounce', "$_ bounced" for map({ "unknown-$_\@ok.example" } 2, 3), 'unknown-1@mixed.example', 'reject-dot-1@ok.example';
is $fate{'full-1@old.example'}, 'Expiration', 'expired';
is $fate{"full-$_\@admin.example"}, 'AdminBounce', 'ended by the operator' for 1 .. 2;
# Notices: to a (bounce), b (expiry), c (bounced by the operator, not deleted), e (refused), and one that bounces itself.
my @notices = grep { !defined $_->{reception_protocol} } @{ $by_type{Reception} };
is_deeply [grep { $_->{sender} ne '' || $_->{generated} ne 'local' } @notices], [], 'what was not received was written here, from the null sender';
is_deeply [sort map { $_->{recipient} } @notices], [sort map { "$_\@shop.example" } qw(a b c e unknown-s)], 'a Reception for each notice';
is $ended{ $_->{id} }{ $_->{recipient} }, $_->{recipient} =~ /unknown/ ? 'Bounce' : 'Delivery', "and its end: to $_->{recipient}" for @notices;
is_deeply [map { my $w = $_; my @s = sort { $a <=> $b } keys %{ $seq{$w} }; $#s + 1 == $s[-1] && $s[0] == 1 ? () : $w } keys %seq], [],
	'sequence numbers run from 1 without a gap';

# Types of fields, from the JSON text itself: a number that is quoted is another type for a consumer.
my $json = JSON::PP->new->allow_nonref;
sub type_of {
	my ($v) = @_;
	return 'null' unless defined $v;
	return lc ref $v if ref $v eq 'HASH' || ref $v eq 'ARRAY';
	return $json->encode($v) =~ /^"/ ? 'string' : $json->encode($v) =~ /^-?\d+$/ ? 'integer' : 'other';
}
my $attempt = { map { $_ => 1 } qw(Delivery TransientFailure Bounce) };
my %type = (
	(map { $_ => 'string' } qw(type id sender queue site event_time created_time bounce_classification writer generated)),
	(map { $_ => 'integer' } qw(size timestamp created num_attempts v seq)),
	(map { $_ => 'hash' } qw(response meta headers)),
	recipient => 'string|array', peer_address => 'hash|null', source_address => 'hash|null', timing => 'hash|null',
	(map { $_ => 'string|null' } qw(egress_pool egress_source delivery_protocol reception_protocol nodeid domain tenant campaign message_id
		next_attempt phase)),
	feedback_report => 'null',
);
my %optional = map { $_ => 'string' } qw(tls_cipher tls_protocol_version tls_verified tls_policy tls_result provider_name session_id);
my (@wrong, %nested);
%nested = (response => { code => 'integer', enhanced_code => 'hash|null', content => 'string', command => 'string|null' },
	peer_address => { name => 'string', addr => 'string' }, source_address => { address => 'string' },
	timing => { map { $_ => 'integer' } qw(queue dns connect tls transfer) });
sub check {
	my ($where, $have, $types, $optional) = @_;
	for my $k (keys %$types) {
		push @wrong, "$where.$k is missing" unless exists $have->{$k};
		my $t = type_of($have->{$k});
		push @wrong, "$where.$k is $t" unless $t =~ /^(?:$types->{$k})$/;
	}
	for my $k (grep { !$types->{$_} } keys %$have) {
		push @wrong, "$where.$k is not in the manual" unless $optional->{$k} && type_of($have->{$k}) eq $optional->{$k};
	}
}
for my $t (sort keys %by_type) {
	for my $e (@{ $by_type{$t} }) {
		check($t, $e, \%type, \%optional);
		check("$t.$_", $e->{$_}, $nested{$_}, {}) for grep { ref $e->{$_} } keys %nested;
		push @wrong, "$t.id is not an id" unless $e->{id} =~ ($t eq 'Rejection' ? qr/^$/ : qr/^[0-9a-f]{32}$/);
		push @wrong, "$t.$_ is no time" for grep { $e->{$_} !~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/ } qw(event_time created_time);
		next unless $attempt->{$t};
		push @wrong, "$t.$_ is empty" for grep { !defined $e->{$_} || $e->{$_} eq '' } qw(egress_pool domain queue phase delivery_protocol);
		push @wrong, "$t: no reply" unless $e->{response}{code} >= 200;
	}
	my %once;
	is_deeply [grep { !$once{$_}++ } splice @wrong, 0], [], "$t: all fields, with their types";
}
is_deeply [sort keys %by_type], [sort qw(AdminBounce Bounce Delivery Expiration Reception Rejection TransientFailure)], 'all these types occurred';
my ($first) = grep { $_->{recipient} eq 'u1@ok.example' } @{ $by_type{Delivery} };
is $first->{queue}, 'autumn:promotional@ok.example', 'the scheduled queue';
is $first->{egress_pool}, 'pool-promo', 'the pool';

# Followers. Lines are the same in whatever order they were written.
my @lines = sort map { split /\n/, PosthornTest::slurp($_) } glob "$events/*.jsonl";
sub lines_of { my ($f) = @_; return [sort split /\n/, PosthornTest::slurp($p->dir . "/$f.out")] }
for my $f (qw(tail follow)) {
	$p->wait_for("$f", sub { @{ lines_of($f) } >= @lines }, 20);
	is_deeply lines_of($f), \@lines, "$f saw all " . @lines . ' lines, each once';
}
done_testing;
