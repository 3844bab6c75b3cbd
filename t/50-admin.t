# The admin command: queue verbs with filters, hold and release, bounce and delete, check, conf, events, mailq, sendmail.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { retry_interval => '1h', max_retry_interval => '1h', smtpd_processes => 1 });
$p->start;    # no sink: all is deferred
my %soft;
sub deferred { my ($n) = @_; return sub { $n <= grep { $_->{type} eq 'TransientFailure' } $p->events } }
for (['promotional', 'a%u@one.example'], ['transactional', 'b%u@two.example'], ['promotional', 'c%u@two.example']) {
	my ($tenant, $rcpt) = @$_;
	is $p->load('-m', 10, '-c', 1, '-d', 20, '-h', "X-Tenant: $tenant", '-t', $rcpt)->{acked}, 10, "ten to $rcpt";
}
ok $p->wait_for('deferrals', deferred(30)), 'all were tried and deferred';

my ($st, $out, $err) = $p->posthorn('queue');
is $st, 0, 'queue summary';
like $out, qr/promotional\@one\.example/, 'names the scheduled queues';
like $out, qr/transactional\@two\.example/, 'each of them';
sub list { return $p->json('queue', 'list', @_) }
is scalar(list()), 30, 'queue list';
is scalar(list('--domain', 'two.example')), 20, 'by domain';
is scalar(list('--tenant', 'promotional')), 20, 'by tenant';
is scalar(list('--tenant', 'promotional', '--domain', 'two.example')), 10, 'by both';
is scalar(list('--recipient', 'a3@one.example')), 1, 'by recipient';
my ($one) = list('--recipient', 'a3@one.example');
like $one->{id}, qr/^[0-9a-f]{32}$/, 'with an id';
($st, $out) = $p->posthorn('queue', 'show', $one->{id});
is $st, 0, 'queue show';
like $out, qr/a3\@one\.example/, 'says the recipient';
like $out, qr/connect|refused/i, 'and why it is still here';
($st, $out, $err) = $p->posthorn('queue', 'show', '0' x 32);
is $st, 1, 'an unknown id is refused';
like $err, qr/\S/, 'with a sentence';
($st, $out, $err) = $p->posthorn('queue', 'delete');
isnt $st, 0, 'delete without a filter is refused';

($st) = $p->posthorn('queue', 'hold', '--tenant', 'transactional');
is $st, 0, 'hold';
($st, $out) = $p->posthorn('queue', 'bounce', '--recipient', 'a4@one.example');
is $st, 0, 'bounce one';
($st, $out) = $p->posthorn('queue', 'delete', '--recipient', 'a5@one.example');
is $st, 0, 'delete one';
ok $p->wait_for('admin bounces', sub { 2 == grep { $_->{type} eq 'AdminBounce' } $p->events }, 20), 'an AdminBounce record each';
is scalar(list('--domain', 'one.example')), 8, 'and they are gone';

$p->sink;
($st) = $p->posthorn('queue', 'retry', '--all');
is $st, 0, 'retry all';
ok $p->wait_for('delivery', sub { (grep { $_->{sender} eq 'sender@example.org' } $p->ledger) >= 18 }, 60), 'all that is not held is delivered';
is scalar(list('--tenant', 'transactional')), 10, 'what is held waits';
my ($held) = list('--tenant', 'transactional', '--recipient', 'b0@two.example');
is $p->stop, 0, 'stop';
$p->start_suite;
is scalar(list('--tenant', 'transactional')), 10, 'over a restart too';
$p->posthorn('queue', 'retry', '--all');
ok !(grep { $_->{rcpt} =~ /^b/ } $p->ledger), 'nothing held was sent';
($st) = $p->posthorn('queue', 'release', '--tenant', 'transactional');
is $st, 0, 'release';
$p->posthorn('queue', 'retry', '--all');
ok $p->wait_for('released', sub { 10 == grep { $_->{rcpt} =~ /^b/ } $p->ledger }, 60), 'released mail is delivered';

($st, $out) = $p->posthorn('check');
is $st, 0, 'check';
($st, $out) = $p->posthorn('conf', 'myhostname');
is $out, "mail.test\n", 'conf NAME' if $out !~ /=/;
like $out, qr/mail\.test/, 'conf NAME';
($st, $out) = $p->posthorn('conf', '-n');
like $out, qr/^retry_interval = 1h$/m, 'conf -n';
unlike $out, qr/^relay_domains/m, 'only what is set';
($st, $out) = $p->posthorn('events', '-n', '5', '--type', 'Delivery');
is $st, 0, 'events';
is scalar(grep { /Delivery|delivered/i } split /\n/, $out), 5, 'five deliveries';
($st, $out) = $p->posthorn('version');
like $out, qr/\d+\.\d+/, 'version';
($st, $out, $err) = $p->posthorn('nonsense');
is $st, 2, 'an unknown verb is a usage error';

# sendmail and mailq
PosthornTest::write_file($p->dir . '/m.txt', "To: x\@one.example\nSubject: cron\nX-Test-Id: sm\n\nhello\n");
system("$PosthornTest::build/sbin/posthorn -c " . $p->etc . ' sendmail -t -i <' . $p->dir . '/m.txt');
is $? >> 8, 0, 'sendmail -t -i';
ok $p->wait_for('sendmail', sub { grep { $_->{id} eq 'sm' && $_->{rcpt} eq 'x@one.example' } $p->ledger }, 20), 'delivers';
($st, $out) = $p->posthorn('mailq');
like $out, qr/empty/i, 'mailq of an empty queue';
($st, $out, $err) = $p->posthorn('queue', 'list');
is $st, 0, 'an empty list is no error';

# A wrong configuration never starts, and says all that is wrong.
open(my $cf, '>>', $p->etc . '/main.cf');
print $cf "smptd_processes = 3\nretry_interval = soon\n";
close $cf;
($st, $out, $err) = $p->posthorn('check');
is $st, 1, 'check refuses a wrong main.cf';
like $err . $out, qr/main\.cf:\d+: .*smptd_processes.*smtpd_processes/s, 'with file, line and suggestion';
like $err . $out, qr/retry_interval/, 'and all errors at once';
($st, $out, $err) = $p->posthorn('reload');
is $st, 1, 'reload refuses it too';
is $p->load('-m', 1, '-c', 1, '-d', 20, '-p', 'still', '-t', 'z@one.example')->{acked}, 1, 'and the old configuration stays in force';
ok $p->wait_for('still', sub { grep { $_->{id} eq 'still-0' } $p->ledger }, 20), 'and delivers';
done_testing;
