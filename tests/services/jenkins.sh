#!/usr/bin/env bash
# Jenkins: the shared library's step under Groovy (the version of Jenkins' core) against the registry; the pod against Kubernetes' schema.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
. tests/services/lib/readme.sh
: "${LONGSHORE_TEST_REGISTRY:?the test environment is not up: . \"\$(tests/env/up.sh)\"}" "${LONGSHORE:?the binary to test}"
cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}
work=$(mktemp -d "${TMPDIR:-/tmp}/longshore-jenkins.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! command -v groovy >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends groovy >/dev/null
fi
if [ -z "${JAVA_HOME:-}" ]; then
  JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  export JAVA_HOME
fi
[ -x "$cache/kubernetes-validate/bin/kubernetes-validate" ] || {
  python3 -m venv "$cache/kubernetes-validate"
  "$cache/kubernetes-validate/bin/pip" install --quiet kubernetes-validate==1.37.0
}
pods=0 bad=0
for pod in "$root"/jenkins/resources/pods/*.yaml; do
  # The plugin gives the pod its name.
  sed 's/^metadata:$/&\n  name: longshore/' "$pod" >"$work/pod.yaml"
  if "$cache/kubernetes-validate/bin/kubernetes-validate" --strict "$work/pod.yaml"; then pods=$((pods + 1)); else bad=$((bad + 1)); fi
done
mkdir "$work/workspace"
printf 'FROM scratch\nARG GREETING\nLABEL said=$GREETING\nCOPY Dockerfile /\n' >"$work/workspace/Dockerfile"
code=0
readme_example Jenkins >"$work/Jenkinsfile"
auth=$(printf '%s:%s' "$LONGSHORE_TEST_REGISTRY_USER" "$LONGSHORE_TEST_REGISTRY_PASSWORD" | base64 -w0)
export DOCKER_AUTH_CONFIG="{\"auths\":{\"$LONGSHORE_TEST_REGISTRY_TLS\":{\"auth\":\"$auth\"}}}"
groovy "$root/tests/jenkins/run.groovy" "$root/jenkins" "$work/workspace" "$work/Jenkinsfile" | tee "$work/output" || code=1
tail -1 "$work/output" | grep -q ' passed, 0 failed$' || code=1
# tests/run adds the counts of all closing lines.
echo "$pods passed, $bad failed"
[ $code = 0 ] && [ $bad = 0 ]
