# Sourced: Azurite, which plays Azure Blob Storage and checks signatures, in the cache directory.

# The account and key that it has for everybody.
AZURITE_ACCOUNT=devstoreaccount1
AZURITE_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==

start_azurite() { # DIRECTORY: installs it if need be, starts it on a free port of loopback, and sets AZURITE to its address
  local cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-target}/env}/azurite port
  if [ ! -x "$cache/node_modules/.bin/azurite-blob" ]; then
    npm install --silent --no-audit --no-fund --prefix "$cache" azurite@3.35.0 || return 1
  fi
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "$cache/node_modules/.bin/azurite-blob" --blobHost 127.0.0.1 --blobPort "$port" --inMemoryPersistence --skipApiVersionCheck >"$1/azurite.log" 2>&1 &
  azurite_pid=$!
  AZURITE=http://127.0.0.1:$port/$AZURITE_ACCOUNT
  for _ in $(seq 300); do
    if (exec 3<>/dev/tcp/127.0.0.1/"$port") 2>/dev/null; then return 0; fi
    sleep 0.2
  done
  cat "$1/azurite.log" >&2
  return 1
}

azurite_container() { # NAME: makes it
  python3 - "$AZURITE" "$AZURITE_ACCOUNT" "$AZURITE_KEY" "$1" <<'PYTHON'
import base64, datetime, hashlib, hmac, sys, urllib.request
endpoint, account, key, name = sys.argv[1:]
now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
text = f"PUT\n\n\n\n\napplication/octet-stream\n\n\n\n\n\n\nx-ms-date:{now}\nx-ms-version:2021-08-06\n/{account}/{account}/{name}\nrestype:container"
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers = {"x-ms-date": now, "x-ms-version": "2021-08-06", "Content-Type": "application/octet-stream", "Authorization": f"SharedKey {account}:{signature}"}
urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}?restype=container", data=b"", method="PUT", headers=headers)).read()
PYTHON
}

stop_azurite() {
  kill "$azurite_pid" 2>/dev/null
  wait "$azurite_pid" 2>/dev/null
  return 0
}
