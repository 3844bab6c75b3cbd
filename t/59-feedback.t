# Complaints through the whole suite: mail goes out with its trace header, comes back in the shapes of those who report, and is a
# Feedback record with recipient, tenant and campaign; the recipient is suppressed. Forged, altered, replayed, old, from elsewhere:
# logged, and no list changes. Reports made to break the reader.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64;
use Test::More;
use PosthornTest;

my $keys = File::Temp->newdir;
system("openssl genrsa -out $keys/key 1024 2>/dev/null") == 0 or die 'openssl';
my $public = join '', grep { !/---/ } split /\n/, qx(openssl rsa -in $keys/key -pubout 2>/dev/null);
my $list = 'L' x 786;
my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '5s', max_retry_interval => '8s', mynetworks => '127.0.0.9/32', trace_header_fields => 'recipient tenant campaign x_list' },
	zone => "*.example. IN MX 10 mx.test.\nk1._domainkey.fbl.example. IN TXT \"v=DKIM1; k=rsa; p=$public\"\n");
$p->sink('-b', "$p->{dir}/bodies");
$p->{policy} = $p->default_policy . <<"L";
posthorn.listener_domain { name = 'fbl.sender.example', log_arf = true }
posthorn.feedback_source { name = 'bymail', dkim_domain = 'fbl.example' }
posthorn.feedback_source { name = 'byaddress', addresses = { '127.0.0.77', '127.0.0.80/31' } }
kumo.on('smtp_server_message_received', function(msg)
  if msg:get_first_named_header_value('X-Long') then
    msg:set_meta('x_list', '$list')
  end
end)
L
$p->start;

sub submit {
	my ($from, $mail_from, $to, $text) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->{port}, LocalAddr => $from, Proto => 'tcp') or die "connect: $!";
	PosthornTest::reply($s);
	PosthornTest::say_smtp($s, 'EHLO host.example');
	PosthornTest::say_smtp($s, "MAIL FROM:<$mail_from>");
	PosthornTest::say_smtp($s, "RCPT TO:<$_>") for ref $to ? @$to : $to;
	PosthornTest::say_smtp($s, 'DATA');
	$text =~ s/\r?\n/\r\n/g;
	my $r = PosthornTest::say_smtp($s, "$text\r\n.");
	PosthornTest::say_smtp($s, 'QUIT');
	return $r;
}

