# Bounce rules: what is shipped is good, and how good it is on t/data/bounce/replies.tsv. Every reply there has the class and the decision
# to suppress that a person would give it. The part "held" was written before the rules, or at least before it was tried on them, in other
# words than "tuned", by the same hand; rules are not tuned on it: do not look at what it gets wrong, or move that to "tuned" and write new
# ones. "Status alone" is what the codes say without the text.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);
use JSON::PP;

my $posthorn = ($ENV{BUILD} // 'build') . '/sbin/posthorn';
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;

sub slurp {
	my ($file) = @_;
	open my $f, '<', $file or die "$file: $!";
	local $/;
	return scalar <$f>;
}

sub put {
	my ($name, $text) = @_;
	open my $f, '>', "$dir/$name" or die "$dir/$name: $!";
	print $f $text;
	close $f or die "$dir/$name: $!";
	return "$dir/$name";
}

sub run {
	my $out = join '', qx{$posthorn -c $dir @_ 2>&1};
	return ($? >> 8, $out);
}

put('bounce_rules', slurp('conf/bounce_rules'));
put('shaping.lua', slurp('conf/shaping.lua'));
put('main.cf', '');
my ($status, $out) = run('bounce check');
is $status, 0, 'what is shipped is good' or diag $out;
like $out, qr/^bounce rules are good: [3-9]\d\d rules and \d\d vetoes/, 'several hundred rules';

# The corpus.
my @replies;
for (grep { /\S/ && !/^#/ } split /\n/, slurp('t/data/bounce/replies.tsv')) {
	my ($part, $provider, $class, $suppress, $text) = split /\t/, $_, 5;
	push @replies, { part => $part, provider => $provider, class => $class, suppress => $suppress eq 'yes', text => $text };
}
cmp_ok scalar @replies, '>=', 400, 'replies';
cmp_ok 3 * (grep { $_->{part} eq 'held' } @replies), '>=', @replies, 'a third is held out';
is_deeply [grep { !/^(?:held|tuned)$/ } map { $_->{part} } @replies], [], 'nothing else';

sub classify {
	my ($provider, @texts) = @_;
	my $input = put('input', join '', map { "$_\n" } @texts);
	my @args = ('--json', 'bounce', 'classify', '-', $provider eq '-' ? () : ('--provider', $provider));
	return map { decode_json($_) } qx{$posthorn -c $dir @args <$input};
}
my %of;
push @{ $of{$_->{provider}} }, $_ for @replies;
for my $provider (sort keys %of) {
	my @said = classify($provider, map { $_->{text} } @{ $of{$provider} });
	is scalar @said, scalar @{ $of{$provider} }, "an answer to every reply of $provider";
	$of{$provider}[$_]{rules} = $said[$_] for 0 .. $#said;
}

# By the enhanced code, else by the code.
sub by_status {
	my ($text) = @_;
	my ($code, $class, $subject, $detail) = $text =~ /^(\d{3})[ -]?(?:#?([245])\.(\d+)\.(\d+))?/;
	my %by_detail = ('1.1' => 'InvalidRecipient', '1.2' => 'BadDomain', '1.3' => 'InvalidRecipient', '1.6' => 'InactiveMailbox', '1.7' => 'InvalidSender',
		'1.8' => 'InvalidSender', '1.10' => 'BadDomain', '2.1' => 'InactiveMailbox', '2.2' => 'QuotaIssues', '2.3' => 'ContentRelated',
		'3.1' => 'TransientFailure', '3.4' => 'ContentRelated', '4.1' => 'NoAnswerFromHost', '4.2' => 'BadConnection', '4.3' => 'DNSFailure',
		'4.4' => 'RoutingErrors', '4.6' => 'RoutingErrors', '4.7' => 'MessageExpired', '5.3' => 'TooManyRecipients', '7.10' => 'BadConfiguration',
		'7.25' => 'BadConfiguration', map({ ("7.$_" => 'AuthenticationFailed') } 8, 9, 20 .. 24, 26 .. 32, 515));
	my $is_permanent = ($code // $class // 0) =~ /^5/;
	my $found = !defined $code ? 'Uncategorized' : defined $class ? $by_detail{"$subject.$detail"} // ($subject == 5 || $subject == 6 ? 'ProtocolErrors' :
		$subject == 7 ? 'PolicyRelated' : $code < 500 ? 'TransientFailure' : 'Uncategorized') :
		$code < 500 ? 'TransientFailure' : $code == 552 ? 'QuotaIssues' : $code =~ /^55[013]$/ ? 'InvalidRecipient' : 'Uncategorized';
	return { class => $found, suppress => scalar($is_permanent && $found =~ /^(?:InvalidRecipient|InactiveMailbox|BadDomain)$/) };
}
$_->{status} = by_status($_->{text}) for @replies;

sub rate { my ($n, $of) = @_; return $of == 0 ? 1 : $n / $of }

sub figures {
	my ($part, $by) = @_;
	my @r = grep { $_->{part} eq $part } @replies;
	my $n = @r;
	my $right = grep { $_->{$by}{class} eq $_->{class} } @r;
	my $answered = grep { $_->{$by}{class} ne 'Uncategorized' } @r;
	my $hits = grep { $_->{$by}{suppress} && $_->{suppress} } @r;
	my %f = (right => rate($right, $n), coverage => rate($answered, $n), precision => rate($hits, scalar grep { $_->{$by}{suppress} } @r),
		recall => rate($hits, scalar grep { $_->{suppress} } @r));
	note sprintf '%-5s %-6s: %d replies, an answer to %.1f %%, right %.1f %%; suppress: precision %.3f, recall %.3f', $part, $by, $n, 100 * $f{coverage},
	    100 * $f{right}, $f{precision}, $f{recall};
	return \%f;
}

my %figures = map { my $part = $_; map { ("$part $_" => figures($part, $_)) } qw(rules status) } qw(tuned held);
for my $class (sort keys %{ { map { $_->{class} => 1 } @replies } }) {
	note sprintf '%-22s %s', $class, join ', ', map {
		my $part = $_;
		my @r = grep { $_->{part} eq $part && $_->{class} eq $class } @replies;
		sprintf '%s %d of %d', $part, scalar(grep { $_->{rules}{class} eq $class } @r), scalar @r;
	} qw(tuned held);
}
cmp_ok $figures{'held rules'}{right}, '>=', 0.85, 'unseen replies: right';
cmp_ok $figures{'held rules'}{precision}, '>=', 0.99, 'unseen replies: precision of suppressing';
cmp_ok $figures{'held rules'}{recall}, '>=', 0.90, 'unseen replies: recall of suppressing';
cmp_ok $figures{'tuned rules'}{right}, '>=', 0.98, 'seen replies: right';
cmp_ok $figures{'tuned rules'}{precision}, '==', 1, 'seen replies: nothing is suppressed in error';
cmp_ok $figures{'held rules'}{right}, '>', $figures{'held status'}{right}, 'better than the status alone';
for my $r (grep { $_->{part} eq 'tuned' && $_->{rules}{class} ne $_->{class} } @replies) {
	diag "$r->{class}, not $r->{rules}{class} (line $r->{rules}{rule}{line}): $r->{text}";
}

# What is shown.
($status, $out) = run(q{bounce classify '550 5.1.1 <x@y.example>: Recipient address rejected: User unknown in relay recipient table'});
is $status, 0, 'classify';
like $out, qr{^class    InvalidRecipient \(rcpt_unknown\)\nkind     hard\nscope    recipient\naction   suppress\nsuppress yes\nrule     \Q$dir\E/bounce_rules:\d+  /.+/
do       by-code suppress scope=global for=365d\nby       \Q$dir\E/bounce_rules:\d+$}m,
    'class, kind, scope, action and the rule';
($status, $out) = run(q{bounce classify '550 5.1.1 user unknown (policy)'});
like $out, qr{^suppress no\n.*^veto     \Q$dir\E/bounce_rules:\d+  /}ms, 'a veto and where it is';
($status, $out) = run(q{bounce classify --phase mail '550 5.1.1 user unknown'});
like $out, qr{^suppress no$}m, 'before the recipient was named nothing is suppressed';
($status, $out) = run(q{bounce classify '450 4.1.1 user unknown'});
like $out, qr{^class    InvalidRecipient .*^action   retry\nsuppress no$}ms, 'nor by what is temporary';
($status, $out) = run(q{bounce classify --phase nowhere '450'});
is $status, 2, 'phases are checked';
($status, $out) = run('bounce classify one two');
is $status, 2, 'one text';
my ($json) = classify('-', '571 zzz');
is_deeply $json, { class => 'Uncategorized', cause => 'unclassified', kind => 'unknown', scope => 'unknown', action => 'give-up', suppress => JSON::PP::false,
	do => 'by-code', would_suppress => JSON::PP::false },
    'nothing is known';

# A file of one's own comes first; the example of the manual is good.
my $manual = slurp('man/bounce_rules.5');
my ($example) = $manual =~ /^\.Bd -literal[^\n]*\n(.*?)^\.Ed/ms;
put('mine', $example =~ s/\\e/\\/gr);
($status, $out) = run("bounce check $dir/mine $dir/bounce_rules");
is $status, 0, 'the example of the manual is good' or diag $out;
put('mine', "policy_rcpt /user unknown/\n\t550 user unknown\n");
put('main.cf', "bounce_rules_files = $dir/mine, $dir/bounce_rules\n");
($status, $out) = run("bounce classify '550 5.1.1 user unknown'");
like $out, qr{^class    PolicyRelated.*^rule     \Q$dir\E/mine:1 }ms, 'an earlier file wins';
($status, $out) = run('bounce check');
is $status, 0, 'and what it takes over is no finding' or diag $out;
put('main.cf', '');

# The table of the manual is that of the code.
my $c = slurp('lib/mail/bounce_class.c');
my @code = map { [map { lc tr/_/-/r } @$_] } map { [$_->[0] =~ tr/_/~/r, @$_[1 .. 4]] } map { [/"(\w+)",\s*"(\w+)",\s*(\w+),\s*(\w+),\s*(\w+)/] } $c =~ /^\tC\((.*)\),$/gm;
my @table = map { [map { lc } split / Ta /, tr/_/~/r] } $manual =~ /^\.It Li (\w+ Ta .*)$/gm;
cmp_ok scalar @code, '>', 50, 'causes';
is_deeply \@table, \@code, 'the table of causes';
my ($meanings) = $manual =~ /^\.Bl -tag -width "throttle_reputation" -compact\n(.*?)^\.El/ms;
is_deeply [$meanings =~ /^\.It Li (\w+)$/gm], [map { $_->[0] =~ tr/~/_/r } @code], 'and what they mean';

# Mistakes are all reported, with their lines.
my $bad = put('bad', <<'RULES');
rcpt_unknwon /x/
	550 x
rcpt_unknown code=55 /xyz/
rcpt_unknown status=9.1.1 /xyz/
rcpt_unknown phase=later /xyz/
rcpt_unknown colour=red /xyz/
rcpt_unknown /(xyz/
rcpt_unknown /xyz
rcpt_unknown
mailbox_full suppress=yes /xyz/
veto status=5.1.1
rcpt_unknown xyz
RULES
put('bad2', "\t550 lonely\n");
($status, $out) = run("bounce check $bad $dir/bad2");
is $status, 1, 'mistakes';
like $out, qr/bad:1: 'rcpt_unknwon' is no cause; did you mean 'rcpt_unknown'\?/, 'a cause';
like $out, qr/bad:3: code=55: /, 'a code';
like $out, qr/bad:4: status=9\.1\.1: /, 'a status';
like $out, qr/bad:5: phase=later: /, 'a phase';
like $out, qr/bad:6: 'colour' is not a condition/, 'a condition';
like $out, qr/bad:7: the pattern '\(xyz' is wrong at character \d+: /, 'a pattern';
like $out, qr{bad:8: the pattern must be between / and a /}, 'a pattern without end';
like $out, qr/bad:9: a rule needs a pattern, a code or a status/, 'no condition at all';
like $out, qr/bad:10: suppress=yes: /, 'suppressing for what is no reason to';
like $out, qr/bad:11: a veto needs a pattern/, 'a veto without pattern';
like $out, qr/bad:12: 'xyz' is neither a condition/, 'a word';
like $out, qr/bad2:1: a sample without a rule/, 'a sample';

# What can be loaded and yet does nothing, or too much.
my $dead = put('dead', <<'RULES');
mailbox_full /\\[QF1\\]/
	552 [QF1] full
spam_content /polic/
	550 a matter of policy
virus /policy of viruses/
	550 policy of viruses
rcpt_unknown provider=gmial /no such/
	550 no such one
rcpt_unknown /unknown to us/
	550 unknown to us, as spam
veto /as spam/
	550 as spam
veto /never sampled/
rcpt_unknown /(?:a+)+=x/
	550 aa=x
rcpt_unknown /gone/
	550 gone
	! 550 the gone one
RULES
($status, $out) = run("bounce check $dead");
is $status, 1, 'findings';
like $out, qr/dead:1: mailbox_full does not hit its sample .*; a backslash is doubled/, 'a pattern that hits nothing';
like $out, qr/dead:5: virus is shadowed by spam_content in line 3 /, 'a rule in the shadow of another';
like $out, qr/dead:7: .* provider gmial, which the shaping data do not know/, 'a provider';
like $out, qr/dead:9: .* veto in \S+dead:11 says no/, 'a suppression that never is';
like $out, qr/dead:13: veto has no sample/, 'no sample';
like $out, qr/dead:14: rcpt_unknown is too costly/, 'a catastrophe';
like $out, qr/dead:16: .*'550 the gone one' \(line 18\), which it must not/, 'a counter-example';
($status, $out) = run("--json bounce check $dead");
cmp_ok scalar @{ (eval { decode_json($out) }) // [] }, '>=', 7, 'findings in JSON';
done_testing;
