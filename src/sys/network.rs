//! The loopback interface of a fresh network namespace.

use rustix::io;
use rustix::ioctl;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// `struct ifreq` with its union read as flags (linux/if.h); 40 bytes on 64-bit machines.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    _rest: [u8; 22],
}

/// `SIOCSIFFLAGS` (linux/sockios.h).
const SET_INTERFACE_FLAGS: ioctl::Opcode = 0x8914;
/// `IFF_UP | IFF_RUNNING` (linux/if.h).
const UP_AND_RUNNING: i16 = 0x1 | 0x40;

/// Brings `lo` up in the network namespace of the calling thread.
pub fn bring_loopback_up() -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: UP_AND_RUNNING,
        _rest: [0; 22],
    };
    request.name[..2].copy_from_slice(b"lo");
    // SAFETY: SIOCSIFFLAGS reads one ifreq from the pointer; InterfaceRequest has its layout and size.
    unsafe {
        ioctl::ioctl(
            &socket,
            ioctl::Setter::<SET_INTERFACE_FLAGS, InterfaceRequest>::new(request),
        )
    }
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);
