#!/usr/bin/env bash
# Contexts and caches in Google Cloud Storage against fake-gcs-server: the same files from a directory and from a bucket make the same image.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env}/fake-gcs
work=$(mktemp -d)
give_up() { echo "0 passed, 1 failed"; exit 1; }
if [ ! -x "$cache/bin/fake-gcs-server" ]; then
  mkdir -p "$cache"
  . tests/services/lib/go.sh
  need_go "$(cd "$cache/.." && pwd)/tools" || give_up
  GOBIN=$(cd "$cache" && pwd)/bin go install github.com/fsouza/fake-gcs-server@v1.52.3 || give_up
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$cache/bin/fake-gcs-server" -scheme http -host 127.0.0.1 -port "$port" -backend memory >"$work/server.log" 2>&1 &
server=$!
trap 'kill $server; wait $server 2>/dev/null; rm -rf "$work"' EXIT
url=http://127.0.0.1:$port
for _ in $(seq 100); do
  if curl -sf -o /dev/null "$url/storage/v1/b?project=test"; then break; fi
  sleep 0.2
done

mkdir -p "$work/context/sub" "$work/home" "$work/state"
printf 'FROM scratch\nCOPY --chmod=644 . /\n' >"$work/context/Dockerfile"
echo text >"$work/context/sub/file"
head -c 9000000 /dev/urandom >"$work/context/large"
find "$work/context" -exec touch -h -d @1000 {} +
tar -C "$work/context" -czf "$work/context.tar.gz" .
curl -sf -o /dev/null -H 'Content-Type: application/json' -d '{"name":"builds"}' "$url/storage/v1/b?project=test" || give_up
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
