#!/usr/bin/env bash
# packages.sh DIRECTORY: a package archive of our own for `apt-get` without a network: hard links, setuid, file capabilities, a conffile,
# a user, an alternative, a dependency, a diversion-free upgrade. Install with `apt-get -o Dir::Etc::sourcelist=/srv/apt/sources.list ...`.
set -euo pipefail
out=$1
export SOURCE_DATE_EPOCH=981173106 # every file of a package gets this time
work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-packages.XXXXXX")
trap 'rm -rf "$work"' EXIT
umask 022
mkdir -p "$out"

package() { # NAME VERSION DEPENDS: builds $work/NAME, whose files the caller has made
  local dir=$work/$1
  mkdir -p "$dir/DEBIAN"
  cat >"$dir/DEBIAN/control" <<CONTROL
Package: $1
Version: $2
Architecture: all
Maintainer: longshore <nobody@localhost>
Depends: $3
Description: a package of the longshore tests
CONTROL
  find "$dir" -exec touch -h -d @$SOURCE_DATE_EPOCH {} +
  dpkg-deb --root-owner-group -Zgzip --build "$dir" "$out" >/dev/null
  rm -rf "$dir"
}

mkdir -p "$work/longshore-tool/usr/bin" "$work/longshore-tool/etc/longshore-tool" "$work/longshore-tool/usr/share/longshore-tool" "$work/longshore-tool/DEBIAN"
cd "$work/longshore-tool"
printf '#!/bin/sh\necho tool\n' >usr/bin/longshore-tool && chmod 755 usr/bin/longshore-tool
ln usr/bin/longshore-tool usr/bin/longshore-tool-alias
cp usr/bin/longshore-tool usr/bin/longshore-suid && chmod 4755 usr/bin/longshore-suid
cp usr/bin/longshore-tool usr/bin/longshore-raw
echo setting=1 >etc/longshore-tool/tool.conf
ln -s ../../bin/longshore-tool usr/share/longshore-tool/link
echo /etc/longshore-tool/tool.conf >DEBIAN/conffiles
cat >DEBIAN/postinst <<'POSTINST'
#!/bin/sh
set -e
setcap cap_net_raw+ep /usr/bin/longshore-raw
getent passwd tooluser >/dev/null || useradd --system --home-dir /var/lib/toolhome --create-home --shell /usr/sbin/nologin tooluser
install -d -o tooluser -g tooluser -m 0750 /var/lib/longshore-tool
update-alternatives --install /usr/bin/longshore-alternative longshore-alternative /usr/bin/longshore-tool 10
POSTINST
chmod 755 DEBIAN/postinst
package longshore-tool 1.0 longshore-dependency

mkdir -p "$work/longshore-dependency/usr/share/longshore-dependency"
echo dependency >"$work/longshore-dependency/usr/share/longshore-dependency/file"
package longshore-dependency 1.0 "libc6"

cd "$out"
dpkg-scanpackages --multiversion . 2>/dev/null >Packages
echo 'deb [trusted=yes] file:/srv/apt ./' >sources.list
find . -exec touch -d @$SOURCE_DATE_EPOCH {} +
