#!/usr/bin/env bash
# A real program: packages by apt, a C compiler in one stage, the program in the next, pushed to the registry and run by docker,
# built in each place. And longshore's image, called as kaniko's is.
set -euo pipefail
. "$(dirname "$0")/check.sh"
example=$root/examples/apt-and-c
flags="--insecure --insecure-pull --build-arg BASE=$LONGSHORE_TEST_REGISTRY/base/debian:12"

runs() { # REFERENCE
  test "$(printf 'a b\nc\n' | docker run --pull=always --rm --interactive --network=none "$1" -)" = "2 3 6"
  test "$(docker run --rm --network=none --entrypoint id "$1" -un)" = counter
}
built() { # PLACE COMMAND...
  local place=$1
  shift
  check "$place: builds and pushes" timeout 600 "$@" --destination "$LONGSHORE_TEST_REGISTRY/real/$place:1" --digest-file "$work/out/$place.digest"
  check "$place: docker runs it" runs "$LONGSHORE_TEST_REGISTRY/real/$place:1"
  check "$place: the digest file names what was pushed" runs "$LONGSHORE_TEST_REGISTRY/real/$place@$(cat "$work/out/$place.digest" 2>/dev/null)"
}
mkdir "$work/out"
# shellcheck disable=SC2086 # the flags are words
{
  built namespace "$LONGSHORE" build --isolation=namespace --context "$example" --state-dir "$work/state" $flags
  mounts=(--volume "$example:/workspace:ro" --volume "$work/out:$work/out")
  built identity docker run --rm --network=host --security-opt seccomp=unconfined "${mounts[@]}" "$image" --isolation=namespace --context /workspace $flags
  built inplace docker run --rm --network=host "${mounts[@]}" "$image" --isolation=inplace --context /workspace $flags
  built chosen docker run --rm --network=host "${mounts[@]}" "$image" --context dir:///workspace $flags
}
check "doctor names what works in docker's default profile" says "a build here uses: in place" docker run --rm --network=host "$image" doctor
finish
