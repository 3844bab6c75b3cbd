# Maps from files: all daemons have the new content when a file was replaced, smtpd in its jail as well, without a reload; a broken file
# leaves the old content in force and is logged once.
use strict;
use warnings;
use File::Path qw(make_path);
use Test::More;
use PosthornTest;

sub say_smtp { PosthornTest::say_smtp(@_) }

my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
$p->sink;
$p->{policy} = $p->example('customer-map');
my $map = $p->etc . '/maps/customers.csv';
make_path($p->etc . '/maps');
chmod 0755, $p->etc, $p->etc . '/maps';
PosthornTest::write_file($map, PosthornTest::slurp('conf/examples/maps/customers.csv'));
$p->start;

# What a client hears about a message of that tenant.
my $n = 0;
sub send_as {
	my ($tenant, $rcpt) = @_;
	my $s = $p->connect_smtp;
	say_smtp($s, $_) for 'EHLO x', 'MAIL FROM:<a@b.example>', 'RCPT TO:<' . ($rcpt // 'x' . ++$n) . '@dest.example>', 'DATA';
	return say_smtp($s, "X-Tenant: $tenant\r\nSubject: x\r\n\r\nx\r\n.") // '';
}

# The address that the mail to $rcpt came from.
sub came_from {
	my ($rcpt) = @_;
	return $p->wait_for("mail to $rcpt", sub { my ($l) = grep { $_->{rcpt} eq "$rcpt\@dest.example" } $p->ledger; $l && $l->{client} =~ s/:\d+\z//r });
}

# Replaced as a program should, by rename.
sub replace {
	my ($text) = @_;
	PosthornTest::write_file("$map.new", $text);
	rename "$map.new", $map or die "$map: $!";
}

sub complaints { return scalar(() = PosthornTest::slurp("$p->{dir}/posthorn.err") =~ /customers\.csv:\d+: .*keeps its old content/g) }

my @workers = sort $p->daemon_pids('smtpd');
like send_as('gone'), qr/^550 5\.7\.1 This account is closed/, 'a closed account';
like send_as('shop', 'first'), qr/^250/, 'an open one';
is came_from('first'), '127.0.2.32', 'from its own address';
like send_as('other', 'other'), qr/^250/, 'one that the map does not have';
is came_from('other'), '127.0.2.31', 'from the shared address';

replace("tenant,pool,state\nshop,shared,closed\ngone,dedicated,open\n");
ok $p->wait_for('the new map in smtpd', sub { send_as('gone', 'wait') =~ /^250/ }), 'smtpd has the new content';
like send_as('shop'), qr/^550/, 'all of it';
my $i = 0;
ok $p->wait_for('the new map in queued', sub { send_as('gone', 'q' . ++$i) =~ /^250/ && (came_from("q$i") // '') eq '127.0.2.32' }), 'and so has queued';
is_deeply [sort $p->daemon_pids('smtpd')], \@workers, 'in the same processes';

# Broken: nothing changes; said once in each daemon that looked, however often it is asked.
replace("tenant,pool,state\nshop,dedicated,open\ngone,shared\n");
ok $p->wait_for('the complaint of smtpd', sub { send_as('gone'); PosthornTest::slurp("$p->{dir}/posthorn.err") =~ /smtpd.*customers\.csv:3: .*2 fields.*keeps its old content/ }),
	'smtpd says what is wrong, with the line';
for (1 .. 30) {
	send_as('shop');
	select undef, undef, undef, 0.1;
}
like send_as('shop'), qr/^550/, 'the old content stays';
like send_as('gone'), qr/^250/, 'all of it';
my $said = () = PosthornTest::slurp("$p->{dir}/posthorn.err") =~ /smtpd[^\n]*keeps its old content/g;
is $said, 1, 'said once';

# Away: the same; and back.
unlink $map;
ok $p->wait_for('the complaint', sub { send_as('gone'); PosthornTest::slurp("$p->{dir}/posthorn.err") =~ /smtpd[^\n]*customers\.csv cannot be read/ }), 'a file that is gone';
like send_as('gone'), qr/^250/, 'the old content stays';
replace("tenant,pool,state\nshop,dedicated,open\ngone,shared,closed\n");
ok $p->wait_for('the last map', sub { send_as('gone') =~ /^550/ && send_as('shop', 'last') =~ /^250/ }), 'and the next one is taken';
done_testing;
