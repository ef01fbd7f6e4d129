n=$(printf 'n%.0s' $(seq 200)); mkdir -p "$n/$n/$n"; echo deep >"$n/$n/$n/file"
ln -s "$(printf 't%.0s' $(seq 180))" longlink; echo é >"café-日本"
