chmod 700 tree/dir; chmod 600 tree/file
