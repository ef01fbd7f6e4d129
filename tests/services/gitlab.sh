#!/usr/bin/env bash
# The GitLab template and examples through gitlab-ci-local, with a registry behind CI_REGISTRY: include with inputs, the image, the dotenv report in
# a later job, the code quality report, the README's pipeline, a matrix, a child pipeline, two platforms under one name.
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/services/lib/readme.sh
longshore=${LONGSHORE:?the program to test}
registry=${LONGSHORE_TEST_REGISTRY:?the registry of tests/env}
tools=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools/gitlab-ci-local
give_up() { echo "$1"; echo "0 passed, 1 failed"; exit 1; }
if [ ! -x "$tools/node_modules/.bin/gitlab-ci-local" ]; then
  mkdir -p "$tools"
  # It needs a Node of its own, newer than Debian's.
  (cd "$tools" && npm install --no-audit --no-fund --silent gitlab-ci-local@4.75.1 node@22) || give_up 'gitlab-ci-local is not to be had'
fi
command -v rsync >/dev/null || apt-get install -qq -y rsync >/dev/null 2>&1 || { apt-get update -qq && apt-get install -qq -y rsync >/dev/null; } || give_up 'rsync is not to be had'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=ci/gitlab-$$
mkdir -p "$work/repo/app" "$work/bin"
ln -s "$longshore" "$work/bin/longshore"
cp gitlab/templates/longshore.yml "$work/repo/template.yml"
printf 'FROM scratch\nCOPY hello /hello\nlabel a=b\n' >"$work/repo/app/Dockerfile"
echo hello >"$work/repo/app/hello"
cat >"$work/repo/.gitlab-ci.yml" <<END
include:
  - local: template.yml
    inputs:
      context: app
      dockerfile: app/Dockerfile
      image: $registry/$name
      tags: |
        type=ref,event=branch
        type=sha
      args: --insecure-registry=$registry
deploy:
  stage: deploy
  needs: [longshore]
  script:
    - echo "\$IMAGE_REF" >"$work/reference"
