cp -r "$LONGSHORE_TEST_BASES/busybox" base
