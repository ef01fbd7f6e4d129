#!/bin/sh
# Runs the in-place cases in a container of an image like ours, with Docker's default profile and capabilities, then asks the
# container's shell whether it is still alive. Needs a dockerd (DOCKER_HOST), the test program as $1, a static busybox, and root.
set -eu
program=$1
image=longshore-test-inplace
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/longshore "$work"/busybox "$work"/etc/ssl "$work"/kaniko "$work"/kept/here "$work"/tmp "$work"/workspace
cp "$program" "$work/longshore/test"
cp "$(command -v busybox)" "$work/busybox/busybox"
ln -s busybox "$work/busybox/sh"
mkdir "$work/bin"
ln -s ../busybox/sh "$work/bin/sh"
echo longshore > "$work/longshore/image-marker"
echo certificate > "$work/etc/ssl/ca.pem"
echo root:x:0:0::/root:/bin/sh > "$work/etc/passwd"
tar -C "$work" -c . | docker import --change 'VOLUME /busybox' --change 'ENV PATH=/busybox' - "$image" > /dev/null
status=0
docker run --rm --network=host -e LONGSHORE_TEST_INPLACE=yes -e SECRET=planted-in-process-1 "$image" /busybox/sh -c '
  set -e
  /longshore/test inplace::
  /bin/sh -c "echo the shell is alive"
  /busybox/busybox ls -A /
' || status=$?
docker run --rm --network=host --security-opt seccomp=unconfined "$image" /longshore/test root::surroundings root::processes || status=$?
 docker run --rm --network=host --security-opt seccomp=unconfined -v /state -e TMPDIR=/state "$image" /longshore/test root::surroundings root::layers root::processes root::many || status=$?
docker rmi "$image" > /dev/null
exit $status
