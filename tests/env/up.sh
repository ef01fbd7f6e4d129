#!/usr/bin/env bash
# Starts the registries and dockerd on private places, pushes the base images, and prints the path of the env file.
set -euo pipefail
. "$(dirname "$0")/places.sh"
[ "$(id -u)" = 0 ] || die "the environment needs root (dockerd, mmdebstrap)"

mkdir -p "$cache"
exec 9>"$cache/up.lock"
flock 9
if [ -e "$env_file" ]; then
  . "$env_file"
  alive=yes
  for pid_file in "$LONGSHORE_TEST_ENV"/*.pid; do
    kill -0 "$(cat "$pid_file")" 2>/dev/null || alive=no
  done
  [ $alive = no ] || { echo "$env_file"; exit 0; }
  "$root/tests/env/down.sh" 9>&-
fi
"$root/tests/env/bases.sh" >&2 9>&-

# Short, because a socket's path has at most 107 bytes.
state=$(mktemp -d /tmp/longshore-env.XXXXXX)
chmod 711 "$state" # the certificate in it is for ordinary users too
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
start() { # NAME COMMAND...: in the background, in its own session, its pid and log recorded
  local name=$1
  shift
  setsid "$@" >"$state/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$state/$name.pid"
}
await() { # NAME COMMAND...: until the command succeeds, at most 30 s
  local name=$1
  shift
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    kill -0 "$(cat "$state/$name.pid")" 2>/dev/null || break
    sleep 0.2
  done
  tail -20 "$state/$name.log" >&2
  die "$name did not come up"
}
listening() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1"; }

plain=$(free_port)
tls=$(free_port)
"$root/tests/env/registry.sh" "$state" "$plain" "$tls"
start registry docker-registry serve "$state/registry.yml"
start registry-tls docker-registry serve "$state/registry-tls.yml"
# An own containerd namespace: a containerd of the machine, should there be one, is shared without meeting what is in it.
start dockerd dockerd --data-root "$state/docker" --exec-root "$state/exec" --pidfile "$state/docker.own-pid" \
  --host "unix://$state/docker.sock" --containerd-namespace "longshore-$plain" --containerd-plugins-namespace "longshore-plugins-$plain" \
  --bridge=none --iptables=false --ip6tables=false --storage-driver=overlay2

cat >"$state/env" <<ENV
export LONGSHORE_TEST_ENV=$state
export LONGSHORE_TEST_BASES=$bases
export LONGSHORE_TEST_REGISTRY=127.0.0.1:$plain
export LONGSHORE_TEST_REGISTRY_TLS=localhost:$tls
export LONGSHORE_TEST_REGISTRY_CA=$state/ca.crt
export LONGSHORE_TEST_REGISTRY_USER=longshore
export LONGSHORE_TEST_REGISTRY_PASSWORD=$(cat "$state/password")
export DOCKER_HOST=unix://$state/docker.sock
ENV
cp "$state/env" "$env_file"
await registry listening "$plain"
await registry-tls listening "$tls"
for layout in "$bases"/*/; do
  name=$(basename "$layout")
  skopeo copy --quiet --all --preserve-digests --dest-tls-verify=false "oci:$layout" "docker://127.0.0.1:$plain/base/$name:$(cat "$layout/tag")" >&2
done
await dockerd docker --host "unix://$state/docker.sock" version
echo "$env_file"
