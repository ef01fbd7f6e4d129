#!/usr/bin/env bash
# Contexts in S3 against moto: the same files from a directory, from an archive and from a bucket make the same image.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
. tests/services/lib/moto.sh
work=$(mktemp -d)
start_moto "$work" || { echo "0 passed, 1 failed"; exit 1; }
trap 'stop_moto; rm -rf "$work"' EXIT

export AWS_ACCESS_KEY_ID=AKID AWS_SECRET_ACCESS_KEY=canary-key AWS_EC2_METADATA_DISABLED=true
python=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env}/moto/bin/python
mkdir -p "$work/context/sub" "$work/home" "$work/state"
printf 'FROM scratch\nCOPY --chmod=644 . /\n' >"$work/context/Dockerfile"
echo text >"$work/context/sub/file"
head -c 30000000 /dev/urandom >"$work/context/large"
find "$work/context" -exec touch -h -d @1000 {} +
tar -C "$work/context" -czf "$work/context.tar.gz" .
"$python" - "$MOTO" "$work/context.tar.gz" <<'END' || { echo "0 passed, 1 failed"; exit 1; }
import sys, boto3
for region, bucket in (("us-east-1", "here"), ("eu-central-1", "there")):
    s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name=region)
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=bucket, **where)
    s3.upload_file(sys.argv[2], bucket, "dir/context one.tar.gz")
    s3.put_object(Bucket=bucket, Key="sum.tar.gz", Body=open(sys.argv[2], "rb"), ChecksumAlgorithm="SHA256")
END

passed=0 failed=0
build() { # CONTEXT VARIABLE=VALUE...: the digest of the image
  local context=$1
  shift
  env HOME="$work/home" LONGSHORE_STATE_DIR="$work/state" SOURCE_DATE_EPOCH=1 "$@" "$longshore" build -c "$context" --no-push 2>"$work/log"
}
result() { # NAME YES
  if [ "$2" = yes ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$1 failed:" && cat "$work/log"; fi
}
expected=$(build "$work/context")
same() { if [ -n "$expected" ] && [ "$1" = "$expected" ] && ! grep -q canary "$work/log"; then echo yes; else echo no; fi; }
result archive "$(same "$(build "tar://$work/context.tar.gz")")"
for bucket in here there; do
  result "$bucket" "$(same "$(build "s3://$bucket/dir/context one.tar.gz" S3_ENDPOINT="$MOTO" S3_FORCE_PATH_STYLE=true)")"
  result "$bucket by AWS_ENDPOINT_URL_S3" "$(same "$(build "s3://$bucket/sum.tar.gz" AWS_ENDPOINT_URL_S3="$MOTO")")"
done
build s3://none/x S3_ENDPOINT="$MOTO" >/dev/null
result 'no bucket' "$(grep -q 'there is no bucket none' "$work/log" && echo yes)"
build s3://here/none S3_ENDPOINT="$MOTO" >/dev/null
result 'no object' "$(grep -q 'there is no such object' "$work/log" && echo yes)"
. tests/services/lib/buckets.sh
for bucket in here there; do
  result "puts in $bucket" "$(LONGSHORE_TEST_FOLDER=s3://$bucket/kept S3_ENDPOINT=$MOTO S3_FORCE_PATH_STYLE=true buckets "$work/log")"
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
