//! A filter of system calls for commands that are no business of the machine, and a session keyring of their own.
//!
//! What container engines deny by default (moby `profiles/seccomp`), turned around: they list some 350 calls that are
//! allowed, here stand those that are not, so that a new call of a new kernel works. All of them need a capability that
//! a command does not have, or reach what namespaces do not part: keyrings, `bpf`, `userfaultfd`, `io_uring`.

use std::io;

/// One more than the highest number that a call can have: this architecture does not have it.
const NONE: u32 = u32::MAX;

/// A call's number on each architecture.
struct Call {
    x86_64: u32,
    aarch64: u32,
    i386: u32,
    arm: u32,
}

const fn call(x86_64: u32, aarch64: u32, i386: u32, arm: u32) -> Call {
    Call {
        x86_64,
        aarch64,
        i386,
        arm,
    }
}

/// The calls that are denied, by their numbers (the kernel's `syscall_*.tbl` and `asm-generic/unistd.h`).
const DENIED: &[Call] = &[
    call(163, 89, 51, 51),       // acct
    call(248, 217, 286, 309),    // add_key
    call(321, 280, 357, 386),    // bpf
    call(305, 266, 343, 372),    // clock_adjtime
    call(NONE, NONE, 405, 405),  // clock_adjtime64
    call(227, 112, 264, 262),    // clock_settime
    call(NONE, NONE, 404, 404),  // clock_settime64
    call(176, 106, 129, 129),    // delete_module
    call(300, 262, 338, 367),    // fanotify_init
    call(313, 273, 350, 379),    // finit_module
    call(431, 431, 431, 431),    // fsconfig
    call(432, 432, 432, 432),    // fsmount
    call(430, 430, 430, 430),    // fsopen
    call(433, 433, 433, 433),    // fspick
    call(175, 105, 128, 128),    // init_module
    call(426, 426, 426, 426),    // io_uring_enter
    call(427, 427, 427, 427),    // io_uring_register
    call(425, 425, 425, 425),    // io_uring_setup
    call(173, NONE, 101, NONE),  // ioperm
    call(172, NONE, 110, NONE),  // iopl
    call(320, 294, NONE, 401),   // kexec_file_load
    call(246, 104, 283, 347),    // kexec_load
    call(250, 219, 288, 311),    // keyctl
    call(212, 18, 253, 249),     // lookup_dcookie
    call(165, 40, 21, 21),       // mount
    call(442, 442, 442, 442),    // mount_setattr
    call(429, 429, 429, 429),    // move_mount
    call(180, 42, 169, 169),     // nfsservctl
    call(304, 265, 342, 371),    // open_by_handle_at
    call(428, 428, 428, 428),    // open_tree
    call(298, 241, 336, 364),    // perf_event_open
    call(155, 41, 217, 218),     // pivot_root
    call(179, 60, 131, 131),     // quotactl
    call(443, 443, 443, 443),    // quotactl_fd
    call(169, 142, 88, 88),      // reboot
    call(249, 218, 287, 310),    // request_key
    call(171, 162, 121, 121),    // setdomainname
    call(170, 161, 74, 74),      // sethostname
    call(308, 268, 346, 375),    // setns
    call(164, 170, 79, 79),      // settimeofday
    call(NONE, NONE, 25, NONE),  // stime
    call(168, 225, 115, 115),    // swapoff
    call(167, 224, 87, 87),      // swapon
    call(139, NONE, 135, 135),   // sysfs
    call(156, NONE, 149, 149),   // _sysctl
    call(103, 116, 103, 103),    // syslog
    call(NONE, NONE, 22, NONE),  // umount
    call(166, 39, 52, 52),       // umount2
    call(272, 97, 310, 337),     // unshare
    call(134, NONE, 86, 86),     // uselib
    call(323, 282, 374, 388),    // userfaultfd
    call(136, NONE, 62, 62),     // ustat
    call(153, 58, 111, 111),     // vhangup
    call(NONE, NONE, 166, NONE), // vm86
    call(NONE, NONE, 113, NONE), // vm86old
];
/// Allowed where no new namespace is asked for.
const CLONE: Call = call(56, 220, 120, 120);
/// Its arguments are in memory, where a filter cannot look: C libraries fall back to `clone` when it is missing.
const CLONE3: Call = call(435, 435, 435, 435);
/// Allowed for the personalities that programs use.
const PERSONALITY: Call = call(135, 92, 136, 136);

