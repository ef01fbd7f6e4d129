#!/usr/bin/env bash
# record.sh [CASE...]: builds the cases with the reference builder and writes their expected.json. Needs tests/env/up.sh, Go and root.
#
# The reference is moby/buildkit, built from the Go module proxy into the cache directory, or the one that BUILDKITD and BUILDCTL name.
set -euo pipefail
. "$(dirname "$0")/../env/places.sh"
. "$("$root/tests/env/up.sh")"
version=v0.32.2

if [ -z "${BUILDKITD:-}" ]; then
  BUILDKITD=$cache/reference/buildkitd BUILDCTL=$cache/reference/buildctl
  if [ ! -x "$BUILDKITD" ]; then
    echo "record.sh: building buildkitd $version" >&2
    mkdir -p "$cache/reference/module"
    # `go install ...@version` refuses a module with exclude directives; requiring it from a module of our own does not.
    cd "$cache/reference/module"
    printf 'module reference\n' >go.mod
    go get "github.com/moby/buildkit/cmd/buildkitd@$version" "github.com/moby/buildkit/cmd/buildctl@$version"
    go build -o "$cache/reference/" github.com/moby/buildkit/cmd/buildkitd github.com/moby/buildkit/cmd/buildctl
  fi
fi

"$root/tests/reference/record.py" "$BUILDKITD" "$BUILDCTL" "$@"
