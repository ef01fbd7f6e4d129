tar -cf tree.tar --mtime='2001-01-01 UTC' --owner=0 --group=0 x
