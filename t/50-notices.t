# Who gets notices at all, which, and where: settings of a queue, so by tenant. With `hard' a program that gives up every address it hears
# of, as Mautic does, hears only of those that are no good: its rules, as far as they matter, are below. After KumoMTA's scenarios
# queue_ndr (a DSN that can be parsed, with the original) and ndr_bounces (a DSN that bounces is logged and not answered).
use strict;
use warnings;
use Test::More;
use JSON::PP ();
use PosthornTest;

my %n = (words => 51, codes => 52, filled => 53, block => 54, null => 55, one => 56, two => 57, quiet => 58, plain => 59, shop => 60, 'box-one' => 61, 'box-two' => 62);
my $p = PosthornTest->new(conf => { smtpd_processes => 1, delay_notice_after => '1s', maximal_queue_lifetime => '4s' }, bounce_rules => PosthornTest::slurp('conf/bounce_rules'));
for my $d (sort keys %n) {
	$p->{zone} .= $d eq 'null' ? "null.example. 60 IN MX 0 .\n" : "$d.example. 60 IN MX 10 mx.$d.example.\nmx.$d.example. 60 IN A 127.0.0.$n{$d}\n";
}
$p->{policy} = $p->default_policy . <<'LUA';
kumo.on('get_queue_config', function(domain, tenant)
  if domain == 'one.example' or domain == 'two.example' then
    return { notices_to = 'bounces@' .. tenant .. '-' .. domain }
  elseif tenant == 'mautic' then
    return { notices = 'hard' }
  elseif tenant == 'quiet' then
    return { notices = 'none' }
  end
end)
LUA
my $port = $p->{sink_port};
$p->{sink_addresses} = ['127.0.0.1', map { "127.0.0.$n{$_}" } sort keys %n];
sub rule { my ($d, $reply) = @_; return ('-s', "rcpt\@127.0.0.$n{$d}:$port=$reply") }
$p->sink('-b', $p->dir . '/bodies', rule('words', '550 5.1.1 Empfaenger unbekannt'), rule('filled', '552 5.2.2 mailbox full'),
	rule('block', '550 5.7.1 blocked using zen.spamhaus.org'), map { rule($_, '550 5.1.1 User unknown') } qw(codes one two quiet plain));
$p->start;

