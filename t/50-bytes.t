# What is handed in is what arrives, byte for byte, by DATA and by BDAT, pipelined or not.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { message_size_limit => '60M' });
$p->{sink_args} = [];
$p->sink('-b', $p->dir . '/bodies')->start;

my $line998 = 'x' x 998;
my $big = join '', map { sprintf("%06d %s\r\n", $_, 'abcdefghijklmnopqrstuvwxyz' x 2) } 1 .. 25 * 1024 * 1024 / 61;
my %bodies = (
	'01 plain'           => "hello\r\n",
	'02 leading dots'    => ".\r\n..\r\n...x\r\n.end\r\n",
	'03 dot at the end'  => "a\r\n.\r\n",
	'04 lines of 998'    => "$line998\r\n" x 50,
	'05 8-bit'           => join('', map { chr } 128 .. 255) . "\r\n\xc3\xa4\r\n",
	'06 empty'           => '',
	'07 empty lines'     => "\r\n\r\n\r\n",
	'08 controls'        => "a\x01\x02\x7f\tb\r\n",
	'09 looks like SMTP' => "QUIT\r\nMAIL FROM:<x\@y>\r\nRSET\r\n",
	'10 no final newline' => 'the end',
	'11 1 MiB and a bit' => join('', ('0123456789abcdef' x 4 . "\r\n") x 16200),
	'12 25 MB'           => $big,
);
my $headers = "From: <a\@b.example>\r\nSubject: bytes\r\n";

sub data {
	my ($s, $text) = @_;
	$text =~ s/^\./../mg;
	$text .= "\r\n" unless $text =~ /\r\n\z/;
	print $s "$text.\r\n";
	$s->flush;
	return PosthornTest::reply($s, 120);
}

my (%sent, %how);
my $count = 0;
for my $name (sort keys %bodies) {
	for my $mode (qw(DATA DATA-pipelined BDAT BDAT-chunks)) {
		my $id = sprintf 'b%03d', ++$count;
		my $text = "X-Test-Id: $id\r\n$headers\r\n$bodies{$name}";
		my $s = $p->connect_smtp;
		PosthornTest::say_smtp($s, 'EHLO client.example');
		my $reply;
		if ($mode eq 'DATA') {
			PosthornTest::say_smtp($s, $_) for 'MAIL FROM:<a@b.example> BODY=8BITMIME', "RCPT TO:<$id\@x.example>", 'DATA';
			$reply = data($s, $text);
		} elsif ($mode eq 'DATA-pipelined') {
			print $s "MAIL FROM:<a\@b.example> BODY=8BITMIME\r\nRCPT TO:<$id\@x.example>\r\nDATA\r\n";
			$s->flush;
			PosthornTest::reply($s) for 1 .. 3;
			$reply = data($s, $text);
		} elsif ($mode eq 'BDAT') {
			print $s "MAIL FROM:<a\@b.example> BODY=8BITMIME\r\nRCPT TO:<$id\@x.example>\r\nBDAT " . length($text) . " LAST\r\n$text";
			$s->flush;
			$reply = PosthornTest::reply($s, 120) for 1 .. 3;
		} else {
			PosthornTest::say_smtp($s, $_) for 'MAIL FROM:<a@b.example> BODY=8BITMIME', "RCPT TO:<$id\@x.example>";
			my $step = length($text) > 100_000 ? 300_007 : 7;
			for (my $o = 0; $o < length $text; $o += $step) {
				my $chunk = substr $text, $o, $step;
				print $s 'BDAT ' . length($chunk) . "\r\n$chunk";
				$s->flush;
				$reply = PosthornTest::reply($s, 120);
			}
			$reply = PosthornTest::say_smtp($s, 'BDAT 0 LAST');
		}
		like $reply, qr/^250 2\.0\.0 .*queued as [0-9a-f]{32}\r\n/, "$name by $mode accepted";
		PosthornTest::say_smtp($s, 'QUIT');
		$sent{$id} = $bodies{$name};
		$how{$id} = "$name by $mode";
	}
}
ok $p->wait_for('deliveries', sub { $p->ledger_count >= $count }, 120), "all $count arrived";
my %got;
for my $file (glob $p->dir . '/bodies/*') {
	my $m = PosthornTest::slurp($file);
	my ($id) = $m =~ /^X-Test-Id: (\S+)\r$/m or next;
	my ($h, $b) = split /\r\n\r\n/, $m, 2;
	$got{$id} = $b;
}
for my $id (sort keys %sent) {
	my $want = $sent{$id};
	# SMTP cannot carry a last line without its end.
	$want .= "\r\n" if length $want && $want !~ /\r\n\z/;
	ok defined $got{$id} && $got{$id} eq $want, "$how{$id} arrived as it was"
		or diag sprintf 'got %s bytes, want %d', defined $got{$id} ? length $got{$id} : 'no', length $want;
}

# Addresses survive in canonical form.
my %addresses = (
	'"john smith"@x.example' => '"john smith"@x.example',
	'"a\"b"@x.example'       => '"a\"b"@x.example',
	'"plain"@x.example'      => 'plain@x.example',
	'a%b@X.Example'          => 'a%b@x.example',
	'@relay.example:c@x.example' => 'c@x.example',
	'd@[127.0.0.1]'          => 'd@[127.0.0.1]',
	"\xc3\xa4\@x.example"    => "\xc3\xa4\@x.example",
);
for my $a (sort keys %addresses) {
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', 'MAIL FROM:<a@b.example> SMTPUTF8';
	like PosthornTest::say_smtp($s, "RCPT TO:<$a>"), qr/^250/, "RCPT TO:<$a>";
	PosthornTest::say_smtp($s, 'DATA');
	like data($s, "X-Test-Id: addr\r\n\r\nx\r\n"), qr/^250/, 'accepted';
}
my $want = join "\n", sort values %addresses;
$p->wait_for('addresses', sub { join("\n", sort map { $_->{rcpt} } grep { $_->{id} eq 'addr' } $p->ledger) eq $want }, 30);
is join("\n", sort map { $_->{rcpt} } grep { $_->{id} eq 'addr' } $p->ledger), $want, 'addresses arrived in canonical form';
system("cp -r ".$p->dir." /tmp/bytes-keep") if $ENV{KEEP};
done_testing;
