#!/usr/bin/env bash
# In place, in docker's default profile: mounts of a RUN step leave no trace at `/`, in the container's memory or in an image, and no secret
# anywhere; a kill -9 as one appears in the container's memory leaves none either, once `longshore restore` has run.
set -euo pipefail
. "$(dirname "$0")/check.sh"
mkdir -p "$work/mounted/over" "$work/out"
cat >"$work/mounted/Dockerfile" <<'DOCKERFILE'
ARG REGISTRY
FROM ${REGISTRY}/base/busybox:1 AS filled
RUN mkdir /filling && for n in $(seq 50); do echo $n > /filling/$n; done
FROM ${REGISTRY}/base/busybox:1
RUN mkdir /over && echo kept > /over/kept && echo kept > /file
RUN --mount=type=secret,id=planted,required --mount=type=secret,id=planted,target=/file --mount=type=secret,id=planted,target=/dev/deep/planted \
    --mount=type=cache,id=precious,target=/precious --mount=type=cache,id=filled,from=filled,source=/filling,target=/filled \
    --mount=type=bind,source=over,target=/over --mount=type=bind,from=filled,source=/filling,target=/new/bound,rw --mount=type=tmpfs,target=/memory \
    test "$(wc -c </file)" = 14 && test "$(ls /filled | wc -l)" = 50 && echo used >> /precious/log && echo trace > /memory/trace && \
    echo trace > /new/bound/1 && sleep 0.2 && echo done > /done
RUN --mount=type=secret,id=planted,target=/dev/shm/planted <<SCRIPT
#!/bin/sh
grep -q ^planted- /dev/shm/planted && sleep 0.1 && echo done > /script
SCRIPT
DOCKERFILE
for n in $(seq 300); do echo "$n" >"$work/mounted/over/$n"; done
echo planted-mount >"$work/planted"
build() { # NAME
  echo "/longshore/longshore build --isolation=inplace --no-push --insecure-registry $LONGSHORE_TEST_REGISTRY --build-arg REGISTRY=$LONGSHORE_TEST_REGISTRY" \
    "--context /mounted --secret id=planted,src=/planted --oci-layout-path /out/$1"
}

listing="find / -xdev ! -path '/out*' ! -path '/longshore/state*' ! -path '/proc*' -exec stat -c '%n %F %a %u:%g %s' {} + | sort; find /dev | sort"
unchanged() { inside "$listing" >"$work/after" && diff "$work/before" "$work/after"; }
no_secret() {
  local found
  found=$(inside "find / /dev /dev/shm /longshore/state -xdev -type f ! -path /planted ! -path '/mounted/*' -exec grep -l planted-mount {} +" || true)
  echo "$found"
  [ -z "$found" ]
}
whole() { # NAME: the image has what was beneath the mounts, and nothing of them
  "$root/tests/reference/describe.py" "$work/out/$1" "$LONGSHORE_TEST_BASES"/*/ >"$work/description" || return 1
  cat "$work/description"
  jq -e '(.tree | has("done") and has("script") and has("over/kept") and (.file | contains(" size=5 ")))
    and ([.tree | keys[] | select(test("^(run/secrets|precious|filled|memory|new|over/1|dev/)"))] == [])' "$work/description"
}
restored() { inside "/longshore/longshore restore" && unchanged && no_secret; }
killed() { # WHEN: kills a build as soon as that command succeeds; whoever kills nothing fails
  inside "$(build killed) >/dev/null 2>&1 & seen=no; while kill -0 \$! 2>/dev/null; do if $1; then seen=yes; break; fi; done
    killall -9 longshore 2>/dev/null; sleep 0.1; test \$seen = yes" || return 1
  rm -rf "$work/out/killed"
  restored
}

container --volume "$work/planted:/planted:ro" --volume "$work/mounted:/mounted:ro" --volume "$work/out:/out"
inside "$listing" >"$work/before"
check "mounts of all kinds" inside "$(build first)"
check "the image has nothing of them" whole first
check "/ is as it was" unchanged
check "no secret is left" no_secret
check "killed as a secret appears in /dev" killed "test -e /dev/deep/planted"
finish
