//! COPY, and the part of ADD that is a copy: files from a source tree into a stage's tree.
//!
//! Both trees are reached through `rootfs` only. What BuildKit's copy does is the measure: sources are followed when they
//! are links, links inside of a copied directory are not; a directory is merged into the destination; owners become 0:0
//! for files of the context and stay for files of a stage.

mod merge;

use std::collections::HashMap;

use crate::dockerfile::{Span, Spanned};
use crate::plan::{ChmodSpec, CopySource, CopyStep, RepositorySource, Unpack, UrlSource};
use crate::rootfs::{self, Device, Dir, FileType, Leaf, Metadata, Node, Owner, RelPath};
use crate::snapshot::is_image_xattr;

use super::CopyError;
use super::absence::Absence;
use super::add;
use super::destination::{Destination, have_same_bytes, make, make_parents, set_owner};
use super::download::Downloaded;
use super::filter::{Filter, FilterState};
use super::sources::{Found, SourceTree, check_root, find, missing_below};
use merge::Pending;

/// The mode of directories that are made on the way to a destination.
const PARENT_MODE: u32 = 0o755;
/// The mode of a file whose content stands in the Dockerfile.
const INLINE_MODE: u32 = 0o644;

/// Names and values of extended attributes.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a copy did.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Every path that was made or changed, with the directories above that were made for it.
    pub(super) touched: Vec<RelPath>,
    /// Owners that could not be set.
    pub(super) owners: Vec<(RelPath, Owner)>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Copies the sources of `step`; `downloads` are those of its URLs and repositories, in their order.
pub(super) fn copy(
    step: &CopyStep,
    source: &SourceTree<'_>,
    downloads: &[Downloaded],
    destination: &Destination<'_>,
) -> Result<Copied, CopyError> {
    let is_directory = step.destination.ends_with('/');
    let target =
        RelPath::parse_chrooted(step.destination.as_bytes()).map_err(rootfs::Error::from)?;
    let mut downloads = downloads.iter();
    let mut copied = Copied::default();
    for spec in &step.sources {
        let mut copier = Copier {
            source,
            destination,
            chmod: step.chmod.as_ref().map(|mode| &mode.value),
            unpacks: matches!(step.unpack, Unpack::Auto | Unpack::Always),
            is_repository: matches!(spec, CopySource::Repository(_)),
            filter: Filter::of(step, spec)?,
            has_matched: false,
            pending: Vec::new(),
            links: HashMap::new(),
            copied: std::mem::take(&mut copied),
        };
        match spec {
            CopySource::Inline { name, content } => {
                copier.inline(name, content, &target, is_directory)?;
            }
            CopySource::Path(path) => copier.path(path, &target, is_directory)?,
            CopySource::Parents {
                root,
                pattern,
                is_literal,
            } => {
                if !is_literal {
                    check_root(source, root, pattern)?;
                }
                copier.path(root, &target, is_directory)?;
                if *is_literal && !copier.has_matched {
                    return Err(missing_below(source, root, pattern));
                }
            }
            CopySource::Url(UrlSource { url, .. })
            | CopySource::Repository(RepositorySource { url, .. }) => {
                let file = downloads.next().ok_or_else(|| not_downloaded(url.span))?;
                let tree = file.tree();
                let mut copier = Copier {
                    source: &tree,
                    unpacks: step.unpack == Unpack::Always,
                    ..copier
                };
                copier.found(&file.found()?, &target, is_directory)?;
                copied = copier.copied;
                continue;
            }
        }
        copied = copier.copied;
    }
    Ok(copied)
}

/// What is elsewhere is downloaded before the copy.
fn not_downloaded(span: Span) -> CopyError {
    CopyError::Missing {
        path: "the source".to_owned(),
        tree: "what was downloaded".to_owned(),
        span,
        absence: Box::new(Absence::NotDownloaded),
    }
}

struct Copier<'a> {
    source: &'a SourceTree<'a>,
    destination: &'a Destination<'a>,
    chmod: Option<&'a ChmodSpec>,
    /// Whether archives are extracted.
    unpacks: bool,
    /// Whether the source is a git repository.
    is_repository: bool,
    /// What of a directory is copied.
    filter: Filter,
    /// Whether anything in a directory passed it.
    has_matched: bool,
    /// The directories on the way to where the walk is, which are copied when something in them is.
    pending: Vec<Pending>,
    /// Copies of inodes that have several names.
    links: HashMap<(Device, u64), RelPath>,
    copied: Copied,
}

