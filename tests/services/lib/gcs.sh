# Sourced: fake-gcs-server, which plays Google Cloud Storage, in the cache directory.

start_gcs() { # DIRECTORY: installs it if need be, starts it on a free port of loopback, and sets GCS to its address
  local cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env}/fake-gcs port
  if [ ! -x "$cache/bin/fake-gcs-server" ]; then
    mkdir -p "$cache"
    . tests/services/lib/go.sh
    need_go "$(cd "$cache/.." && pwd)/tools" || return 1
    GOBIN=$(cd "$cache" && pwd)/bin go install github.com/fsouza/fake-gcs-server@v1.52.3 || return 1
  fi
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$cache/bin/fake-gcs-server" -scheme http -host 127.0.0.1 -port "$port" -backend memory >"$1/gcs.log" 2>&1 &
  gcs_pid=$!
  GCS=http://127.0.0.1:$port
  for _ in $(seq 300); do
    if curl -sf -o /dev/null "$GCS/storage/v1/b?project=test"; then return 0; fi
    sleep 0.2
  done
  cat "$1/gcs.log" >&2
  return 1
}

gcs_bucket() { # NAME: makes it
  curl -sf -o /dev/null -H 'Content-Type: application/json' -d "{\"name\":\"$1\"}" "$GCS/storage/v1/b?project=test"
}

stop_gcs() {
  kill "$gcs_pid" 2>/dev/null
  wait "$gcs_pid" 2>/dev/null
  return 0
}
