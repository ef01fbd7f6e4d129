chown -R 5:6 named
chmod 755 named/one
chmod 750 named/dir
ln -s dir/sub/deep named/link
