#!/usr/bin/env bash
# golden.sh [TABLE...]: records what the reference builder says to the rows of tests/fixtures/dockerfile/*.jsonl. Needs root, and the reference
# builder that record.sh has made, or the one that BUILDKITD and BUILDCTL name.
set -euo pipefail
. "$(dirname "$0")/../env/places.sh"
exec "$root/tests/reference/golden.py" "${BUILDKITD:-$cache/reference/buildkitd}" "${BUILDCTL:-$cache/reference/buildctl}" "$@"