my $n = 0;
sub send_one {
	my ($from, $tenant, $rcpts, $args) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', "MAIL FROM:<$from>" . ($args // ''), (map { "RCPT TO:<$_>" } @$rcpts), 'DATA';
	$n++;
	like PosthornTest::say_smtp($s, ($tenant ? "X-Tenant: $tenant\r\n" : '') . "Subject: original $n\r\nMessage-ID: <m$n\@sender.example>\r\n\r\nbody of $n\r\n."),
	    qr/^250/, "from $from";
}
sub of { my ($re, $type) = @_; return grep { ($_->{recipient} // '') =~ $re && $_->{type} eq $type } $p->events }

# What Mautic's monitored mailbox makes of a message: [hash, address, rule], or nothing. Of its parser (EmailBundle/MonitoredEmail): the hash is
# in the first To: with +bounce; a top-level multipart/report has a part message/delivery-status; Original-Recipient with exactly one blank, or
# Final-Recipient with or without; "Action: failed"; words in the diagnostic, Status: is never read.
sub mautic {
	my ($m) = @_;
	my ($head, $body) = split /\r?\n\r?\n/, $m, 2;
	return unless $head =~ m{^Content-Type: multipart/report;[^\n]*(?:\n[ \t][^\n]*)*boundary="([^"]+)"}m;
	my ($status) = map { $_->[1] } grep { $_->[0] =~ m{^Content-Type: message/delivery-status\b}m } map { [split /\r?\n\r?\n/, $_, 2] }
	    split /^--\Q$1\E(?:--)?\r?\n/m, $body;
	return unless defined $status && $status =~ /^Action: failed/m;
	my ($address) = $status =~ /^Original-Recipient: rfc822;(\S+)/m;
	($address) = $status =~ /^Final-Recipient: ?rfc822; ?(\S+)/m unless defined $address;
	return unless defined $address;
	my ($text) = $status =~ /^Diagnostic-Code: ?(.*(?:\n[ \t].*)*)/m;
	$text = $body unless defined $text;
	$text =~ s/\r?\n[ \t]/ /g;
	my ($hash) = $head =~ /^To:.*\+bounce_(\w+)\@/m;
	my $rule = $text =~ /user unknown|does not exist|mailbox unavailable|doesn't have .* account|host not found|relaying denied/i ? 'hard' :
	    $text =~ /over quota|mailbox (?:is )?full/i ? 'soft' : $text =~ /spam|blocked using/i ? 'antispam' : return;
	return [$hash, $address, $rule];
}

send_one('bounce+bounce_aaa1@shop.example', 'mautic', ['u1@codes.example']);
send_one('bounce+bounce_aaa2@shop.example', 'mautic', ['u2@words.example']);
send_one('bounce+bounce_aaa3@shop.example', 'mautic', ['u3@filled.example']);
send_one('bounce+bounce_aaa4@shop.example', 'mautic', ['u4@block.example']);
send_one('bounce+bounce_aaa5@shop.example', 'mautic', ['u5@null.example']);
send_one('bounce+bounce_aaa6@shop.example', 'mautic', ['defer-99-x@shop.example']);
send_one('bounce+bounce_aaa7@shop.example', 'box', ['u7@one.example', 'u8@two.example']);
send_one('quiet@shop.example', 'quiet', ['u9@quiet.example']);
send_one('plain@shop.example', undef, ['u10@filled.example', 'u11@plain.example'], ' RET=FULL ENVID=e1');
send_one('unknown-sender@shop.example', undef, ['u12@plain.example']);
ok $p->wait_for('bounces', sub { of(qr/^u\d/, 'Bounce') >= 11 && of(qr/^defer/, 'Expiration') }, 40), 'all have ended' or diag explain [map { "$_->{type} $_->{recipient}" } $p->events];
ok $p->wait_for('notices', sub { 6 <= grep { $_->{sender} eq '' } $p->ledger }, 30), 'and notices have arrived';
ok $p->wait_for('the bounce of a bounce', sub { of(qr/^unknown-sender/, 'Bounce') }, 30), 'a DSN that bounces is logged';
is((of(qr/^unknown-sender/, 'Bounce'))[0]{sender}, '', '... with the null sender');
send_one('mark@shop.example', undef, ['mark@shop.example']);
ok $p->wait_for('mark', sub { grep { $_->{rcpt} eq 'mark@shop.example' } $p->ledger }, 30), 'what came later is there';

my (%dsn, %to);
for my $file (glob $p->dir . '/bodies/*') {
	my $m = PosthornTest::slurp($file);
	next unless $m =~ m{multipart/report};
	my ($to) = $m =~ /^To: <?([^>\r\n]+)>?\r$/m;
	push @{ $dsn{$to} }, $m;
}
$to{ $_->{rcpt} }++ for grep { $_->{sender} eq '' } $p->ledger;
is_deeply \%to, { map { $_ => 1 } map({ "bounce+bounce_aaa$_\@shop.example" } 1, 2, 5), 'bounces@box-one.example', 'bounces@box-two.example', 'plain@shop.example' },
	'hard: addresses that are no good only; none: none; each address of its own: one; and the bounce of a bounce none' or diag explain \%to;
is_deeply [map { mautic($dsn{"bounce+bounce_aaa$_\@shop.example"}[0]) } 1, 2, 5], [['aaa1', 'u1@codes.example', 'hard'],
	['aaa2', 'u2@words.example', 'hard'], ['aaa5', 'u5@null.example', 'hard']], 'Mautic reads them as it should';
like $dsn{'bounce+bounce_aaa2@shop.example'}[0], qr/^Diagnostic-Code: smtp; 550 5\.1\.1 Empfaenger unbekannt \(User unknown\)\r$/m, 'the reply first, then what it means';
is_deeply [map { mautic($_) } sort { ($a =~ /u(\d)\@/)[0] <=> ($b =~ /u(\d)\@/)[0] } @{ $dsn{'bounce+bounce_aaa7@shop.example'} }],
	[['aaa7', 'u7@one.example', 'hard'], ['aaa7', 'u8@two.example', 'hard']], 'those to another address name the sender and its recipients';

# queue_ndr
my $file = $p->dir . '/dsn';
PosthornTest::write_file($file, $dsn{'plain@shop.example'}[0]);
my ($j) = $p->json('bounce', 'parse', $file);
is_deeply [map { "$_->{recipient} $_->{action} $_->{status}" } @{ $j->{recipients} }], ['u10@filled.example failed 5.2.2', 'u11@plain.example failed 5.1.1'],
	'a DSN parses as one, with both recipients' or diag explain $j;
is $j->{original}{message_id}, 'm9@sender.example', '... and its original';
like $dsn{'plain@shop.example'}[0], qr{^Content-Type: message/rfc822\r\n.*^body of 9\r$}ms, '... which is there as a whole';
is $p->stop, 0, 'stops';
done_testing;
