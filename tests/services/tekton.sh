#!/usr/bin/env bash
# Tekton: the documents against Tekton's own types, and the steps in a container under Tekton's own entrypoint; what they push against the registry.
set -euo pipefail
. "$(dirname "$0")/../docker/check.sh"
. "$(dirname "$0")/lib/readme.sh"
cd "$root"
cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}
. tests/services/lib/go.sh
need_go "$cache/tools" || { echo "tekton: Go is not to be had" >&2; exit 1; }
tools=$cache/tekton
mkdir -p "$tools"
# `go install` would ask for the list of versions, which not every proxy has for this module. Both without C, so that they
# share what is compiled: some three minutes of one processor in a bare clone, a second after that.
(
  cd "$root/tests/tekton/validate"
  export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
  go build -o "$tools/validate" .
  go build -o "$tools/entrypoint" github.com/tektoncd/pipeline/cmd/entrypoint
)
task=$root/tekton/task/longshore/0.1/longshore.yaml
stepaction=$root/tekton/stepaction/longshore/0.1/longshore.yaml
registry=$LONGSHORE_TEST_REGISTRY
# No name that an earlier run has pushed.
team=$registry/tekton-$$
digest() { skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$1"; }

for file in "$root"/tekton/*/longshore/0.1/*.yaml "$root"/tekton/*/longshore/0.1/samples/*.yaml; do
  check "valid: ${file#"$root"/tekton/}" "$tools/validate" "$file"
done
sed 's/default: Dockerfile/defualt: Dockerfile/' "$task" >"$work/misspelt.yaml"
check "a misspelt field is found" refuses "$tools/validate" "$work/misspelt.yaml"

mkdir "$work/source" "$work/dockerconfig" "$work/repositories"
printf 'FROM %s/base/busybox:1\nARG A\nARG B\nRUN echo "$A $B" > /said\nLABEL said="$A $B"\n' "$registry" >"$work/source/Dockerfile"
echo '{}' >"$work/dockerconfig/.dockerconfigjson"
commit() { git -C "$work/source" add -A && git -C "$work/source" -c user.name=a -c user.email=a@b.test commit -qm "$1"; }
git -C "$work/source" init -q -b main && git -C "$work/source" remote add origin git@git.test:team/app.git && commit one
run() { # FILE NAME=VALUE...: the results are in $work/results.json
  local file=$1
  shift
  "$root/tests/tekton/run.py" "$tools/validate" "$tools/entrypoint" "$file" BUILDER_IMAGE="$image" source="$work/source" "$@" >"$work/results.json" || { echo '{}' >"$work/results.json" && return 1; }
}
index_of() { "$root/tests/tekton/run.py" "$tools/validate" "$tools/entrypoint" "$work/index.yaml" "$@" >"$work/results.json"; }
result() { jq -er --arg name "$1" '.[$name]' "$work/results.json"; }
insecure="[\"--insecure-registry=$registry\"]"

check "the Task builds" run "$task" IMAGE="$team/app:1" dockerconfig="$work/dockerconfig" EXTRA_ARGS="$insecure" \
  BUILD_ARGS='["A=one two","B=$(x); --destination=y"]'
pushed=$(digest "$team/app:1" || true)
check "IMAGE_DIGEST is the registry's" test "$(result IMAGE_DIGEST)" = "$pushed"
all() { # FILE: every result that it declares is written
  diff <("$tools/validate" --json "$1" | jq -r '.spec.results[].name' | sort) <(jq -r 'to_entries[] | select(.value != "") | .key' "$work/results.json" | sort)
}
check "every result of the Task is written" all "$task"
check "IMAGE_URL" test "$(result IMAGE_URL)" = "$team/app:1"
label() { skopeo inspect --tls-verify=false --config "docker://$1" | jq -er --arg name "org.opencontainers.image.$2" '.config.Labels[$name]'; }
check "IMAGES, as Chains reads it" test "$(result IMAGES)" = "$team/app:1@$pushed"
check "IMAGE_REF" test "$(result IMAGE_REF)" = "$team/app@$pushed"
check "BASE_IMAGES_DIGESTS" test "$(result BASE_IMAGES_DIGESTS)" = "$registry/base/busybox@$(digest "$registry/base/busybox:1")"
check "the artifact of Chains" jq -e --arg digest "$pushed" '.IMAGE_ARTIFACT_OUTPUTS | fromjson | .digest == $digest and .isBuildArtifact == "true"' "$work/results.json"
check "the commit, as Chains reads it" test "$(result CHAINS-GIT_URL) $(result CHAINS-GIT_COMMIT)" = "https://git.test/team/app $(git -C "$work/source" rev-parse HEAD)"
said() { skopeo inspect --tls-verify=false --config "docker://$team/app:1" | jq -er .config.Labels.said; }
check "a parameter is one word whatever is in it" test "$(said)" = 'one two $(x); --destination=y'

check "the Task builds without a push" run "$task" IMAGE="$team/unpushed:1" EXTRA_ARGS="$insecure" SKIP_PUSH=true
check "nothing was pushed" refuses digest "$team/unpushed:1"
names=$(for n in $(seq 60); do printf '"--destination=%s/many:%s",' "$team" "a-long-tag-that-fills-the-message-$n"; done)
check "many names fit into the message" run "$task" IMAGE="$team/many:1" EXTRA_ARGS="[${names%,},\"--insecure-registry=$registry\"]"
check "the digest is there all the same" test "$(result IMAGE_DIGEST)" = "$(digest "$team/many:1")"
check "a failing build fails the step" refuses run "$task" IMAGE="$team/app:2" DOCKERFILE=none EXTRA_ARGS="$insecure"

check "the StepAction builds" run "$stepaction" IMAGE="$team/step:1" SOURCE=/workspace/source EXTRA_ARGS="$insecure" BUILD_ARGS='["A=1"]'
check "every result of the StepAction is written" all "$stepaction"
check "its results are the registry's" test "$(result IMAGE_DIGEST)" = "$(digest "$team/step:1")"

# The Pipeline without a clone step: its task with the parameters that it is given, no source workspace, the repository on a server.
git clone -q --bare "$work/source" "$work/repositories/app.git"
git -C "$work/repositories/app.git" tag v1
printf 'FROM scratch\nCOPY none /\n' >"$work/source/Dockerfile" && commit two
git -C "$work/source" push -q "$work/repositories/app.git" main
exec 7< <(exec python3 "$root/tests/services/lib/git_server.py" "$work/repositories" "$work/requests" 2>/dev/null)
server=$!
trap 'kill $server 2>/dev/null || true; cleanup' EXIT
read -r port <&7
from_git() { # REVISION IMAGE
  local pipeline given
  pipeline=$("$tools/validate" --json "$root/tekton/task/longshore/0.1/samples/pipeline-git.yaml")
  [ "$(jq '[.spec.tasks[].workspaces[]?.name] | index("source")' <<<"$pipeline")" = null ] || return 1
  mapfile -t given < <(jq -r '.spec.tasks[0].params[] | "\(.name)=\(.value)"' <<<"$pipeline" |
    sed "s#\$(params.repository)#http://127.0.0.1:$port/app.git#; s#\$(params.revision)#$1#; s#\$(params.image)#$2#")
  "$root/tests/tekton/run.py" "$tools/validate" "$tools/entrypoint" "$task" BUILDER_IMAGE="$image" EXTRA_ARGS="$insecure" BUILD_ARGS='["A=1"]' "${given[@]}" >"$work/results.json"
}
check "the Pipeline builds a commit without a checkout" from_git v1 "$team/git:1"
check "its digest is the registry's" test "$(result IMAGE_DIGEST)" = "$(digest "$team/git:1")"
fetched=$(git -C "$work/repositories/app.git" rev-parse v1)
check "the commit is a result" test "$(result CHAINS-GIT_URL) $(result CHAINS-GIT_COMMIT)" = "http://127.0.0.1:$port/app $fetched"
check "and a label" test "$(label "$team/git:1" revision)" = "$fetched"
used() { # every result that the Pipeline hands on was written
  local name
  for name in $("$tools/validate" --json "$root/tekton/task/longshore/0.1/samples/pipeline-git.yaml" | jq -r '.spec.results[].value | capture("results\\.(?<name>[^)]+)").name'); do
    result "$name" || return 1
  done
}
check "the Pipeline's results are there" used
check "another revision is another commit" refuses from_git main "$team/git:2"

# The Pipeline over two platforms: its builds as the matrix has them, then its task that makes the index.
printf 'FROM scratch\nCOPY Dockerfile /\n' >"$work/source/Dockerfile"
pipeline=$("$tools/validate" --json "$root/tekton/task/longshore/0.1/samples/pipeline-platforms.yaml")
platforms() {
  local row given
  while read -r row; do
    mapfile -t given < <(jq -r '.params[] | "\(.name)=\(.value | if type == "array" then tojson else . end)"' <<<"$row" |
      sed "s#\$(params.image)#$team/multi:1#; s#^EXTRA_ARGS=\[#&\"--insecure-registry=$registry\",#")
    run "$task" "${given[@]}" || return 1
  done < <(jq -c '.spec.tasks[0].matrix.include[]' <<<"$pipeline")
}
check "each platform of the Pipeline builds" platforms
jq --arg image "$image" --arg flag "--insecure-registry=$registry" \
  '{apiVersion, kind: "Task", metadata: {name: "index"}, spec: (.spec.tasks[1].taskSpec | del(.spec, .metadata))} | .spec.steps[0] |= (.image = $image | .args += [$flag])' \
  <<<"$pipeline" >"$work/index.yaml"
check "its index is made" index_of image="$team/multi:1"
check "it has both platforms" test "$(skopeo inspect --tls-verify=false --raw "docker://$team/multi:1" | jq -r '[.manifests[].platform.architecture] | sort | join(" ")')" = "amd64 arm64"
check "the Pipeline's result is its digest" test "$(result IMAGE_DIGEST)" = "sha256:$(skopeo inspect --tls-verify=false --raw "docker://$team/multi:1" | sha256sum | cut -d' ' -f1)"

# The README's TaskRun, its registry's name replaced: credentials and certificate come by the workspaces.
private=$LONGSHORE_TEST_REGISTRY_TLS
mkdir "$work/credentials" "$work/certificates"
jq -n --arg host "$private" --arg auth "$(printf '%s:%s' "$LONGSHORE_TEST_REGISTRY_USER" "$LONGSHORE_TEST_REGISTRY_PASSWORD" | base64 -w0)" \
  '{auths: {($host): {auth: $auth}}}' >"$work/credentials/.dockerconfigjson"
cp "$LONGSHORE_TEST_REGISTRY_CA" "$work/certificates/ca.crt"
# The API server makes the name before it is validated.
readme_example Tekton | sed "s#generateName: image-#name: image-1#; s#registry.example.com/team/app#$private/tekton-$$/app#" >"$work/taskrun.yaml"
check "the README's example is short" at_most_ten_lines Tekton
check "the README's example is valid" "$tools/validate" "$work/taskrun.yaml"
example() {
  local document given
  document=$("$tools/validate" --json "$work/taskrun.yaml")
  [ "$(jq -r '[.spec.workspaces[].name] | sort | join(" ")' <<<"$document")" = "dockerconfig source" ] || return 1
  mapfile -t given < <(jq -r '.spec.params[] | "\(.name)=\(.value)"' <<<"$document")
  printf 'FROM scratch\nCOPY Dockerfile /\n' >"$work/source/Dockerfile"
  run "$task" "${given[@]}" dockerconfig="$work/credentials" sslcertdir="$work/certificates"
}
check "the README's example builds" example
private_digest() { skopeo inspect --tls-verify=false --creds "$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD" --format '{{.Digest}}' "docker://$1"; }
check "and pushes" test "$(result IMAGE_DIGEST)" = "$(private_digest "$private/tekton-$$/app:1.0")"
finish
