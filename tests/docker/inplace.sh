#!/usr/bin/env bash
# In place, in docker's default profile: several builds in one container with a right image each time, `/` as it was afterwards, no secret to be
# had by a RUN step, and nothing lost by a kill -9.
set -euo pipefail
. "$(dirname "$0")/check.sh"
build="/longshore/longshore build --isolation=inplace --no-push --insecure-registry $LONGSHORE_TEST_REGISTRY --build-arg REGISTRY=$LONGSHORE_TEST_REGISTRY"

mkdir -p "$work/contexts"/{good,bad,secret,slow,hidden,hostname} "$work/out" "$work/data"
cat >"$work/contexts/good/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1 AS first
RUN echo first > /first && test ! -e /longshore-was-here
FROM ${REGISTRY}/base/debian:12
COPY --from=first /first /first
RUN dpkg --version > /second && test -e /usr/bin/apt && test ! -e /fixture/nothing
DOCKERFILE
cat >"$work/contexts/bad/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1
RUN echo left > /left && rm -rf /etc && exit 7
DOCKERFILE
# What a hostile step would look for: every environment, descriptor and state file that it can reach.
cat >"$work/contexts/secret/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/debian:12
RUN ! env | grep planted
RUN for e in /proc/[0-9]*/environ; do tr '\0' '\n' < $e 2>/dev/null; done > /environs; ! grep -l planted /environs
RUN test ! -r /proc/1/environ || ! grep -q planted /proc/1/environ
RUN for f in /proc/[0-9]*/fd/*; do test -f "$f" && timeout 1 grep -l planted "$f"; done 2>/dev/null > /found; ! test -s /found
RUN ls -l /proc/self/fd | grep -v -e '/dev/null' -e pipe: -e '/proc/' -e '^total' > /descriptors; ! test -s /descriptors
DOCKERFILE
cat >"$work/contexts/slow/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1 AS first
RUN sleep 0.3; echo first > /first
FROM ${REGISTRY}/base/busybox:1
COPY --from=first /first /first
RUN sleep 0.3; rm -rf /fixture
DOCKERFILE

# What a mount hides from commands gets into the image all the same; a command that follows is refused.
cat >"$work/contexts/hidden/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1 AS copied
COPY Dockerfile /data/in/Dockerfile
FROM copied AS elsewhere
RUN echo harmless > /harmless
FROM ${REGISTRY}/base/busybox:1 AS around
WORKDIR /data
RUN echo around > /around
DOCKERFILE
echo mounted >"$work/data/mounted"
cat >"$work/contexts/hostname/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1
RUN hostname > /hostname
DOCKERFILE

# `/` as a listing: everything on its own file system with type, mode, owner, size and target; /proc and mounts are left out by -xdev.
listing="find / -xdev ! -path '/out*' ! -path '/data*' ! -path '/longshore/state*' ! -path '/proc*' -exec stat -c '%n %F %a %u:%g %s' {} + | sort"
unchanged() { inside "$listing" >"$work/after" && diff "$work/before" "$work/after"; }
described() { # NAME ENTRY...: the image of that name is whole, and has these paths
  local name=$1 entry
  shift
  "$root/tests/reference/describe.py" "$work/out/$name" "$LONGSHORE_TEST_BASES"/*/ >"$work/description" || return 1
  for entry in "$@"; do jq -e --arg entry "$entry" '.tree[$entry] != null' "$work/description" >/dev/null || { cat "$work/description"; return 1; }; done
}
one() { echo "$build --context /contexts/$1 --dockerfile /contexts/$1/Dockerfile --oci-layout-path /out/$2"; }

