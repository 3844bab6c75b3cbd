# posthorn doctor on a set-up that is right and on one with a fault of each kind: it names every planted fault and nothing else, and what
# it says to publish mends it. posthorn dns prints the same records.
use strict;
use warnings;
use Test::More;
use PosthornTest;

# What depends on the machine that the test runs on, and not on what is planted.
sub faults {
	my ($found) = @_;
	my @faults = grep { $_->{level} ne 'ok' } @{ $found->{findings} };
	# The addresses of documentation are on no host.
	@faults = grep { $_->{check} ne 'port25' || $_->{text} !~ /is not an address of this host/ } @faults;
	@faults = grep { $_->{check} !~ /\Aclock\z/ && !($_->{check} eq 'files' && $_->{text} =~ /users posthorn-|admin_group/) } @faults;
	return map { my $f = $_; join ' ', $f->{level}, $f->{check}, map { $f->{$_} // () } qw(source domain) } @faults;
}

sub same {
	my ($what, $found, @want) = @_;
	my (%found, %want);
	$found{$_}++ for faults($found);
	$want{$_}++ for @want;
	my @missing = grep { !$found{$_} } sort keys %want;
	my @more = grep { !$want{$_} } sort keys %found;
	ok !@missing && !@more && !(grep { $_ > 1 } values %found), $what
	    or diag "not found:\n", map("  $_\n", @missing), "not planted, or twice:\n", map("  $_\n", @more, grep { $found{$_} > 1 } keys %found),
	    map { "$_->{level} $_->{check}: $_->{text}\n" } grep { $_->{level} ne 'ok' } @{ $found->{findings} };
}

sub source { my ($name, $address, $ehlo) = @_; return "posthorn.source { name = '$name', source_address = '$address', ehlo_domain = '$ehlo' }\n" }
sub pool { my ($name, @sources) = @_; return "posthorn.pool { name = '$name', entries = { " . join(', ', map "{ name = '$_' }", @sources) . " } }\n" }

my $lists = <<'Z';
2.0.0.127.bl.example. IN A 127.0.0.2
Z

# ---- all is well ----
# One signature of a domain that is asked for by name only is not that of its record.
sub bend {
	my ($text) = @_;
	$text =~ s/^(bogus\.example\.\s+\d+\s+IN\s+RRSIG\s+TXT .* )(\S)(\S+)$/$1 . ($2 eq 'A' ? 'B' : 'A') . $3/me or die 'no signature found';
	return $text;
}
my $v6 = join '.', reverse split //, '20010db8000000000000000000000001';
my $p = PosthornTest->new(tls => 1, conf => { dnsbl_zones => 'bl.example', dns_validation => 'yes' }, signed => \&bend, zone => $lists . <<"Z",
1.2.0.192.in-addr.arpa. IN PTR MX1.good.example.
mx1.good.example. IN A 192.0.2.1
iana.org. IN A 192.0.2.99
bogus.example. IN MX 10 mx.good.example.
bogus.example. IN TXT "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"
_dmarc.bogus.example. IN TXT "v=DMARC1; p=reject"
$v6.ip6.arpa. IN PTR mx6.good.example.
mx6.good.example. IN AAAA 2001:db8::1
mx6.good.example. IN TXT "v=spf1 a -all"
_mta-sts.good.example. IN TXT "v=STSv1; id=20260101;"
_smtp._tls.good.example. IN TXT "v=TLSRPTv1; rua=mailto:tls\@good.example"
default._bimi.good.example. IN TXT "v=BIMI1; l=; a="
good.example. IN MX 10 dead.good.example.
good.example. IN MX 20 mx.good.example.
mx.good.example. IN A 127.0.0.1
dead.good.example. IN A 127.0.0.39
good.example. IN TXT "an unrelated record"
good.example. IN TXT "v=spf1 include:_spf.good.example " "-all"
_spf.good.example. IN TXT "v=spf1 ip4:192.0.2.0/28 ip6:2001:db8::/32 ?all"
_dmarc.good.example. IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc\@good.example"
news.good.example. IN MX 10 mx.good.example.
news.good.example. IN TXT "v=spf1 a:mx1.good.example a:mx6.good.example ~all"
Z
    policy => source('one', '192.0.2.1', 'mx1.good.example') . source('six', '2001:db8::1', 'mx6.good.example') . pool('main', 'one', 'six'),
    users => [ [ 'app', 'secret', '--domains', 'good.example,.news.good.example' ] ]);
$p->{conf}{dns_trust_anchor_file} = $p->etc . '/root.key';
$p->sink;
$p->{conf}{smtp_port} = $p->{sink_port};
$p->configure;
for my $domain (qw(good.example news.good.example bogus.example)) {
	is +($p->posthorn('dkim', 'keygen', $domain, '--selector', 's1'))[0], 0, "a key for $domain";
	$p->{zone} .= ($p->posthorn('dkim', 'record', $domain))[1];
}
$p->dns;
my ($found) = $p->json('doctor');
same('nothing is found where nothing is wrong', $found);
ok $found->{ok}, 'that is a success';
is scalar(grep { $_->{check} eq 'spf' && $_->{level} eq 'ok' } @{ $found->{findings} }), 4, 'each source was checked for each domain of the passwd file';
my ($status, $out, $err) = $p->posthorn('doctor');
is $status, 0, 'exit status of success' or diag $out, $err;
like $out, qr/^ok      ptr, source six: mx6\.good\.example is the PTR record of 2001:db8::1 and resolves to it$/m, 'a line of what is well';
like $out, qr/^ok      dmarc, domain news\.good\.example: the DMARC policy is reject, from good\.example$/m, 'the policy of the domain above';
like $out, qr/^0 failures, \d+ warnings?\n\z/m, 'the last line counts';
($status, $out) = $p->posthorn('doctor', '--source', 'one', '--domain', 'good.example');
unlike $out, qr/source six|news/, 'one source, one domain';
($status, $out, $err) = $p->posthorn('doctor', '--source', 'onee');
is "$status $err", "1 posthorn: no pool has a source `onee'; did you mean 'one'?\n", 'a source that there is not';
($status, $out, $err) = $p->posthorn('doctor', '--domain', 'a..b');
is "$status $err", "1 posthorn: `a..b' is not a domain name\n", 'a name that is none';
is +($p->posthorn('doctor', 'good.example'))[0], 2, 'usage';
is +($p->posthorn('dns'))[0], 2, 'usage of dns';

($status, $out) = $p->posthorn('dns', 'Good.example');
like $out, qr/^s1\._domainkey\.good\.example\. IN TXT "v=DKIM1; k=rsa; p=[\w+\/]+" "[\w+\/]+=*"$/m, 'posthorn dns: the record of its key';
$out =~ s/^s1\._domainkey.*\n//m;
is $out, <<"Z", 'posthorn dns: the records of a domain, in the form of a zone file';
; for the zone of good.example
good.example. IN TXT "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all"
_dmarc.good.example. IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster\@good.example"
good.example. IN MX 10 mail.test.
mx1.good.example. IN A 192.0.2.1
mx6.good.example. IN AAAA 2001:db8::1
; for other zones: of the names that sources greet with, and of whoever gave you the addresses
; 1.2.0.192.in-addr.arpa. IN PTR mx1.good.example.
; $v6.ip6.arpa. IN PTR mx6.good.example.
Z
my ($records) = $p->json('dns', 'other.example');
is_deeply [ scalar @{ $records->{records} }, scalar @{ $records->{elsewhere} } ], [ 3, 4 ], 'names of another domain belong elsewhere';

($found) = $p->json('doctor', '--domain', 'bogus.example');
same('a bogus answer is no answer', $found, 'warning spf-record bogus.example');

# Without a name server: one failure, and what needs none is checked.
$p->end_pid(delete $p->{dns_pid});
($found) = $p->json('doctor');
same('a resolver that does not answer is the one failure', $found, 'failure resolver');

# ---- a fault of each kind ----
my @sources = (
	[ 'noptr', '192.0.2.11' ], [ 'otherptr', '192.0.2.12' ], [ 'noforward', '192.0.2.13' ], [ 'twoptr', '192.0.2.14' ],
	[ 'listed', '192.0.2.15' ], [ 'private', '10.0.0.1' ], [ 'kernel', 'unspecified' ], [ 'stranger', '198.51.100.1' ],
);
my $spf = 'v=spf1 ip4:192.0.2.0/24 -all';
my @domains = map "$_.example", qw(ok nospf twospf badspf manyspf nearspf openspf lostspf nodmarc nonedmarc baddmarc twodmarc nopostmaster greylist unreachable nomx nullmx deadmx ownmx lame split sub.ok);
push @domains, 'shop.co.uk';
my %spf = (nospf => [], twospf => [ $spf, 'v=spf1 ~all' ], badspf => [ "v=spf1 ip4:192.0.2 -all" ], openspf => [ 'v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.1 ?all' ],
	manyspf => [ 'v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.1 ' . join(' ', map "a:a$_.example", 1 .. 11) . ' -all' ],
	nearspf => [ 'v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.1 ' . join(' ', map "a:a$_.example", 1 .. 9) . ' -all' ],
	split => [ 'v=spf1 ip4:0.0.0.0/0 -all' ], 'sub.ok' => [ 'v=spf1 ip4:192.0.2.0/24 ~all' ],
	lostspf => [ 'v=spf1 include:nowhere.example -all' ], ok => [ 'v=spf1 ip4:192.0.2.0/24 ~all' ]);
my %dmarc = ('sub.ok' => [ 'v=DMARC1; p=reject; adkim=s' ], nodmarc => [], nonedmarc => [ 'v=DMARC1; p=none' ], baddmarc => [ 'v=DMARC1; p = refuse' ], twodmarc => [ ('v=DMARC1; p=reject') x 2 ]);
my %mx = (nomx => '', nullmx => '0 .', deadmx => '10 nowhere.ok.example.', ownmx => '', nopostmaster => '10 mx1.ok.example.', greylist => '10 mx2.ok.example.', unreachable => '10 mx3.ok.example.');
my $zone = $lists . "lame.example. IN NS ns.elsewhere.test.\nownmx.example. IN A 192.0.2.80\nmx.ok.example. IN A 127.0.0.1\n"
    . "mx1.ok.example. IN A 127.0.0.31\nmx2.ok.example. IN A 127.0.0.32\nmx3.ok.example. IN A 127.0.0.39\n";
# A record of a public suffix is nobody's.
$zone .= "_dmarc.co.uk. IN TXT \"v=DMARC1; p=reject\"\nshop.co.uk. IN TXT \"v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.1 -all\"\nshop.co.uk. IN MX 10 mx.ok.example.\n";
for my $name (map { s/\.example\z//r } grep { !/^lame\.example$|\.uk$/ } @domains) {
	$zone .= "$name.example. IN TXT \"$_\"\n" for @{ $spf{$name} // [ 'v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.1 -all' ] };
	my $n = 0;
	$zone .= "_dmarc.$name.example. IN TXT \"$_" . (';' x $n++) . "\"\n" for @{ $dmarc{$name} // [ 'v=DMARC1;p=quarantine' ] };
	my $mx = $mx{$name} // '10 mx.ok.example.';
	$zone .= "$name.example. IN MX $mx\n" if $mx ne '';
}
for (@sources) {
	my ($name, $address) = @$_;
	my $ptr = join('.', reverse split /\./, $address) . '.in-addr.arpa. IN PTR';
	$zone .= "$ptr $name.mx.example.\n" unless $name =~ /\A(?:noptr|otherptr|kernel)\z/;
	$zone .= "$ptr dsl-12.isp.example.\n" if $name =~ /\A(?:otherptr|twoptr)\z/;
	$zone .= "$name.mx.example. IN A $address\n" unless $name =~ /\A(?:noforward|kernel)\z/;
}
$zone .= <<'Z';
noptr.mx.example. IN TXT "v=spf1 -all"
_mta-sts.ok.example. IN TXT "v=STSv1;"
_smtp._tls.nospf.example. IN TXT "v=TLSRPTv1; rua=ftp://ok.example"
default._bimi.twospf.example. IN TXT "v=BIMI1; l=https://ok.example/1.svg"
default._bimi.twospf.example. IN TXT "v=BIMI1; l=https://ok.example/2.svg"
15.2.0.192.bl.example. IN A 127.0.0.3
15.2.0.192.bl.example. IN TXT "spam, see https://bl.example/192.0.2.15"
*.all.example. IN A 127.0.0.2
2.0.0.127.refuses.example. IN A 127.255.255.254
empty.example. IN TXT "closed"
Z
$p = PosthornTest->new(tls => 1, zone => $zone, conf => { dnsbl_zones => 'bl.example all.example refuses.example empty.example', myhostname => 'other.test' }, users => [ [ 'app', 'secret' ] ],
    policy => join('', map({ source($_->[0], $_->[1], "$_->[0].mx.example") } @sources), pool('main', map { $_->[0] } @sources)));
$p->{sink_addresses} = [ '127.0.0.1', '127.0.0.31', '127.0.0.32' ];
$p->{conf}{smtp_port} = $p->{sink_port} = PosthornTest::free_port();
$p->sink('-s', "rcpt\@127.0.0.31:$p->{sink_port}=550 5.1.1 no such user", '-s', "rcpt\@127.0.0.32:$p->{sink_port}=451 4.7.1 come back");
$p->configure;
# Keys of three domains: published, not published, of another key.
$p->posthorn('dkim', 'keygen', "$_.example", '--selector', 's1') for qw(ok nospf twospf);
$p->posthorn('dkim', 'keygen', 'badspf.example', '--selector', 's1', '--bits', '1024');
my $record = sub { return ($p->posthorn('dkim', 'record', "$_[0].example"))[1] };
$p->{zone} .= $record->('ok') . $record->('badspf') . ($record->('ok') =~ s/ok\.example/twospf.example/r);
$p->dns;
chmod 0644, $p->etc . '/server.key';
chmod 0666, $p->etc . '/policy.lua';
my @arguments = map { ('--domain', $_) } @domains;
($found) = $p->json('doctor', @arguments);
my @faults = (
	'warning dnssec', 'failure files', 'failure files policy', 'warning certificate',
	'failure ptr noptr', 'failure ptr otherptr', 'failure ptr noforward', 'warning ptr twoptr', 'failure dnsbl listed',
	'warning address private', 'warning address kernel', 'failure spf stranger ok.example',
	'failure spf-helo noptr', map("warning extras $_.example", qw(ok nospf twospf)),
	'failure spf-record nospf.example', 'failure spf-record twospf.example', 'failure spf-record badspf.example',
	'failure spf-record manyspf.example', 'warning spf-record nearspf.example', 'warning spf-record openspf.example', 'failure spf-record lostspf.example',
	'warning spf-second split.example', 'failure spf stranger sub.ok.example', 'failure alignment sub.ok.example', 'failure dmarc shop.co.uk',
	'failure dmarc nodmarc.example', 'warning dmarc nonedmarc.example', 'failure dmarc baddmarc.example', 'failure dmarc twodmarc.example',
	'failure postmaster nopostmaster.example', 'warning postmaster greylist.example', 'warning postmaster unreachable.example',
	'failure mx nomx.example', 'failure mx nullmx.example', 'failure mx deadmx.example', 'warning mx ownmx.example',
	map("warning $_ lame.example", qw(mx spf-record dmarc)),
	'failure dkim nospf.example', 'failure dkim twospf.example', map("warning dkim $_", grep { !/^(?:ok|nospf|twospf)\./ } @domains),
);
# Lines about lists and files are of no source or domain: told apart by what they name.
for (@{ $found->{findings} }) {
	$_->{domain} = 'policy' if $_->{check} eq 'files' && $_->{text} =~ /policy\.lua/;
	($_->{domain}) = $_->{text} =~ /list (\S+)/ if $_->{check} eq 'dnsbl-zones';
}
push @faults, map "warning dnsbl-zones $_.example", qw(all refuses empty);
same('every planted fault is found, and nothing else', $found, @faults);
ok !$found->{ok}, 'that is a failure';
my %publish = map { (join(' ', $_->{check}, $_->{source} // (), $_->{domain} // ()) => $_->{publish}) } @{ $found->{findings} };
is $publish{'spf stranger ok.example'}, 'ok.example. IN TXT "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.1 ~all"', 'the record with what it lacks';
is $publish{'ptr noforward'}, 'noforward.mx.example. IN A 192.0.2.13', 'the record that confirms';
my ($listed) = grep { $_->{check} eq 'dnsbl' && $_->{level} eq 'failure' } @{ $found->{findings} };
is $listed->{text}, '192.0.2.15 is listed by bl.example (127.0.0.3: spam, see https://bl.example/192.0.2.15): find out why, mend it, then ask that list '
    . 'to remove it', 'a listing with its reason';
is +($p->posthorn('doctor', @arguments))[0], 1, 'exit status of failure';

# ---- what it says to publish mends it ----
$p->end_pid(delete $p->{dns_pid});
my %mended = map { ($_ => 1) } 'ptr noptr', 'ptr noforward', 'spf-record nospf.example', 'dkim nospf.example', 'dmarc nodmarc.example', 'mx nomx.example', 'mx ownmx.example';
$p->{zone} .= "$publish{$_}\n" for sort keys %mended;
# These have a record already, which the new one replaces.
for (['ptr otherptr', qr/^12\.2\.0\.192\S+ IN PTR .*\n/m], ['spf stranger ok.example', qr/^ok\.example\. IN TXT .*\n/m],
	[ 'dmarc nonedmarc.example', qr/^_dmarc\.nonedmarc\S+ IN TXT .*\n/m ], [ 'dmarc baddmarc.example', qr/^_dmarc\.baddmarc\S+ IN TXT .*\n/m ],
	[ 'mx nullmx.example', qr/^nullmx\S+ IN MX .*\n/m ]) {
	my ($key, $old) = @$_;
	$p->{zone} =~ s/$old/$publish{$key}\n/ or die "no record for $key";
	$mended{$key} = 1;
}
$p->{zone} .= "other.test. IN A 127.0.0.1\n";
$p->dns;
($found) = $p->json('doctor', @arguments);
for (@{ $found->{findings} }) {
	$_->{domain} = 'policy' if $_->{check} eq 'files' && $_->{text} =~ /policy\.lua/;
	($_->{domain}) = $_->{text} =~ /list (\S+)/ if $_->{check} eq 'dnsbl-zones';
}
same('with what it said published, those faults are gone', $found, grep { !$mended{ s/^\w+ //r } } @faults);

# ---- the way out, and who listens ----
subtest 'ports' => sub {
	my $q = PosthornTest->new(zone => "probe.example. IN MX 10 closed.probe.example.\nprobe.example. IN MX 20 open.probe.example.\nshut.example. IN MX 10 closed.probe.example.\n" .
		"closed.probe.example. IN A 127.0.0.39\nopen.probe.example. IN A 127.0.0.1\nsix.example. IN MX 10 six.probe.example.\nsix.probe.example. IN AAAA ::1\n",
		conf => { dnsbl_zones => '', dns_validation => 'no', doctor_probe_domain => 'probe.example' },
		policy => source('one', '127.0.0.2', 'one.example') . source('two', '127.0.0.3', 'two.example') . pool('main', 'one', 'two'));
	$q->sink;
	$q->{conf}{smtp_port} = $q->{sink_port};
	$q->configure;
	my $of = sub { my ($check, @more) = @_; my ($r) = $q->json('doctor', @more); return map { "$_->{level} " . ($_->{source} // '-') . ": $_->{text}" } grep { $_->{check} eq $check } @{ $r->{findings} } };
	$q->dns;
	is_deeply [map { s/ \S+ answers$//r } $of->('port25')], [map { "ok $_: port $q->{sink_port} is open on the way out: open.probe.example answers" =~ s/ \S+ answers$//r } qw(one two)],
		'each source reaches the probe';
	is scalar($of->('port25', '--source', 'one')), 1, 'one source';
	my @seen = grep { /127\.0\.0\.[23]/ } map { $_->{client} // () } $q->ledger;
	is_deeply \@seen, [], 'no message was sent';
	my @shut = $of->('port25', '--probe', 'shut.example');
	is scalar(@shut), 2, 'where nothing answers';
	like $shut[0], qr/^failure one: no server of shut\.example can be reached \(127\.0\.0\.39 port \d+: Connection refused\): port \d+ is closed on the way out/, 'that is said';
	like +($of->('port25', '--probe', 'six.example'))[0], qr/^warning one: whether port \d+ is open .* no server of six\.example has an address of its family/, 'another family is no answer';
	is +($q->posthorn('doctor', '--probe', 'a..b'))[0], 1, 'a name that is none';

	like +($of->('ports'))[0], qr/^ok -: the suite does not run, and what it is to listen on is free/, 'before the start';
	my $other = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $q->port, Proto => 'tcp', Listen => 1, ReuseAddr => 1) or die;
	like +($of->('ports'))[0], qr/^warning -: another program listens on 127\.0\.0\.1:\d+ \(smtpd_listen\)/, 'somebody else is there';
	close $other;
	$q->start;
	like +($of->('ports'))[0], qr/^ok -: what is configured is listened on/, 'while it runs';
	my $free = PosthornTest::free_port();
	PosthornTest::write_file($q->etc . '/main.cf', PosthornTest::slurp($q->etc . '/main.cf') =~ s/^(smtpd_listen = .*)$/$1, 127.0.0.1:$free/mr);
	like +($of->('ports'))[0], qr/^failure -: nothing listens on 127\.0\.0\.1:$free \(smtpd_listen\), though the suite runs/, 'what was not put into force';
};

done_testing;
