#!/usr/bin/env bash
# docker/action.yml through act with a container engine, and a job that runs in longshore's own image: images that were made here and no pull.
# The image is looked up in the registry, the outputs that the next step sees are compared with it, the summary is read.
set -euo pipefail
. "$(dirname "$0")/../docker/check.sh"
cd "$root"
tools=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}/tools
. tests/services/lib/go.sh
[ -x "$tools/bin/act" ] || { need_go "$tools" && GOBIN=$tools/bin go install github.com/nektos/act@v0.2.82; }
registry=$LONGSHORE_TEST_REGISTRY name=ci/act-container-$$
runner=longshore-test-runner:$$
docker pull --quiet "$registry/base/debian:12" >/dev/null
docker tag "$registry/base/debian:12" "$runner"
trap 'docker rmi "$runner" >/dev/null 2>&1 || true; cleanup' EXIT
mkdir -p "$work/repo/.github/workflows" "$work/repo/longshore" "$work/home"
sed "s#docker://.*#docker://$image#" docker/action.yml >"$work/repo/longshore/action.yml"
cat >"$work/repo/Dockerfile" <<END
FROM $registry/base/busybox:1
ARG GREETING
RUN echo "\$GREETING" >/said && apt-get --version || sleep 1
COPY hello /hello
label greeting="\$GREETING"
END
echo hello >"$work/repo/hello"
cat >"$work/repo/.github/workflows/build.yml" <<END
on: [push, pull_request]
jobs:
  image:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - id: image
        uses: ./longshore
        with:
          images: $registry/$name
          tags: |
            type=raw,value=one
            type=sha,format=long
          build-args: GREETING=a, b \$(id)
          push: true
          kaniko-args: --insecure-registry=$registry
      - run: echo "outputs \$DIGEST \$IMAGE"
        env:
          DIGEST: \${{ steps.image.outputs.digest }}
          IMAGE: \${{ steps.image.outputs.image }}
  inside:
    runs-on: ubuntu-latest
    container: $image
    steps:
      - uses: actions/checkout@v4
      - id: image
        shell: sh
        run: longshore build --images=$registry/$name-inside --tags=one --push --insecure-registry=$registry
      - shell: sh
        run: echo "outputs \$DIGEST"
        env:
          DIGEST: \${{ steps.image.outputs.digest }}
END
git -C "$work/repo" init -q -b main && git -C "$work/repo" add -A && git -C "$work/repo" -c user.name=a -c user.email=a@b.test commit -qm one
git -C "$work/repo" remote add origin https://github.com/acme/app.git
sha=$(git -C "$work/repo" rev-parse HEAD)
run() { # EVENT ARGUMENTS...
  local code=0
  (cd "$work/repo" && HOME=$work/home timeout 200 "$tools/bin/act" "$@" -P "ubuntu-latest=$runner" --pull=false --action-offline-mode -s GITHUB_TOKEN=planted-token) \
    >"$work/log" 2>&1 || code=$?
  cat "$work/log"
  return $code
}
digest() { skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$registry/$1"; }
has() { grep -qF -- "$1" "$work/log"; }

check "the workflow succeeds" run push -j image
pushed=$(digest "$name:one" || true)
check "the commit is a tag" test "$(digest "$name:sha-$sha")" = "$pushed"
check "the next step sees digest and name" has "outputs $pushed $registry/$name@$pushed"
greeting() { skopeo inspect --tls-verify=false --config "docker://$registry/$name:one" | jq -er .config.Labels.greeting; }
check "an input is one word whatever is in it" test "$(greeting)" = 'a, b $(id)'
check "no secret is in the log" bash -c "! grep -q planted-token '$work/log'"
check "the summary names the image" has "Pushed <code>$registry/$name:one</code>"
check "the summary has the digest" has "| Digest | <code>$pushed</code> |"
check "the summary has size and time" grep -qE '^\| (Size \| [0-9.]+ [kMG]?B in [0-9]+ layers|Time \| [0-9.]+ s, [0-9.]+ [kMG]?B sent) \|$' "$work/log"
check "the summary has a bar for each step" bash -c "[ \$(grep -cE '^\| stage-0 <code>(RUN|COPY) .*█' '$work/log') = 2 ]"
check "the summary has the checks' findings" grep -qE '^- .*(ConsistentInstructionCasing|casing)' "$work/log"

echo '{"pull_request":{"number":7,"head":{"ref":"x","repo":{"full_name":"eve/app"}},"base":{"ref":"main","repo":{"full_name":"acme/app"}}},"number":7}' >"$work/fork.json"
sed -i "s#$name#$name-fork#" "$work/repo/.github/workflows/build.yml"
check "a fork's pull request builds" run pull_request -j image -e "$work/fork.json"
check "it says that nothing is pushed" has 'the image is built and not pushed'
check "nothing is" refuses digest "$name-fork:one"

check "a job in longshore's own image" run push -j inside
check "pushes, and the next step sees the digest" has "outputs $(digest "$name-fork-inside:one")"
finish
