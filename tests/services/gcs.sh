#!/usr/bin/env bash
# Contexts and caches in Google Cloud Storage against fake-gcs-server: the same files from a directory and from a bucket make the same image.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
. tests/services/lib/gcs.sh
work=$(mktemp -d)
give_up() { echo "0 passed, 1 failed"; exit 1; }
start_gcs "$work" || give_up
trap 'stop_gcs; rm -rf "$work"' EXIT
url=$GCS

mkdir -p "$work/context/sub" "$work/home" "$work/state"
printf 'FROM scratch\nCOPY --chmod=644 . /\n' >"$work/context/Dockerfile"
echo text >"$work/context/sub/file"
head -c 9000000 /dev/urandom >"$work/context/large"
find "$work/context" -exec touch -h -d @1000 {} +
tar -C "$work/context" -czf "$work/context.tar.gz" .
gcs_bucket builds || give_up
for name in context.tar.gz 'dir%2Fcontext%20one.tar.gz'; do
  curl -sf -o /dev/null -H 'Content-Type: application/gzip' --data-binary "@$work/context.tar.gz" \
    "$url/upload/storage/v1/b/builds/o?uploadType=media&name=$name" || give_up
done

passed=0 failed=0
build() { # FLAG...: the digest of the image
  env HOME="$work/home" LONGSHORE_STATE_DIR="$work/state" SOURCE_DATE_EPOCH=1 STORAGE_EMULATOR_HOST="$url" "$longshore" build --no-push "$@" 2>"$work/log"
}
result() { # NAME YES
  if [ "$2" = yes ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$1 failed:" && cat "$work/log"; fi
}
expected=$(build -c "$work/context")
same() { if [ -n "$expected" ] && [ "$1" = "$expected" ]; then echo yes; else echo no; fi; }
result object "$(same "$(build -c 'gs://builds/dir/context one.tar.gz')")"
result bucket "$(same "$(build -c gs://builds)")"
result 'the bucket flag' "$(same "$(build --bucket builds)")"
build -c gs://builds/none >/dev/null
result 'no object' "$(grep -q 'there is no such object' "$work/log" && echo yes)"
. tests/services/lib/buckets.sh
result puts "$(LONGSHORE_TEST_FOLDER=gs://builds/kept STORAGE_EMULATOR_HOST=$url buckets "$work/log")"
result cache "$(LONGSHORE_TEST_FOLDER=gs://builds/caches STORAGE_EMULATOR_HOST=$url caches type=gcs,bucket=builds,prefix=caches "$work/log")"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
