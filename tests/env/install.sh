#!/usr/bin/env bash
# Installs the Debian packages that the test environment and the benches need; does nothing when all are there.
set -euo pipefail

packages=(
  attr bzip2 busybox-static ca-certificates docker-registry docker.io dpkg-dev e2fsprogs
  iproute2 jq libcap2-bin mmdebstrap openssl perl python3 runc skopeo strace time uidmap umoci xz-utils zstd
)
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || { echo "install.sh: not root, and these packages are missing: ${missing[*]}" >&2; exit 1; }

# No service is to start by being installed: the tests start their own, on private sockets and ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
