# Sourced by the scripts of this directory: counts checks. Needs tests/env/up.sh, LONGSHORE (the binary) and its image longshore:test.
: "${LONGSHORE_TEST_REGISTRY:?the test environment is not up: . \"\$(tests/env/up.sh)\"}" "${LONGSHORE:?the binary to test}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
image=${LONGSHORE_TEST_IMAGE:-longshore:test}
work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-docker.XXXXXX")
containers=()
servers=()
passed=0 failed=0

cleanup() {
  [ ${#containers[@]} = 0 ] || docker rm --force --volumes "${containers[@]}" >/dev/null 2>&1 || true
  [ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

check() { # NAME COMMAND...: passes when the command does; its output is shown when it does not
  local name=$1
  shift
  if "$@" >"$work/check.log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    echo "ok   $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name: $*"
    tail -n 30 "$work/check.log" | sed 's/^/    | /'
  fi
}
refuses() { # COMMAND...: fails of itself, not by a signal or a time limit
  local code=0
  "$@" || code=$?
  [ $code -ne 0 ] && [ $code -lt 124 ]
}
says() { # TEXT COMMAND...: the command succeeds and its output has the text
  local text=$1 output code=0
  shift
  output=$("$@" 2>&1) || code=$?
  echo "$output"
  [ $code = 0 ] && [[ $output == *"$text"* ]]
}
container() { # OPTIONS...: starts a container of longshore's image that waits; its id is in $id
  id=$(docker run --detach --network=host "$@" --entrypoint /busybox/sleep "$image" 3600)
  containers+=("$id")
}
inside() { # COMMAND...: in the last container, under the image's own shell, from `/`: after a kill in place the image's own directory is set aside
  timeout 300 docker exec --workdir / "$id" /busybox/sh -c "$*"
}
finish() {
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}
