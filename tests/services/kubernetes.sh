#!/usr/bin/env bash
# The manifests and commands for Kubernetes, docker run and Cloud Build: by their schemas, and run in containers as they stand, their
# registry's name replaced by a private one with a password and a certificate of its own.
set -euo pipefail
. "$(dirname "$0")/../docker/check.sh"
cd "$root"
tools=${LONGSHORE_TEST_CACHE:-${CARGO_TARGET_DIR:-$root/target}/env}/kubernetes-validate
[ -x "$tools/bin/kubernetes-validate" ] || { python3 -m venv "$tools" && "$tools/bin/pip" install --quiet kubernetes-validate==1.37.0; }
[ -x "$tools/bin/check-jsonschema" ] || "$tools/bin/pip" install --quiet check-jsonschema==0.39.0
registry=$LONGSHORE_TEST_REGISTRY_TLS user=$LONGSHORE_TEST_REGISTRY_USER:$LONGSHORE_TEST_REGISTRY_PASSWORD
team=$registry/kubernetes-$$
published=$(sed -n 's/^ *image: //p' examples/kubernetes/job.yaml)
digest() { skopeo inspect --tls-verify=false --creds "$user" --format '{{.Digest}}' "docker://$1"; }

for file in examples/kubernetes/*.yaml; do
  check "valid: $file" "$tools/bin/kubernetes-validate" --strict "$file"
done
check "valid: cloudbuild.yaml" "$tools/bin/check-jsonschema" --builtin-schema vendor.cloudbuild examples/cloudbuild/cloudbuild.yaml

mkdir -p "$work/home/.docker" "$work/workspace" "$work/outputs"
printf '{"auths":{"%s":{"auth":"%s"}}}' "$registry" "$(printf %s "$user" | base64 -w0)" >"$work/home/.docker/config.json"
printf 'FROM %s/base/busybox:1\nRUN echo said > /said\n' "$LONGSHORE_TEST_REGISTRY" >"$work/workspace/Dockerfile"
further=(--network=host --volume "$LONGSHORE_TEST_REGISTRY_CA:/kaniko/ssl/certs/test.crt:ro")

# FILE: the container's arguments and mounts as docker takes them; a secret, a claim and an empty directory are what they are in a pod.
pod() {
  "$tools/bin/python" - "$1" "$work" <<'PYTHON'
import sys, yaml
path, work = sys.argv[1:]
document = yaml.safe_load(open(path))
spec = document["spec"].get("template", document)["spec"]
container, sources = spec["containers"][0], {volume["name"]: volume for volume in spec["volumes"]}
for mount in container["volumeMounts"]:
    volume = sources[mount["name"]]
    source = f"{work}/home/.docker:" if "secret" in volume else f"{work}/workspace:" if "persistentVolumeClaim" in volume else ""
    print(f"--volume={source}{mount['mountPath']}" + (":ro" if mount.get("readOnly") else ""))
print(container["image"])
print("\n".join(container["args"]))
PYTHON
}
in_pod() { # FILE TEXT REPLACEMENT: runs the manifest's container, one text of it replaced
  local arguments
  mapfile -t arguments < <(pod "$1" | sed "s#$published#$image#; s#registry.example.com/team#$team#; s#$2#$3#; \$a --insecure-registry=$LONGSHORE_TEST_REGISTRY")
  : >"$work/termination"
  timeout 300 docker run --rm --interactive "${further[@]}" --volume "$work/termination:/dev/termination-log" "${arguments[@]}"
}
check "the Job builds" in_pod examples/kubernetes/job.yaml '^$' ''
check "its termination message is the digest" test "$(cat "$work/termination")" = "$(digest "$team/app:1.0")"
# The Pod reads the standard input that check would close.
from_input() { tar -C "$work/workspace" -cz . | in_pod examples/kubernetes/pod.yaml ':1.0' ':stdin'; }
check "the Pod builds what comes by standard input" from_input
check "and pushes it" digest "$team/app:stdin"

# The commands of the page.
commands() { # NUMBER: a block of code that begins with docker or tar
  awk -v number="$1" '/^```$/ { inside = !inside; if (inside) { first = 1 } next } inside && first { first = 0; on = /docker run/ ? ++count == number : 0 } inside && on' \
    docs/from-kaniko/kubernetes.md
}
page() { # NUMBER: runs it
  local text
  text=$(commands "$1" | sed "s#docker run#docker run ${further[*]}#; s#$published#$image#; s#registry.example.com/team#$team-page#")
  [ -n "$text" ] && (cd "$work/workspace" && HOME=$work/home timeout 300 bash -c "$text --insecure-registry=$LONGSHORE_TEST_REGISTRY")
}
check "docker run pushes" page 1
check "its image is there" digest "$team-page/app:1.0"
check "docker run makes an archive" page 2
check "docker load takes it" docker load --input "$work/workspace/app.tar"
docker rmi app:1.0 >/dev/null 2>&1 || true
rm -f "$work/workspace/app.tar"
check "docker run builds what comes by standard input" page 3

# Cloud Build: the working directory is /workspace, the variables are replaced.
cloudbuild() {
  local arguments
  mapfile -t arguments < <(sed -n 's/^      - //p' examples/cloudbuild/cloudbuild.yaml | sed "s#\$LOCATION-docker.pkg.dev/\$PROJECT_ID#$team-cloud#; s#\$SHORT_SHA#abc1234#")
  docker run --rm "${further[@]}" --volume "$work/workspace:/workspace" --workdir /workspace --volume "$work/outputs:/builder/outputs" \
    --volume "$work/home/.docker:/kaniko/.docker:ro" "$image" "${arguments[@]}" --insecure-registry="$LONGSHORE_TEST_REGISTRY"
}
check "cloudbuild.yaml builds" cloudbuild
check "its output is the digest" test "$(cat "$work/outputs/output")" = "$(digest "$team-cloud/images/app:abc1234")"
finish
