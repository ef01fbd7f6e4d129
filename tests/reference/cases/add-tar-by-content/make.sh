mkdir -p tree/dir tree/owned
echo inside >tree/file; echo deeper >tree/dir/deeper; ln tree/file tree/hard; ln -s dir tree/link; ln -s /absolute tree/abs
echo suid >tree/suid; chmod 4755 tree/suid; mkfifo tree/fifo; chown -R 44:55 tree/owned; chmod 700 tree/owned
find tree -exec touch -h -d '2002-02-02 02:02:02 UTC' {} +
tar -C tree -cf not-named .; rm -r tree; printf hello | gzip -n >half.gz
