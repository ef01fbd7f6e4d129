setfattr -n user.one -v 1 plain; setcap cap_net_bind_service+ep caps; setfattr -n user.dir -v d .
