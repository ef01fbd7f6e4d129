mkdir -m 700 private; chmod 640 a.txt; mkdir empty; touch -d "1999-09-09 09:09:09 UTC" b.txt deep/x
