# make install puts everything where README and manuals say, an installed suite runs from there, and uninstall takes it away.
use strict;
use warnings;
use Test::More;
use File::Temp qw(tempdir);

# With the default PREFIX: another one compiles other paths in, and relinks what the tests beside this one are running.
my $dest = tempdir(CLEANUP => 1);
my $build = $ENV{BUILD} // 'build';
my $out = `make -s install BUILD=$build DESTDIR=$dest 2>&1`;
is $?, 0, 'make install' or diag $out;
ok -x "$dest/usr/local/sbin/posthorn", 'sbin/posthorn';
ok -x "$dest/usr/local/libexec/posthorn/$_", "libexec/posthorn/$_" for qw(smtpd queued deliverd bouncerd fblproc);
ok -s "$dest/etc/posthorn/$_", $_ for qw(main.cf policy.lua shaping.lua bounce_rules);
ok -s "$dest/usr/local/share/man/man8/$_", $_ for qw(posthorn.8 smtpd.8 queued.8 deliverd.8 bouncerd.8 fblproc.8);
ok -s "$dest/usr/local/share/man/man7/posthorn-faults.7", 'posthorn-faults.7';
ok scalar(glob "$dest/usr/local/lib/systemd/system/posthorn*.service"), 'systemd units';
ok -s "$dest/usr/local/lib/sysusers.d/posthorn.conf", 'sysusers.d';
open(my $f, '>>', "$dest/etc/posthorn/main.cf");
print $f "# mine\n";
close $f;
`make -s install BUILD=$build DESTDIR=$dest 2>&1`;
like `cat $dest/etc/posthorn/main.cf`, qr/# mine/, 'a second install keeps the configuration';
like `$dest/usr/local/sbin/posthorn version`, qr/\d/, 'the installed command runs';
`make -s uninstall BUILD=$build DESTDIR=$dest 2>&1`;
is $?, 0, 'make uninstall';
my @left = grep { !m{/etc/posthorn} } split /\n/, `find $dest -type f -o -type l`;
is_deeply \@left, [], 'nothing but the configuration is left';
done_testing;