END
cat >"$work/repo/.gitlab-ci-local-variables.yml" <<END
CI_REGISTRY: $registry
CI_REGISTRY_USER: someone
CI_REGISTRY_PASSWORD: planted-password
END
(cd "$work/repo" && git init -q -b main && git add -A && git -c user.name=a -c user.email=a@b.test commit -qm one &&
  git remote add origin https://gitlab.test/acme/app.git)

passed=0 failed=0
check() { # NAME CONDITION...
  local name=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$name: not so" && cat "$work/log"; fi
}
run() {
  (cd "$work/repo" && PATH=$tools/node_modules/.bin:$work/bin:$PATH HOME=$work LONGSHORE_STATE_DIR=$work/state \
    timeout 200 gitlab-ci-local --force-shell-executor --shell-isolation "$@" >"$work/log" 2>&1)
}
check 'the pipeline succeeds' run
sha=$(git -C "$work/repo" rev-parse --short=7 HEAD)
in_registry() {
  curl -fsS -o /dev/null -D - -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$registry/v2/$name/manifests/$1" |
    tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p'
}
digest=$(in_registry main)
check 'the branch is a tag' test -n "$digest"
check 'the commit is a tag' test "$(in_registry "sha-$sha")" = "$digest"
check 'the report reaches the next job' test "$(cat "$work/reference" 2>/dev/null)" = "$registry/$name@$digest"
report=$work/repo/.gitlab-ci-local/artifacts/longshore-check/longshore-check.json
check 'the code quality report has the finding at its line' jq -e \
  'any(.[]; .check_name == "ConsistentInstructionCasing" and .location.path == "app/Dockerfile" and .location.lines.begin == 3)' "$report"
check 'no secret is in the log' bash -c "! grep -q planted-password '$work/log'"

# The README's pipeline, with the component as a file of the repository: the credential is the job's, the name $CI_REGISTRY_IMAGE.
private=$LONGSHORE_TEST_REGISTRY_TLS user=$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD
check "the README's example is short" at_most_ten_lines 'GitLab CI'
readme_example 'GitLab CI' | sed 's#component: .*#local: template.yml#' >"$work/repo/.gitlab-ci.yml"
cat >"$work/repo/.gitlab-ci-local-variables.yml" <<END
CI_REGISTRY: $private
CI_REGISTRY_IMAGE: $private/gitlab-$$/app
CI_REGISTRY_USER: $LONGSHORE_TEST_REGISTRY_USER
CI_REGISTRY_PASSWORD: $LONGSHORE_TEST_REGISTRY_PASSWORD
SSL_CERT_FILE: $LONGSHORE_TEST_REGISTRY_CA
END
git -C "$work/repo" -c user.name=a -c user.email=a@b.test commit -qam two
check "the README's example runs" run
digest=$(curl -fsS --cacert "$LONGSHORE_TEST_REGISTRY_CA" -u "$user" -o /dev/null -D - -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
  "https://$private/v2/gitlab-$$/app/manifests/main" | tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p')
check 'and pushes a tag for the branch' test -n "$digest"
check 'and the next job is told' grep -q "deploy $private/gitlab-$$/app@$digest" "$work/log"

# The examples, each as it stands, with the private registry behind $CI_REGISTRY_IMAGE.
pushed() { # NAME:TAG: its digest
  curl -fsS --cacert "$LONGSHORE_TEST_REGISTRY_CA" -u "$user" -o "$work/manifest" -D - -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    -H 'Accept: application/vnd.oci.image.index.v1+json' "https://$private/v2/gitlab-$$/app${1%:*}/manifests/${1##*:}" | tr -d '\r' | sed -n 's/^[Dd]ocker-[Cc]ontent-[Dd]igest: //p'
}
commit() { git -C "$work/repo" add -A && git -C "$work/repo" -c user.name=a -c user.email=a@b.test commit -qm "$1"; }
mkdir -p "$work/repo/api" "$work/repo/web"
for directory in api web; do printf 'FROM scratch\nCOPY Dockerfile /%s\n' "$directory" >"$work/repo/$directory/Dockerfile"; done
cp gitlab/examples/several-images.yml "$work/repo/.gitlab-ci.yml" && commit several
check 'several images by a matrix' run
check 'both are there' test -n "$(pushed /api:main)" -a -n "$(pushed /web:main)" -a "$(pushed /api:main)" != "$(pushed /web:main)"

cp gitlab/examples/child-pipeline.yml "$work/repo/.gitlab-ci.yml"
printf 'api\nweb\n' >"$work/repo/images" && git -C "$work/repo" checkout -q -b child && commit child
check 'a child pipeline is generated' run generate
cp "$work/repo/.gitlab-ci-local/artifacts/generate/images.yml" "$work/repo/.gitlab-ci.yml" && commit generated
check 'it runs' run
check 'its images are there' test -n "$(pushed /api:child)" -a -n "$(pushed /web:child)"

cp gitlab/examples/platforms.yml "$work/repo/.gitlab-ci.yml" && cp "$work/repo/api/Dockerfile" "$work/repo/Dockerfile" && git -C "$work/repo" checkout -q -b platforms && commit platforms
check 'two platforms' run
digest=$(pushed :platforms)
check 'one name stands for both' test "$(jq -r '[.manifests[].platform.architecture] | sort | join(" ")' "$work/manifest")" = 'amd64 arm64'
check 'the digest is an artifact' test "$(cat "$work/repo/.gitlab-ci-local/artifacts/index/digest")" = "$digest"

# The dependency proxy: Docker Hub's images from a registry that asks for the job's credential and has a certificate of the server's authority.
proxy=$private/gitlab-$$/dependency_proxy/containers
skopeo copy --quiet --src-tls-verify=false --dest-tls-verify=false --dest-creds "$user" "docker://$registry/base/busybox:1" "docker://$proxy/library/busybox:1"
printf 'FROM busybox:1\nCOPY Dockerfile /\n' >"$work/repo/Dockerfile"
cat >"$work/repo/.gitlab-ci.yml" <<END
include:
  - local: template.yml
    inputs:
      image: $registry/$name/proxied
      mirror: \$CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX
      check: false
      args: --insecure-registry=$registry --skip-default-registry-fallback
END
behind_proxy() { # PASSWORD: the pipeline, in which nothing else knows the credential
  cat >"$work/repo/.gitlab-ci-local-variables.yml" <<END
CI_REGISTRY: $registry
CI_REGISTRY_USER: someone
CI_REGISTRY_PASSWORD: planted-password
CI_SERVER_TLS_CA_FILE: $LONGSHORE_TEST_REGISTRY_CA
CI_DEPENDENCY_PROXY_SERVER: $private
CI_DEPENDENCY_PROXY_USER: $LONGSHORE_TEST_REGISTRY_USER
CI_DEPENDENCY_PROXY_PASSWORD: $1
CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX: $proxy
END
  run
}
git -C "$work/repo" checkout -q -b proxied && commit proxied
check 'a base image comes through the dependency proxy' behind_proxy "$LONGSHORE_TEST_REGISTRY_PASSWORD"
name=$name/proxied
check 'its image is there' test -n "$(in_registry proxied)"
base=$(skopeo inspect --tls-verify=false --creds "$user" --format '{{index .Layers 0}}' "docker://$proxy/library/busybox:1")
check 'on the layers of that base' test "$(skopeo inspect --tls-verify=false --format '{{index .Layers 0}}' "docker://$registry/$name:proxied")" = "$base"
check 'the proxy'"'"'s password is not in the log' bash -c "! grep -q '$LONGSHORE_TEST_REGISTRY_PASSWORD' '$work/log'"
refused() { ! behind_proxy wrong-password; }
check 'no base image without the right credential' refused
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
