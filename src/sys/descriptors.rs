//! Descriptors by number: those inherited over an exec, and those that must not outlive one.

use rustix::fd::BorrowedFd;
use rustix::fs::SealFlags;
use rustix::io::{self, FdFlags};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes over an inherited, sealed memory file by its number.
///
/// # Errors
/// `EBADF` when the number is not open, `EINVAL` when it is something else or not sealed against every change: then
/// the number was not given to us by ourselves, and it is left alone.
pub fn take_sealed_memory(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Errno::BADF);
    }
    // SAFETY: the borrow lasts for this call; a number that is not open makes fcntl return EBADF.
    let seals = rustix::fs::fcntl_get_seals(unsafe { BorrowedFd::borrow_raw(number) })?;
    if !seals.contains(SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
        return Err(io::Errno::INVAL);
    }
    // SAFETY: only our own earlier self makes a fully sealed memory file of this number before any other code runs,
    // so nothing else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks every open descriptor above standard error as to be closed by exec.
pub fn close_all_on_exec() -> std::io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        if number <= 2 {
            continue;
        }
        // SAFETY: the borrow lasts for this call, which changes no ownership; a closed number answers EBADF.
        match io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(number) }, FdFlags::CLOEXEC) {
            Ok(()) | Err(io::Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn only_sealed_memory_is_taken() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(
            take_sealed_memory(file.as_raw_fd()).unwrap_err(),
            io::Errno::INVAL
        );
        assert_eq!(take_sealed_memory(2).unwrap_err(), io::Errno::BADF);
        assert_eq!(take_sealed_memory(987_654).unwrap_err(), io::Errno::BADF);
        let open = rustix::fs::memfd_create("t", MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(
            take_sealed_memory(open.as_raw_fd()).unwrap_err(),
            io::Errno::INVAL
        );
        rustix::fs::fcntl_add_seals(
            &open,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )
        .unwrap();
        assert!(take_sealed_memory(open.into_raw_fd()).is_ok());
    }

    #[test]
    fn everything_is_closed_by_exec() {
        let fd = rustix::fs::memfd_create("t", MemfdFlags::empty()).unwrap();
        assert_eq!(io::fcntl_getfd(&fd).unwrap(), FdFlags::empty());
        close_all_on_exec().unwrap();
        assert_eq!(io::fcntl_getfd(&fd).unwrap(), FdFlags::CLOEXEC);
    }
}