container --env PLANTED=planted-secret --volume "$work/contexts:/contexts:ro" --volume "$work/out:/out" --volume "$work/data:/data"
inside "$listing" >"$work/before"
check "the first build" inside "$(one good good1)"
check "its image is right" described good1 first second
check "/ is as it was" unchanged
check "a failing step fails the build" refuses inside "$(one bad bad)"
check "it leaves no image" test ! -e "$work/out/bad/index.json"
check "/ is as it was after a failure" unchanged
check "a build after a failure" inside "$(one good good2)"
check "its image is right, too" described good2 first second
check "no step finds the environment's secret" inside "$(one secret secret)"
check "a copy into a mounted path gets into the image" inside "$(one hidden hidden1) --target copied"
check "and only there" described hidden1 data/in/Dockerfile
check "a command after it is refused" refuses inside "$(one hidden hidden2) --target elsewhere 2>/out/refusal"
check "with what is hidden" grep -F "/data/in/Dockerfile, which this build made, is hidden from commands: /data is a mount" "$work/out/refusal"
check "at its line" grep -F "RUN echo harmless" "$work/out/refusal"
check "and no file written there" test "$(ls "$work/data")" = mounted
check "a mounted path alone is in nobody's way" inside "$(one hidden hidden3) --target around"
check "and is in the image as the directory that it is" described hidden3 around

# A commit of a git server on this machine, unpacked before `/` is another.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git init -q --bare -b main "$work/served/app.git" && git init -q -b main "$work/app"
printf 'ARG REGISTRY\nFROM ${REGISTRY}/base/busybox:1\nCOPY file /copied\nRUN grep committed /copied && echo ran > /ran\n' >"$work/app/Dockerfile"
echo committed >"$work/app/file"
git -C "$work/app" add -A
git -C "$work/app" -c user.name=a -c user.email=a@b.test commit -q -m one
git -C "$work/app" push -q "$work/served/app.git" main
mkfifo "$work/port"
python3 "$root/tests/services/lib/git_server.py" "$work/served" "$work/requests" >"$work/port" 2>/dev/null &
servers+=($!)
read -r port <"$work/port"
commit=$(git -C "$work/app" rev-parse main)
check "a commit of a git server" inside "GIT_PULL_METHOD=http $build --context git://127.0.0.1:$port/app.git#refs/heads/main --oci-layout-path /out/git1"
check "its image is right" described git1 copied ran
check "and says the commit" grep -rqF "$commit" "$work/out/git1/blobs"
check "a token opens a private one" inside \
  "GIT_TOKEN=canary-token GIT_PULL_METHOD=http $build --context git://127.0.0.1:$port/private/app.git --oci-layout-path /out/git2"
check "its image is right, too" described git2 copied ran
check "and knows no token" bash -c "! grep -rq canary '$work/out/git2'"
check "and without it there is none" refuses inside "GIT_PULL_METHOD=http $build --context git://127.0.0.1:$port/private/app.git"
check "/ is as it was after git" unchanged
check "a host name has no effect" inside "$(one hostname hostname1) --build-arg BUILDKIT_SANDBOX_HOSTNAME=given.example 2>/out/hostname.log"
check "which is said" grep -F "BUILDKIT_SANDBOX_HOSTNAME has no effect in place" "$work/out/hostname.log"
# Of files the description has sizes: that of the container's name, and a line feed.
named() { described "$1" hostname && jq -e --arg size " size=$(inside hostname | wc -c) " '.tree.hostname | contains($size)' "$work/description"; }
check "commands see the container's" named hostname1
check "without it the build succeeds" inside "$(one hostname hostname2) 2>/out/hostname.log"
check "and nothing is said" refuses grep -F BUILDKIT_SANDBOX_HOSTNAME "$work/out/hostname.log"
check "the shell is alive" says alive inside "echo alive"

for delay in 0.02 0.05 0.08 0.12 0.16 0.2 0.25 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0 1.2; do
  inside "$(one slow killed) >/dev/null 2>&1 & sleep $delay; killall -9 longshore 2>/dev/null; sleep 0.2; true" || true
  rm -rf "$work/out/killed"
  check "killed after $delay s: restore" inside "/longshore/longshore restore"
  check "killed after $delay s: / is as it was" unchanged
done
inside "$(one slow killed) >/dev/null 2>&1 & sleep 0.5; killall -9 longshore" || true
rm -rf "$work/out/killed"
check "killed: the next build puts it right" inside "$(one good good3)"
check "killed: and its image is right" described good3 first second
check "killed: and / is as it was" unchanged
finish
