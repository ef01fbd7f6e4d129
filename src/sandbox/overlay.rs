//! Overlay mounts of many lower directories, and which options this machine takes.

use super::surroundings::by_number;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
    unmount,
};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// mount(2) copies one page of options.
const OPTION_PAGE: usize = 4096;

/// The options that every overlay of this machine is mounted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct OverlayOptions {
    /// In a user namespace marks are `user.overlay.*` attributes, since `trusted.*` is for the real root.
    pub(super) in_user_namespace: bool,
    /// Whether the kernel may leave out syncing: the upper directory is thrown away after a crash in any case.
    pub(super) volatile: bool,
}

/// A mount that goes away with this value.
#[derive(Debug)]
pub(super) struct Mounted {
    point: PathBuf,
}

impl Mounted {
    pub(super) fn point(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached, so that a descriptor which is still open does not keep the rest of the clean-up from happening. What
        // fails here is found by the removal of the build's directory.
        let _ = unmount(&self.point, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.point);
    }
}

/// The writable part of an overlay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writable<'a> {
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
}

impl OverlayOptions {
    /// Mounts `lowers` (bottom first, at least one; two for a read-only mount) at `point`, a new directory.
    pub(super) fn mount(
        self,
        lowers: &[PathBuf],
        writable: Option<Writable<'_>>,
        point: &Path,
    ) -> Result<Mounted, Errno> {
        let open = |path: &Path| {
            openat(
                CWD,
                path,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        // Names of descriptors: short, and free of the commas and colons that would have to be escaped.
        let lowers = lowers
            .iter()
            .rev()
            .map(|lower| open(lower))
            .collect::<Result<Vec<_>, _>>()?;
        let writable = writable
            .map(|writable| Ok::<_, Errno>((open(writable.upper)?, open(writable.work)?)))
            .transpose()?;
        std::fs::create_dir(point)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let mounted = Mounted {
            point: point.to_owned(),
        };
        let stack = lowers.iter().map(by_number).collect::<Vec<_>>();
        let mut options = format!("lowerdir={}", stack.join(":"));
        for (key, value) in self.settings(writable.as_ref()) {
            options.push(',');
            options.push_str(&key);
            if let Some(value) = value {
                options.push('=');
                options.push_str(&value);
            }
        }
        if options.len() < OPTION_PAGE {
            let options = CString::new(options).map_err(|_| Errno::INVAL)?;
            mount(
                "overlay",
                point,
                "overlay",
                MountFlags::NODEV,
                options.as_c_str(),
            )?;
        } else {
            self.mount_one_by_one(&stack, writable.as_ref(), point)?;
        }
        Ok(mounted)
    }

    /// For more layers than a page of options holds; needs Linux 6.8.
    fn mount_one_by_one(
        self,
        stack: &[String],
        writable: Option<&(OwnedFd, OwnedFd)>,
        point: &Path,
    ) -> Result<(), Errno> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for lower in stack {
            fsconfig_set_string(&context, "lowerdir+", lower)?;
        }
        for (key, value) in self.settings(writable) {
            match value {
                Some(value) => fsconfig_set_string(&context, key, value)?,
                None => fsconfig_set_flag(&context, key)?,
            }
        }
        fsconfig_create(&context)?;
        let made = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_NODEV,
        )?;
        move_mount(
            &made,
            "",
            CWD,
            point,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    }

    fn settings(self, writable: Option<&(OwnedFd, OwnedFd)>) -> Vec<(String, Option<String>)> {
        let mut settings = Vec::new();
        let mut set = |key: &str, value: Option<&str>| {
            settings.push((key.to_owned(), value.map(str::to_owned)));
        };
        // A layer has to be whole by itself: no file whose content lies in another one, no directory that is found by a name.
        if self.in_user_namespace {
            set("userxattr", None);
        } else {
            set("redirect_dir", Some("nofollow"));
            set("metacopy", Some("off"));
        }
        set("index", Some("off"));
        if let Some((upper, work)) = writable {
            set("upperdir", Some(&by_number(upper)));
            set("workdir", Some(&by_number(work)));
            if self.volatile {
                set("volatile", None);
            }
        }
        settings
    }
}
