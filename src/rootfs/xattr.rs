//! Extended attributes of a name in an opened directory, links never followed.
//!
//! Linux before 6.13 has no `*xattrat` calls. `/proc/self/fd/N/name` with the calls that do not follow the last
//! component means the same; where there is no `/proc`, files and directories are opened instead.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

/// A list that fits here needs one call; longer ones are asked for their size.
const LIST_BYTES: usize = 1024;

/// Names what a descriptor holds, or a name in the directory that it holds.
pub(super) fn proc_path(fd: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if !name.is_empty() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

pub(super) fn list(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![0; LIST_BYTES];
    loop {
        let answer = with_target(dir, name, |target| match target {
            Target::Path(path) => rustix::fs::llistxattr(path, &mut buffer[..]),
            Target::Opened(fd) => rustix::fs::flistxattr(fd, &mut buffer[..]),
        });
        match answer {
            Ok(length) => {
                buffer.truncate(length);
                break;
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 8, 0),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    let names = buffer.split(|&b| b == 0).filter(|n| !n.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

pub(super) fn get(dir: BorrowedFd<'_>, name: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut buffer = vec![0; LIST_BYTES];
    loop {
        let answer = with_target(dir, name, |target| match target {
            Target::Path(path) => rustix::fs::lgetxattr(path, key, &mut buffer[..]),
            Target::Opened(fd) => rustix::fs::fgetxattr(fd, key, &mut buffer[..]),
        });
        match answer {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 8, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn set(dir: BorrowedFd<'_>, name: &[u8], key: &[u8], value: &[u8]) -> Result<(), Errno> {
    with_target(dir, name, |target| match target {
        Target::Path(path) => rustix::fs::lsetxattr(path, key, value, XattrFlags::empty()),
        Target::Opened(fd) => rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()),
    })
}

pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8], key: &[u8]) -> Result<(), Errno> {
    with_target(dir, name, |target| match target {
        Target::Path(path) => rustix::fs::lremovexattr(path, key),
        Target::Opened(fd) => rustix::fs::fremovexattr(fd, key),
    })
}

/// How an inode is named to the kernel.
enum Target<'a> {
    Path(&'a [u8]),
    Opened(&'a OwnedFd),
}

fn with_target<T>(
    dir: BorrowedFd<'_>,
    name: &[u8],
    mut call: impl FnMut(Target<'_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    // A trailing `.` makes the calls that do not follow links look at the directory itself.
    let path = proc_path(dir, if name.is_empty() { b"." } else { name });
    match call(Target::Path(&path)) {
        Err(Errno::NOENT | Errno::NOTDIR) => {
            let stat = super::dir::statx(dir, name)?;
            if !(stat.is_dir() || stat.is_file()) {
                return Err(Errno::OPNOTSUPP);
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let name = if name.is_empty() { b"." } else { name };
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            call(Target::Opened(&fd))
        }
        answer => answer,
    }
}
