//! Who lives at the root, and where the others wait.
//!
//! ```text
//! <root>/.longshore/lock       held by the build that uses the root
//! <root>/.longshore/journal    whose entries are at the root; synced before the first of them moves
//! <root>/.longshore/original/  what was there before us
//! <root>/.longshore/trees/<n>/ stages
//! <root>/.longshore/spill/     what stages wrote behind mounts; thrown away
//! <root>/.longshore/scratch/   the build's own files
//! <root>/.longshore/loose      what the mounts of a command put below /dev
//! ```
//! The journal says one thing only: whether the entries at the root are the original's or a stage's. That decides how to get
//! back from any point: a stage's entries are moved out, then what is left of the original in its store is moved back in.

use super::super::SandboxError;
use super::loose;
use super::moving::{Hook, Move, Pins, names, open_directory};
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, flock, fsync, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Our directory at the root.
pub(super) const DIRECTORY: &str = ".longshore";

/// Whose entries are at the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Occupant {
    /// What was there before us; some of it may be in its store.
    Original,
    /// The stage of this number; some of it may be in its own directory.
    Tree(usize),
}

/// What the journal's file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    version: u32,
    occupant: Occupant,
    /// What the build let stay at the root beside mounts: belongs to the original, whoever the occupant is.
    keep: Vec<OsString>,
}

/// The only version there is.
const VERSION: u32 = 1;

/// A root that is used by one build after another.
pub(super) struct Area {
    root: OwnedFd,
    root_path: PathBuf,
    scratch_path: PathBuf,
    directory: OwnedFd,
    original: OwnedFd,
    trees: OwnedFd,
    spill: OwnedFd,
    pins: Pins,
    keep: Vec<PathBuf>,
    hook: Arc<Hook>,
    state: Mutex<State>,
    _lock: OwnedFd,
}

#[derive(Debug)]
struct State {
    /// `None`: nobody, all have moved out.
    occupant: Option<Occupant>,
    next_tree: usize,
}

