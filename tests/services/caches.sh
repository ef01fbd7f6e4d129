#!/usr/bin/env bash
# Random Dockerfiles built twice with every kind of cache between the builds, in a namespace and in place: the images are the same to the byte; and of a
# build that misses what was kept in a store, what it says of why. The stores are emulators; GitHub's service is tests/services/lib/actions_cache.py.
#
#   caches.sh                        12 seeds of each isolation, and the explanations: what tests/run wants
#   caches.sh COUNT [FIRST [PLACE]]  so many seeds, from FIRST (1) on, in `namespace` or `inplace` or, without PLACE, in both; no explanations
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
count=${1:-12} first=${2:-1}
read -ra places <<<"${3:-namespace inplace}"
. tests/services/lib/moto.sh
. tests/services/lib/gcs.sh
. tests/services/lib/azurite.sh
work=$(mktemp -d /tmp/longshore-caches.XXXXXX)
moto_pid='' gcs_pid='' azurite_pid='' actions=''
finish() {
  stop_moto
  stop_gcs
  stop_azurite
  [ -z "$actions" ] || kill "$actions"
  rm -rf "$work"
}
trap finish EXIT
give_up() { echo "0 passed, 1 failed"; exit 1; }
start_moto "$work" && start_gcs "$work" && gcs_bucket seeds && start_azurite "$work" && azurite_container seeds || give_up
"${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env}/moto/bin/python" - "$MOTO" <<'PYTHON' || give_up
import sys, boto3
keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "key"}
boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1", **keys).create_bucket(Bucket="seeds")
PYTHON
python3 tests/services/lib/actions_cache.py "$work/port" &
actions=$!
for _ in $(seq 600); do [ -s "$work/port" ] && break; sleep 0.1; done
export STORAGE_EMULATOR_HOST=$GCS
CACHES="type=s3,bucket=seeds,region=us-east-1,prefix={seed},endpoint_url=$MOTO,use_path_style=true,access_key_id=AKID,secret_access_key=key
type=gcs,bucket=seeds,prefix={seed}
type=azblob,account_name=$AZURITE_ACCOUNT,account_url=$AZURITE,container=seeds,prefix={seed},secret_access_key=$AZURITE_KEY
type=gha,scope={seed},url_v2=http://127.0.0.1:$(cat "$work/port")/,token=opaque"
export CACHES
passed=0 failed=0
run() { # COUNT COMMAND...: what has to pass so many times
  local expected=$1 good
  shift
  "$@" >"$work/out" 2>&1
  cat "$work/out"
  good=$(sed -nE 's/^([0-9]+) passed, [0-9]+ failed$/\1/p' "$work/out")
  [ "$good" = "$expected" ] || failed=$((failed + expected - ${good:-0}))
  passed=$((passed + ${good:-0}))
}
for place in "${places[@]}"; do
  run "$count" tests/generator/cache.py "$longshore" "$first" "$count" "$place"
done
if [ $# = 0 ]; then
  mapfile -t stores <<<"$CACHES"
  run 24 tests/services/lib/explaining.py "$longshore" "${stores[@]}"
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
