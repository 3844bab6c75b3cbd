# Complaints are recognised: the labelled messages of t/data/arf (Corpus.pm), through build/tools/reports. Hostile ones are in
# t/40-dsn.t.
use strict;
use warnings;
use Test::More;
use File::Temp ();
use JSON::PP ();
use PosthornTest;
use Corpus;

plan skip_all => 'no build/tools/reports (make tools)' unless -x "$PosthornTest::tools/reports";
my $tmp = File::Temp->newdir;
my %score;
my @corpus = Corpus::read(glob 't/data/arf/*.txt');
for my $m (@corpus) {
	my $r = Corpus::parse('arf', $m->{text}, $tmp);
	my %want = (shape => $m->{shape} // 'none');
	my %is = (recognised => ($r->{report} ? $r->{shape} : 'none') eq $want{shape} && ($r->{feedback_type} // '') eq ($m->{type} // ''));
	if ($r->{report}) {
		$is{recipient} = ($r->{recipient} // '') eq ($m->{rcpt} // '');
		$is{'where the recipient is from'} = ($r->{recipient_by} // '') eq $m->{rcptby} if defined $m->{rcptby};
		$is{redaction} = !!$r->{redacted} eq !!$m->{redacted};
		$is{'source IP'} = ($r->{source_ip} // '') eq $m->{ip} if defined $m->{ip};
		$is{'where the source IP is from'} = ($r->{derived}{source_ip} // '') eq ($m->{ipby} // '') if defined $m->{ip};
		$is{'envelope sender'} = ($r->{original_mail_from} // '') eq $m->{mailfrom} if defined $m->{mailfrom};
		$is{'user agent'} = ($r->{user_agent} // '') eq $m->{agent} if defined $m->{agent};
		$is{'reported domain'} = "@{ $r->{reported_domain} }" eq $m->{domain} if defined $m->{domain};
		$is{'reported URI'} = $r->{reported_uri}[0] eq $m->{uri} if defined $m->{uri};
		$is{incidents} = ($r->{incidents} // 0) == $m->{incidents} if defined $m->{incidents};
		if ($m->{text} =~ /T-\Q$m->{name}\E$/m) {
			$is{token} = ($r->{original}{headers}{'X-Posthorn-Ref'} // '') eq "T-$m->{name}";
			$is{'Message-ID'} = ($r->{original}{message_id} // '') eq "$m->{name}\@news.example.com";
		}
	}
	Corpus::tally(\%score, $m, JSON::PP->new->ascii->canonical->encode($r), %is);
}
cmp_ok scalar @corpus, '>=', 39, 'there are messages';
cmp_ok scalar(grep { $_->{held} } @corpus), '>=', @corpus / 3, 'a third held out';
Corpus::rates(\%score, 0.97);

# The record has the members of KumoMTA's feedback_report.
my ($full) = grep { $_->{name} eq 'rfc5965-full' } @corpus;
my $r = Corpus::parse('arf', $full->{text}, $tmp);
is_deeply $r->{reporting_mta}, { mta_type => 'dns', name => 'mail.example.com' }, 'Reporting-MTA';
is $r->{arrival_date}, 'Thu, 26 Nov 2026 14:00:00 EST', 'Arrival-Date';
is_deeply $r->{authentication_results}, ['mail.example.com; spf=fail smtp.mail=somespammer@example.com'], 'Authentication-Results';
is_deeply $r->{reported_uri}, ['http://example.net/earn_money.html', 'mailto:user@example.net'], 'Reported-URI';
is_deeply $r->{extensions}, { 'Removal-Recipient' => ['user@example.net'] }, 'extensions';
like $r->{original_message}, qr/\AReceived: from out1.example.com .*\n\tby .*^Feedback-ID: c9:t1:bulk:example\z/ms, 'the headers of the original';
unlike $r->{original_message}, qr/Dear reader/, 'and no more';

# The same with the line ends of DOS and of old Macs.
for my $end ("\r\n", "\r") {
	my $json = JSON::PP->new->canonical;
	my @wrong = grep { $json->encode(Corpus::parse('arf', $_->{text} =~ s/\r?\n/$end/gr, $tmp)) ne
	    $json->encode(Corpus::parse('arf', $_->{text}, $tmp)) } @corpus;
	is join(' ', map { $_->{name} } @wrong), '', 'line ends ' . unpack('H*', $end) . ' make no difference';
}
done_testing;
