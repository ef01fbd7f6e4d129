//! What a command in its own namespaces sees around its tree: `/proc`, `/sys`, `/dev`, a host name, and nothing of the host's.
//!
//! Every target is opened as a chroot in the tree would (`rootfs::open_chrooted`) and mounted on by its descriptor, so that a link in
//! the image leads nowhere else. The mount points exist already: `stubs` made them.

use super::executor::{Network, RunSpec};
use super::protocol::NamespacePlace;
use super::{mountinfo, mounting};
use crate::rootfs::open_chrooted;
use crate::sys::namespace::unshare;
use rustix::fs::{CWD, Dev, FileType, Mode, OFlags, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use rustix::process::{fchdir, pivot_root};
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Device nodes of every container: name, major, minor (runtime-spec config-linux.md "Default Devices").
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Links of every container's `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];
/// What runc hides: these tell about the machine, or change it.
const MASKED: [&str; 13] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/timer_list",
    "proc/timer_stats",
    "proc/sched_debug",
    "proc/scsi",
    "sys/firmware",
    "sys/devices/virtual/powercap",
    "sys/fs/selinux",
];
/// What runc makes read-only.
const READ_ONLY: [&str; 5] = [
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];

const NO_PRIVILEGES: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Moves the calling process (of one thread) into namespaces of its own, with the place's tree as `/`.
pub(super) fn enter(place: &NamespacePlace, spec: &RunSpec) -> io::Result<()> {
    let network = match spec.network {
        Network::Host => UnshareFlags::empty(),
        Network::None => UnshareFlags::NEWNET,
    };
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | network)
        .map_err(|e| explain("make namespaces", "", e))?;
    if !network.is_empty() {
        crate::sys::network::bring_loopback_up().map_err(|e| explain("bring up", "lo", e))?;
    }
    rustix::system::sethostname(spec.hostname.as_bytes())
        .map_err(|e| explain("set the host name", &spec.hostname, e))?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|e| explain("make private", "/", e))?;

    let root = &place.root;
    mount_bind(root, root).map_err(|e| explain("bind", &root.display().to_string(), e))?;
    let fd = openat(
        CWD,
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if !spec.insecure {
        mount_remount(by_number(&fd), MountFlags::BIND | MountFlags::NODEV, "")
            .map_err(|e| explain("remount without devices", "/", e))?;
    }
    let tree = Tree { fd };
    tree.mount_proc(place)?;
    tree.mount_sys(spec.insecure)?;
    if spec.insecure {
        tree.bind_dev()?;
    } else {
        tree.mount_dev(place)?;
    }
    tree.bind_file(place.hosts.as_deref(), "etc/hosts")?;
    tree.bind_file(place.resolv_conf.as_deref(), "etc/resolv.conf")?;
    mounting::mount_all(&tree, place)?;
    if !spec.insecure {
        for path in MASKED {
            tree.mask(path)?;
        }
        for path in READ_ONLY {
            tree.make_read_only(path)?;
        }
    }

    fchdir(&tree.fd)?;
    pivot_root(".", ".").map_err(|e| explain("change root to", &root.display().to_string(), e))?;
    unmount(".", UnmountFlags::DETACH).map_err(|e| explain("detach", "the old root", e))?;
    std::env::set_current_dir("/")
}

/// The tree that becomes `/`.
pub(super) struct Tree {
    fd: OwnedFd,
}

impl Tree {
    pub(super) fn open(&self, path: &str) -> Result<OwnedFd, Errno> {
        open_chrooted(self.fd.as_fd(), path.as_bytes(), OFlags::PATH)
    }

    pub(super) fn mount(
        &self,
        kind: &str,
        path: &str,
        flags: MountFlags,
        options: &str,
    ) -> Result<OwnedFd, Errno> {
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        mount(
            kind,
            by_number(&self.open(path)?),
            kind,
            flags,
            options.as_c_str(),
        )?;
        self.open(path)
    }

    fn mount_proc(&self, place: &NamespacePlace) -> io::Result<()> {
        if place.own_processes {
            self.mount("proc", "proc", NO_PRIVILEGES, "")
                .map_err(|e| explain("mount", "/proc", e))?;
            return Ok(());
        }
        let target = self.open("proc").map_err(|e| explain("open", "/proc", e))?;
        mount_bind_recursive("/proc", by_number(&target)).map_err(|e| explain("bind", "/proc", e))
    }

