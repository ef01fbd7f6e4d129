#!/usr/bin/env bash
# Installs the Debian packages that the test environment and the benches need, and makes the user of the rootless tests. Does nothing when all
# is there.
set -euo pipefail
. "$(dirname "$0")/places.sh"

test_account() {
  id "$test_user" >/dev/null 2>&1 || useradd --create-home "$test_user"
  for file in /etc/subuid /etc/subgid; do
    grep -q "^$test_user:" "$file" 2>/dev/null || echo "$test_user:268435456:65536" >>"$file"
  done
}
packages=(
  attr bzip2 busybox-static ca-certificates docker-registry docker.io dpkg-dev e2fsprogs gcc git
  iproute2 jq libarchive-tools libc6-dev libcap2-bin make mmdebstrap openssh-client openssh-server openssl perl python3 rsync runc skopeo strace time
  uidmap umoci xz-utils zstd
)
# What may be there from elsewhere, and newer: Debian's own, if it is not.
command -v git >/dev/null || packages+=(git)
command -v curl >/dev/null || packages+=(curl)
command -v npm >/dev/null || packages+=(nodejs npm)
python3 -c 'import ensurepip, pip' 2>/dev/null || packages+=(python3-venv python3-pip)
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ "$(id -u)" != 0 ]; then
  [ ${#missing[@]} = 0 ] || die "not root, and these packages are missing: ${missing[*]}"
  exit 0
fi
test_account
[ ${#missing[@]} -gt 0 ] || exit 0

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
