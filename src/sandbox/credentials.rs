//! What a RUN may do: Docker's default capabilities without `CAP_SETPCAP`, and the ids of its user.
//!
//! One capability less than any other process of a container makes every such process off limits: the kernel compares
//! the sets before it lets one process look into another. `no_new_privs` is not set, since images use setuid programs.

use super::executor::RunSpec;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};
use std::io;

/// Docker's default set (moby `oci/caps/defaults.go`) without `SETPCAP`.
pub(super) const RUN_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The number of capabilities that a set can hold.
const CAPABILITY_COUNT: u32 = 64;

/// Cuts this process down to a RUN's capabilities, unless it may have all, then takes on its ids. It must have one thread.
pub(super) fn give_up(spec: &RunSpec) -> io::Result<()> {
    let (uid, gid) = (spec.uid, spec.gid);
    if !spec.insecure {
        cut_bounding_set()?;
    }
    // EINVAL: a kernel before 4.3 has no such set.
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(explain("clear the ambient capabilities", error)),
    }
    let groups: Vec<Gid> = spec
        .groups
        .iter()
        .map(|&group| Gid::from_raw(group))
        .collect();
    set_thread_groups(&groups).map_err(|error| explain("set the supplementary groups", error))?;
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(group, group, group)
        .map_err(|error| explain(&format!("become group {gid}"), error))?;
    set_thread_res_uid(user, user, user)
        .map_err(|error| explain(&format!("become user {uid}"), error))?;
    let permitted = capabilities(None)?.permitted;
    let held = if spec.insecure {
        permitted
    } else {
        permitted & RUN_CAPABILITIES
    };
    let kept = if uid == 0 {
        held
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(|error| explain("cut the capabilities", error))
}

fn cut_bounding_set() -> io::Result<()> {
    for bit in 0..CAPABILITY_COUNT {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if RUN_CAPABILITIES.contains(capability) {
            continue;
        }
        match capability_is_in_bounding_set(capability) {
            Ok(false) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(explain("read the capability bounding set", error)),
            Ok(true) => remove_capability_from_bounding_set(capability)
                .map_err(|error| explain("cut the capability bounding set", error))?,
        }
    }
    Ok(())
}

fn explain(action: &str, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{action}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_less_than_any_process_of_a_docker_container() {
        const DOCKER: u64 = 0xa804_25fb;
        assert_eq!(
            RUN_CAPABILITIES | CapabilitySet::SETPCAP,
            CapabilitySet::from_bits_retain(DOCKER)
        );
        assert!(!RUN_CAPABILITIES.contains(CapabilitySet::SETPCAP));
    }
}