    fn mount_sys(&self, writable: bool) -> io::Result<()> {
        let read_only = if writable {
            MountFlags::empty()
        } else {
            MountFlags::RDONLY
        };
        if self
            .mount("sysfs", "sys", NO_PRIVILEGES | read_only, "")
            .is_ok()
        {
            return Ok(());
        }
        // The network namespace is not ours: bind what is there, and make all of it read-only.
        let target = self.open("sys").map_err(|e| explain("open", "/sys", e))?;
        mount_bind_recursive("/sys", by_number(&target)).map_err(|e| explain("bind", "/sys", e))?;
        let bound = std::fs::read_link(by_number(&self.open("sys")?))?;
        for mounted in mountinfo::read_below(&bound)? {
            let flags = mounted.flags();
            if !flags.contains(MountFlags::RDONLY) {
                mount_remount(
                    &mounted.point,
                    MountFlags::BIND | MountFlags::RDONLY | flags,
                    "",
                )
                .map_err(|e| explain("make read-only", &mounted.point.display().to_string(), e))?;
            }
        }
        Ok(())
    }

    /// The machine's own devices, for a command that may use them.
    fn bind_dev(&self) -> io::Result<()> {
        let target = self.open("dev").map_err(|e| explain("open", "/dev", e))?;
        mount_bind_recursive("/dev", by_number(&target)).map_err(|e| explain("bind", "/dev", e))
    }

    fn mount_dev(&self, place: &NamespacePlace) -> io::Result<()> {
        let dev = self
            .mount(
                "tmpfs",
                "dev",
                MountFlags::NOSUID | MountFlags::STRICTATIME,
                "mode=755,size=65536k",
            )
            .map_err(|e| explain("mount", "/dev", e))?;
        for (name, major, minor) in DEVICES {
            make_device(&dev, name, makedev(major, minor), place.user_namespace)
                .map_err(|e| explain("make", &format!("/dev/{name}"), e))?;
        }
        for (target, name) in LINKS {
            symlinkat(target, &dev, name)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        }
        let terminals = "newinstance,ptmxmode=0666,mode=0620";
        let noexec = MountFlags::NOSUID | MountFlags::NOEXEC;
        // Group 5 is `tty` everywhere; a narrow id map may not have it.
        self.mount("devpts", "dev/pts", noexec, &format!("{terminals},gid=5"))
            .or_else(|_| self.mount("devpts", "dev/pts", noexec, terminals))
            .map_err(|e| explain("mount", "/dev/pts", e))?;
        self.mount("tmpfs", "dev/shm", NO_PRIVILEGES, "mode=1777,size=65536k")
            .map_err(|e| explain("mount", "/dev/shm", e))?;
        match self.mount("mqueue", "dev/mqueue", NO_PRIVILEGES, "") {
            // A kernel without POSIX message queues.
            Ok(_) | Err(Errno::NODEV) => Ok(()),
            Err(error) => Err(explain("mount", "/dev/mqueue", error)),
        }
    }

    fn bind_file(&self, source: Option<&Path>, path: &str) -> io::Result<()> {
        let Some(source) = source else { return Ok(()) };
        let target = self
            .open(path)
            .map_err(|e| explain("open", &format!("/{path}"), e))?;
        mount_bind(source, by_number(&target))
            .map_err(|e| explain("bind over", &format!("/{path}"), e))
    }

    /// Covers a file with `/dev/null`, a directory with an empty one.
    fn mask(&self, path: &str) -> io::Result<()> {
        let target = match self.open(path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
            Err(error) => return Err(explain("open", path, error)),
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
        if kind == FileType::Directory {
            mount(
                "tmpfs",
                by_number(&target),
                "tmpfs",
                NO_PRIVILEGES | MountFlags::RDONLY,
                c"size=0k",
            )
        } else {
            mount_bind(by_number(&self.open("dev/null")?), by_number(&target))
        }
        .map_err(|e| explain("hide", path, e))
    }

    fn make_read_only(&self, path: &str) -> io::Result<()> {
        let target = match self.open(path) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(explain("open", path, error)),
        };
        mount_bind_recursive(by_number(&target), by_number(&target))
            .map_err(|e| explain("bind", path, e))?;
        // Opened again: the first descriptor is below the new mount.
        mount_remount(
            by_number(&self.open(path)?),
            MountFlags::BIND | MountFlags::RDONLY | NO_PRIVILEGES,
            "",
        )
        .map_err(|e| explain("make read-only", path, e))
    }
}

fn make_device(dev: &OwnedFd, name: &str, number: Dev, user_namespace: bool) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    if !user_namespace {
        match mknodat(dev, name, FileType::CharacterDevice, mode, number) {
            Ok(()) => return rustix::fs::chmodat(dev, name, mode, rustix::fs::AtFlags::empty()),
            Err(Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    let file = openat(
        dev,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC,
        mode,
    )?;
    mount_bind(format!("/dev/{name}"), by_number(&file))
}

/// A path that leads to an open descriptor.
pub(super) fn by_number(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

pub(super) fn explain(action: &str, what: &str, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{action} {what}: {error}"))
}
