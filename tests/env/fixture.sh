#!/usr/bin/env bash
# fixture.sh ROOT: a tree /fixture of every kind of file, the same bytes and times everywhere, for the cases to change.
set -euo pipefail
f=$1/fixture
mkdir -p "$f"/{dir/sub/deep,replaced/old,sticky,setgid,gone,owned.d}
cd "$f"
echo file >file
echo keep >overridden
echo deleted >deleted
for name in a b sub/c sub/deep/d; do echo "$name" >"dir/$name"; done
echo old >replaced/old/file
echo gone >gone/file
echo hard >hard1 && ln hard1 hard2 && ln hard1 dir/hard3
ln -s file link
ln -s dir dirlink
ln -s /fixture/dir absolute
ln -s missing dangling
ln -s ../../../../../../fixture/file escaping
mkfifo fifo
echo owned >owned && echo inside >owned.d/inside && chown -R 1234:2345 owned owned.d && chmod 640 owned
echo setuid >setuid && chmod 4755 setuid
echo setgid >setgid/file && chmod 2775 setgid && chmod 1777 sticky
echo xattr >xattr && setfattr -n user.longshore -v one xattr
cp "$(command -v busybox)" caps && chmod 755 caps && setcap cap_net_raw+ep caps
echo bytes >"$(printf 'bytes-\377\376')"
echo spaces >'with space "and" quotes'
truncate -s 1M sparse && printf x | dd of=sparse bs=1 seek=524288 conv=notrunc status=none
long=$(printf 'n%.0s' $(seq 120))
mkdir -p "long/$long/$long" && echo long >"long/$long/$long/file"
find . -depth -exec touch -h -d '2001-01-02 03:04:05 UTC' {} +
