#!/usr/bin/env bash
# image.sh BINARY [TAG [FLAG...]]: lays out the context of the root Dockerfile from the binary and Debian's packages, builds longshore's image
# with that binary itself (and those flags), and loads it into docker as TAG (longshore:test). With IMAGE_BUILDER=docker, docker builds it; no
# network is used. With IMAGE_BUILDER=push it is pushed as TAG.
set -euo pipefail
. "$(dirname "$0")/places.sh"
binary=$1 tag=${2:-longshore:test}
shift $(($# < 2 ? $# : 2))
context=$(mktemp -d "${TMPDIR:-/tmp}/longshore-image.XXXXXX")
trap 'rm -rf "$context"' EXIT
umask 022

install -m 755 "$binary" "$context/longshore"
system=$context/system
mkdir -p "$system"/{bin,busybox,etc,root,tmp,kaniko/ssl/certs,kaniko/.docker,longshore/state}
chmod 1777 "$system/tmp" && chmod 777 "$system/kaniko"
install -m 755 "$(command -v busybox)" "$system/busybox/busybox"
for applet in $("$system/busybox/busybox" --list); do
  [ "$applet" = busybox ] || ln -s busybox "$system/busybox/$applet"
done
ln -s /busybox/sh "$system/bin/sh"
ln -s /longshore/longshore "$system/kaniko/executor"
cp /etc/ssl/certs/ca-certificates.crt "$system/kaniko/ssl/certs/"
echo 'root:x:0:0:root:/root:/busybox/sh' >"$system/etc/passwd"
echo 'root:x:0:' >"$system/etc/group"
echo 'hosts: files dns' >"$system/etc/nsswitch.conf"
echo 'This is the image of longshore: a build may use / in place.' >"$system/longshore/image-marker"
find "$context" -exec touch -h -d '2026-01-01 00:00:00 UTC' {} +

if [ "${IMAGE_BUILDER:-longshore}" = docker ]; then
  # The classic builder of Debian's client: it needs neither a plug-in nor a frontend image.
  DOCKER_BUILDKIT=0 /usr/bin/docker build --quiet --tag "$tag" --file "$root/Dockerfile" "$context"
elif [ "${IMAGE_BUILDER:-longshore}" = push ]; then
  "$binary" build --file "$root/Dockerfile" --context "$context" --destination "$tag" --state-dir "$context/state" "$@"
else
  "$binary" build --file "$root/Dockerfile" --context "$context" --destination "$tag" --no-push --tar-path "$context/image.tar" --state-dir "$context/state" "$@"
  docker load --quiet --input "$context/image.tar"
fi
