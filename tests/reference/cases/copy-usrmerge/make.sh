chmod 755 tool
