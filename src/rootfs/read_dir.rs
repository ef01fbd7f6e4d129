//! Directory listings by `getdents64`, without a stat per name.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

/// Room for some 1,000 names a call; a name is at most 255 bytes, so one always fits.
const BUFFER_BYTES: usize = 32 * 1024;

/// Opens for reading the directory that a handle stands for.
pub(super) fn reopen(handle: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(handle, ".", flags, Mode::empty())
}

/// Calls `each` for every name but `.` and `..`, in the kernel's order.
pub(super) fn for_each(dir: BorrowedFd<'_>, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => each(name),
            },
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
