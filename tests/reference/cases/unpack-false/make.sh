tar cf t.tar --mtime=@981173106 --owner=0 --group=0 --sort=name --format=ustar dir a.txt
gzip -nk1 t.tar
