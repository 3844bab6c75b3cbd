# The whole suite under the address and undefined-behaviour sanitizers: a few thousand messages of every fate, restarts and a reload; no
# report of either, and no leak when it stops.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $asan = "$PosthornTest::build/asan";
plan skip_all => 'no build with sanitizers (make asan)' unless -x "$asan/libexec/smtpd";
$PosthornTest::build = $asan;
my $p = PosthornTest->new(tls => 1, users => [['u', 'secret']], conf => { smtpd_processes => 1, retry_interval => '300ms', max_retry_interval => '1s' });
$p->sink('-D', 10, '-U', 10)->start;
my @to = ('-t', join ',', map { ("u%u\@d$_.example", "defer-1-%u\@d$_.example", "unknown%u\@d$_.example", "deferdot-1-%u\@d$_.example") } 1 .. 10);
my $n = 3000;
is $p->load('-p', 'plain', '-c', 10, '-m', $n, '-d', 120, @to)->{acked}, $n, "$n messages of every fate";
is $p->load('-p', 'tls', '-c', 4, '-m', 500, '-k', 50, '-T', '-A', 'u:secret', '-d', 120, @to)->{acked}, 500, '500 by TLS and AUTH';
is $p->load('-p', 'large', '-c', 2, '-m', 10, '-s', 3_000_000, '-d', 120, '-t', 'l%u@d1.example')->{acked}, 10, 'ten large ones';
my %final = map { $_ => 1 } qw(Delivery Bounce Expiration AdminBounce);
ok $p->wait_for('ends', sub { $n + 510 <= grep { $final{ $_->{type} } && $_->{sender} ne '' } $p->events }, 180), 'all came to an end';
is +($p->posthorn('reload'))[0], 0, 'reload';
for my $daemon (qw(queued smtpd deliverd)) { is +($p->posthorn('restart', $daemon))[0], 0, "restart $daemon" }
is $p->load('-p', 'after', '-c', 2, '-m', 100, '-d', 60)->{acked}, 100, 'serving again';
is $p->stop, 0, 'stops cleanly';
my $log = PosthornTest::slurp($p->dir . '/posthorn.err');
my @reports = $log =~ /^.*(?:ERROR: \w+Sanitizer|runtime error:|SUMMARY: ).*$/mg;
is_deeply \@reports, [], 'no report of a sanitizer' or diag substr $log, index($log, 'Sanitizer') - 200, 4000;
done_testing;
