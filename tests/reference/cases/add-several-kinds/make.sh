tar cf t.tar dir