impl Area {
    /// Takes possession of a root: finishes or undoes what a killed build has left, and moves nothing else.
    ///
    /// `fixed` (mounts, and what is ours) and `keep` (what the user needs in its place) never move; both relative to the root.
    pub(super) fn open(
        root: OwnedFd,
        root_path: &Path,
        fixed: &[PathBuf],
        keep: &[PathBuf],
        hook: Arc<Hook>,
    ) -> Result<Self, SandboxError> {
        let path = root_path.join(DIRECTORY);
        let explain = |source: io::Error| SandboxError::path("prepare", &path, source);
        let directory = subdirectory(&root, DIRECTORY).map_err(|error| explain(error.into()))?;
        let lock = openat(
            &directory,
            "lock",
            OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(|error| explain(error.into()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => SandboxError::Refused {
                isolation: "inplace",
                reason: "another build is using this container's /".into(),
            },
            error => explain(error.into()),
        })?;
        let inside = |name| subdirectory(&directory, name).map_err(|error| explain(error.into()));
        let (original, trees, spill) = (inside("original")?, inside("trees")?, inside("spill")?);
        inside("scratch")?;
        let state = Mutex::new(State {
            occupant: Some(Occupant::Original),
            next_tree: 0,
        });
        let mut area = Self {
            root,
            root_path: root_path.to_owned(),
            scratch_path: path.join("scratch"),
            original,
            trees,
            spill,
            pins: Pins::new(fixed.iter().cloned()),
            keep: keep.to_vec(),
            hook,
            state,
            directory,
            _lock: lock,
        };
        area.recover(fixed)?;
        loose::remove(&area.loose_path(), root_path)?;
        // A killed build's is of no use.
        empty_directory(&area.scratch_path)?;
        area.pins = Pins::new(fixed.iter().chain(keep).cloned());
        Ok(area)
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// A directory for a new stage.
    pub(super) fn make_tree(&self) -> Result<usize, SandboxError> {
        let mut state = self.state();
        let number = state.next_tree;
        state.next_tree += 1;
        let name = number.to_string();
        mkdirat(&self.trees, &*name, Mode::from_raw_mode(0o755))
            .map_err(|source| SandboxError::path("create", self.tree_path(number), source))?;
        Ok(number)
    }

    /// Where a stage's tree is when it is not at the root.
    pub(super) fn tree_path(&self, number: usize) -> PathBuf {
        self.root_path
            .join(DIRECTORY)
            .join("trees")
            .join(number.to_string())
    }

    pub(super) fn root_path(&self) -> &Path {
        &self.root_path
    }

    /// Whether a stage is at the root.
    pub(super) fn is_installed(&self, number: usize) -> bool {
        self.state().occupant == Some(Occupant::Tree(number))
    }

    /// Brings a stage's tree to the root, in the place of whoever is there.
    pub(super) fn install(&self, number: usize) -> Result<(), SandboxError> {
        let mut state = self.state();
        if state.occupant == Some(Occupant::Tree(number)) {
            return Ok(());
        }
        self.vacate(&mut state)?;
        self.write_journal(&Occupant::Tree(number))?;
        state.occupant = Some(Occupant::Tree(number));
        let tree = self.open_tree(number)?;
        self.a_move(false)
            .back(&tree, &self.root)
            .map_err(|source| self.explain("bring a stage to", source))
    }

    /// Moves a stage's tree back to its own directory, if it is at the root.
    pub(super) fn uninstall(&self, number: usize) -> Result<(), SandboxError> {
        let mut state = self.state();
        if state.occupant == Some(Occupant::Tree(number)) {
            self.vacate(&mut state)
        } else {
            Ok(())
        }
    }

    /// Where the build may keep files of its own, until `close`.
    pub(super) fn scratch_path(&self) -> &Path {
        &self.scratch_path
    }

    /// The note of what does not go with a tree.
    pub(super) fn loose_path(&self) -> PathBuf {
        self.root_path.join(DIRECTORY).join("loose")
    }

    /// Puts back what was there before us, and throws the stages away.
    pub(super) fn restore(&self) -> Result<(), SandboxError> {
        let mut state = self.state();
        if state.occupant != Some(Occupant::Original) {
            self.vacate(&mut state)?;
            self.put_back(&mut state)?;
        }
        self.remove_contents()
    }

    /// Restores, and removes everything of ours.
    pub(super) fn close(&self) -> Result<(), SandboxError> {
        let path = self.root_path.join(DIRECTORY);
        if !path.exists() {
            return Ok(());
        }
        self.restore()?;
        loose::remove(&self.loose_path(), &self.root_path)?;
        std::fs::remove_dir_all(&path).map_err(|source| SandboxError::path("remove", &path, source))
    }

    /// Moves the occupant out. Afterwards the root is empty but for pins, and the journal still names the occupant.
    fn vacate(&self, state: &mut State) -> Result<(), SandboxError> {
        let moved = match &state.occupant {
            None => return Ok(()),
            Some(Occupant::Original) => {
                self.write_journal(&Occupant::Original)?;
                self.a_move(true).out(&self.root, &self.original)
            }
            Some(Occupant::Tree(number)) => self
                .a_move(false)
                .out(&self.root, &self.open_tree(*number)?),
        };
        moved.map_err(|source| self.explain("empty", source))?;
        state.occupant = None;
        Ok(())
    }

    fn put_back(&self, state: &mut State) -> Result<(), SandboxError> {
        self.write_journal(&Occupant::Original)?;
        state.occupant = Some(Occupant::Original);
        self.a_move(true)
            .back(&self.original, &self.root)
            .map_err(|source| self.explain("put back", source))?;
        // A name that is taken by a mount made meanwhile would be the only reason.
        match names(&self.original)
            .map_err(|source| self.explain("read", source))?
            .into_iter()
            .next()
        {
            None => Ok(()),
            Some(left) => Err(SandboxError::Journal {
                path: self.root_path.join(DIRECTORY).join("original").join(left),
                reason: "something else is in its place now; move it back by hand".into(),
            }),
        }
    }

    /// Gets back to the original from wherever a killed build was.
    fn recover(&mut self, fixed: &[PathBuf]) -> Result<(), SandboxError> {
        let path = self.root_path.join(DIRECTORY).join("journal");
        let text = match openat(
            &self.directory,
            "journal",
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(file) => {
                let mut text = String::new();
                File::from(file)
                    .read_to_string(&mut text)
                    .map_err(|source| SandboxError::path("read", &path, source))?;
                text
            }
            Err(Errno::NOENT) => {
                // The journal is written before anything moves: without it nothing has.
                let held = names(&self.original).map_err(|source| self.explain("read", source))?;
                if !held.is_empty() {
                    return Err(SandboxError::Journal {
                        path,
                        reason: "it is missing, and original/ is not empty".into(),
                    });
                }
                // A build that was killed before its first command has left stages all the same.
                return self.remove_contents();
            }
            Err(source) => return Err(SandboxError::path("open", &path, source)),
        };
        let journal: Journal =
            serde_json::from_str(&text).map_err(|error| SandboxError::Journal {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        if journal.version != VERSION {
            return Err(SandboxError::Journal {
                path,
                reason: format!("it is of version {}", journal.version),
            });
        }
        let kept = journal.keep.iter().map(PathBuf::from).collect::<Vec<_>>();
        self.pins = Pins::new(fixed.iter().chain(&kept).cloned());
        // Until the original is back, the journal goes on to name what its build had kept.
        let keep = std::mem::replace(&mut self.keep, kept);
        self.return_from(&journal.occupant)?;
        self.keep = keep;
        Ok(())
    }

    fn return_from(&self, occupant: &Occupant) -> Result<(), SandboxError> {
        let mut state = self.state();
        if let Occupant::Tree(number) = occupant {
            state.occupant = Some(occupant.clone());
            match mkdirat(&self.trees, number.to_string(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(source) => {
                    return Err(SandboxError::path(
                        "create",
                        self.tree_path(*number),
                        source,
                    ));
                }
            }
            self.vacate(&mut state)?;
        }
        self.put_back(&mut state)?;
        self.remove_contents()
    }

    /// Throws away stages and the journal; the original is back.
    fn remove_contents(&self) -> Result<(), SandboxError> {
        let base = self.root_path.join(DIRECTORY);
        for store in ["trees", "spill", "original"] {
            empty_directory(&base.join(store))?;
        }
        match unlinkat(&self.directory, "journal", AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(SandboxError::path("remove", base.join("journal"), source)),
        }
    }

    fn write_journal(&self, occupant: &Occupant) -> Result<(), SandboxError> {
        self.try_write_journal(occupant).map_err(|source| {
            SandboxError::path(
                "write",
                self.root_path.join(DIRECTORY).join("journal"),
                source,
            )
        })
    }

    fn try_write_journal(&self, occupant: &Occupant) -> io::Result<()> {
        (self.hook)("write the journal", Path::new(""))?;
        let text = serde_json::to_vec(&Journal {
            version: VERSION,
            occupant: occupant.clone(),
            keep: self
                .keep
                .iter()
                .map(|path| path.clone().into_os_string())
                .collect(),
        })?;
        let flags =
            OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(openat(
            &self.directory,
            "journal.new",
            flags,
            Mode::RUSR | Mode::WUSR,
        )?);
        file.write_all(&text)?;
        file.sync_all()?;
        (self.hook)("replace the journal", Path::new(""))?;
        renameat(&self.directory, "journal.new", &self.directory, "journal")?;
        fsync(&self.directory)?;
        Ok(())
    }

    fn open_tree(&self, number: usize) -> Result<OwnedFd, SandboxError> {
        open_directory(&self.trees, OsStr::new(&number.to_string()))
            .map_err(|source| SandboxError::path("open", self.tree_path(number), source))
    }

    fn a_move(&self, exact: bool) -> Move<'_> {
        Move {
            pins: &self.pins,
            hook: &*self.hook,
            exact,
            spill: &self.spill,
        }
    }

    fn explain(&self, action: &'static str, source: io::Error) -> SandboxError {
        SandboxError::path(action, &self.root_path, source)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while moving leaves a state that the journal describes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Area")
            .field("root", &self.root_path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn empty_directory(path: &Path) -> Result<(), SandboxError> {
    for entry in
        std::fs::read_dir(path).map_err(|source| SandboxError::path("read", path, source))?
    {
        let entry = entry.map_err(|source| SandboxError::path("read", path, source))?;
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let path = entry.path();
        let removed = if is_directory {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.map_err(|source| SandboxError::path("remove", &path, source))?;
    }
    Ok(())
}

fn subdirectory(parent: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_directory(parent, OsStr::new(name)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "area_tests.rs"]
mod tests;
