#!/usr/bin/env bash
# The real docker-registry in all the ways in which people run one: open, with passwords, with a token server, behind TLS with a private
# authority, with client certificates, as a mirror of another. Everything goes through the flags; what arrived is read with curl.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
registry=$(command -v docker-registry || command -v registry) || { echo "docker-registry is not installed"; echo "0 passed, 1 failed"; exit 1; }
busybox=$(command -v busybox)
work=$(mktemp -d /tmp/longshore-registry.XXXXXX)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
passed=0 failed=0

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listens() { # PORT
  for _ in $(seq 600); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return 0; fi
    sleep 0.1
  done
  echo "nothing listens on port $1" >&2
  return 1
}
start() { # NAME [http settings] [other settings]: sets HOST
  local name=$1 port
  port=$(free_port)
  cat >"$work/$name.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/$name.store}, delete: {enabled: true}}
http:
  addr: 127.0.0.1:$port
  secret: x
${2:-}
${3:-}
YML
  OTEL_TRACES_EXPORTER=none "$registry" serve "$work/$name.yml" >"$work/$name.log" 2>&1 </dev/null &
  pids+=($!)
  listens "$port" || cat "$work/$name.log"
  HOST=127.0.0.1:$port
}
# With nothing of this machine's environment but what is said.
ls_() { env -i PATH="$work/bin:$PATH" HOME="$work/home" LONGSHORE_STATE_DIR="$work/state" "${vars[@]}" "$longshore" "$@"; }
vars=()
judge() { # NAME CODE: counts, and shows what was said if it is wrong or holds a secret
  if [ "$2" = 0 ] && ! grep -qE "canary|$auth" "$work/out"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $1"
    cat "$work/out"
  fi
}
check() { # NAME COMMAND...: succeeds
  "${@:2}" >"$work/out" 2>&1
  judge "$1" $?
}
refused() { # NAME TEXT COMMAND...: fails and says TEXT
  local code=0
  if "${@:3}" >"$work/out" 2>&1; then code=1; fi
  grep -qF -- "$2" "$work/out" || code=1
  judge "$1" $code
}
holds() { # URL [curl flags]: the manifest is the one of the layout
  local found
  found=$(curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "${@:2}" "$1" | sha256sum | cut -d' ' -f1)
  [ "sha256:$found" = "$digest" ] || { echo "$1 holds sha256:$found, not $digest"; return 1; }
}

mkdir -p "$work/home" "$work/state" "$work/context" "$work/bin" "$work/etc"
cp "$busybox" "$work/context/busybox"
head -c 300000 /dev/urandom >"$work/context/noise"
printf 'FROM scratch\nCOPY noise /noise\n' >"$work/context/Dockerfile"
ls_ build -c "$work/context" --oci-layout-path "$work/layout" >"$work/out" 2>&1 || { cat "$work/out"; echo "0 passed, 1 failed"; exit 1; }
digest=$(jq -r '.manifests[0].digest' "$work/layout/index.json")

# Certificates: an authority, a server's, a client's, and one for tokens.
(
  cd "$work"
  ec() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@"; }
  ec -x509 -days 2 -keyout ca.key -out ca.crt -subj /CN=test-ca -addext basicConstraints=critical,CA:TRUE
  for name in server client; do
    ec -keyout $name.key -out $name.csr -subj /CN=$name
    openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $name.crt \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1")
  done
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout token.key -out token.crt -subj /CN=tokens
) >"$work/openssl.log" 2>&1 || cat "$work/openssl.log"
tls="  tls: {certificate: $work/server.crt, key: $work/server.key}"
auth=$(printf 'user:canary-password' | base64 -w0)

# Open, over plain HTTP.
start open
open=$HOST
check "open" ls_ push "$work/layout" "$open/a/b:v1" "$open/a/b:v2" "$open/c:v1"
for name in a/b/manifests/v1 a/b/manifests/v2 c/manifests/v1; do check "open $name" holds "http://$open/v2/$name"; done
check "open, an index" ls_ index create "$open/multi:v1" --image "$open/a/b:v1" --image "linux/arm64=$open/c:v1" --annotation a=b
check "open, the index holds both" bash -c \
  "curl -sf -H 'Accept: application/vnd.oci.image.index.v1+json' http://$open/v2/multi/manifests/v1 | jq -e '.manifests | length == 2'"
printf 'FROM %s/a/b:v1\nCOPY busybox /b\n' "$open" >"$work/based"
check "open, a base and a push of it" ls_ build -c "$work/context" -f "$work/based" -d "$open/d:v1"
check "open, the push is there" curl -sfI "http://$open/v2/d/manifests/v1" -H 'Accept: application/vnd.oci.image.manifest.v1+json'

