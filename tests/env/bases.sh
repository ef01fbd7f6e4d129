#!/usr/bin/env bash
# Makes the base images, once, as OCI layouts in the cache directory. They depend on this directory's files and on the machine's apt sources.
set -euo pipefail
. "$(dirname "$0")/places.sh"
here=$root/tests/env
stamp=$(cat "$here/bases.sh" "$here/fixture.sh" "$here/packages.sh" "$here/layout.py" | sha256sum | cut -c1-16)
[ "$(cat "$bases/stamp" 2>/dev/null)" != "$stamp" ] || exit 0
[ "$(id -u)" = 0 ] || die "base images are made as root (owners, file capabilities)"

work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-bases.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022
pack() { # DIRECTORY TAR: same bytes for the same tree
  tar --create --file "$2" --directory "$1" --format=posix --pax-option=delete=atime,delete=ctime --sort=name --numeric-owner --xattrs --xattrs-include='*' .
}
users() { # ROOT: the users that the cases name
  printf '%s\n' 'app:x:1234:2345:app:/home/app:/bin/sh' 'other:x:1235:100:other:/:/bin/sh' >>"$1/etc/passwd"
  printf '%s\n' 'app:x:2345:' 'extra:x:2346:app' >>"$1/etc/group"
}

echo "bases.sh: busybox" >&2
busybox=$work/busybox
mkdir -p "$busybox"/{bin,etc,root,tmp,var/log,usr/bin,dev,proc,sys,home/app}
chmod 1777 "$busybox/tmp" && chmod 700 "$busybox/root" && chown 1234:2345 "$busybox/home/app"
cp "$(command -v busybox)" "$busybox/bin/busybox"
for applet in $("$busybox/bin/busybox" --list); do
  [ "$applet" = busybox ] || ln -s busybox "$busybox/bin/$applet"
done
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'daemon:x:1:1:daemon:/:/bin/false' >"$busybox/etc/passwd"
printf '%s\n' 'root:x:0:' 'daemon:x:1:' 'users:x:100:' >"$busybox/etc/group"
users "$busybox"
"$here/fixture.sh" "$busybox"
find "$busybox" -newermt 2001-01-03 -exec touch -h -d '2001-01-02 03:04:05 UTC' {} +
pack "$busybox" "$work/busybox.tar"
second=$work/second
mkdir -p "$second/fixture/replaced"
echo second >"$second/fixture/overridden"
: >"$second/fixture/.wh.deleted"
: >"$second/fixture/replaced/.wh..wh..opq"
echo new >"$second/fixture/replaced/new"
find "$second" -exec touch -d '2001-01-02 03:04:05 UTC' {} +
pack "$second" "$work/second.tar"
mkdir "$work/empty" && echo arm >"$work/empty/arm" && pack "$work/empty" "$work/arm.tar"

echo "bases.sh: debian" >&2
sources=$(ls /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -1 || true)
apt-config dump | grep -E '^Acquire::(Check-|https?::Proxy)' >"$work/machine.conf" || true
mkdir -p "$work/extra/srv" "$work/extra/etc/apt/apt.conf.d"
cp "$work/machine.conf" "$work/extra/etc/apt/apt.conf.d/99machine"
"$here/packages.sh" "$work/extra/srv/apt"
# Given on standard input, the machine's sources also become the image's. The file is taken only when it is of the same suite.
{ grep -q bookworm "${sources:-/dev/null}" && cat "$sources" || echo "deb http://deb.debian.org/debian bookworm main"; } |
  mmdebstrap --quiet --variant=minbase --include=attr,libcap2-bin --aptopt="$work/machine.conf" bookworm "$work/debian.tar" -
tar --extract --file "$work/debian.tar" --directory "$work/extra" ./etc/passwd ./etc/group
users "$work/extra"
"$here/fixture.sh" "$work/extra"
pack "$work/extra" "$work/extra.tar"

rm -rf "$bases"
"$here/layout.py" "$bases" "$work"
echo "$stamp" >"$bases/stamp"
