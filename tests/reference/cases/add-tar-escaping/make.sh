mkdir -p tree/sub; echo abs >tree/abs; ln -s ../../../../etc tree/up; ln -s / tree/root; ln -s /etc/passwd tree/passwd
tar -C tree --sort=name -P --transform 's,^./abs,/abs/olute,' -cf tree.tar .; rm -r tree
