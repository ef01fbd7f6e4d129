//! What of an archive is not written to disk: what the ignore rules hide, and what lies outside of the directory that is asked for.
//!
//! The rules come in the archive itself, so nothing is known until they have passed, and what has passed may be
//! replaced by what follows. So this only guesses; [`Sieve::was_right`] says at the end whether the build would see the same without
//! it. If not, the archive is extracted again, whole. An archive that cannot be read again is never sieved.

use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::rootfs::{Leaf, RelPath, Rootfs};

use super::Context;
use super::dockerfile::DockerfileSource;
use super::find::{IGNORE_FILE, IGNORE_MAX};
use super::ignore::{DirState, Ignore};

/// Holds back entries of an archive that no build can see.
#[derive(Debug)]
pub(super) struct Sieve<'a> {
    rootfs: &'a Rootfs,
    /// The directory of the archive that is the context.
    root: RelPath,
    /// Where rules may be, those that win first.
    rule_files: Vec<RelPath>,
    /// Never held back: the Dockerfile.
    kept: Vec<RelPath>,
    /// The rules that passed, with their text.
    rules: Option<(Vec<u8>, Ignore)>,
    /// Whether one of the files with rules has passed since they were read.
    is_stale: bool,
    /// The directory of the last entry, and what the rules say of it.
    last: Option<(RelPath, DirState)>,
    left_out: u64,
    /// Whether the rules hid anything.
    has_hidden: bool,
    /// Whether the rules became others after that.
    has_changed: bool,
}

impl<'a> Sieve<'a> {
    /// A sieve for an archive that is extracted into `rootfs`. Without a Dockerfile only the rules at the root count.
    pub(super) fn new(
        rootfs: &'a Rootfs,
        sub_path: Option<&Path>,
        dockerfile: Option<&DockerfileSource>,
    ) -> Option<Self> {
        let parse = |path: &Path| RelPath::parse(path.as_os_str().as_encoded_bytes()).ok();
        let root = match sub_path {
            Some(path) => parse(path)?,
            None => RelPath::root(),
        };
        let names = match dockerfile {
            Some(DockerfileSource::Path(path)) if path == Path::new("Dockerfile") => {
                vec![
                    RelPath::parse("Dockerfile").ok()?,
                    RelPath::parse("dockerfile").ok()?,
                ]
            }
            // Of this machine, it would have rules that are not in the archive.
            Some(DockerfileSource::Path(path)) if path.is_absolute() || path.exists() => {
                return None;
            }
            Some(DockerfileSource::Path(path)) => vec![parse(path)?],
            Some(DockerfileSource::Stdin | DockerfileSource::Url(_)) | None => Vec::new(),
        };
        let kept: Vec<RelPath> = names.iter().map(|name| root.join(name)).collect();
        let own = kept.iter().filter_map(|path| {
            let mut name = path.file_name()?.to_vec();
            name.extend_from_slice(IGNORE_FILE.as_bytes());
            Some(path.parent()?.child(&name))
        });
        let rule_files = own.chain([root.child(IGNORE_FILE.as_bytes())]).collect();
        Some(Self {
            rootfs,
            root,
            rule_files,
            kept,
            rules: None,
            is_stale: false,
            last: None,
            left_out: 0,
            has_hidden: false,
            has_changed: false,
        })
    }

    /// Whether anything was held back.
    pub(super) fn has_left_out(&self) -> bool {
        self.left_out > 0
    }

    /// Says whether an entry is held back.
    pub(super) fn leaves_out(&mut self, path: &RelPath, is_dir: bool) -> bool {
        if self.rule_files.contains(path) {
            self.is_stale = true;
            return false;
        }
        if self.kept.contains(path) {
            return false;
        }
        if std::mem::take(&mut self.is_stale) {
            self.read_rules();
        }
        let is_left_out = match path.strip_prefix(&self.root) {
            Some(inside) => self.hides(&inside, is_dir),
            None => !self.root.starts_with(path),
        };
        self.left_out += u64::from(is_left_out);
        is_left_out
    }

    fn hides(&mut self, path: &RelPath, is_dir: bool) -> bool {
        let (Some((_, rules)), Some(holder)) = (&self.rules, path.parent()) else {
            return false;
        };
        let state = match self.last.take() {
            Some((known, state)) if known == holder => state,
            _ => holder
                .ancestors_below_root()
                .chain((!holder.is_root()).then(|| holder.clone()))
                .fold(rules.root(), |state, above| {
                    rules.decide(&state, above.as_bytes()).state
                }),
        };
        let decision = rules.decide(&state, path.as_bytes());
        self.last = Some((holder, state));
        let is_hidden = decision.excluded_by.is_some()
            && !(is_dir && rules.may_have_reincluded_below(path.as_bytes()));
        self.has_hidden |= is_hidden;
        is_hidden
    }

    fn read_rules(&mut self) {
        self.last = None;
        let mut files = self.rule_files.iter();
        let found = files.find_map(|path| {
            let text = read(self.rootfs, path)?;
            // What is wrong with it is told when the build reads it.
            let rules = Ignore::parse(&text, IGNORE_FILE).ok()?;
            Some((text, rules))
        });
        let text = |rules: &Option<(Vec<u8>, Ignore)>| rules.as_ref().map(|(text, _)| text.clone());
        self.has_changed |= self.has_hidden && text(&found) != text(&self.rules);
        self.rules = found;
    }

    /// Says whether the context is the one that was guessed: its root where it was taken to be, no link on the way to the
    /// Dockerfile, and the rules the same.
    pub(super) fn was_right(
        &self,
        context: &Context,
        directory: &Path,
        dockerfile: Option<&DockerfileSource>,
    ) -> bool {
        let is_straight = |path: &RelPath| {
            let resolved = self.rootfs.resolve(path, Leaf::Follow);
            resolved.is_ok_and(|resolved| resolved == *path)
        };
        let place = std::ffi::OsStr::from_bytes(self.root.as_bytes());
        if self.has_changed
            || context.directory() != directory.join(place)
            || !self.kept.iter().all(is_straight)
        {
            return false;
        }
        if !self.has_hidden {
            return true;
        }
        let expected = self.rules.as_ref().map(|(text, _)| text.as_slice());
        let found = context.ignore_text(dockerfile);
        found.is_ok_and(|found| found.as_ref().map(|(_, text)| text.as_slice()) == expected)
    }
}

/// Reads a file with rules, if there is one that can be used.
fn read(rootfs: &Rootfs, path: &RelPath) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = rootfs.open_file(path, Leaf::Keep).ok()?;
    file.take(IGNORE_MAX + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= IGNORE_MAX).then_some(text)
}

#[cfg(test)]
#[path = "sieve_tests.rs"]
mod tests;
