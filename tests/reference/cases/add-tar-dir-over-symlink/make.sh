mkdir -p tree/bin tree/usr/bin; echo one >tree/bin/from-bin; echo two >tree/usr/bin/from-usr
tar -C tree --sort=name -cf tree.tar .; rm -r tree
