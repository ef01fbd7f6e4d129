#!/usr/bin/env bash
# Contexts and caches in Azure Blob Storage against Azurite, which checks signatures: by the key of the account, and by a signature in the URL.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
. tests/services/lib/azurite.sh
work=$(mktemp -d)
give_up() { echo "0 passed, 1 failed"; exit 1; }
start_azurite "$work" || give_up
trap 'stop_azurite; rm -rf "$work"' EXIT

mkdir -p "$work/context/sub" "$work/home" "$work/state"
printf 'FROM scratch\nCOPY --chmod=644 . /\n' >"$work/context/Dockerfile"
echo text >"$work/context/sub/file"
head -c 9000000 /dev/urandom >"$work/context/large"
find "$work/context" -exec touch -h -d @1000 {} +
tar -C "$work/context" -czf "$work/context.tar.gz" .
# What is signed here is signed by other code than the program's.
export AZURE_STORAGE_BLOB_ENDPOINT=$AZURITE
key=$AZURITE_KEY
azurite_container builds || give_up
sas=$(python3 - "$AZURE_STORAGE_BLOB_ENDPOINT" "$key" "$work/context.tar.gz" <<'END'
import base64, datetime, hashlib, hmac, sys, urllib.parse, urllib.request
endpoint, key, path = sys.argv[1:]
sign = lambda text: base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
now = datetime.datetime.now(datetime.timezone.utc)
def put(name, body, extra):
    headers = {"x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": "2021-08-06", **extra}
    ours = "".join(f"{k}:{headers[k]}\n" for k in sorted(headers))
    resource = "/devstoreaccount1/devstoreaccount1/" + urllib.parse.quote(name)
    kind = "application/octet-stream"
    text = f"PUT\n\n\n{len(body)}\n\n{kind}\n\n\n\n\n\n\n{ours}{resource}"
    url = f"{endpoint}/{urllib.parse.quote(name)}"
    request = urllib.request.Request(url, data=body, method="PUT", headers={**headers, "Content-Type": kind, "Authorization": f"SharedKey devstoreaccount1:{sign(text)}"})
    urllib.request.urlopen(request).read()
put("builds/dir/context one.tar.gz", open(path, "rb").read(), {"x-ms-blob-type": "BlockBlob"})
end = (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
fields = ["r", "", end, "/blob/devstoreaccount1/builds/dir/context one.tar.gz", "", "", "", "2018-11-09", "b", "", "", "", "", "", ""]
print(urllib.parse.urlencode({"sp": "r", "se": end, "sv": "2018-11-09", "sr": "b", "sig": sign("\n".join(fields))}))
END
) || { cat "$work/azurite.log"; give_up; }

passed=0 failed=0
build() { # CONTEXT VARIABLE=VALUE...: the digest of the image
  local context=$1
  shift
  env HOME="$work/home" LONGSHORE_STATE_DIR="$work/state" SOURCE_DATE_EPOCH=1 "$@" "$longshore" build -c "$context" --no-push 2>"$work/log"
}
result() { # NAME YES
  if [ "$2" = yes ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$1 failed:" && cat "$work/log"; fi
}
says() { if grep -qF -- "$1" "$work/log" && ! grep -qF -e "$key" -e 'sig=' "$work/log"; then echo yes; else echo no; fi; }
expected=$(build "$work/context")
same() { if [ -n "$expected" ] && [ "$1" = "$expected" ] && ! grep -qF -e "$key" -e 'sig=' "$work/log"; then echo yes; else echo no; fi; }
blob=https://devstoreaccount1.blob.core.windows.net/builds/dir/context%20one.tar.gz
result key "$(same "$(build "$blob" AZURE_STORAGE_ACCESS_KEY="$key")")"
result signature "$(same "$(build "$blob?$sas")")"
build "$blob" AZURE_STORAGE_ACCESS_KEY="$(echo wrong | base64)" >/dev/null
result 'wrong key' "$(says 'not allowed with the identity from AZURE_STORAGE_ACCESS_KEY')"
build https://devstoreaccount1.blob.core.windows.net/builds/none AZURE_STORAGE_ACCESS_KEY="$key" >/dev/null
result 'no blob' "$(says 'there is no such object')"
build https://devstoreaccount1.blob.core.windows.net/none/x AZURE_STORAGE_ACCESS_KEY="$key" >/dev/null
result 'no container' "$(says 'there is no bucket none')"
. tests/services/lib/buckets.sh
result puts "$(LONGSHORE_TEST_FOLDER=https://devstoreaccount1.blob.core.windows.net/builds/kept AZURE_STORAGE_ACCESS_KEY=$key buckets "$work/log")"
result cache "$(LONGSHORE_TEST_FOLDER=https://devstoreaccount1.blob.core.windows.net/builds/caches AZURE_STORAGE_ACCESS_KEY=$key caches \
  "type=azblob,account_name=devstoreaccount1,account_url=$AZURE_STORAGE_BLOB_ENDPOINT,container=builds,prefix=caches,secret_access_key=$key" "$work/log")"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