impl Copier<'_> {
    /// Copies all that a path or pattern names.
    fn path(
        &mut self,
        path: &Spanned<String>,
        target: &RelPath,
        is_directory: bool,
    ) -> Result<(), CopyError> {
        for found in find(self.source, path)? {
            // Hard links are kept within one source, as in BuildKit.
            self.links.clear();
            self.found(&found, target, is_directory)?;
        }
        Ok(())
    }

    /// Extracts or copies one thing.
    fn found(
        &mut self,
        found: &Found,
        target: &RelPath,
        is_directory: bool,
    ) -> Result<(), CopyError> {
        if self.unpacks && found.metadata.is_file() {
            let target = self.destination.rootfs.resolve(target, Leaf::Follow)?;
            if add::unpack(
                self.source,
                found,
                self.destination,
                &target,
                &mut self.copied,
            )? {
                return Ok(());
            }
        }
        self.top(found, target, is_directory)
    }

    /// Copies one source to the destination as it was written.
    fn top(
        &mut self,
        found: &Found,
        target: &RelPath,
        is_directory: bool,
    ) -> Result<(), CopyError> {
        let rootfs = self.destination.rootfs;
        if found.metadata.is_dir() {
            let target = rootfs.resolve(target, Leaf::Follow)?;
            return self.top_dir(found, &target, is_directory);
        }
        let target = self.file_target(target, is_directory, &found.name)?;
        self.parents(&target)?;
        let (from, name) = self.source.rootfs.parent(&found.path)?;
        let (to, new_name) = rootfs.parent(&target)?;
        self.entry((&from, name), (&to, new_name), &found.metadata)?;
        self.date_parent(&target)
    }

    /// Gives the directory in which a source was put the time of the build. An earlier source of the same copy may have
    /// given it another, which the clock's has replaced.
    fn date_parent(&self, path: &RelPath) -> Result<(), CopyError> {
        if let Some(parent) = path.parent()
            && !parent.is_root()
            && !self.destination.protected.covers(&parent)
        {
            self.destination
                .rootfs
                .set_mtime(&parent, self.destination.now)?;
        }
        Ok(())
    }

    /// Merges a directory into the destination. The destination itself is made like the directories above it, and has the
    /// time of the source, but not its owner, mode or attributes. As in BuildKit, a repository under a new name is
    /// another matter: it is a copied directory itself, with the whole `--chmod`.
    fn top_dir(
        &mut self,
        found: &Found,
        target: &RelPath,
        is_directory: bool,
    ) -> Result<(), CopyError> {
        let rootfs = self.destination.rootfs;
        match rootfs.lstat(target)? {
            Some(there) if there.is_dir() => {}
            Some(_) => {
                return Err(CopyError::DirectoryOverFile {
                    path: target.to_string(),
                });
            }
            None => {
                self.make_dirs(target)?;
                if self.is_repository && !is_directory {
                    rootfs.set_mode(target, self.mode(PARENT_MODE, true))?;
                }
            }
        }
        self.children(
            &found.path,
            target,
            &RelPath::root(),
            &FilterState::default(),
        )?;
        // BuildKit makes the root of a context anew for each build, and an image or stage has none of its own: its time is
        // the build's.
        let mtime = if found.path.is_root() {
            self.destination.now
        } else {
            found.metadata.mtime
        };
        if !target.is_root() && !self.destination.protected.covers(target) {
            rootfs.set_mtime(target, mtime)?;
            self.copied.touched.push(target.clone());
        }
        Ok(())
    }

    /// Where a file goes: into a directory under its own name, or to the destination's name.
    fn file_target(
        &self,
        target: &RelPath,
        is_directory: bool,
        name: &[u8],
    ) -> Result<RelPath, CopyError> {
        let rootfs = self.destination.rootfs;
        let resolved = rootfs.resolve(target, Leaf::Follow)?;
        let is_dir = rootfs.lstat(&resolved)?.map(|metadata| metadata.is_dir());
        match (is_dir, is_directory) {
            (Some(true), _) | (None, true) => Ok(resolved.child(name)),
            (Some(false), true) => Err(CopyError::DirectoryOverFile {
                path: resolved.to_string(),
            }),
            (Some(false) | None, false) => Ok(resolved),
        }
    }

    /// Writes a file whose content stands in the Dockerfile.
    fn inline(
        &mut self,
        name: &str,
        content: &str,
        target: &RelPath,
        is_directory: bool,
    ) -> Result<(), CopyError> {
        let target = self.file_target(target, is_directory, name.as_bytes())?;
        self.parents(&target)?;
        self.clear_for_file(&target)?;
        let mut file = self.destination.rootfs.create_file(&target, INLINE_MODE)?;
        std::io::Write::write_all(&mut file, content.as_bytes()).map_err(|source| {
            CopyError::Write {
                path: target.to_string(),
                source,
            }
        })?;
        self.set_owner(&target, self.destination.owner.unwrap_or_default())?;
        self.destination
            .rootfs
            .set_mode(&target, self.mode(INLINE_MODE, false))?;
        self.destination
            .rootfs
            .set_mtime(&target, self.destination.now)?;
        self.date_parent(&target)?;
        self.copied.touched.push(target);
        Ok(())
    }

    /// Makes the directories above `path`.
    fn parents(&mut self, path: &RelPath) -> Result<(), CopyError> {
        match path.parent() {
            Some(parent) => self.make_dirs(&parent),
            None => Ok(()),
        }
    }

    /// Makes a directory and those above it. As in BuildKit, they take an octal `--chmod` but for its special bits, and no
    /// symbolic one.
    fn make_dirs(&mut self, path: &RelPath) -> Result<(), CopyError> {
        self.check_protected(path)?;
        let octal = self
            .chmod
            .filter(|spec| spec.as_str().starts_with(|c: char| c.is_ascii_digit()));
        let mode = octal.map_or(PARENT_MODE, |spec| spec.apply(PARENT_MODE, true) & 0o777);
        let owner = self.destination.owner.unwrap_or_default();
        let made = make_parents(self.destination, path, mode, owner, &mut self.copied.owners)?;
        self.copied.touched.extend(made);
        Ok(())
    }

    /// Copies anything but a directory.
    fn entry(
        &mut self,
        from: (&Dir, &[u8]),
        to: (&Dir, &[u8]),
        metadata: &Metadata,
    ) -> Result<(), CopyError> {
        let (dir, name) = to;
        let path = dir.path().child(name);
        self.check_protected(&path)?;
        if metadata.nlink > 1 && metadata.file_type != FileType::Socket {
            let inode = (metadata.dev, metadata.ino);
            if let Some(first) = self.links.get(&inode) {
                let (first_dir, first_name) = self.destination.rootfs.parent(first)?;
                make(to, || dir.hard_link(name, &first_dir, first_name))?;
                self.copied.touched.push(path);
                return Ok(());
            }
            self.links.insert(inode, path.clone());
        }
        if self.destination.leaves_same && self.is_there(from, to, metadata)? {
            return Ok(());
        }
        match metadata.file_type {
            FileType::File => self.file(from, to, &path, metadata)?,
            FileType::Symlink => {
                let target = from.0.read_link(from.1)?;
                make(to, || dir.symlink(name, &target))?;
                let owner = self.owner_of(from, metadata);
                self.own(&path, owner, || dir.set_owner(name, owner))?;
                dir.set_mtime(name, metadata.mtime)?;
            }
            FileType::Fifo => self.node(from, to, Node::Fifo, metadata)?,
            FileType::Char => self.node(from, to, Node::Char(metadata.rdev), metadata)?,
            FileType::Block => self.node(from, to, Node::Block(metadata.rdev), metadata)?,
            FileType::Socket | FileType::Dir => return Ok(()),
        }
        self.copied.touched.push(path);
        Ok(())
    }

    /// Is the copy of a regular file there already, down to its time?
    fn is_there(
        &self,
        from: (&Dir, &[u8]),
        to: (&Dir, &[u8]),
        metadata: &Metadata,
    ) -> Result<bool, CopyError> {
        if !metadata.is_file() || !self.destination.sets_owner {
            return Ok(false);
        }
        let Some(there) = to.0.lstat(to.1)? else {
            return Ok(false);
        };
        let is_alike = there.is_file()
            && there.size == metadata.size
            && there.mtime == metadata.mtime
            && there.mode == self.mode(metadata.mode, false)
            && there.owner == self.owner_of(from, metadata);
        if !is_alike {
            return Ok(false);
        }
        let (source, _) = from.0.open_listed(from.1, metadata)?;
        let copy = to.0.open_file(to.1)?;
        let is_same = have_same_bytes(source, copy).map_err(|source| CopyError::Write {
            path: to.0.path().child(to.1).to_string(),
            source,
        })?;
        Ok(is_same && self.xattrs(from)?.is_empty() && to.0.xattr_names(to.1)?.is_empty())
    }

    /// Copies a regular file; everything but its attributes goes through its descriptors.
    fn file(
        &mut self,
        from: (&Dir, &[u8]),
        to: (&Dir, &[u8]),
        path: &RelPath,
        metadata: &Metadata,
    ) -> Result<(), CopyError> {
        let (source, opened) = from.0.open_listed(from.1, metadata)?;
        let file = make(to, || to.0.new_file(to.1))?;
        rootfs::copy_contents(&source, file.file(), opened.size).map_err(|source| {
            CopyError::Write {
                path: path.to_string(),
                source,
            }
        })?;
        let owner = self.owner_of(from, metadata);
        self.own(path, owner, || file.set_owner(owner))?;
        for (key, value) in self.xattrs(from)? {
            file.set_xattr(&key, &value)?;
        }
        file.set_mode(self.mode(metadata.mode, false))?;
        file.set_mtime(metadata.mtime)?;
        Ok(())
    }

    /// Copies a pipe or device.
    fn node(
        &mut self,
        from: (&Dir, &[u8]),
        to: (&Dir, &[u8]),
        node: Node,
        metadata: &Metadata,
    ) -> Result<(), CopyError> {
        let (dir, name) = to;
        make(to, || dir.create_node(name, node, 0o600))?;
        let owner = self.owner_of(from, metadata);
        self.own(&dir.path().child(name), owner, || {
            dir.set_owner(name, owner)
        })?;
        for (key, value) in self.xattrs(from)? {
            dir.set_xattr(name, &key, &value)?;
        }
        dir.set_mode(name, self.mode(metadata.mode, false))?;
        dir.set_mtime(name, metadata.mtime)?;
        Ok(())
    }

    /// Reads the attributes that an image can hold. As in BuildKit, those of a context's files are not taken over.
    fn xattrs(&self, (dir, name): (&Dir, &[u8])) -> Result<Xattrs, CopyError> {
        let mut found = Vec::new();
        if self.source.keeps_owner {
            for key in dir.xattr_names(name)? {
                if is_image_xattr(&key)
                    && let Some(value) = dir.xattr(name, &key)?
                {
                    found.push((key, value));
                }
            }
        }
        Ok(found)
    }

    /// Sets an owner with `set`, or records it where that is all that can be done.
    fn own(
        &mut self,
        path: &RelPath,
        owner: Owner,
        set: impl FnOnce() -> Result<(), rootfs::Error>,
    ) -> Result<(), CopyError> {
        if self.destination.sets_owner {
            set()?;
        } else {
            self.copied.owners.push((path.clone(), owner));
        }
        Ok(())
    }

    /// Makes way for a file: what is there goes, unless it is a directory or must stay.
    fn clear_for_file(&self, path: &RelPath) -> Result<(), CopyError> {
        self.check_protected(path)?;
        match self.destination.rootfs.lstat(path)? {
            Some(there) if there.is_dir() => Err(CopyError::FileOverDirectory {
                path: path.to_string(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn check_protected(&self, path: &RelPath) -> Result<(), CopyError> {
        if self.destination.protected.covers(path) {
            return Err(CopyError::Mounted {
                path: path.to_string(),
            });
        }
        Ok(())
    }

    fn owner_of(&self, (dir, name): (&Dir, &[u8]), metadata: &Metadata) -> Owner {
        let recorded = &self.source.owners;
        match self.destination.owner {
            Some(owner) => owner,
            None if !self.source.keeps_owner => Owner::default(),
            None if recorded.is_empty() => metadata.owner,
            None => recorded
                .owner(&dir.path().child(name))
                .unwrap_or(metadata.owner),
        }
    }

    fn mode(&self, mode: u32, is_dir: bool) -> u32 {
        self.chmod.map_or(mode, |spec| spec.apply(mode, is_dir))
    }

    fn set_owner(&mut self, path: &RelPath, owner: Owner) -> Result<(), CopyError> {
        set_owner(self.destination, path, owner, &mut self.copied.owners)
    }
}