# A message of ours goes out; what arrived.
my $n = 0;
sub sent {
	my (%o) = @_;
	my $id = 'n' . ++$n . '@sender.example';
	my $to = $o{to} // "user$n\@rcpt.example";
	like submit('127.0.0.9', 'bounce@sender.example', $to, "From: News <news\@sender.example>\nTo: reader\@rcpt.example\nSubject: no $n\nMessage-ID: <$id>\n"
		. ($o{head} // "X-Tenant: acme\nX-Campaign: autumn24\n") . "\nbody $n"), qr/^250/, "message $n is taken";
	my $text = $p->wait_for("message $n", sub { (grep { /^Message-ID: <\Q$id\E>/m } map { PosthornTest::slurp($_) } glob "$p->{dir}/bodies/*")[0] }, 30);
	$text =~ s/\r\n/\n/g;
	my ($head) = split /\n\n/, $text;
	return { id => $id, to => $to, head => $head, ref => ($head =~ /^X-Posthorn-Ref: (.*(?:\n .*)*)/m)[0] };
}

sub report {
	my ($m, %o) = @_;
	my $fields = $o{fields} // "Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\nVersion: 0.1\nOriginal-Mail-From: <bounce\@sender.example>\n"
		. "Original-Rcpt-To: $m->{to}\nSource-IP: 192.0.2.9\n";
	my $head = $o{head} // $m->{head};
	return "From: feedback\@fbl.example\nTo: abuse\@fbl.sender.example\nSubject: complaint\nMIME-Version: 1.0\n"
		. "Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\n\n--b\nContent-Type: text/plain\n\nA complaint.\n\n"
		. "--b\nContent-Type: message/feedback-report\n\n$fields\n--b\nContent-Type: message/rfc822\n\n$head\n\n--b--\n";
}

# What is written about the next report.
my $seen = 0;
sub feedback {
	my ($name, $from, $text, %o) = @_;
	like submit($from, $o{mail_from} // 'feedback@fbl.example', 'abuse@fbl.sender.example', $text), qr/^250/, "$name: taken";
	my $e = $p->wait_for($name, sub { my @e = $p->events('Feedback'); $e[$seen] }, 60);
	$seen++;
	ok $e, "$name: a record" or diag $p->tail_log;
	return $e // {};
}

# A reader of the header that is none of ours.
sub decode {
	my ($ref) = @_;
	(my $base64 = $ref) =~ s/\s+//g;
	return JSON::PP::decode_json(decode_base64($base64));
}

# The rows of the suppression list about an address.
sub suppressed { return $p->json('suppress', 'check', $_[0]) }
sub is_suppressed {
	my ($address, %want) = @_;
	my $row;
	ok $p->wait_for("$address on the list", sub { ($row) = suppressed($address) }, 30), "$address is on the list";
	is_deeply { map { $_ => $row->{$_} } keys %want }, \%want, '... as it should be' or diag explain $row;
	return $row;
}

my $first = sent();
my $object = decode($first->{ref});
is $object->{'_@_'}, '\\_/', 'the mark of KumoMTA';
is_deeply { map { $_ => $object->{$_} } qw(recipient tenant campaign rcpt) }, { recipient => $first->{to}, tenant => 'acme', campaign => 'autumn24', rcpt => 0 },
	'the trace header says whose message it is';
my ($delivery) = grep { ($_->{message_id} // '') =~ /\Q$first->{id}\E/ } $p->events('Delivery');
is $object->{id}, $delivery->{id}, 'the id is that of the event log';
is scalar(grep { length > 78 } split /\n/, $first->{ref}), 0, 'in lines';

my $e = feedback('a complaint', '127.0.0.77', report($first));
is_deeply { map { $_ => $e->{feedback}{$_} } qw(trusted why source source_by proof recipient recipient_by message duplicate suppressed) },
	{ trusted => JSON::PP::true, why => undef, source => 'byaddress', source_by => 'address', proof => 'trace', recipient => $first->{to},
	recipient_by => 'trace', message => $delivery->{id}, duplicate => JSON::PP::false, suppressed => 'tenant' }, 'proven by address and trace header';
is $e->{tenant}, 'acme', 'tenant';
is $e->{campaign}, 'autumn24', 'campaign';
is $e->{message_id}, $first->{id}, 'Message-ID';
my $f = $e->{feedback_report};
is_deeply [@$f{qw(feedback_type user_agent version source_ip original_mail_from)}],
	['abuse', 'Yahoo!-Mail-Feedback/2.0', '0.1', '192.0.2.9', 'bounce@sender.example'], 'its fields under the names of KumoMTA';
is_deeply $f->{original_rcpto_to}, [$first->{to}], '... Original-Rcpt-To';
is $f->{supplemental_trace}{recipient}, $first->{to}, '... supplemental_trace';
like $f->{original_message}, qr/^Subject: no 1$/m, '... and the headers that came back';

my $row = is_suppressed($first->{to}, reason => 'complaint', scope => 'tenant', scope_value => 'acme');
like $row->{note}, qr/abuse reported by byaddress/, 'with what it was';
is $row->{event_id}, $delivery->{id}, 'and which message it was about';
like submit('127.0.0.9', 'bounce@sender.example', $first->{to}, "From: news\@sender.example\nX-Tenant: acme\n\nagain"), qr/^250/, 'the next message to them';
ok $p->wait_for('its end', sub { grep { $_->{recipient} eq $first->{to} && ($_->{bounce_classification} // '') eq 'Suppressed' } $p->events('AdminBounce') }, 30),
	'ends as suppressed';

$e = feedback('the same again', '127.0.0.77', report($first));
ok $e->{feedback}{trusted} && $e->{feedback}{duplicate}, 'a replay is told from the first';
is $e->{feedback}{suppressed}, undef, 'and changes nothing';

# Microsoft since June 2026: no recipient anywhere but in the trace header.
my $m = sent();
(my $thin = $m->{head}) =~ s/reader\@rcpt\.example/anonymous/g;
$e = feedback('a thin report', '127.0.0.81', report($m, head => $thin, fields => "Feedback-Type: abuse\nUser-Agent: JMRP/1.0\nVersion: 1\n"));
is_deeply [@{ $e->{feedback} }{qw(trusted recipient suppressed)}], [JSON::PP::true, $m->{to}, 'tenant'], 'the recipient comes from the trace header';

# Validity: hashed, and a field in another case.
$m = sent(head => '');
$e = feedback('a redacted report', '127.0.0.77', report($m, fields => "Feedback-Type: abuse\nUser-Agent: ReturnPathFBL/2.0\nVersion: 1\nSource-Ip: 192.0.2.10\n"
	. "Original-Rcpt-To: 0123456789abcdef0123456789abcdef\@comcast.net\n"));
is_deeply [@{ $e->{feedback} }{qw(trusted recipient suppressed)}], [JSON::PP::true, $m->{to}, 'global'], 'without a tenant for everybody';
is_suppressed($m->{to}, reason => 'complaint', scope => 'global');
is $e->{feedback_report}{source_ip}, '192.0.2.10', 'source IP';

# Scenario 5 of KumoMTA's: much metadata, folded, unfolded by somebody and folded anew.
$m = sent(head => "X-Long: 1\nX-Tenant: acme\n");
is decode($m->{ref})->{x_list}, $list, 'a long trace header';
cmp_ok scalar(split /\n/, $m->{ref}), '>', 10, '... folded';
my $unfolded = $m->{ref} =~ s/\s//gr;
(my $refolded = $m->{head}) =~ s{(X-Posthorn-Ref: ).*(?:\n .*)*}{ my $name = $1; $name . join "\n\t", $unfolded =~ /.{1,200}/g }e;
$e = feedback('a long trace header', '127.0.0.77', report($m, head => $refolded));
is $e->{feedback_report}{supplemental_trace}{x_list}, $list, 'recovered as supplemental_trace';
ok $e->{feedback}{trusted}, 'and proven';

# An unsubscribe; what is no complaint at all.
$m = sent();
$e = feedback('opt-out', '127.0.0.77', report($m, fields => "Feedback-Type: opt-out\nUser-Agent: x\nVersion: 1\nRemoval-Recipient: $m->{to}\n"));
is $e->{feedback}{suppressed}, 'tenant', 'an opt-out suppresses';
is_suppressed($m->{to}, reason => 'unsubscribe', scope => 'tenant');
$m = sent();
$e = feedback('not spam', '127.0.0.77', report($m, fields => "Feedback-Type: not-spam\nUser-Agent: x\nVersion: 1\n"));
is_deeply [@{ $e->{feedback} }{qw(trusted suppressed)}], [JSON::PP::true, undef], 'not-spam suppresses nobody';

# Known by its signature alone, wherever it comes from.
SKIP: {
	eval { require Mail::DKIM::Signer; 1 } or skip 'no Mail::DKIM', 4;
	$m = sent();
	(my $text = report($m)) =~ s/\n/\r\n/g;
	my $signer = Mail::DKIM::Signer->new(Algorithm => 'rsa-sha256', Method => 'relaxed', Domain => 'fbl.example', Selector => 'k1', KeyFile => "$keys/key");
	$signer->PRINT($text);
	$signer->CLOSE;
	my $signed = $signer->signature->as_string . "\r\n" . $text;
	$e = feedback('a signed report', '127.0.0.5', $signed);
	is_deeply [@{ $e->{feedback} }{qw(trusted source source_by)}], [JSON::PP::true, 'bymail', 'dkim'], 'proven by its signature';
	$m = sent();
	($text = report($m)) =~ s/\n/\r\n/g;
	$e = feedback('a signature of something else', '127.0.0.5', $signer->signature->as_string . "\r\n" . $text);
	is_deeply [@{ $e->{feedback} }{qw(trusted source)}], [JSON::PP::false, undef], 'is none';
}

# Forged.
my %why = (nobody => qr/feedback source/, none => qr/nothing proves/, altered => qr/not signed by us, or altered/);
$m = sent();
$e = feedback('from elsewhere', '127.0.0.5', report($m));
like $e->{feedback}{why}, $why{nobody}, 'a trace header alone is no proof';
my @forged = $e;
(my $without = $m->{head}) =~ s/^X-Posthorn-Ref: .*(?:\n .*)*\n//m;
push @forged, $e = feedback('no trace header', '127.0.0.77', report($m, head => $without));
like $e->{feedback}{why}, $why{none}, 'a source alone is no proof';
my $json = decode_base64($m->{ref} =~ s/\s//gr);
(my $victim = $json) =~ s/"recipient":"[^"]*"/"recipient":"victim\@rcpt.example"/;
push @forged, $e = feedback('another recipient', '127.0.0.77', report($m, head => "X-Posthorn-Ref: " . encode_base64($victim, "\n ") =~ s/\s+\z//r . "\n$without"));
like $e->{feedback}{why}, $why{altered}, 'an altered trace header is no proof';
push @forged, $e = feedback('a trace header of KumoMTA', '127.0.0.77', report($m, head => "X-Posthorn-Ref: eyJfQF8iOiJcXF8vIiwicmVjaXBpZW50IjoidGVzdEBleGFtcGxlLmNvbSJ9\n$without"));
like $e->{feedback}{why}, $why{altered}, 'one that is not signed is no proof';
is_deeply [map { suppressed($_) } $m->{to}, 'victim@rcpt.example', 'test@example.com'], [], 'and the list has none of them';
is scalar(grep { $_->{feedback}{trusted} || defined $_->{feedback}{suppressed} } @forged), 0, 'nothing comes of them';

# Who has one message of ours to several (its trace header names nobody) puts it into his own mailbox again, with somebody else as its
# addressee, and complains: what the source says itself counts, what stands in the message does not.
SKIP: {
	my $many = sent(to => ['m1@many.example', 'm2@many.example']);
	skip 'each got its own transaction', 3 if defined decode($many->{ref})->{recipient};
	(my $head = $many->{head}) =~ s/^To: .*/To: silenced\@rcpt.example/m;
	$e = feedback('another addressee', '127.0.0.77', report($many, head => $head, fields => "Feedback-Type: abuse\nUser-Agent: x\nVersion: 1\n"));
	is_deeply [@{ $e->{feedback} }{qw(trusted recipient suppressed)}], [JSON::PP::true, 'silenced@rcpt.example', undef], 'suppresses nobody';
	is_deeply [suppressed('silenced@rcpt.example')], [], 'not on the list';
	$e = feedback('the same with a field', '127.0.0.77', report($many, head => $head, fields => "Feedback-Type: abuse\nUser-Agent: x\nVersion: 1\nOriginal-Rcpt-To: m1\@many.example\n"));
	is $e->{feedback}{suppressed}, 'tenant', 'what the source says suppresses';
}

# What wants to be the end of the reader.
my $deep = join '', map { "Content-Type: multipart/mixed; boundary=b$_\n\n--b$_\n" } 1 .. 10000;
my @hostile = (
	['10,000 deep', report($m, head => $deep)],
	['a megabyte of header', report($m, head => "X-Long: \n" . " x" . 'y' x 900 . "\n" x 1) =~ s/(X-Long: \n)/$1 . (" " . "y" x 900 . "\n") x 1200/er],
	['cut base64', report($m) =~ s{Content-Type: message/rfc822\n\n}{Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nUmVjZWl2ZW\n}r],
	['many parts', report($m) =~ s{--b--\n}{"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n" x 5000 . "--b--\n"}er],
);
my @parse = sort { $a <=> $b } $p->daemon_pids('fblproc');
for (@hostile) {
	my ($name, $text) = @$_;
	$e = feedback($name, '127.0.0.5', $text);
	ok defined $e->{feedback} && !$e->{feedback}{trusted}, "$name: read, and nothing comes of it";
}
is_deeply [sort { $a <=> $b } $p->daemon_pids('fblproc')], \@parse, 'no process of fblproc died of them';

# The jail.
my %role = map { my $pid = $_; (PosthornTest::slurp("/proc/$pid/cmdline") =~ /-r\0(\w+)/ ? $1 : 'parent') => $pid } @parse;
is_deeply [sort keys %role], ['main', 'parent', 'parse'], 'the roles of fblproc';
like PosthornTest::slurp("/proc/$role{parse}/status"), qr/^Seccomp:\s+2$/m, 'the parse role has a filter';

# queued goes away between a complaint and the list; bouncerd is away the whole time.
$m = sent();
my @bouncerd = $p->daemon_pids('bouncerd');
kill 'STOP', @bouncerd;
is feedback('while bouncerd does not answer', '127.0.0.77', report($m))->{feedback}{suppressed}, 'tenant', 'a complaint is taken';
is +($p->posthorn('restart', 'queued'))[0], 0, 'queued is restarted';
kill 'CONT', @bouncerd;
is_suppressed($m->{to}, reason => 'complaint', scope => 'tenant');

# A reader that does not answer is replaced, and costs the report that it had; the second time that one is set aside.
sub reader { return (grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /-r\0parse/ } $p->daemon_pids('fblproc'))[0] // 0 }
sub failed { my ($text) = @_; return scalar grep { $_->{response}{content} =~ $text } $p->events('TransientFailure') }
my $victim_of = sent();
my $before = reader();
kill 'STOP', $before;
like submit('127.0.0.77', 'feedback@fbl.example', 'abuse@fbl.sender.example', report($victim_of)), qr/^250/, 'a report for a reader that hangs';
ok $p->wait_for('first failure', sub { failed(qr/could not be read.*in time/) }, 60), 'is to be tried again';
ok $p->wait_for('the next reader', sub { my $pid = reader(); $pid && $pid != $before }, 10), 'there is another reader';
is scalar(my @now = $p->events('Feedback')), $seen, 'nothing was said of it yet';
ok kill(STOP => reader()), 'which hangs too';
# Not to wait for its time.
sub hurry { my ($what) = @_; return sub { $p->posthorn('queue', 'retry', '--all'); return $what->() } }
my $aside = $p->wait_for('second failure', hurry(sub { ($p->events('Feedback'))[$seen] }), 60);
$seen++;
like $aside->{feedback}{why}, qr/could not be read/, 'the second time it is said';
ok !$aside->{feedback}{trusted}, 'and nothing comes of it';
ok $p->wait_for('set aside', hurry(sub { failed(qr/set aside/) }), 60), 'it stays in the queue, and is read no more';
is feedback('another report', '127.0.0.77', report($victim_of))->{feedback}{suppressed}, 'tenant', 'others are read';
is $p->stop, 0, 'stops cleanly';
done_testing;
