chmod 640 a.txt; chmod 755 b.txt
