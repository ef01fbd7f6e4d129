tar cf t.tar dir a.txt
gzip -nk t.tar
