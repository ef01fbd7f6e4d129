#!/usr/bin/env bash
# registry.sh STATE PLAIN_PORT TLS_PORT: writes the configurations of the two registries, a CA, a certificate and a password.
set -euo pipefail
state=$1 plain=$2 tls=$3

config() { # PORT STORE [more http settings] [auth settings]
  cat <<YML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $state/$2}, delete: {enabled: true}}
http:
  addr: 127.0.0.1:$1
${3:-}
${4:-}
YML
}
config "$plain" store >"$state/registry.yml"

umask 077
openssl rand -hex 12 >"$state/password"
salt=$(openssl rand -hex 11)
hash=$(perl -e 'print crypt($ARGV[0], "\$2y\$05\$$ARGV[1]")' "$(cat "$state/password")" "$salt")
echo "longshore:$hash" >"$state/htpasswd"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=longshore test CA" -addext "basicConstraints=critical,CA:TRUE" \
  -keyout "$state/ca.key" -out "$state/ca.crt" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$state/tls.key" -out "$state/tls.csr" 2>/dev/null
openssl x509 -req -in "$state/tls.csr" -CA "$state/ca.crt" -CAkey "$state/ca.key" -CAcreateserial -days 30 -out "$state/tls.crt" \
  -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") 2>/dev/null
config "$tls" store-tls "  tls: {certificate: $state/tls.crt, key: $state/tls.key}" \
  "auth: {htpasswd: {realm: longshore, path: $state/htpasswd}}" >"$state/registry-tls.yml"
chmod 644 "$state/ca.crt"
