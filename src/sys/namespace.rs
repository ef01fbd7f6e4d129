//! Leaving the namespaces that the calling thread shares with its parent.

use rustix::io;
use rustix::thread::UnshareFlags;

/// Moves the calling thread into new namespaces. `FILES` is not accepted, since descriptors may not differ between threads.
///
/// A new user namespace needs a process of one thread. A new PID namespace is for the children made from here on.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::Errno::INVAL);
    }
    // SAFETY: the one hazard named by rustix is a descriptor table that differs between threads, refused above.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_descriptor_table_is_refused() {
        assert_eq!(
            unshare(UnshareFlags::FILES | UnshareFlags::NEWNS),
            Err(io::Errno::INVAL)
        );
    }
}
