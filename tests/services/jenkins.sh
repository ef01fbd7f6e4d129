#!/usr/bin/env bash
# Jenkins: the shared library's step under Groovy (the version of Jenkins' core) against the registry; the pod against Kubernetes' schema.
set -euo pipefail
. "$(dirname "$0")/../docker/check.sh"
cd "$root"
. tests/services/lib/readme.sh
cache=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}
if ! command -v groovy >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  install() { apt-get install -y -qq --no-install-recommends groovy default-jre-headless >/dev/null; }
  install || { apt-get update -qq && install; }
fi
if [ -z "${JAVA_HOME:-}" ]; then
  JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")
  export JAVA_HOME
fi
[ -x "$cache/kubernetes-validate/bin/kubernetes-validate" ] || {
  python3 -m venv "$cache/kubernetes-validate"
  "$cache/kubernetes-validate/bin/pip" install --quiet kubernetes-validate==1.37.0
}
for pod in jenkins/resources/pods/*.yaml; do
  # The plugin gives the pod its name.
  sed 's/^metadata:$/&\n  name: longshore/' "$pod" >"$work/pod.yaml"
  check "valid: $pod" "$cache/kubernetes-validate/bin/kubernetes-validate" --strict "$work/pod.yaml"
done

# The pod's container as it stands, in a workspace of an agent with another user; `sh` steps of the example without the library, one after the
# other in the same container, as the plugin runs them.
private=$LONGSHORE_TEST_REGISTRY_TLS user=$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD
mkdir -p "$work/agent" "$work/credentials"
chmod 755 "$work" && chown 1000:1000 "$work/agent"
printf '{"auths":{"%s":{"auth":"%s"}}}' "$private" "$(printf %s "$user" | base64 -w0)" >"$work/credentials/config.json"
printf 'FROM %s/base/busybox:1\nRUN echo said > /said\n' "$LONGSHORE_TEST_REGISTRY" >"$work/agent/Dockerfile"
mapfile -t pod < <("$cache/kubernetes-validate/bin/python" - jenkins/resources/pods/longshore.yaml "$work/credentials" <<'PYTHON'
import sys, yaml
spec = yaml.safe_load(open(sys.argv[1]))["spec"]
container, sources = spec["containers"][0], {volume["name"]: volume for volume in spec["volumes"]}
print(f"--user={container['securityContext']['runAsUser']}")
for mount in container["volumeMounts"]:
    source = f"{sys.argv[2]}:" if "secret" in sources[mount["name"]] else ""
    print(f"--volume={source}{mount['mountPath']}" + (":ro" if mount.get("readOnly") else ""))
print(f"--entrypoint={container['command'][0]}")
print("IMAGE")
print("\n".join(container["args"]))
PYTHON
)
id=$(docker run --detach --network=host --volume "$LONGSHORE_TEST_REGISTRY_CA:/kaniko/ssl/certs/test.crt:ro" --volume "$work/agent:$work/agent" "${pod[@]/#IMAGE/$image}")
containers+=("$id")
step() { # TAG: the example's sh step, its registry's name replaced
  local script
  script=$(sed -n "s/^ *sh '\(.*\)'$/\1/p" jenkins/examples/without-library.Jenkinsfile | sed "s#registry.example.com/app:1.0#$private/jenkins-$$/app:$1#")
  [ -n "$script" ] && timeout 300 docker exec --workdir "$work/agent" "$id" sh -c "$script --insecure-registry=$LONGSHORE_TEST_REGISTRY"
}
says_digest() { # TAG
  local digest
  digest=$(skopeo inspect --tls-verify=false --creds "$user" --format '{{.Digest}}' "docker://$private/jenkins-$$/app:$1")
  [ -n "$digest" ] && grep -qx "IMAGE_DIGEST=${digest/:/\\\\:}" "$work/agent/image.properties"
}
check "the pod builds" step 1
check "the properties have the registry's digest" says_digest 1
check "the pod builds a second time" step 2
check "the properties have that digest" says_digest 2
check "a step that fails leaves the pod usable" refuses docker exec --workdir "$work/agent" "$id" sh -c "/longshore/longshore build --dockerfile none --no-push"
check "the pod builds a third time" step 3
check "an agent of another user can remove what was written" setpriv --reuid=1000 --regid=1000 --clear-groups rm -f "$work/agent/image.properties"
mkdir "$work/workspace"
printf 'FROM scratch\nARG GREETING\nLABEL said=$GREETING\nCOPY Dockerfile /\n' >"$work/workspace/Dockerfile"
code=0
check "the README's example is short" at_most_ten_lines Jenkins
readme_example Jenkins >"$work/Jenkinsfile"
auth=$(printf '%s:%s' "$LONGSHORE_TEST_REGISTRY_USER" "$LONGSHORE_TEST_REGISTRY_PASSWORD" | base64 -w0)
export DOCKER_AUTH_CONFIG="{\"auths\":{\"$LONGSHORE_TEST_REGISTRY_TLS\":{\"auth\":\"$auth\"}}}"
groovy "$root/tests/jenkins/run.groovy" "$root/jenkins" "$work/workspace" "$work/Jenkinsfile" | tee "$work/output" || code=1
tail -1 "$work/output" | grep -q ' passed, 0 failed$' || code=1
# tests/run adds the counts of all closing lines.
finish && [ $code = 0 ]
