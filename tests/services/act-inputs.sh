#!/usr/bin/env bash
# Every input of action.yml through act, the runner of GitHub's workflows that runs anywhere, each with its effect looked up: in the registry, in
# the files that were written, or in the step's part of the log. An input that no step uses, or whose effect is not looked at, fails.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
registry=${LONGSHORE_TEST_REGISTRY:?the registry of tests/env}
private=$LONGSHORE_TEST_REGISTRY_TLS
tools=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools
act=$tools/bin/act
if [ ! -x "$act" ]; then
  . tests/services/lib/go.sh
  need_go "$tools" || { echo "Go is not to be had"; echo "0 passed, 1 failed"; exit 1; }
  GOBIN=$tools/bin go install github.com/nektos/act@v0.2.82 || { echo "0 passed, 1 failed"; exit 1; }
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-inputs.XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
name=ci/inputs-$$
repo=$work/repo
mkdir -p "$repo/.github/workflows" "$repo/longshore/.github" "$repo/app" "$repo/run" "$repo/more" "$work/home" "$work/bin" "$work/served"
cp action.yml "$repo/longshore/" && cp .github/action.sh .github/release "$repo/longshore/.github/"

# A registry that can be watched, an agent, a repository that only a token opens, a sudo that notes what it was asked.
listening() { # VARIABLE COMMAND...: starts a server that prints its port
  mkfifo "$work/$1.fifo"
  "${@:2}" >"$work/$1.fifo" 2>/dev/null </dev/null &
  pids+=($!)
  read -r "$1" <"$work/$1.fifo"
}
listening front python3 tests/services/lib/front.py "$registry" "$work/asked"
front=127.0.0.1:$front
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.test GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.test
git init -q --bare -b main "$work/served/app.git"
git init -q -b main "$work/far" && printf 'FROM scratch\nCOPY Dockerfile /far\n' >"$work/far/Dockerfile"
git -C "$work/far" add -A && git -C "$work/far" commit -qm far && git -C "$work/far" push -q "$work/served/app.git" main
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/key" -out "$work/request" 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=our authority' -keyout "$work/authority.key" -out "$work/authority" 2>/dev/null
openssl x509 -req -in "$work/request" -CA "$work/authority" -CAkey "$work/authority.key" -CAcreateserial -days 2 -out "$work/certificate" \
  -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) 2>/dev/null
listening git python3 tests/services/lib/git_server.py "$work/served" "$work/fetched" "$work/certificate" "$work/key"
cat "$work/authority" "$LONGSHORE_TEST_REGISTRY_CA" >"$work/authorities"
ssh-agent -D -a "$work/agent" >/dev/null 2>&1 </dev/null &
pids+=($!)
cat >"$work/bin/sudo" <<END
#!/bin/bash
echo "\$*" >>$work/sudo
while [[ \$1 == -* ]]; do shift; done
exec "\$@"
END
chmod +x "$work/bin/sudo"

echo hello >"$repo/app/hello" && echo extra >"$repo/more/extra" && echo from-a-file >"$repo/run/token"
cat >"$repo/app/Containerfile" <<'END'
FROM scratch AS wanted
ARG GREETING
COPY hello /hello
COPY --from=more extra /extra
LABEL greeting=$GREETING
FROM scratch
COPY missing /
END
printf 'FROM scratch\nCOPY hello /\n' >"$repo/app/Dockerfile"
# A RUN fails unless it sees just what the inputs say.
cat >"$repo/run/Dockerfile" <<END
FROM $registry/base/busybox:1
RUN --mount=type=secret,id=value --mount=type=secret,id=file --mount=type=secret,id=variable \\
    [ "\$(cat /run/secrets/value)/\$(cat /run/secrets/file)/\$(cat /run/secrets/variable)" = 'a=b, c/from-a-file/from-a-variable' ]