/// `CLONE_NEWNS`, `CLONE_NEWCGROUP`, `CLONE_NEWUTS`, `CLONE_NEWIPC`, `CLONE_NEWUSER`, `CLONE_NEWPID`, `CLONE_NEWNET`.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `PER_LINUX`, `PER_LINUX32`, each with and without `UNAME26`, and the question which it is.
const PERSONALITIES: [u32; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `AUDIT_ARCH_*` (linux/audit.h).
const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_I386: u32 = 0x4000_0003;
const ARCH_AARCH64: u32 = 0xc000_00b7;
const ARCH_ARM: u32 = 0x4000_0028;
/// The bit of the calls of the x32 ABI, which nothing uses and few kernels have.
const X32: u32 = 0x4000_0000;

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, ... (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Offsets in `struct seccomp_data` (linux/seccomp.h); the low half of the first argument on little-endian machines.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
/// `SECCOMP_RET_ALLOW`, and `SECCOMP_RET_ERRNO` with `EPERM` and `ENOSYS`.
const ALLOW: u32 = 0x7fff_0000;
const NOT_PERMITTED: u32 = 0x0005_0000 | 1;
const NO_SUCH_CALL: u32 = 0x0005_0000 | 0x26;

const fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// `verdict` if the comparison holds, else what follows.
fn push_if(program: &mut Vec<libc::sock_filter>, code: u16, k: u32, verdict: u32) {
    program.push(libc::sock_filter {
        code,
        jt: 0,
        jf: 1,
        k,
    });
    program.push(statement(RETURN, verdict));
}

/// The rules of one architecture; whatever is not denied is allowed.
fn rules(number_of: fn(&Call) -> u32) -> Vec<libc::sock_filter> {
    let mut program = vec![statement(LOAD, NUMBER)];
    for number in DENIED
        .iter()
        .map(number_of)
        .filter(|&number| number != NONE)
    {
        push_if(&mut program, JUMP_EQUAL, number, NOT_PERMITTED);
    }
    push_if(&mut program, JUMP_EQUAL, number_of(&CLONE3), NO_SUCH_CALL);
    // `clone`: three statements are skipped for any other call.
    program.push(libc::sock_filter {
        code: JUMP_EQUAL,
        jt: 0,
        jf: 4,
        k: number_of(&CLONE),
    });
    program.push(statement(LOAD, FIRST_ARGUMENT));
    push_if(&mut program, JUMP_ANY_BIT, NEW_NAMESPACES, NOT_PERMITTED);
    program.push(statement(RETURN, ALLOW));
    program.push(libc::sock_filter {
        code: JUMP_EQUAL,
        jt: 1,
        jf: 0,
        k: number_of(&PERSONALITY),
    });
    program.push(statement(RETURN, ALLOW));
    program.push(statement(LOAD, FIRST_ARGUMENT));
    for personality in PERSONALITIES {
        push_if(&mut program, JUMP_EQUAL, personality, ALLOW);
    }
    program.push(statement(RETURN, NOT_PERMITTED));
    program
}

/// The whole filter; `None` for an architecture whose numbers are not known here.
fn filter() -> Option<Vec<libc::sock_filter>> {
    type Numbers = fn(&Call) -> u32;
    let (native, native_numbers, compatible, compatible_numbers): (u32, Numbers, u32, Numbers) =
        if cfg!(target_arch = "x86_64") {
            (ARCH_X86_64, |call| call.x86_64, ARCH_I386, |call| call.i386)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            (ARCH_AARCH64, |call| call.aarch64, ARCH_ARM, |call| call.arm)
        } else {
            return None;
        };
    let mut program = vec![statement(LOAD, ARCHITECTURE)];
    // Jumps reach 255 statements at most: each architecture's rules stand behind a test that leads over a short one.
    let compatible_rules = rules(compatible_numbers);
    program.push(libc::sock_filter {
        code: JUMP_EQUAL,
        jt: 2,
        jf: 0,
        k: native,
    });
    program.push(libc::sock_filter {
        code: JUMP_EQUAL,
        jt: 2,
        jf: 0,
        k: compatible,
    });
    program.push(statement(RETURN, NO_SUCH_CALL));
    // `BPF_JMP | BPF_JA`: its distance is a whole word.
    program.push(statement(0x05, u32::try_from(compatible_rules.len()).ok()?));
    program.extend(compatible_rules);
    if native == ARCH_X86_64 {
        program.push(statement(LOAD, NUMBER));
        push_if(&mut program, JUMP_GREATER_OR_EQUAL, X32, NO_SUCH_CALL);
    }
    program.extend(rules(native_numbers));
    Some(program)
}

/// Denies the calling thread, and what it executes, the calls that a command has no business with. It needs
/// `CAP_SYS_ADMIN` in its user namespace. False where the architecture's numbers are not known.
pub fn deny_calls() -> io::Result<bool> {
    let Some(mut program) = filter() else {
        return Ok(false);
    };
    let description = libc::sock_fprog {
        len: u16::try_from(program.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program that the description points at, and both live until the call returns.
    let answer = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const description,
        )
    };
    if answer == 0 {
        Ok(true)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Leaves the caller's session keyring for a new, empty one.
pub fn join_new_session_keyring() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING` (linux/keyctl.h).
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for a keyring without one; no memory is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if answer >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers, by interpreting it.
    fn verdict(architecture: u32, number: u32, argument: u32) -> u32 {
        let program = filter().unwrap();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let statement = &program[at];
            at += 1;
            let holds = match statement.code {
                LOAD => {
                    loaded = match statement.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        other => panic!("offset {other}"),
                    };
                    continue;
                }
                RETURN => return statement.k,
                0x05 => {
                    at += statement.k as usize;
                    continue;
                }
                JUMP_EQUAL => loaded == statement.k,
                JUMP_GREATER_OR_EQUAL => loaded >= statement.k,
                JUMP_ANY_BIT => loaded & statement.k != 0,
                other => panic!("code {other}"),
            };
            at += usize::from(if holds { statement.jt } else { statement.jf });
        }
    }

    #[test]
    fn what_is_denied_is_denied_on_both_architectures() {
        let (native, compatible): (u32, u32) = if cfg!(target_arch = "x86_64") {
            (ARCH_X86_64, ARCH_I386)
        } else if cfg!(target_arch = "aarch64") {
            (ARCH_AARCH64, ARCH_ARM)
        } else {
            return;
        };
        for call in DENIED {
            let (own, other) = if native == ARCH_X86_64 {
                (call.x86_64, call.i386)
            } else {
                (call.aarch64, call.arm)
            };
            for (architecture, number) in [(native, own), (compatible, other)] {
                if number != NONE {
                    assert_eq!(verdict(architecture, number, 0), NOT_PERMITTED, "{number}");
                }
            }
        }
        let of = |call: &Call| {
            if native == ARCH_X86_64 {
                call.x86_64
            } else {
                call.aarch64
            }
        };
        assert_eq!(verdict(native, of(&CLONE), 17), ALLOW);
        assert_eq!(verdict(native, of(&CLONE), 0x1000_0000), NOT_PERMITTED);
        assert_eq!(verdict(native, of(&CLONE3), 0), NO_SUCH_CALL);
        assert_eq!(verdict(native, of(&PERSONALITY), 8), ALLOW);
        assert_eq!(verdict(native, of(&PERSONALITY), 0x4_0000), NOT_PERMITTED);
        assert_eq!(verdict(native, 4000, 0), ALLOW);
        assert_eq!(verdict(1, 1, 0), NO_SUCH_CALL);
        if native == ARCH_X86_64 {
            // read, and x32's.
            assert_eq!(verdict(native, 0, 0), ALLOW);
            assert_eq!(verdict(native, X32, 0), NO_SUCH_CALL);
            // On i386 that number is `mount`.
            assert_eq!(verdict(ARCH_X86_64, 21, 0), ALLOW);
        }
    }
}
