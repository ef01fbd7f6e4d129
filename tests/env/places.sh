# Sourced by the scripts of this directory: where things are. Sets variables only.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}
bases=$cache/bases
# What is running: the env file of the last up.sh, removed by down.sh.
env_file=$cache/running.env
die() { echo "${0##*/}: $*" >&2; exit 1; }
# The ordinary user with subordinate ids that rootless tests run as; install.sh makes it.
test_user=longshore-test
