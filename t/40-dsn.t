# Bounces and automatic replies are recognised: the labelled messages of t/data/dsn (Corpus.pm), through build/tools/reports. The
# rates are printed and have a least value, apart for the messages that the parser was tuned on and those that were held out.
# Then what attacks, in bounded time and memory (Corpus::parse).
use strict;
use warnings;
use Test::More;
use File::Temp ();
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PosthornTest;
use Corpus;

plan skip_all => 'no build/tools/reports (make tools)' unless -x "$PosthornTest::tools/reports";
my $tmp = File::Temp->newdir;
my %score;
my @corpus = Corpus::read(glob 't/data/dsn/*.txt');
for my $m (@corpus) {
	my $r = Corpus::parse('dsn', $m->{text}, $tmp);
	my $got = join ',', sort map { lc($_->{recipient} // '') } @{ $r->{recipients} };
	my $want = join ',', sort map { lc } split /,/, $m->{rcpt} // '';
	my $first = $r->{recipients}[0] // {};
	my $has_rcpts = $m->{kind} !~ /none|auto/;
	utf8::decode($want);
	utf8::decode($m->{diag}) if defined $m->{diag};
	my $is_right = $r->{kind} eq $m->{kind} && (!$has_rcpts || $got eq $want);
	my %is = (all => $is_right, ($has_rcpts ? $r->{standard} ? 'RFC 3464' : 'other shapes' : 'automatic or none') => $is_right);
	$is{status} = ($first->{status} // '') eq $m->{status} if defined $m->{status};
	$is{diagnostic} = index($first->{diagnostic} // '', $m->{diag}) >= 0 if defined $m->{diag};
	$is{'remote MTA'} = ($first->{remote_mta} // '') eq $m->{mta} if defined $m->{mta};
	$is{'reporting MTA'} = ($r->{reporting_mta} // '') eq $m->{reporting} if defined $m->{reporting};
	if ($m->{has_original} && $m->{kind} ne 'none') {
		$is{'Message-ID'} = ($r->{original}{message_id} // '') eq "$m->{name}\@news.example.com";
		$is{token} = ($r->{original}{headers}{'X-Posthorn-Ref'} // '') eq "T-$m->{name}";
	}
	$is{'In-Reply-To'} = ($r->{original}{message_id} // '') eq "$m->{id}\@news.example.com" if defined $m->{id};
	Corpus::tally(\%score, $m, JSON::PP->new->ascii->canonical->encode($r), %is);
}
cmp_ok scalar @corpus, '>=', 130, 'there are messages';
cmp_ok scalar(grep { $_->{held} } @corpus), '>=', @corpus / 3, 'a third held out';
Corpus::rates(\%score, 0.97);

# The same with the line ends of DOS and of old Macs.
for my $end ("\r\n", "\r") {
	my $wrong = '';
	for my $m (@corpus) {
		my $text = $m->{text} =~ s/\r?\n/$end/gr;
		my $json = JSON::PP->new->canonical;
		$wrong .= " $m->{name}" if $json->encode(Corpus::parse('dsn', $text, $tmp)) ne $json->encode(Corpus::parse('dsn', $m->{text}, $tmp));
	}
	is $wrong, '', 'line ends ' . unpack('H*', $end) . ' make no difference';
}

# Hostile ones. Each is read within the limits of Corpus::parse; what is said of some is known.
sub report { "Return-Path: <>\nFrom: MAILER-DAEMON\@x.example\nSubject: Undeliverable\nContent-Type: multipart/report; boundary=b\n\n" . join '', map { "--b\n$_\n" } @_ }
my $fields = "Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a\@b.example\nAction: failed\nStatus: 5.1.1\n";
my %hostile = (
	'10,000 levels' => [join '', map { "Content-Type: multipart/mixed; boundary=b$_\n\n--b$_\n" } 1 .. 10_000],
	'10,000 levels of messages' => ["Content-Type: message/rfc822\n\n" x 10_000],
	'a header of 3 MB' => ['X-Long: ' . 'x' x 3_000_000 . "\n" . report($fields), 'failed'],
	'a header of 8 MB' => ['X-Long: ' . 'x' x 8_000_000 . "\n" . report($fields)],
	'a header of 500,000 folds' => ["X-Long: a\n" . " b\n" x 500_000 . report($fields), 'failed'],
	'a million headers' => ["a: b\n" x 1_000_000],
	'a million boundaries' => [report($fields, ('') x 1_000_000), 'failed'],
	'a long boundary' => ["Content-Type: multipart/mixed; boundary=" . 'b' x 100_000 . "\n\n--" . 'b' x 100_000 . "\n\nx\n"],
	'a million recipients' => [report("Content-Type: message/delivery-status\n\n" . join "\n", map { "Final-Recipient: rfc822; a$_\@b.example\nAction: failed\n" } 1 .. 60_000), 'failed'],
	'one recipient 60,000 times' => [report("Content-Type: message/delivery-status\n\n" . "Final-Recipient: rfc822; a\@b.example\n\n" x 60_000), 'failed'],
	'addresses' => [report('', join ' ', map { "a$_\@b.example 550 5.1.1" } 1 .. 100_000)],
	'addresses, a line each' => [report("\n" . join "\n", map { "<a$_\@b.example>: 550 5.1.1 no" } 1 .. 100_000), 'failed'],
	'at signs' => [report('', '@' x 3_000_000)],
	'a local part of 3 MB' => [report('', 'a' x 3_000_000 . '@b.example')],
	'quotes' => [report('', '"@' x 1_500_000)],
	'blanks' => [report('', ' ' x 3_000_000)],
	'450s' => [report('', '450 ' x 700_000)],
	'4s' => [report('', '4.' x 1_500_000)],
	'tags' => [report("Content-Type: text/html\n\n" . '<' x 3_000_000)],
	'open styles' => [report("Content-Type: text/html\n\n" . '<style>' x 400_000)],
	'tags of addresses' => [report("Content-Type: text/html\n\n" . '<' x 1_500_000 . '@>' x 700_000)],
	'entities' => [report("Content-Type: text/html\n\n" . '&' x 3_000_000)],
	'base64 of base64 of zeros' => [report("Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n" . encode_base64(encode_base64("\0" x 1_500_000)))],
	'cut base64' => [report("Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n" . substr(encode_base64("\nFinal-Recipient: rfc822; a\@b.example\nAction: failed\n"), 0, -7)), 'failed'],
	'quoted-printable of nothing but "="' => [report("Content-Type: message/delivery-status\nContent-Transfer-Encoding: quoted-printable\n\n" . '=' x 3_000_000)],
	'encoded words' => ['Subject: ' . '=?utf-8?Q?=?' x 300_000 . "\n\n"],
	'8-bit parameters' => ["Content-Type: multipart/report" . '; a="' x 500_000 . "\n\n"],
	'NULs' => ["\0" x 1_000_000 . report($fields)],
	'NULs inside' => [report($fields =~ s/(Status)/\0$1\0/r), 'failed'],
	'nothing' => [''],
	'every octet' => [join('', map { chr } 0 .. 255) x 1000],
);
for my $name (sort keys %hostile) {
	my ($text, $kind) = @{ $hostile{$name} };
	my $r = eval { Corpus::parse('dsn', $text, $tmp) };
	ok defined $r, "$name: read within the limits" or diag $@;
	is $r->{kind}, $kind, "$name: $kind" if defined $kind;
	ok defined eval { Corpus::parse('arf', $text, $tmp) }, "$name: as a complaint" or diag $@;
}
my $many = Corpus::parse('dsn', $hostile{'a million recipients'}[0], $tmp);
is scalar @{ $many->{recipients} }, 500, 'there is a limit to recipients';

# Nothing that a terminal or a log would act on comes through.
my $evil = report("\n<a\@b.example>: 550 5.1.1 \e[2J\x07\xe2\x80\xa8\xc2\x9b31m evil\r\n", $fields =~ s/5\.1\.1\n/5.1.1\nDiagnostic-Code: smtp; 550 \e]0;x\x07 \x85\n/r);
my $clean = JSON::PP->new->encode(Corpus::parse('dsn', $evil, $tmp));
like($clean, qr/"550 /, 'the reply of a hostile one');
unlike($clean, qr/[\x00-\x1f\x7f-\x9f\x{2028}]|\\u00[01]/, 'has no control character');

# For people.
my $posthorn = "$PosthornTest::build/sbin/posthorn";
my ($qmail) = grep { $_->{name} eq 'qmail' } @corpus;
PosthornTest::write_file("$tmp/m", $qmail->{text});
my $said = qx{$posthorn bounce parse $tmp/m --header feedback-id};
like($said, qr/^kind +failed\nshape +qmail$/m, 'posthorn bounce parse: what it is');
like($said, qr/^recipient +gone\@recipient\.example\n  action +failed\n  status +5\.1\.1\n  diagnostic +550 5\.1\.1 /m, 'recipient');
like($said, qr/^feedback-id +c9:t1:bulk:example$/m, 'a header asked for');
is_deeply(JSON::PP->new->utf8->decode(scalar qx{$posthorn --json bounce parse - <$tmp/m}), Corpus::parse('dsn', $qmail->{text}, $tmp),
    'as JSON, from standard input');
like(qx{$posthorn feedback parse $tmp/m}, qr/^shape +none$/, 'posthorn feedback parse: no complaint');
like(qx{$posthorn feedback parse 2>&1}, qr/needs a file/, 'no file');
is($? >> 8, 2, 'is misuse');
like(qx{$posthorn bounce parse $tmp/none 2>&1}, qr/No such file/, 'a file that is not there');
is($? >> 8, 1, 'is a failure');
like(qx{$posthorn bounce --help}, qr/parse \[--header NAME\] FILE/, 'usage');
done_testing;
