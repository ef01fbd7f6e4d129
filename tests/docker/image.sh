#!/usr/bin/env bash
# longshore's own image, called as kaniko's is: entrypoint, shell, certificates, credentials, state volume.
set -euo pipefail
. "$(dirname "$0")/check.sh"
context=$root/examples/hello
password=$work/docker
mkdir -p "$work/out" "$password" "$work/context"
printf 'FROM %s/base/busybox:1\nRUN echo made > /made\n' "$LONGSHORE_TEST_REGISTRY" >"$work/context/Dockerfile"
auth=$(printf '%s:%s' "$LONGSHORE_TEST_REGISTRY_USER" "$LONGSHORE_TEST_REGISTRY_PASSWORD" | base64 -w0)
printf '{"auths": {"%s": {"auth": "%s"}}}' "$LONGSHORE_TEST_REGISTRY_TLS" "$auth" >"$password/config.json"

in_image() { # OPTIONS... -- ARGUMENTS...: of docker run, of the image
  local options=()
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  timeout 300 docker run --rm --network=host "${options[@]}" "$image" "${@:2}"
}
shell() { in_image --entrypoint /busybox/sh -- -c "$1"; }
has() { # LAYOUT PATH
  "$root/tests/reference/describe.py" "$1" "$LONGSHORE_TEST_BASES"/*/ | jq -e --arg path "$2" '.tree[$path] != null'
}
digest_in_registry() { # REPOSITORY
  local digest
  digest=$(skopeo inspect --creds "$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD" --cert-dir "$work/certs" \
    --format '{{.Digest}}' "docker://$LONGSHORE_TEST_REGISTRY_TLS/$1")
  [ "$digest" = "$(cat "$work/out/digest")" ]
}
config() { docker image inspect --format "{{json .Config.$1}}" "$image"; }
mkdir "$work/certs" && cp "$LONGSHORE_TEST_REGISTRY_CA" "$work/certs/ca.crt"

check "entrypoint: kaniko's flags without a subcommand" in_image --volume "$context:/workspace:ro" --volume "$work/out:/longshore/out" -- \
  --context dir:///workspace --dockerfile Dockerfile --no-push --oci-layout-path /longshore/out/hello --cleanup
check "entrypoint: the image is right" has "$work/out/hello" hello.txt
check "entrypoint: kaniko's path of the program" says executor in_image --entrypoint /kaniko/executor -- --version
check "entrypoint: subcommands are there, too" says "in place: works" in_image -- doctor
check "a wrong flag is refused" refuses in_image -- --no-such-flag
check "shell: /busybox/sh" says fine shell 'echo fine'
check "shell: #!/bin/sh" says fine shell 'printf "#!/bin/sh\necho fine\n" > /tmp/script && chmod +x /tmp/script && /tmp/script'
check "shell: applets by name" shell 'set -e; for applet in ls cat env sed grep tar wget; do command -v $applet; done'
check "shell: a job's script builds" says fine shell "/kaniko/executor --context /tmp --dockerfile /dev/null --no-push >/dev/null 2>&1 && exit 1
  printf 'FROM scratch\nCOPY file /\n' > /tmp/Dockerfile && echo x > /tmp/file && /kaniko/executor --context /tmp --no-push --tar-path /tmp/image.tar && tar -tf /tmp/image.tar && echo fine"
check "certificates: a bundle of many" shell 'test "$(grep -c BEGIN /kaniko/ssl/certs/ca-certificates.crt)" -gt 50'
check "certificates: the environment names it" says /kaniko/ssl/certs config Env
check "certificates: a registry of an unknown authority is refused" refuses in_image --volume "$context:/workspace:ro" --volume "$password:/kaniko/.docker:ro" -- \
  --context /workspace --destination "$LONGSHORE_TEST_REGISTRY_TLS/image/hello:1"
check "certificates: one added to kaniko's directory is trusted; kaniko's config.json is read" in_image --volume "$context:/workspace:ro" \
  --volume "$password:/kaniko/.docker:ro" --volume "$LONGSHORE_TEST_REGISTRY_CA:/kaniko/ssl/certs/additional-ca-cert-bundle.crt:ro" --volume "$work/out:/longshore/out" -- \
  --context /workspace --destination "$LONGSHORE_TEST_REGISTRY_TLS/image/hello:1" --digest-file /longshore/out/digest
check "what was pushed is in the registry" digest_in_registry image/hello:1
check "wrong credentials are refused" refuses in_image --volume "$context:/workspace:ro" \
  --volume "$LONGSHORE_TEST_REGISTRY_CA:/kaniko/ssl/certs/additional-ca-cert-bundle.crt:ro" -- --context /workspace --destination "$LONGSHORE_TEST_REGISTRY_TLS/image/hello:2"
check "state: a volume" says /longshore/state config Volumes
check "state: overlayfs stands on it" says 'stacked by overlayfs' in_image --security-opt seccomp=unconfined --volume "$work/context:/workspace:ro" -- \
  --isolation=namespace --context /workspace --insecure-pull --no-push --tar-path /tmp/image.tar
finish
