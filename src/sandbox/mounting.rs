//! Mounts what a RUN's `--mount`s ask for, in the command's own namespace.
//!
//! Targets are opened inside the tree and mounted on by their descriptors, as all that `surroundings` mounts.

use super::protocol::{NamespacePlace, PlaceMount, PlaceMountKind};
use super::stubs::{StubKind, Stubs};
use super::surroundings::{Tree, by_number, explain};
use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};

/// Mounts everything, in the order that the parent has found.
pub(super) fn mount_all(tree: &Tree, place: &NamespacePlace) -> io::Result<()> {
    if let Some(staging) = &place.staging {
        mount(
            "tmpfs",
            staging,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            c"mode=700",
        )
        .map_err(|e| explain("mount memory for", "secrets", e))?;
    }
    for (number, one) in place.mounts.iter().enumerate() {
        mount_one(tree, place, number, one).map_err(|error| {
            io::Error::new(error.kind(), format!("mount /{}: {error}", one.target))
        })?;
    }
    Ok(())
}

fn mount_one(
    tree: &Tree,
    place: &NamespacePlace,
    number: usize,
    one: &PlaceMount,
) -> io::Result<()> {
    let target = one.target.as_str();
    match &one.kind {
        PlaceMountKind::Bind { source, read_only } => {
            let from = openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let kind = FileType::from_raw_mode(fstat(&from)?.st_mode);
            let stub = if kind == FileType::Directory {
                StubKind::Directory
            } else {
                StubKind::File
            };
            make_point(place, target, stub)?;
            mount_bind_recursive(by_number(&from), by_number(&tree.open(target)?))?;
            if *read_only {
                make_read_only(tree, target, MountFlags::empty())?;
            }
        }
        PlaceMountKind::Tmpfs { size, read_only } => {
            make_point(place, target, StubKind::Directory)?;
            let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
            if *read_only {
                flags |= MountFlags::RDONLY;
            }
            let options = size.map_or_else(String::new, |size| format!("size={size}"));
            tree.mount("tmpfs", target, flags, &options)?;
        }
        PlaceMountKind::File {
            content,
            mode,
            uid,
            gid,
        } => {
            let staging = place.staging.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let path = staging.join(number.to_string());
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(content.expose())?;
            fchown(&file, Some(*uid), Some(*gid))?;
            file.set_permissions(PermissionsExt::from_mode(*mode))?;
            drop(file);
            make_point(place, target, StubKind::File)?;
            mount_bind(&path, by_number(&tree.open(target)?))?;
            let is_program = mode & 0o111 != 0;
            let noexec = if is_program {
                MountFlags::empty()
            } else {
                MountFlags::NOEXEC
            };
            make_read_only(tree, target, noexec)?;
        }
    }
    Ok(())
}

/// Makes a mount point that is missing. Those in the tree itself are there and taken away by the parent; this one lies in
/// another mount.
fn make_point(place: &NamespacePlace, target: &str, kind: StubKind) -> io::Result<()> {
    // What was made is part of that mount from now on, as with other builders.
    Stubs::make(&place.root, &[(target, kind)])
        .map(drop)
        .map_err(|error| match error {
            super::SandboxError::Path { source, .. } => {
                io::Error::new(source.kind(), format!("make the mount point: {source}"))
            }
            other => io::Error::other(other.to_string()),
        })
}

fn make_read_only(tree: &Tree, target: &str, more: MountFlags) -> io::Result<()> {
    let mounted = tree.open(target)?;
    // A user namespace may not take flags away that a mount has from outside.
    let has = fstatvfs(&mounted)?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let flags = kept
        .iter()
        .filter(|(flag, _)| has.contains(*flag))
        .fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag);
    mount_remount(
        by_number(&mounted),
        MountFlags::BIND | MountFlags::RDONLY | flags | more,
        "",
    )
    .map_err(|error: Errno| explain("make read-only", target, error))
}
