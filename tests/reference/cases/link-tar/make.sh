tar cf t.tar dir a.txt
