#!/usr/bin/env bash
# action.yml through act, the runner of GitHub's workflows that runs anywhere: a composite action in host mode. The image is looked up in the
# registry, and the outputs that the next step sees are compared with it. Also the README's workflow, with a private registry for ghcr.io.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/services/lib/readme.sh
longshore=${LONGSHORE:?the program to test}
registry=${LONGSHORE_TEST_REGISTRY:?the registry of tests/env}
cache=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools
act=$cache/bin/act
if [ ! -x "$act" ]; then
  . tests/services/lib/go.sh
  need_go "$cache" || { echo "Go is not to be had"; echo "0 passed, 1 failed"; exit 1; }
  GOBIN=$cache/bin go install github.com/nektos/act@v0.2.82 || { echo "0 passed, 1 failed"; exit 1; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/repo/.github/workflows" "$work/repo/longshore/.github" "$work/repo/app" "$work/home"
cp action.yml "$work/repo/longshore/" && cp .github/action.sh "$work/repo/longshore/.github/"
printf 'FROM scratch\nARG GREETING\nCOPY hello /hello\nCOPY --from=more extra /extra\nLABEL greeting=$GREETING\n' >"$work/repo/app/Dockerfile"
echo hello >"$work/repo/app/hello"
mkdir "$work/repo/more" && echo extra >"$work/repo/more/extra"
name=ci/act-$$
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
          binary: $longshore
          context: app
          images: $registry/$name
          tags: |
            type=raw,value=one
            type=sha,format=long
          build-args: |
            GREETING=a, b \$(id)
          build-contexts: more=more
          annotations: manifest:test.note=a=b, c
          push: true
          args: |
            --insecure-registry=$registry
      - run: |
          echo "\$DIGEST" >"$work/digest"
          echo "\$TAGS" >"$work/tags"
          echo "\$METADATA" >"$work/metadata"
        env:
          DIGEST: \${{ steps.image.outputs.digest }}
          TAGS: \${{ steps.image.outputs.tags }}
          METADATA: \${{ steps.image.outputs.metadata }}
END
echo '{"pull_request":{"number":7,"head":{"ref":"x","repo":{"full_name":"eve/app"}},"base":{"ref":"main","repo":{"full_name":"acme/app"}}},"number":7}' \
  >"$work/fork.json"
(cd "$work/repo" && git init -q -b main && git add -A && git -c user.name=a -c user.email=a@b.test commit -qm one &&
  git remote add origin https://github.com/acme/app.git)

passed=0 failed=0
check() { # NAME CONDITION...
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$name: not so" && cat "$work/log"; fi
}
run() { # EVENT ARGUMENTS...
  (cd "$work/repo" && HOME=$work/home LONGSHORE_STATE_DIR=$work/state timeout 120 "$act" "$@" -P ubuntu-latest=-self-hosted -s GITHUB_TOKEN=planted-token \
    --action-offline-mode >"$work/log" 2>&1)
}
in_registry() { # TAG: its digest
  curl -fsS -o /dev/null -D - -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$registry/v2/$name/manifests/$1" |
    tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p'
}

check 'the workflow succeeds' run push
digest=$(in_registry one)
check 'an image is there' test -n "$digest"
check 'the annotation is there' bash -c "curl -fsS -H 'Accept: application/vnd.oci.image.manifest.v1+json' 'http://$registry/v2/$name/manifests/one' | jq -e '.annotations[\"test.note\"] == \"a=b, c\"' >'$work/answer'"
check 'the other context is copied from' test "$(curl -fsS -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$registry/v2/$name/manifests/one" | jq '.layers | length')" = 2
check 'the digest is an output' test "$(cat "$work/digest" 2>/dev/null)" = "$digest"
sha=$(git -C "$work/repo" rev-parse HEAD)
check 'the commit is a tag' test "$(in_registry "sha-$sha")" = "$digest"
check 'the names are an output' test "$(cat "$work/tags" 2>/dev/null)" = "$registry/$name:one
$registry/$name:sha-$sha"
check 'the metadata is JSON' test "$(jq -r '."containerimage.digest"' "$work/metadata" 2>/dev/null)" = "$digest"
check 'no secret is in the log' bash -c "! grep -q planted-token '$work/log'"
# What goes wrong ends the job, with a message.
sed -i 's/COPY hello/COPY missing/' "$work/repo/app/Dockerfile"
check 'a mistake fails the job' bash -c "! (cd '$work/repo' && HOME='$work/home' LONGSHORE_STATE_DIR='$work/state' '$act' push -P ubuntu-latest=-self-hosted --action-offline-mode) >'$work/log' 2>&1"
check 'and says where' grep -q 'missing' "$work/log"
sed -i 's/COPY missing/COPY hello/' "$work/repo/app/Dockerfile"
sed -i "s#$name#$name-fork#" "$work/repo/.github/workflows/build.yml"
check 'a pull request of a fork builds' run pull_request -e "$work/fork.json"
check 'and is not pushed' grep -q 'the image is built and not pushed' "$work/log"
name=$name-fork
check 'not at all' test -z "$(in_registry one 2>/dev/null)"

# The README's workflow: the program is on the PATH, the credential where docker/login-action leaves it.
private=$LONGSHORE_TEST_REGISTRY_TLS user=$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD
check "the README's example is short" at_most_ten_lines 'GitHub Actions'
readme_example 'GitHub Actions' | sed "s#ghcr.io#$private/act-$$#; s#longshore-build/longshore@v0#./longshore#" >"$work/repo/.github/workflows/build.yml"
mkdir -p "$work/home/.docker" "$work/bin"
ln -s "$longshore" "$work/bin/longshore"
printf '{"auths":{"%s":{"auth":"%s"}}}' "$private" "$(printf %s "$user" | base64 -w0)" >"$work/home/.docker/config.json"
mv "$work/repo/app"/* "$work/repo/" && sed -i '/--from=more/d' "$work/repo/Dockerfile"
check "the README's example builds" env PATH="$work/bin:$PATH" bash -c "$(declare -f run); work=$work act=$act; run push --env SSL_CERT_FILE=$LONGSHORE_TEST_REGISTRY_CA --env DOCKER_CONFIG=$work/home/.docker"
digest=$(curl -fsS --cacert "$LONGSHORE_TEST_REGISTRY_CA" -u "$user" -o /dev/null -D - -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
  "https://$private/v2/act-$$/acme/app/manifests/main" | tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p')
check 'and pushes a tag for the branch' test -n "$digest"
check 'its digest is in the log' grep -q "$digest" "$work/log"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
