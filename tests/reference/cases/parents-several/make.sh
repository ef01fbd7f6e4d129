ln -s dir dirlink
ln -s a.txt link
mkdir -p empty/in
chmod 700 dir/sub
chmod 640 a.txt
