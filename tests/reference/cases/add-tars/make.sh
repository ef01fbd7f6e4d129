mkdir -p tree/dir tree/owned
echo inside >tree/file; echo deeper >tree/dir/deeper; ln tree/file tree/hard; ln -s dir tree/link; ln -s /absolute tree/abs
echo suid >tree/suid; chmod 4755 tree/suid; mkfifo tree/fifo; chown -R 44:55 tree/owned; chmod 700 tree/owned
find tree -exec touch -h -d '2002-02-02 02:02:02 UTC' {} +

t() { tar -C tree --sort=name -cf - .; }
t >plain.tar; t | gzip -n >gz.tar.gz; t | bzip2 >bz2.tar.bz2; t | xz >xz.tar.xz; t | zstd -q >zst.tar.zst; rm -r tree
