#!/usr/bin/env bash
# A release from end to end, in a copy of the repository and on loopback: the image of two architectures and its index in the registry, the files
# that name it, the tag in a repository, and the action that downloads the program. One program stands for both architectures.
set -euo pipefail
. "$(dirname "$0")/../docker/check.sh"
cd "$root"
tools=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}/tools/lint
[ -x "$tools/bin/zizmor" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install -q check-jsonschema==0.39.0 zizmor==1.32.0; }
mkdir "$work/copy" "$work/bin" "$work/tools"
git ls-files -z | tar --null -T - -c | tar -C "$work/copy" -x
cd "$work/copy"
git init -q -b main && git add -A && git -c user.name=a -c user.email=a@b.test commit -qm one
git init -q --bare "$work/remote.git" && git remote add origin "$work/remote.git"
. .ci/release/names
published=$image
export LONGSHORE_RELEASE_IMAGE=$LONGSHORE_TEST_REGISTRY/release-$$/longshore
insecure=--insecure-registry=$LONGSHORE_TEST_REGISTRY
mkdir dist
install -m 755 "$LONGSHORE" dist/longshore-linux-amd64
install -m 755 "$LONGSHORE" dist/longshore-linux-arm64

check "the image of amd64" .ci/release/image 9.8.7 amd64 "$insecure"
check "the image of arm64" .ci/release/image 9.8.7 arm64 "$insecure"
check "the index, the checksums, the names" .ci/release/assemble 9.8.7 "$insecure"
raw() { skopeo inspect --tls-verify=false --raw "docker://$LONGSHORE_RELEASE_IMAGE:9.8.7"; }
digest=sha256:$(raw | sha256sum | cut -d' ' -f1)
check "the digest is the registry's" test "$(cat dist/digest)" = "$digest"
check "the index has both platforms" test "$(raw | jq -r '[.manifests[].platform.architecture] | sort | join(" ")')" = "amd64 arm64"
check "the checksums are right" bash -c 'cd dist && sha256sum --check SHA256SUMS'

# Every file that names the image or the action's version names the release, and is in the list; nothing else has changed.
others() { ! git grep -IhoE "$published:[^\`\" ]+" -- . ':!tests' ':!.ci' ':!CHANGELOG.md' | grep -vxF "$published:9.8.7@$digest"; }
check "every name of the image has version and digest" others
check "there are such names" bash -c "[ \$(git grep -lF '$published:9.8.7@$digest' | wc -l) -ge 8 ]"
actions() { ! git grep -IhoE "uses: $repository(/[a-z]+)?@v[^ \`]+|/$repository/longshore@[^ \`]+" -- . ':!tests' ':!.ci' | grep -vE '@(v9|9\.8\.7)$'; }
check "every name of the action and the component has the version" actions
check "what is named in the list is there" ls "${named_in[@]}"
changed() { ! git diff --name-only | grep -vxF -e .github/release "${named_in[@]/#/-e}"; }
check "nothing else is changed" changed
git diff >"$work/first.diff"
check "a second time" .ci/release/fill 9.8.7 "$digest" dist/SHA256SUMS
check "makes the same" bash -c "git diff | cmp - '$work/first.diff'"
check "no version is refused" refuses .ci/release/fill v1 "$digest" dist/SHA256SUMS
check "no digest is refused" refuses .ci/release/fill 1.0.0 sha256:1 dist/SHA256SUMS
head -1 dist/SHA256SUMS >"$work/half"
check "a missing checksum is refused" refuses .ci/release/fill 1.0.0 "$digest" "$work/half"
check "the actions are still actions" "$tools/bin/check-jsonschema" --builtin-schema vendor.github-actions action.yml docker/action.yml
sed '1,/^---$/d' gitlab/templates/longshore.yml >"$work/template.yml"
check "the template is still a template" "$tools/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci "$work/template.yml"

# The tag, by a gh that notes what it is told.
printf '#!/bin/sh\necho "$@" >>%s\n' "$work/gh" >"$work/bin/gh" && chmod +x "$work/bin/gh"
before=$(git rev-parse HEAD)
check "it is published" env PATH="$work/bin:$PATH" .ci/release/publish 9.8.7
check "the tag names the release" bash -c "git --git-dir='$work/remote.git' show v9.8.7:.github/release | grep -qx version=9.8.7"
check "the major version follows" test "$(git --git-dir="$work/remote.git" rev-parse v9)" = "$(git --git-dir="$work/remote.git" rev-parse v9.8.7)"
check "its commit stands on the one that was built" test "$(git rev-parse HEAD^)" = "$before"
check "programs and checksums are in the release" grep -q "release create v9.8.7 .*dist/longshore-linux-amd64 dist/longshore-linux-arm64 dist/SHA256SUMS" "$work/gh"
check "nothing of dist is committed" bash -c '! git ls-tree -r --name-only HEAD | grep -q ^dist/'

# The action, with no program on the machine: it downloads the release's. Nothing that it needs is left out of PATH but longshore.
mkdir -p "$work/downloads/v9.8.7" "$work/context"
cp dist/longshore-linux-* "$work/downloads/v9.8.7/"
printf 'FROM scratch\nCOPY file /\n' >"$work/context/Dockerfile"
echo x >"$work/context/file"
# It closes with its standard output's reader and says its port there.
exec 7< <(exec python3 -u - "$work/downloads" <<'PYTHON'
import functools, http.server, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): open(sys.argv[1] + "/../asked", "a").write("x\n")
server = http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=sys.argv[1]))
print(server.server_port)
server.serve_forever()
PYTHON
)
server=$!
trap 'kill $server 2>/dev/null || true; cleanup' EXIT
read -r port <&7
.ci/release/fill 9.8.7 "$digest" dist/SHA256SUMS "http://127.0.0.1:$port"
action() {
  env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME="$work" RUNNER_TEMP="$work" RUNNER_TOOL_CACHE="$work/tools" GITHUB_OUTPUT="$work/outputs" GITHUB_ACTIONS=true \
    GITHUB_REPOSITORY=acme/app ACTION_PATH="$PWD" INPUT_CONTEXT="$work/context" INPUT_PUSH=false INPUT_TAR_PATH="$work/out.tar" INPUT_TAGS=app:1 \
    LONGSHORE_STATE_DIR="$work/state" bash .github/action.sh
}
asked() { [ "$(wc -l <"$work/asked")" = "$1" ]; }
program=$work/tools/longshore/9.8.7/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')/longshore
check "the action downloads the program" action
check "and builds with it" grep -q '^digest' "$work/outputs"
check "it was asked for once" asked 1
check "the next build uses what is there" bash -c "$(declare -f action); work=$work; action"
check "and does not ask again" asked 1
printf '#!/bin/sh\ntouch %s\n' "$work/foreign" >"$program"
check "what was changed on the runner is not run" action
check "but fetched anew" bash -c "[ ! -e '$work/foreign' ] && cmp '$program' '$LONGSHORE'"
rm -r "$work/tools"
printf '#!/bin/sh\ntouch %s\n' "$work/foreign" >"$work/downloads/v9.8.7/longshore-linux-amd64"
cp "$work/downloads/v9.8.7/longshore-linux-amd64" "$work/downloads/v9.8.7/longshore-linux-arm64"
check "another program is refused" refuses action
check "and not run" bash -c "[ ! -e '$work/foreign' ] && [ ! -e '$program' ]"
finish
