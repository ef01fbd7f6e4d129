#!/bin/sh
# Runs the isolations inside containers: in place with Docker's default profile and capabilities (and asks the container's shell afterwards
# whether it is still alive), then the namespaces of a container's root with seccomp=unconfined, with the state on the container's own
# overlay and on a volume. Needs root, a dockerd (DOCKER_HOST), a static busybox, and the test program as $1.
set -eu
program=$1
image=longshore-test-sandbox
work=$(mktemp -d)
trap 'rm -rf "$work"; docker rmi "$image" > /dev/null' EXIT
mkdir -p "$work"/longshore "$work"/busybox "$work"/bin "$work"/etc/ssl "$work"/kaniko "$work"/kept/here "$work"/tmp "$work"/workspace
cp "$program" "$work/longshore/test"
cp "$(command -v busybox)" "$work/busybox/busybox"
ln -s busybox "$work/busybox/sh"
ln -s ../busybox/sh "$work/bin/sh"
echo longshore > "$work/longshore/image-marker"
echo certificate > "$work/etc/ssl/ca.pem"
echo root:x:0:0::/root:/bin/sh > "$work/etc/passwd"
tar -C "$work" -c . | docker import --change 'VOLUME /busybox' --change 'ENV PATH=/busybox' - "$image" > /dev/null

run() { docker run --rm --network=host "$@"; }
status=0
run -e LONGSHORE_TEST_INPLACE=yes -e SECRET=planted-in-process-1 "$image" /busybox/sh -c '
  set -e
  /longshore/test inplace::
  /bin/sh -c "echo the shell is alive"
  test ! -e /.longshore
' || status=1
run --security-opt seccomp=unconfined "$image" /longshore/test root::surroundings root::processes || status=1
run --security-opt seccomp=unconfined -v /state -e TMPDIR=/state "$image" \
  /longshore/test root::surroundings root::layers root::processes root::many_layers || status=1
exit $status
