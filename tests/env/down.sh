#!/usr/bin/env bash
# Stops what up.sh started, by the process ids that it recorded, and removes its state.
set -euo pipefail
. "$(dirname "$0")/places.sh"
[ -e "$env_file" ] || exit 0
. "$env_file"
state=$LONGSHORE_TEST_ENV
if docker version >/dev/null 2>&1; then
  docker ps --all --quiet | xargs --no-run-if-empty docker rm --force >/dev/null
fi
for pid_file in "$state"/*.pid; do
  [ -e "$pid_file" ] || continue
  pid=$(cat "$pid_file")
  kill "$pid" 2>/dev/null || continue
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
done
# dockerd leaves its network namespace files and overlay mounts behind when it was killed.
awk -v state="$state/" 'index($5, state) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs --no-run-if-empty -n1 umount
rm -rf "$state" "$env_file"