# With passwords, from all the places that they come from.
salt=$(openssl rand -hex 11)
echo "user:$(perl -e 'print crypt($ARGV[0], "\$2y\$05\$$ARGV[1]")' canary-password "$salt")" >"$work/htpasswd"
start htpasswd "" "auth: {htpasswd: {realm: test, path: $work/htpasswd}}"
refused "htpasswd, no password" "no credential was found" ls_ push "$work/layout" "$HOST/a:v1"
vars=(DOCKER_AUTH_CONFIG="{\"auths\":{\"$HOST\":{\"auth\":\"$(printf 'user:canary-wrong' | base64 -w0)\"}}}")
refused "htpasswd, a wrong password" "DOCKER_AUTH_CONFIG" ls_ push "$work/layout" "$HOST/a:v1"
vars=(DOCKER_AUTH_CONFIG="{\"auths\":{\"$HOST\":{\"auth\":\"$auth\"}}}")
check "htpasswd, auths" ls_ push "$work/layout" "$HOST/auths:v1"
check "htpasswd, auths, there" holds "http://$HOST/v2/auths/manifests/v1" -u user:canary-password
for name in one store; do
  # A credential helper: it gets the host on standard input.
  cat >"$work/bin/docker-credential-$name" <<SH
#!/bin/sh
read host
[ "\$1" = get ] && [ "\$host" = "$HOST" ] || { echo "credentials not found in native keychain"; exit 1; }
echo '{"ServerURL":"$HOST","Username":"user","Secret":"canary-password"}'
SH
  chmod +x "$work/bin/docker-credential-$name"
done
mkdir -p "$work/config"
vars=(DOCKER_CONFIG="$work/config")
echo "{\"credHelpers\":{\"$HOST\":\"one\"}}" >"$work/config/config.json"
check "htpasswd, credHelpers" ls_ push "$work/layout" "$HOST/helpers:v1"
echo '{"credsStore":"store"}' >"$work/config/config.json"
check "htpasswd, credsStore" ls_ push "$work/layout" "$HOST/store:v1"
echo '{"credsStore":"absent"}' >"$work/config/config.json"
refused "htpasswd, a helper that is not there" "docker-credential-absent" ls_ push "$work/layout" "$HOST/absent:v1"
vars=()

# With a token server whose tokens live for 5 seconds, while a build goes on for longer.
printf 'FROM scratch\nCOPY busybox /busybox\nRUN ["/busybox", "sleep", "3"]\nCOPY noise /one\nRUN ["/busybox", "sleep", "3"]\nCOPY noise /two\n' >"$work/long"
for says in 5 300; do
  # What is said to live for 300 seconds is refused after 5: the registry's 401 must be understood, too.
  tokens=$(free_port)
  : >"$work/tokens.log"
  python3 tests/services/lib/token_server.py "$work" "$tokens" 5 $says >"$work/token-server.log" 2>&1 &
  pids+=($!)
  listens "$tokens" || cat "$work/token-server.log"
  start "token-$says" "" "auth: {token: {realm: \"https://127.0.0.1:$tokens/token\", service: test, issuer: longshore-test, rootcertbundle: $work/token.crt}}"
  vars=()
  trust=--registry-certificate=127.0.0.1=$work/ca.crt
  refused "tokens for $says s, anonymous" "refused anonymous access" ls_ push "$trust" "$work/layout" "$HOST/a:v1"
  refused "tokens for $says s, an unknown authority" "no trusted TLS connection" ls_ push "$work/layout" "$HOST/a:v1"
  vars=(DOCKER_AUTH_CONFIG="{\"auths\":{\"$HOST\":{\"auth\":\"$auth\"}}}")
  check "tokens for $says s, push" ls_ push "$trust" "$work/layout" "$HOST/a:v1"
  : >"$work/tokens.log"
  check "tokens for $says s, a long build" ls_ build "$trust" -c "$work/context" -f "$work/long" -d "$HOST/long:v1" -d "$HOST/other:v1"
  check "tokens for $says s, they were renewed" test "$(grep -c ^200 "$work/tokens.log")" -ge 4
  vars=()
  check "tokens for $says s, an anonymous pull" ls_ index create "$trust" "$open/of-tokens:v1" --image "$HOST/long:v1"
done

