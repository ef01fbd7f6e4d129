//! What the kernel says about one inode, and what overlayfs keeps for itself.

use std::fmt;

use rustix::fs::{Statx, StatxAttributes};

/// The kinds of inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket, which no layer can hold.
    Socket,
}

impl FileType {
    /// Reads the type bits of `st_mode`.
    pub fn from_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Dir,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::Char,
            0o060_000 => Self::Block,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            // Linux knows no other type than a regular file.
            _ => Self::File,
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Dir => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Char => "a character device",
            Self::Block => "a block device",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
        })
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub secs: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Device {
    /// The driver.
    pub major: u32,
    /// The instance.
    pub minor: u32,
}

/// Numeric user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// What `statx` answers about one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The type.
    pub file_type: FileType,
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub mode: u32,
    /// The owner.
    pub owner: Owner,
    /// The size in bytes.
    pub size: u64,
    /// The last modification.
    pub mtime: Timestamp,
    /// The last change of the inode, which programs cannot set.
    pub ctime: Timestamp,
    /// The file system.
    pub dev: Device,
    /// The inode number.
    pub ino: u64,
    /// The number of names.
    pub nlink: u32,
    /// The number of a device node.
    pub rdev: Device,
    /// Is something mounted right here? False where the kernel (before 5.8) cannot say.
    pub is_mount_root: bool,
}

impl Metadata {
    /// Is this how overlayfs writes "deleted": a character device 0:0?
    pub fn is_whiteout(&self) -> bool {
        self.file_type == FileType::Char && self.rdev == Device::default()
    }

    /// Is this a directory?
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Dir
    }

    /// Is this a regular file?
    pub fn is_file(&self) -> bool {
        self.file_type == FileType::File
    }
}

impl From<Statx> for Metadata {
    fn from(stat: Statx) -> Self {
        let mode = u32::from(stat.stx_mode);
        let time = |t: rustix::fs::StatxTimestamp| Timestamp {
            secs: t.tv_sec,
            nanos: t.tv_nsec,
        };
        Self {
            file_type: FileType::from_mode(mode),
            mode: mode & 0o7777,
            owner: Owner {
                uid: stat.stx_uid,
                gid: stat.stx_gid,
            },
            size: stat.stx_size,
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
            dev: Device {
                major: stat.stx_dev_major,
                minor: stat.stx_dev_minor,
            },
            ino: stat.stx_ino,
            nlink: stat.stx_nlink,
            rdev: Device {
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            is_mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }
}
