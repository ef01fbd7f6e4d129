#!/usr/bin/env bash
# rootless.sh TEST_BINARY PROGRAM: runs the black-box tests as an ordinary user with subordinate ids. The binaries are cargo's.
set -euo pipefail
. "$(dirname "$0")/places.sh"
test_binary=${1:?the test binary} program=${2:?the program}
user=$test_user
home=$(getent passwd "$user" | cut -d: -f6)
# cargo's own directories may be closed to that user: give it copies.
place=$(mktemp -d "$home/run.XXXXXX")
trap 'rm -rf "$place"' EXIT
cp "$test_binary" "$place/it" && cp "$program" "$place/longshore"
chown -R "$user:" "$place"
cd "$place"
# An environment of its own: nothing of root's, but where the test servers are.
mapfile -t servers < <(env | grep '^LONGSHORE_TEST_' | grep -v '^LONGSHORE_TEST_ENV=')
# Left out is what only real root can do, and does in the same tests when cargo runs them: making a device node, mounting a small disk.
real_root=(--skip changes::device_nodes_where_root_may_make_them --skip mistakes::a_full_disk)
runuser -u "$user" -- env -i PATH="$PATH" HOME="$home" USER="$user" TMPDIR="$place" "${servers[@]}" LONGSHORE_TEST_BINARY="$place/longshore" ./it --exact "${real_root[@]}"
