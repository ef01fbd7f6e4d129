//! Whether an SSH host is the one that it says it is (sshd(8) "SSH_KNOWN_HOSTS FILE FORMAT").
