mkdir -p tree/dir tree/gone; echo new >tree/dir/a; echo new >tree/file; chmod 700 tree/gone; ln -s dir/b tree/newlink
tar -C tree --sort=name --owner=3 --group=4 -cf tree.tar .; rm -r tree