# TLS with a private authority, by each of the ways to trust it.
start tls "$tls"
refused "TLS, an unknown authority" "no trusted TLS connection" ls_ push "$work/layout" "$HOST/a:v1"
refused "TLS, plain HTTP allowed is not plain HTTP wanted" "no trusted TLS connection" ls_ push --insecure-registry "$HOST" "$work/layout" "$HOST/a:v1"
refused "TLS, another host's authority" "no trusted TLS connection" ls_ push --registry-certificate "localhost=$work/ca.crt" "$work/layout" "$HOST/a:v1"
number=0
for flag in "--registry-certificate=$HOST=$work/ca.crt" "--registry-certificate=127.0.0.1=$work/ca.crt" --skip-tls-verify --skip-tls-verify-registry="$HOST"; do
  number=$((number + 1))
  check "TLS, $flag" ls_ push "$flag" "$work/layout" "$HOST/a:v$number"
  check "TLS, $flag, there" holds "https://$HOST/v2/a/manifests/v$number" --cacert "$work/ca.crt"
done
check "TLS, by its name" ls_ push "--registry-certificate=localhost=$work/ca.crt" "$work/layout" "localhost:${HOST#*:}/name:v1"
vars=(SSL_CERT_FILE="$work/ca.crt")
check "TLS, SSL_CERT_FILE" ls_ push "$work/layout" "$HOST/file:v1"
mkdir -p "$work/certs" && cp "$work/ca.crt" "$work/certs/any-name"
vars=(SSL_CERT_DIR="$work/certs")
check "TLS, SSL_CERT_DIR" ls_ push "$work/layout" "$HOST/dir:v1"
vars=()
# In a mount namespace of its own, so that this machine's /etc stays as it is.
with_certs() { # TREE COMMAND...: with a copy of /etc that has TREE in docker/certs.d
  local tree=$1
  shift
  rm -rf "$work/etc"
  cp -a /etc "$work/etc"
  mkdir -p "$work/etc/docker/certs.d"
  cp -a "$tree/." "$work/etc/docker/certs.d/"
  unshare -m sh -c 'mount --bind "$0" /etc && exec "$@"' "$work/etc" \
    env -i PATH="$PATH" HOME="$work/home" LONGSHORE_STATE_DIR="$work/state" "$@"
}
mkdir -p "$work/trusts/$HOST" && cp "$work/ca.crt" "$work/trusts/$HOST/ca.crt"
check "TLS, certs.d" with_certs "$work/trusts" "$longshore" push "$work/layout" "$HOST/certsd:v1"
check "TLS, certs.d, there" holds "https://$HOST/v2/certsd/manifests/v1" --cacert "$work/ca.crt"
tls_host=$HOST

# Client certificates.
start mtls "  tls: {certificate: $work/server.crt, key: $work/server.key, clientcas: [$work/ca.crt]}"
trust=--registry-certificate=$HOST=$work/ca.crt
refused "mTLS, no certificate" "$HOST" ls_ push "$trust" "$work/layout" "$HOST/a:v1"
check "mTLS" ls_ push "$trust" "--registry-client-cert=$HOST=$work/client.crt,$work/client.key" "$work/layout" "$HOST/a:v1"
check "mTLS, there" holds "https://$HOST/v2/a/manifests/v1" --cacert "$work/ca.crt" --cert "$work/client.crt" --key "$work/client.key"
refused "mTLS, a key of another" "client.crt" ls_ push "$trust" "--registry-client-cert=$HOST=$work/client.crt,$work/server.key" "$work/layout" "$HOST/a:v1"
mkdir -p "$work/trusts-mtls/$HOST"
cp "$work/ca.crt" "$work/trusts-mtls/$HOST/ca.crt"
cp "$work/client.crt" "$work/trusts-mtls/$HOST/client.cert"
cp "$work/client.key" "$work/trusts-mtls/$HOST/client.key"
check "mTLS, certs.d" with_certs "$work/trusts-mtls" "$longshore" push "$work/layout" "$HOST/certsd:v1"

# A mirror that pulls through, in front of the open registry; then without what is behind it.
start mirror "" "proxy: {remoteurl: \"http://$open\"}"
printf 'FROM %s/a/b:v1\nCOPY busybox /b\n' "hub.test:5000" >"$work/mapped"
map=--registry-map=hub.test:5000=$HOST
check "mirror" ls_ build "$map" -c "$work/context" -f "$work/mapped" --oci-layout-path "$work/mapped-image"
check "mirror, it has the manifest" holds "http://$HOST/v2/a/b/manifests/v1"
absent=127.0.0.1:$(free_port)
check "mirror, after one that is not there" ls_ build "--registry-map=hub.test:5000=$absent;hub.test:5000=$HOST" --image-download-retry=0 \
  -c "$work/context" -f "$work/mapped" --oci-layout-path "$work/mapped-again"
check "mirror, the same image" cmp "$work/mapped-image/oci-layout" "$work/mapped-again/oci-layout"
refused "mirror, no fallback" "$absent" ls_ build "--registry-map=$open=$absent" --skip-default-registry-fallback \
  -c "$work/context" -f "$work/based" --no-push

echo "$passed passed, $failed failed"
[ $failed = 0 ]
