ln plain hard; mkdir sub; ln plain sub/hard
cp plain setuid; chmod 4755 setuid; mkdir setgid sticky; chmod 2775 setgid; chmod 1777 sticky
mkfifo fifo
truncate -s 3M sparse; printf end >>sparse
chown 55:66 setgid plain
chmod 4711 setuid; mkdir closed; chmod 000 closed
