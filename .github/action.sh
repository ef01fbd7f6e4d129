#!/usr/bin/env bash
# The step of action.yml: finds the program and runs `longshore action`, by sudo where RUN steps need it. Inputs stay in variables.
set -euo pipefail

program=${INPUT_BINARY:-$(command -v longshore || true)}
if [ -z "$program" ] || [ ! -x "$program" ]; then
  echo "::error title=longshore::there is no program: install longshore or name it by the input \"binary\"" >&2
  exit 1
fi

use_sudo=${INPUT_SUDO:-auto}
if [ "$use_sudo" = auto ]; then
  use_sudo=false
  # As an ordinary user it works where user namespaces and subordinate ids do; otherwise sudo, if it asks for no password.
  if [ "$(id -u)" != 0 ] && ! "$program" doctor >/dev/null 2>&1 && sudo -n true 2>/dev/null; then use_sudo=true; fi
fi
[ "$use_sudo" = true ] || exec "$program" action

# sudo drops the environment, except what is named: the step's inputs, what the runner says, the identity token's variables, what
# registries and proxies take. Names only: no value is an argument.
names=
while IFS= read -r -d '' pair; do
  name=${pair%%=*}
  case $name in
    INPUT_* | GITHUB_* | RUNNER_* | LONGSHORE_* | KANIKO_* | DOCKER_* | SSL_CERT_* | CI | HOME | PATH | SOURCE_DATE_EPOCH | NO_COLOR | \
      ACTIONS_ID_TOKEN_REQUEST_URL | ACTIONS_ID_TOKEN_REQUEST_TOKEN | AWS_* | AZURE_* | GOOGLE_* | CLOUDSDK_* | \
      http_proxy | https_proxy | no_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | REGISTRY_AUTH_FILE)
      names+=${names:+,}$name ;;
  esac
done < <(env -0)
code=0
sudo -n --preserve-env="$names" "$program" action || code=$?
# What was written belongs to the job's user, so that later steps can change and remove it.
for path in "${INPUT_TAR_PATH:-}" "${INPUT_OCI_LAYOUT_PATH:-}"; do
  if [ -n "$path" ] && [ -e "$path" ]; then sudo -n chown -R "$(id -u):$(id -g)" -- "$path"; fi
done
exit "$code"
