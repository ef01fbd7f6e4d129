# Sourced: moto, a server that plays Amazon's services, in a virtual environment under the cache directory.

start_moto() { # DIRECTORY: installs it if need be, starts it on a free port of loopback, and sets MOTO to its address
  local cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env} directory=$1
  local venv=$cache/moto port
  mkdir -p "$cache"
  if [ ! -x "$venv/bin/moto_server" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" && "$venv/bin/pip" install -q 'moto[server]==5.1.*' || return 1
  fi
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$directory/moto.log" 2>&1 &
  moto_pid=$!
  MOTO=http://127.0.0.1:$port
  for _ in $(seq 300); do
    if curl -sf -o /dev/null "$MOTO/moto-api/"; then return 0; fi
    kill -0 $moto_pid 2>/dev/null || break
    sleep 0.2
  done
  cat "$directory/moto.log" >&2
  return 1
}

stop_moto() {
  kill "$moto_pid" 2>/dev/null
  wait "$moto_pid" 2>/dev/null
  return 0
}
