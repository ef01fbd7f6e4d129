//! Stages as plain directories: where overlayfs is refused, and where nothing is run.

use super::SandboxError;
use super::executor::{
    ChangeSource, FinishedStage, LayerSlot, ProtectedPath, RunOutput, RunSpec, RunStatus, StepKind,
    Workspace,
};
use super::namespace::{FOREIGN_STAGE, Shared};
use super::order::{Opened, Order};
use super::stubs::times;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags, chownat, lgetxattr, lgetxattr_query,
    llistxattr, llistxattr_query, lsetxattr, mknodat, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stage in one directory: layers are applied on each other, steps are found by a scan.
#[derive(Debug)]
pub(super) struct PlainWorkspace {
    shared: Arc<Shared>,
    name: String,
    root: PathBuf,
    order: Order,
}

/// A finished plain tree.
#[derive(Debug)]
struct FinishedPlain {
    root: PathBuf,
    _shared: Arc<Shared>,
}

impl PlainWorkspace {
    pub(super) fn make(shared: &Arc<Shared>, name: &str) -> Result<Self, SandboxError> {
        let root = shared.build.fresh_directory("tree")?;
        Ok(Self {
            shared: Arc::clone(shared),
            name: name.to_owned(),
            root,
            order: Order::new(),
        })
    }

    pub(super) fn branch(
        shared: &Arc<Shared>,
        name: &str,
        finished: &FinishedStage,
        still_needed: bool,
    ) -> Result<Self, SandboxError> {
        let tree = finished
            .tree
            .downcast_ref::<FinishedPlain>()
            .ok_or(FOREIGN_STAGE)?;
        let root = shared.build.fresh_name("tree");
        if still_needed {
            copy_tree(&tree.root, &root)
                .map_err(|source| SandboxError::path("copy a stage to", &root, source))?;
        } else {
            fs::rename(&tree.root, &root)
                .map_err(|source| SandboxError::path("rename a stage to", &root, source))?;
        }
        Ok(Self {
            shared: Arc::clone(shared),
            name: name.to_owned(),
            root,
            order: Order::new(),
        })
    }
}

impl Workspace for PlainWorkspace {
    fn root(&self) -> &Path {
        &self.root
    }

    fn open_layer(&mut self, _chain_id: &str) -> Result<LayerSlot, SandboxError> {
        self.order.open_layer()?;
        Ok(LayerSlot::Missing)
    }

    fn seal_layer(&mut self) -> Result<(), SandboxError> {
        self.order.seal_layer()
    }

    fn abandon_layer(&mut self) -> Result<(), SandboxError> {
        self.order.abandon_layer()
    }

    fn begin_step(&mut self, _kind: StepKind) -> Result<(), SandboxError> {
        self.order.begin_step()
    }

    fn changes(&self) -> Result<ChangeSource, SandboxError> {
        Ok(ChangeSource::Scan {
            root: self.root.clone(),
        })
    }

    fn seal_step(&mut self) -> Result<(), SandboxError> {
        self.order.seal_step()
    }

    fn run(
        &mut self,
        spec: &RunSpec,
        output: &mut RunOutput<'_>,
    ) -> Result<RunStatus, SandboxError> {
        self.order.require(Opened::Step, "run a command")?;
        self.shared.run(&self.root, spec, output)
    }

    fn protected(&self) -> Result<Vec<ProtectedPath>, SandboxError> {
        Ok(Vec::new())
    }

    fn finish(self: Box<Self>) -> Result<FinishedStage, SandboxError> {
        self.order.finish()?;
        let tree = FinishedPlain {
            root: self.root.clone(),
            _shared: self.shared,
        };
        Ok(FinishedStage {
            name: self.name,
            root: self.root,
            tree: Arc::new(tree),
        })
    }
}

/// Copies a tree with everything that a layer can carry: owners, modes, times, extended attributes, links of both kinds,
/// devices and FIFOs. Sockets are left out, as layers leave them out. `to` must not exist.
pub(super) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    copy_entry(from, to, &mut HashMap::new())
}

fn copy_entry(from: &Path, to: &Path, links: &mut HashMap<(u64, u64), PathBuf>) -> io::Result<()> {
    let found = rustix::fs::lstat(from)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    let metadata = fs::symlink_metadata(from)?;
    if kind != FileType::Directory && metadata.nlink() > 1 {
        match links.entry((metadata.dev(), metadata.ino())) {
            std::collections::hash_map::Entry::Occupied(first) => {
                return fs::hard_link(first.get(), to);
            }
            std::collections::hash_map::Entry::Vacant(slot) => slot.insert(to.to_owned()),
        };
    }
    let mode = Mode::from_raw_mode(found.st_mode);
    match kind {
        FileType::Socket => return Ok(()),
        FileType::Directory => {
            fs::DirBuilder::new().mode(0o700).create(to)?;
            for entry in fs::read_dir(from)? {
                let name = entry?.file_name();
                copy_entry(&from.join(&name), &to.join(&name), links)?;
            }
        }
        FileType::Symlink => std::os::unix::fs::symlink(fs::read_link(from)?, to)?,
        FileType::RegularFile => {
            let mut target = fs::File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(to)?;
            io::copy(&mut fs::File::open(from)?, &mut target)?;
        }
        _ => mknodat(CWD, to, kind, mode, found.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        // After the owner, whose change clears the setuid bit; before the attributes, some of which need a writable file.
        rustix::fs::chmod(to, mode)?;
    }
    copy_xattrs(from, to)?;
    utimensat(CWD, to, &times(&found), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Copies the extended attributes that are not overlayfs's own marks.
pub(super) fn copy_xattrs(from: &Path, to: &Path) -> Result<(), Errno> {
    let length = match llistxattr_query(from) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut names = vec![0_u8; length];
    let length = llistxattr(from, &mut names[..])?;
    for name in names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let size = lgetxattr_query(from, name)?;
        let mut value = vec![0_u8; size];
        let size = lgetxattr(from, name, &mut value[..])?;
        lsetxattr(to, name, &value[..size], XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_copy_is_the_same_in_everything() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a"), "content").unwrap();
        fs::hard_link(from.join("a"), from.join("b")).unwrap();
        fs::set_permissions(from.join("a"), PermissionsExt::from_mode(0o4711)).unwrap();
        std::os::unix::fs::symlink("nowhere", from.join("link")).unwrap();
        mknodat(
            CWD,
            from.join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o640),
            0,
        )
        .unwrap();
        lsetxattr(from.join("a"), "user.kind", b"test", XattrFlags::empty()).unwrap();
        fs::create_dir(from.join("d")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(86_401);
        fs::File::open(from.join("d"))
            .unwrap()
            .set_modified(old)
            .unwrap();

        let to = directory.path().join("to");
        copy_tree(&from, &to).unwrap();
        let (a, b) = (
            fs::metadata(to.join("a")).unwrap(),
            fs::metadata(to.join("b")).unwrap(),
        );
        assert_eq!(
            (a.ino(), a.mode() & 0o7777, a.nlink()),
            (b.ino(), 0o4711, 2)
        );
        assert_eq!(fs::read(to.join("b")).unwrap(), b"content");
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("nowhere")
        );
        assert_eq!(
            FileType::from_raw_mode(fs::symlink_metadata(to.join("fifo")).unwrap().mode()),
            FileType::Fifo
        );
        assert_eq!(fs::metadata(to.join("d")).unwrap().modified().unwrap(), old);
        let mut value = [0_u8; 8];
        assert_eq!(lgetxattr(to.join("a"), "user.kind", &mut value[..]), Ok(4));
    }
}
