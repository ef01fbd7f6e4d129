#!/usr/bin/env bash
# Cache mounts of the real pip, npm and cargo, saved and restored: a second build on a machine that has nothing downloads no package again: out of a
# directory, a registry, buckets of S3, Google and Azure, and GitHub's cache service (tests/services/lib/actions_cache.py). The programs are this
# machine's, with the libraries that they need, mounted out of the context; the package indexes are on loopback and count their bytes.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
registry=$(command -v docker-registry || command -v registry) || { echo "docker-registry is not installed"; echo "0 passed, 1 failed"; exit 1; }
. tests/services/lib/moto.sh
. tests/services/lib/gcs.sh
. tests/services/lib/azurite.sh
work=$(mktemp -d /tmp/longshore-mounts.XXXXXX)
pids=() gcs_pid='' azurite_pid='' moto_pid=''
finish() {
  stop_moto
  stop_gcs
  stop_azurite
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
passed=0 failed=0

start_moto "$work" || { echo "0 passed, 1 failed"; exit 1; }
"${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env}/moto/bin/python" - "$MOTO" <<'END' || { echo "0 passed, 1 failed"; exit 1; }
import sys, boto3
keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "key"}
boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1", **keys).create_bucket(Bucket="mounts")
END
if ! { start_gcs "$work" && gcs_bucket mounts && start_azurite "$work" && azurite_container mounts; }; then
  echo "0 passed, 1 failed"
  exit 1
fi
python3 tests/services/lib/packages.py "$work/port" &
pids+=($!)
python3 tests/services/lib/actions_cache.py "$work/actions" &
pids+=($!)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/store}}
http: {addr: "127.0.0.1:$port", secret: x}
YML
OTEL_TRACES_EXPORTER=none "$registry" serve "$work/registry.yml" >"$work/registry.log" 2>&1 </dev/null &
pids+=($!)
for _ in $(seq 600); do
  [ -s "$work/port" ] && [ -s "$work/actions" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  sleep 0.1
done
index=http://127.0.0.1:$(cat "$work/port")
count() { python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "$index/count"; }

# The programs at the paths that they have here.
tree=$work/context/tree
mkdir -p "$tree/rust/bin" "$tree/rust/lib" "$work/context/bin" "$work/context/project/src"
cp "$(command -v busybox)" "$work/context/bin/busybox"
ln -s busybox "$work/context/bin/sh"
libraries() { # FILE...: copies the libraries that they need
  local file
  ldd "$@" 2>/dev/null | sed -nE 's/^[[:space:]]+(.* => )?(\/[^ ]+) \(0x.*/\2/p' | sort -u | while read -r file; do
    mkdir -p "$tree$(dirname "$file")"
    cp -L "$file" "$tree$file"
  done
}
python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
stdlib=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
pip=$(python3 -c 'import os, pip; print(os.path.dirname(pip.__file__))')
mkdir -p "$tree$(dirname "$python")" "$tree$stdlib" "$tree$(dirname "$pip")"
cp "$python" "$tree$python"
(cd "$stdlib" && tar -cf - --exclude=__pycache__ --exclude=site-packages --exclude=dist-packages --exclude=test --exclude='config-*' .) | tar -xf - -C "$tree$stdlib"
cp -r "$pip" "$tree$pip"
libraries "$python" "$stdlib"/lib-dynload/*.so
node=$(readlink -f "$(command -v node)")
npm=$(readlink -f "$(command -v npm)")
npm_home=$(dirname "$(dirname "$npm")")
mkdir -p "$tree$(dirname "$node")" "$tree$(dirname "$npm_home")"
cp "$node" "$tree$node"
cp -r "$npm_home" "$tree$npm_home"
libraries "$node"
# cargo asks the compiler for its version and for the target's settings.
sysroot=$(rustc --print sysroot)
cp "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$tree/rust/bin/"
cp "$sysroot"/lib/*.so* "$tree/rust/lib/"
libraries "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$sysroot"/lib/*.so*
rm -rf "${tree:?}$sysroot"
printf '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nparcel = { version = "1", registry = "here" }\n' >"$work/context/project/Cargo.toml"
: >"$work/context/project/src/lib.rs"
# Directories of the tree, as far up as nothing of the image's own is in the way.
tools=
for directory in "$tree"/* "$tree"/root/.[a-z]*; do
  name=${directory#"$tree"}
  [ -d "$directory" ] && [ "$name" != /root ] && [ "$name" != /bin ] && tools+=" --mount=type=bind,source=tree$name,target=$name"
done
cat >"$work/context/Dockerfile" <<END
FROM scratch
COPY bin /bin
COPY project /project
ENV PATH=/bin:/rust/bin HOME=/root
RUN$tools --mount=type=cache,id=pip,target=/root/.cache/pip mkdir -p /tmp && $python -m pip download --no-deps --index-url $index/simple --trusted-host 127.0.0.1 -d /pip parcel
RUN$tools --mount=type=cache,id=npm,target=/root/.npm mkdir /npm && cd /npm && $node $npm install --no-audit --no-fund --registry $index/npm parcel-of-noise
RUN$tools --mount=type=cache,id=cargo,target=/cargo/registry cd /project && CARGO_HOME=/cargo CARGO_REGISTRIES_HERE_INDEX=sparse+$index/cargo/ cargo fetch
END

build() { # FROM TO: on a machine that has nothing
  rm -rf "$work/state"
  env -i PATH="$PATH" HOME="$work" AWS_ACCESS_KEY_ID=AKID AWS_SECRET_ACCESS_KEY=key AWS_EC2_METADATA_DISABLED=true STORAGE_EMULATOR_HOST="$GCS" LONGSHORE_STATE_DIR="$work/state" "$longshore" build --context "$work/context" --no-push \
    --cache-mounts-from "$1" --cache-mounts-to "$2" >"$work/out" 2>&1
}
check() { # NAME FROM TO
  local before first second code=0
  before=$(count)
  build "$2" "$3" || code=1
  first=$(($(count) - before))
  build "$2" "$3" || code=1
  second=$(($(count) - before - first))
  # Three packages of 300 kB each that nothing makes smaller.
  if [ $code = 0 ] && [ "$first" -ge 900000 ] && [ "$second" = 0 ]; then
    passed=$((passed + 1))
    echo "$1: $first bytes of packages for the first build, $second for the second; $(grep -c ': restored' "$work/out") mounts restored"
  else
    failed=$((failed + 1))
    echo "$1: $first bytes of packages for the first build, $second for the second, code $code"
    cat "$work/out"
  fi
}
check directory "type=local,src=$work/mounts" "type=local,dest=$work/mounts"
check registry "type=registry,ref=127.0.0.1:$port/mounts" "type=registry,ref=127.0.0.1:$port/mounts"
bucket="type=s3,bucket=mounts,region=us-east-1,prefix=kept,endpoint_url=$MOTO,use_path_style=true"
check S3 "$bucket" "$bucket"
bucket="type=gcs,bucket=mounts,prefix=kept"
check Google "$bucket" "$bucket"
bucket="type=azblob,account_name=$AZURITE_ACCOUNT,account_url=$AZURITE,container=mounts,prefix=kept,secret_access_key=$AZURITE_KEY"
check Azure "$bucket" "$bucket"
service="type=gha,url_v2=http://127.0.0.1:$(cat "$work/actions")/,token=opaque"
check GitHub "$service" "$service"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
