package Corpus;
# Labelled messages: files of t/data/dsn and t/data/arf. A message begins with a line
#
#   %%%% name [held] key=value ... [diag=text or agent=text to the end of the line]
#
# where `held` says that the parsers were not tuned on it. {{H}} stands for the headers of the message that came back, {{M}} for
# all of it; what is in them depends on name and first recipient, so that they can be known again.
use strict;
use warnings;

sub _headers {
	my ($label) = @_;
	my $rcpt = $label->{to} // (split /,/, $label->{rcpt} // 'reader@recipient.example')[0];
	my ($domain) = $rcpt =~ /([^@]+)\z/;
	return <<"END";
Received: from out1.example.com (out1.example.com [192.0.2.10])
	by mx.$domain (Postfix) with ESMTPS id 9D1B211A0C1
	for <$rcpt>; Thu, 26 Nov 2026 09:12:44 +0000
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=news.example.com; s=k1;
	h=from:to:subject:date:message-id; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
	b=AbCdEf0123456789AbCdEf0123456789AbCdEf0123456789
X-Posthorn-Ref: T-$label->{name}
Message-ID: <$label->{name}\@news.example.com>
Date: Thu, 26 Nov 2026 09:12:43 +0000
From: Example News <news\@example.com>
To: $rcpt
Subject: Your November offers
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
List-Unsubscribe: <https://news.example.com/u/42>
Feedback-ID: c9:t1:bulk:example
END
}

# Each: { name, held, text, keys of the label }. has_original: {{H}} or {{M}} were in it.
sub read {
	my (@files) = @_;
	my @messages;
	for my $file (@files) {
		open(my $f, '<:raw', $file) or die "$file: $!";
		while (my $line = <$f>) {
			if ($line =~ /^%%%% (\S+) ?(.*)$/) {
				my ($name, $rest) = ($1, $2);
				my %label = (name => $name, text => '', file => $file);
				$label{$1} = $2 if $rest =~ s{ ?(diag|agent)=(.*)$}{};
				for (split ' ', $rest) {
					my ($key, $value) = split /=/, $_, 2;
					$label{$key} = $value // 1;
				}
				# The last of these words may have blanks inside.
				$label{$1} = $2 while defined $label{diag} && $label{diag} =~ s{ (mta|reporting)=(\S+)$}{};
				push @messages, \%label;
			} else {
				$messages[-1]{text} .= $line;
			}
		}
	}
	for my $m (@messages) {
		my $headers = _headers($m);
		$m->{has_original} = 1 if $m->{text} =~ s/\{\{H\}\}\n/$headers/g;
		$m->{has_original} = 1 if $m->{text} =~ s/\{\{M\}\}\n/$headers\nDear reader,\n\nour offers. Questions: shop\@example.com.\n/g;
	}
	return @messages;
}

# Counts what is right in a message: what => true or false.
sub tally {
	my ($score, $message, $details, %is) = @_;
	for my $what (keys %is) {
		my $s = $score->{ $message->{held} ? 'held out' : 'known' }{$what} //= [0, 0, []];
		$s->[1]++;
		$is{$what} ? $s->[0]++ : push @{ $s->[2] }, "$message->{name}: $what: $details";
	}
}

# Prints the rates, and asserts that none is below the least.
sub rates {
	my ($score, $least) = @_;
	for my $set (sort keys %$score) {
		for my $what (sort keys %{ $score->{$set} }) {
			my ($good, $all, $wrong) = @{ $score->{$set}{$what} };
			my $text = sprintf '%s, %s: %d of %d, %.1f %%', $set, $what, $good, $all, 100 * $good / $all;
			Test::More::diag($text);
			Test::More::cmp_ok($good / $all, '>=', $least, $text) or Test::More::diag(join "\n", @$wrong);
		}
	}
}

# Runs build/tools/reports on a text within fixed time and memory; the answer, decoded, or dies.
sub parse {
	my ($kind, $text, $dir) = @_;
	PosthornTest::write_file("$dir/m", $text);
	my $limit = "ulimit -t 5" . ($PosthornTest::build =~ /asan/ ? '' : '; ulimit -v 200000');
	my $json = qx{$limit; exec $PosthornTest::tools/reports $kind $dir/m};
	die "reports $kind: status $?\n" if $? != 0;
	return JSON::PP->new->utf8->decode($json);
}

1;
