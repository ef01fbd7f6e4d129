chown -R 5:6 m
