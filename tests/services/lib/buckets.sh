# Sourced: the tests of places in buckets, and of caches there, against the store that the variables name.

buckets() { # LOG: says yes if they pass
  tests_of buckets 3 "$1"
}

caches() { # FIELDS LOG: says yes if they pass for the cache that the fields name, which is at LONGSHORE_TEST_FOLDER
  LONGSHORE_TEST_CACHE_FIELDS=$1 tests_of caches 1 "$2"
}

tests_of() { # MODULE COUNT LOG
  local tests=${LONGSHORE_REGISTRY_TESTS:-}
  if [ -z "$tests" ]; then
    tests=$(cargo test --no-run --test registry --message-format=json-render-diagnostics 2>"$3" |
      jq -r 'select(.executable != null and .target.name == "registry") | .executable') || return 0
  fi
  # That none was left out counts too.
  if "$tests" --test-threads 1 "$1::" >"$3" 2>&1 && grep -q "^test result: ok. $2 passed" "$3" && ! grep -q SKIPPED "$3"; then echo yes; fi
}