RUN --mount=type=ssh,required test -S "\$SSH_AUTH_SOCK"
RUN [ "\$(ls /sys/class/net)" = lo ] || [ "\$(tail -n +3 /proc/net/dev | wc -l)" = 1 ]
RUN --security=insecure test -d /proc
RUN date +%s%N >/made
END
printf 'FROM scratch\nCOPY token /tiny\n' >"$repo/run/tiny"
printf 'FROM tiny:1\nCOPY token /on-top\n' >"$repo/run/mirrored"
printf 'FROM %s/%s-tiny:1\nCOPY token /on-top\n' "$front" "$name" >"$repo/run/warmed"
printf 'FROM %s/base/busybox:1\nRUN date +%%s%%N >/made\n' "$registry" >"$repo/run/cached"

step() { # NAME: begins a step; what follows are its inputs
  printf '      - name: %s\n        id: %s\n        uses: ./longshore\n' "$1" "$1"
  [ $# -lt 2 ] || printf '        %s\n' "${@:2}"
  printf '        with:\n          binary: %s\n' "$longshore"
}
inputs() { sed 's/^/          /'; }
also="args: --insecure-registry=$registry"
{
  printf 'on: [push, pull_request]\njobs:\n  image:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n'
  step names && inputs <<END
context: app
file: app/Containerfile
build-args: |
  GREETING=a, b \$(id)
build-contexts: more=more
target: wanted
platforms: linux/arm64
images: $registry/$name
tags: |
  type=raw,value=one
  two
flavor: suffix=-x
labels: |
  test.label=c, d
annotations: manifest:test.note=a=b, c
push: true
tar-path: $work/out.tar
oci-layout-path: $work/out.oci
compression: zstd
verbosity: error
args: |
  --insecure-registry=$registry
END
  step other-names && inputs <<END
path: app
build_file: app/Dockerfile
image: $registry/$name
tag: other
push: true
kaniko-args: --insecure-registry=$registry
END
  step not-pushed && inputs <<END
context: app
tags: $registry/$name:not-pushed
push: false
$also
END
  step commands "env: {A_TOKEN: from-a-variable}" && inputs <<END
context: run
tags: $registry/$name:commands
push: true
secrets: value=a=b, c
secret-files: file=run/token
secret-envs: variable=A_TOKEN
ssh: default=$work/agent
network: none
allow: security.insecure
isolation: namespace
sudo: true
$also
END
  step in-place 'continue-on-error: true' && inputs <<END
context: run
file: run/cached
isolation: inplace
sudo: false
$also
END
  for number in 1 2; do
    step "kept-$number" && inputs <<END
context: run
file: run/cached
tags: $registry/$name:kept-$number
push: true
cache: true
cache-repository: $registry/$name-cache
$also
END
  done
  printf '      - run: sleep 2\n'
  step kept-no-more && inputs <<END
context: run
file: run/cached
tags: $registry/$name:kept-no-more
push: true
cache: true
cache_registry: $registry/$name-cache
cache-ttl: 1s
$also
END
  step to && inputs <<END
context: run
file: run/cached
tags: $registry/$name:to
push: true
cache-to: type=local,dest=$work/layers
$also
END
  step from && inputs <<END
context: run
file: run/cached
tags: $registry/$name:from
push: true
cache-from: type=local,src=$work/layers
$also
END
  step from-nothing && inputs <<END
context: run
file: run/cached
tags: $registry/$name:from-nothing
push: true
cache-from: type=local,src=$work/layers
no-cache: true
$also
END
  step mirrored && inputs <<END
context: run
file: run/mirrored
tags: $registry/$name:mirrored
push: true
registry-mirror: $registry/$name-hub
args: |
  --skip-default-registry-fallback
  --insecure-registry=$registry
END
  step warmed && inputs <<END
context: run
file: run/warmed
tags: $registry/$name:warmed
push: true
cache-directory: $work/warm
args: |
  --insecure-registry=$registry
  --insecure-registry=$front
END
  step tried-again && inputs <<END
context: app
tags: $front/$name:refused-once
push: true
push-retry: 1
args: --insecure-registry=$front
END
  step other-caches && inputs <<END
context: run
file: run/warmed
tags: $registry/$name:other-caches
push: true
cache: true
cache-repository: $registry/$name-cache-2
cache_ttl: 1h
cache_directory: $work/warm
args: |
  --insecure-registry=$registry
  --insecure-registry=$front
END
  # act keeps the masks of a composite action twice, so that each step of a job takes twice the time of the one before.
  printf '  words:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n'
  step outputs && inputs <<END
context: app
tags: $registry/$name:outputs
outputs: |
  type=image,name=$registry/$name:outputs-too,push=true,oci-mediatypes=false
  type=docker,dest=$work/outputs.tar
pull: true
load: false
provenance: false
sbom: false
call: build
extra_args: --insecure-registry=$registry --label=extra=yes
END
  for not in 'load true' 'provenance mode=max' 'sbom true' 'call check' 'pull perhaps'; do
    step "not-${not% *}" 'continue-on-error: true' && inputs <<END
context: app
${not% *}: ${not#* }
END
  done
  step logged-in && inputs <<END
context: app
tags: $private/$name:logged-in
push: true
registry: $private
username: $LONGSHORE_TEST_REGISTRY_USER
password: $LONGSHORE_TEST_REGISTRY_PASSWORD
END
  step listed && inputs <<END
context: app
tags: $private/$name:listed
push: true
registry-auth: |
  - registry: elsewhere.test
    username: somebody
    password: something
  - registry: $private
    username: $LONGSHORE_TEST_REGISTRY_USER
    password: "$LONGSHORE_TEST_REGISTRY_PASSWORD"
END
} >"$repo/.github/workflows/build.yml"
{
  printf 'on: push\njobs:\n  token:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n'
  step token && inputs <<END
context: https://localhost:$git/private/app.git
tags: $registry/$name:token
push: true
github-token: canary-hub
$also
END
} >"$repo/.github/workflows/token.yml"
{
  printf 'on: pull_request\njobs:\n  fork:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n'
  step from-a-fork && inputs <<END
context: app
tags: $registry/$name:from-a-fork
push: true
push-from-forks: true
$also
END
} >"$repo/.github/workflows/fork.yml"
echo '{"pull_request":{"number":7,"head":{"ref":"x","repo":{"full_name":"eve/app"}},"base":{"ref":"main","repo":{"full_name":"acme/app"}}},"number":7}' >"$work/fork.json"
(cd "$repo" && git init -q -b main && git add -A && git commit -qm one && git remote add origin https://github.com/acme/app.git)

passed=0 failed=0 inspected=
count() { # NAME CODE
  if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$1: not so"; fi
}
effect() { # INPUTS WHAT COMMAND...: one that is looked up
  local names=$1 what=$2 code=0
  shift 2
  "$@" >"$work/looked-up" 2>&1 || { code=$? && cat "$work/looked-up"; }
  [ "$code" != 0 ] || inspected+=" $names"
  count "$names: $what" "$code"
}
run() { # JOB EVENT ARGUMENTS...
  local job=$1 code=0
  shift
  (cd "$repo" && HOME=$work/home PATH=$work/bin:$PATH timeout 300 "$act" "$@" -j "$job" -P ubuntu-latest=-self-hosted -s GITHUB_TOKEN=planted-token --action-offline-mode \
    --env "LONGSHORE_STATE_DIR=$work/state" --env "SSL_CERT_FILE=$work/authorities" >"$work/$job.log" 2>&1) || code=$?
  count "the job $job" "$code"
  [ "$code" = 0 ] || tail -n 60 "$work/$job.log"
}
accept='Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json'
manifest() { curl -fsS -H "$accept" "http://$registry/v2/$name/manifests/$1"; } # TAG
config() { curl -fsSL "http://$registry/v2/$name/blobs/$(manifest "$1" | jq -r .config.digest)"; } # TAG
in_manifest() { manifest "$1" | jq -e "$2"; } # TAG QUESTION
in_config() { config "$1" | jq -e "$2"; } # TAG QUESTION
in_private() { curl -fsS --cacert "$LONGSHORE_TEST_REGISTRY_CA" -u "$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD" -H "$accept" "https://$private/v2/$name/manifests/$1"; }
layers() { manifest "$1" | jq -r '.layers[].digest'; } # TAG
files() { for layer in $(layers "$1"); do curl -fsSL "http://$registry/v2/$name/blobs/$layer" | tar -tzf -; done; } # TAG
has_file() { files "$1" | grep -x "$2"; } # TAG PATH
same() { [ -n "$(layers "$1")" ] && [ "$(layers "$1")" = "$(layers "$2")" ]; } # TAG TAG
other() { [ -n "$(layers "$1")" ] && [ -n "$(layers "$2")" ] && [ "$(layers "$1")" != "$(layers "$2")" ]; } # TAG TAG
part() { sed -n "/⭐ Run Main $1\$/,/\(Success\|Failure\) - Main $1\( \|\$\)/p" "$work/image.log" "$work/words.log"; } # STEP: what it wrote

# What two of the steps begin with.
"$longshore" build --state-dir "$work/state" --insecure --context "$repo/run" --dockerfile "$repo/run/tiny" -d "$registry/$name-hub/library/tiny:1" -d "$registry/$name-tiny:1" \
  >"$work/tiny.log" 2>&1
count 'a base image' $?
"$longshore" warm --insecure-registry="$front" --cache-dir "$work/warm" --image "$front/$name-tiny:1" >"$work/warm.log" 2>&1
count 'a base image in the directory' $?
run image push
run words push
run token push --github-instance "localhost:$git"
run fork pull_request -e "$work/fork.json"

effect 'binary images tags' 'a rule and a bare word are tags of the name' test "$(manifest one-x)" = "$(manifest two-x)"
effect flavor 'every tag has the suffix' test -z "$(manifest one 2>/dev/null)"
effect 'context file target' 'the stage of that file is what was built' in_config one-x '.config.Labels | has("greeting")'
effect build-args 'the argument is one word, whatever is in it' in_config one-x '.config.Labels.greeting == "a, b $(id)"'
effect build-contexts 'the other directory was copied from' in_manifest one-x '.layers | length == 2'
effect platforms 'the image is for that platform' in_config one-x '.architecture == "arm64"'
effect labels 'the label is there' in_config one-x '.config.Labels."test.label" == "c, d"'
effect annotations 'the annotation is there' in_manifest one-x '.annotations."test.note" == "a=b, c"'
effect compression 'the layers are zstd' in_manifest one-x '[.layers[].mediaType | endswith("+zstd")] | all'
effect push 'it is in the registry' manifest one-x
effect push 'or not' bash -c "! curl -fs -H '$accept' 'http://$registry/v2/$name/manifests/not-pushed'"
effect tar-path 'the archive is there' tar -tf "$work/out.tar" manifest.json
effect oci-layout-path 'the layout is there, with the same image' test "$(jq -r '.manifests[0].digest' "$work/out.oci/index.json")" = "sha256:$(manifest one-x | sha256sum | cut -d' ' -f1)"
silent() { [ "$(part names | grep -c '  | .*COPY')" = 0 ] && [ "$(part other-names | grep -c '  | .*COPY')" = 1 ]; }
effect verbosity 'a quieter step says nothing of its steps' silent
effect args 'it is passed on: the registry speaks no TLS' manifest two-x
effect 'path build_file image tag kaniko-args' 'the other names mean the same' has_file other hello
effect 'secrets secret-files secret-envs ssh network allow' 'the commands see them' in_manifest commands '.layers | length > 1'
effect isolation 'it is the one that was asked for' bash -c "$(declare -f part); work=$work; part commands | grep -q 'isolation: namespace'"
refused() { part in-place | grep 'Failure - Main in-place'; }
effect isolation 'one that does not work here is refused' refused
effect sudo 'it is used' grep -q "preserve-env=.* $longshore action" "$work/sudo"
effect sudo 'or not' test "$(grep -c preserve-env "$work/sudo")" = 1
effect cache 'the second build takes what the first one kept' same kept-1 kept-2
effect cache-repository 'in the repository that was named' bash -c "curl -fsS 'http://$registry/v2/$name-cache/tags/list' | jq -e '.tags | length > 0'"
effect 'cache-ttl cache_registry' 'what is older is not used' other kept-1 kept-no-more
effect 'cache-to cache-from' 'a build takes what another kept there' same to from
effect no-cache 'and does not if told so' other to from-nothing
effect registry-mirror 'the base image came from it' has_file mirrored tiny
effect cache-directory 'the base image is in the image' has_file warmed tiny
tiny=$(curl -fsS -H "$accept" "http://$registry/v2/$name-tiny/manifests/1" | jq -r '.layers[0].digest')
effect cache-directory 'and was fetched once, by the warmer' test "$(grep -c "^GET /v2/$name-tiny/blobs/$tiny" "$work/asked")" = 1
effect push-retry 'what was refused once is there' manifest refused-once
effect push-retry 'after two attempts' test "$(grep -c "^PUT /v2/$name/manifests/refused-once" "$work/asked")" = 2
effect 'outputs extra_args' 'both names are there' test "$(manifest outputs)" = "$(manifest outputs-too)"
effect outputs "in docker's words" in_manifest outputs '.mediaType == "application/vnd.docker.distribution.manifest.v2+json"'
effect outputs 'and the archive' tar -tf "$work/outputs.tar" manifest.json
effect extra_args 'the words are arguments' in_config outputs '.config.Labels.extra == "yes"'
# act loses the last lines of a step that ends at once; the reasons are held by the unit tests of src/ci/inputs.
refuses() { part "not-$1" | grep "Failure - Main not-$1"; } # INPUT
effect load 'only false' refuses load
effect provenance 'only false' refuses provenance
effect sbom 'only false' refuses sbom
effect call 'only build' refuses call
effect pull 'true or false' refuses pull
effect 'cache_ttl cache_directory' 'are cache-ttl and cache-directory' same warmed other-caches
effect 'registry username password' 'it is in the registry that asks for them' in_private logged-in
effect registry-auth 'by the second of the list, too' in_private listed
effect github-token 'it opens the repository of its server' has_file token far
effect push-from-forks "a fork's image is in the registry" manifest from-a-fork
for secret in planted-token canary-hub from-a-file from-a-variable "$LONGSHORE_TEST_REGISTRY_PASSWORD"; do
  # act itself prints what a step is given where it is no secret of its own; the program's lines have a bar before them.
  effect '' 'no secret is in the log' bash -c "! cat '$work'/*.log | grep -F '  | ' | grep -F -- '$secret'"
done

# All of them, by name: those that are declared, and those that a step uses and an effect is looked up of.
declared() { sed -n '/^inputs:$/,/^outputs:$/s/^  \([a-z_-]*\):$/\1/p' "$1" | sort -u; }
used=$(sed -n 's/^          \([a-z_-]*\): .*/\1/p' "$repo"/.github/workflows/*.yml | sort -u)
unused() { comm -23 <(declared "$1") <(comm -12 <(echo "$used") <(tr ' ' '\n' <<<"$inspected" | sort -u)); }
count "these inputs of action.yml are used by no test: $(unused action.yml | xargs)" "$(unused action.yml | wc -l)"
sed 's/^outputs:$/  made-up:\n&/' action.yml >"$work/action.yml"
[ "$(unused "$work/action.yml")" = made-up ]
count 'one that nobody uses is found' $?
count "these are used, and are no inputs: $(comm -13 <(declared action.yml) <(echo "$used") | xargs)" "$(comm -13 <(declared action.yml) <(echo "$used") | wc -l)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
