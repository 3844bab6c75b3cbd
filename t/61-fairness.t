# Fair shares: one tenant has 200,000 messages queued for hundreds of slow destinations; single messages of another tenant, and of a
# class of high priority, pass as if nobody else were there.
use strict;
use warnings;
use Test::More;
use Time::Local qw(timegm);
use PosthornTest;

my $n = 200_000;
my $single = 60;
my $limit = 1;    # s, for the 99th percentile of the time in queue
my $p = PosthornTest->new(
	conf => { smtpd_processes => 1, deliverd_credit => 400, smtp_connection_limit => 1, segment_size => '64M', queue_backlog_limit => 20000,
		retry_interval => '1h', max_retry_interval => '1h' },
	zone => "*.slow. IN MX 10 mx1.slowsite.\nmx1.slowsite. IN A 127.0.0.20\n");
my $port = $p->{sink_port} = PosthornTest::free_port();
# The mail for a class of its own comes from the same tenant.
$p->{policy} = <<"L";
posthorn.source { name = 's1', source_address = '127.0.0.2', remote_port = $port }
posthorn.pool { name = 'p1', entries = { { name = 's1' } } }
posthorn.on('get_queue_config', function(domain, tenant, campaign)
  if campaign == 'urgent' then
    return { priority = 'high' }
  end
end)
L
$p->{sink_addresses} = ['127.0.0.1', '127.0.0.20'];
$p->sink('-s', "dot\@127.0.0.20:$port=slow 1000")->start;

my $domains = $p->dir . '/domains';
PosthornTest::write_file($domains, join '', map { "q$_.slow 1\n" } 1 .. 500);
my $r = $p->load('-p', 'big', '-c', 40, '-m', $n, '-s', 200, '-q', '-d', 120, '-D', $domains, '-h', 'X-Tenant: big');
is $r->{acked}, $n, "$n messages of one tenant were accepted";
ok $p->wait_for('slow ones under way', sub { $p->ledger_count > 0 }, 30), 'the slow destinations take some';

sub seconds {
	my ($y, $m, $d, $h, $min, $sec) = $_[0] =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)/ or return 1e9;
	return timegm(0, $min, $h, $d, $m - 1, $y) + $sec;
}

sub p99 {
	my ($name, @headers) = @_;
	my $load = $p->load('-p', $name, '-c', 2, '-m', $single, '-r', 12, '-d', 60, '-s', 200, '-t', "$name%u\@$name.example", map { ('-h', $_) } @headers);
	is $load->{acked}, $single, "$name: $single single messages were accepted";
	ok $p->wait_for($name, sub { $single <= grep { $_->{id} =~ /^$name/ } $p->ledger }, 60), "$name: they are delivered";
	# Not events(): to decode the records of all the others takes too long.
	my @took;
	my $complete = $p->wait_for("$name: events", sub {
		@took = ();
		for (map { `grep -h '"type":"Delivery".*"recipient":"$name' $_` } glob $p->log_dir . '/events/*.jsonl') {
			my %at = /"(event|created)_time":"([^"]+)"/g;
			push @took, seconds($at{event}) - seconds($at{created});
		}
		return @took >= $single;
	}, 20);
	@took = sort { $a <=> $b } @took;
	ok $complete, "$name: their time in queue is known";
	return $took[int(0.99 * (@took - 1))] // 1e9;
}

for (['other', 'X-Tenant: other'], ['urgent', 'X-Tenant: big', 'X-Campaign: urgent']) {
	my $p99 = p99(@$_);
	cmp_ok $p99, '<', $limit, sprintf '%s: p99 of the time in queue is %.3f s', $_->[0], $p99;
}
my $big = grep { $_->{id} =~ /^big/ } $p->ledger;
cmp_ok $big, '<', $n / 2, "while $big of $n have left";
is $p->stop, 0, 'stops cleanly with all that under way';
done_testing;
