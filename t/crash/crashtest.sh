#!/bin/sh
# make crashtest: power cuts and cut points with their controls, one after the other, and a summary of all.
#   crashtest.sh CUTS POINTS DIRECTORY-FOR-LOGS
set -u
cuts=$1 points=$2 dir=$3
mkdir -p "$dir"
failed=0

# one NAME EXPECTED-STATUS COMMAND...
one() {
	name=$1 expected=$2
	shift 2
	echo "$name ..."
	perl -It/lib "$@" >"$dir/$name.log" 2>&1
	status=$?
	tail -n 1 "$dir/$name.log" >"$dir/$name.json"
	if [ "$status" -ne "$expected" ]; then
		failed=1
		echo "$name: exit status $status, not $expected; see $dir/$name.log"
	fi
}

one ext4 0 t/crash/powercut.pl --fs ext4 --cuts "$cuts" --verbose
one xfs 0 t/crash/powercut.pl --fs xfs --cuts "$cuts" --verbose
one ext4-weak 1 t/crash/powercut.pl --fs ext4 --cuts 3 --weak --verbose
one xfs-weak 1 t/crash/powercut.pl --fs xfs --cuts 3 --weak --verbose
one cutpoints 0 t/crash/cutpoints.pl --points "$points" --deliver 20
one cutpoints-weak 1 t/crash/cutpoints.pl --points 40 --deliver 0 --weak

echo
echo 'figures (the weak ones must lose messages):'
for name in ext4 xfs ext4-weak xfs-weak cutpoints cutpoints-weak; do
	printf '%-15s %s\n' "$name" "$(cat "$dir/$name.json")"
done
if [ "$failed" -ne 0 ]; then
	echo 'crashtest: FAILED'
	exit 1
fi
echo 'crashtest: nothing was lost, and the controls lost mail'
