//! What a COPY names in its source tree: patterns matched, links followed, hidden paths left out.

use std::sync::Arc;

use crate::context::Context;
use crate::context::glob::{self, Glob};
use crate::context::ignore::Ignore;
use crate::dockerfile::Spanned;
use crate::layer;
use crate::rootfs::{self, Leaf, Metadata, RelPath, Rootfs};

use super::CopyError;
use super::absence::{self, Absence};

/// Where files are copied from.
#[derive(Debug)]
pub(super) struct SourceTree<'a> {
    /// The tree.
    pub(super) rootfs: &'a Rootfs,
    /// What is hidden in it.
    pub(super) ignore: Option<&'a Ignore>,
    /// Whether files keep their owners, as those of a stage or image do.
    pub(super) keeps_owner: bool,
    /// Owners of files that the tree cannot hold.
    pub(super) owners: Arc<layer::Ownership>,
    /// What to call it in a message: `the build context`, `stage "build"`.
    pub(super) name: String,
}

impl<'a> SourceTree<'a> {
    /// The build context.
    pub(super) fn of_context(context: &'a Context) -> Self {
        Self {
            rootfs: context.rootfs(),
            ignore: context.ignore(),
            keeps_owner: false,
            owners: Arc::default(),
            name: "the build context".to_owned(),
        }
    }
}

/// One source after patterns and links are resolved.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is, without links.
    pub(super) path: RelPath,
    /// What it is called in a destination directory.
    pub(super) name: Vec<u8>,
    /// What it is.
    pub(super) metadata: Metadata,
}

/// Finds what a source names: one thing, or for a pattern any number in order.
///
/// # Deviation
/// A pattern below a file of the context is an error, as it is in BuildKit, where the file is not sent to the builder. If
/// another instruction has it sent, BuildKit finds nothing below it and goes on. It goes on with a file of a stage, too,
/// and so do we.
pub(super) fn find(
    source: &SourceTree<'_>,
    spec: &Spanned<String>,
) -> Result<Vec<Found>, CopyError> {
    let path = RelPath::parse_chrooted(spec.value.as_bytes()).map_err(rootfs::Error::from)?;
    if glob::has_wildcard(spec.value.as_bytes()) {
        let mut found = Vec::new();
        let pattern: Vec<&[u8]> = path.components().collect();
        // A pattern may match nothing, but the directory that it is about has to be there.
        let fixed = pattern.iter().take_while(|name| !glob::has_wildcard(name));
        let directory = fixed.fold(RelPath::root(), |path, name| path.child(name));
        if !directory.is_root() {
            let found = look_up(source, &directory)?;
            if !found.is_some_and(|found| found.metadata.is_dir() || source.keeps_owner) {
                return Err(missing_directory(source, spec, &directory));
            }
        }
        expand(source, &RelPath::root(), &pattern, true, &mut found)?;
        return Ok(found);
    }
    match look_up(source, &path)? {
        Some(found) => Ok(vec![found]),
        None => Err(missing(source, spec, &path)),
    }
}

/// Finds the one thing that a path names, in which no character stands for others.
pub(super) fn find_one(
    source: &SourceTree<'_>,
    spec: &Spanned<String>,
) -> Result<Found, CopyError> {
    let path = RelPath::parse_chrooted(spec.value.as_bytes()).map_err(rootfs::Error::from)?;
    look_up(source, &path)?.ok_or_else(|| missing(source, spec, &path))
}

/// Follows a path to what it names, unless that is hidden or not there.
fn look_up(source: &SourceTree<'_>, path: &RelPath) -> Result<Option<Found>, CopyError> {
    let resolved = match source.rootfs.resolve(path, Leaf::Follow) {
        // Nothing is below what is no directory.
        Err(error) if error.is_not_found() => return Ok(None),
        resolved => resolved?,
    };
    let Some(metadata) = source.rootfs.lstat(&resolved)? else {
        return Ok(None);
    };
    let is_hidden = |path: &RelPath| {
        !path.is_root()
            && source
                .ignore
                .is_some_and(|rules| rules.excludes(path.as_bytes()).is_some())
    };
    // A hidden directory may hold files that a later rule brings back.
    if is_hidden(&resolved) && !(metadata.is_dir() && reincludes(source, &resolved)) {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().to_vec();
    Ok(Some(Found {
        path: resolved,
        name,
        metadata,
    }))
}

/// Whether a later rule may bring something back below a hidden directory.
pub(super) fn reincludes(source: &SourceTree<'_>, path: &RelPath) -> bool {
    source
        .ignore
        .is_some_and(|rules| rules.may_have_reincluded_below(path.as_bytes()))
}

/// Matches the rest of a pattern in `dir`. Links are followed only in front of the first wildcard.
fn expand(
    source: &SourceTree<'_>,
    dir: &RelPath,
    pattern: &[&[u8]],
    follows: bool,
    found: &mut Vec<Found>,
) -> Result<(), CopyError> {
    let Some((first, rest)) = pattern.split_first() else {
        return Ok(());
    };
    let wanted = Glob::parse(first).map_err(|source| CopyError::Pattern {
        pattern: rootfs::escape(&pattern.join(&b'/')),
        source,
    })?;
    if follows && !glob::has_wildcard(first) {
        return expand(source, &dir.child(first), rest, true, found);
    }
    let dir = if follows {
        source.rootfs.resolve(dir, Leaf::Follow)?
    } else {
        dir.clone()
    };
    if !source
        .rootfs
        .lstat(&dir)?
        .is_some_and(|metadata| metadata.is_dir())
    {
        return Ok(());
    }
    for name in source.rootfs.read_dir(&dir)? {
        if !wanted.matches(&name) {
            continue;
        }
        let path = dir.child(&name);
        if rest.is_empty() {
            found.extend(look_up(source, &path)?);
        } else {
            expand(source, &path, rest, false, found)?;
        }
    }
    Ok(())
}

/// Says that the directory of a pattern is not there, or is none.
fn missing_directory(
    source: &SourceTree<'_>,
    spec: &Spanned<String>,
    directory: &RelPath,
) -> CopyError {
    let absence = absence::explain(source, directory);
    let what = match absence {
        Absence::BelowFile { .. } => spec.value.as_bytes(),
        _ => directory.as_bytes(),
    };
    let written = Spanned::new(String::from_utf8_lossy(what).into_owned(), spec.span);
    missing(source, &written, directory)
}

/// Refuses a pattern of `--parents` below a file of the context, as [`find`] does. Of what a pattern finds, files are
/// copied themselves.
pub(super) fn check_root(
    source: &SourceTree<'_>,
    root: &Spanned<String>,
    pattern: &str,
) -> Result<(), CopyError> {
    if glob::has_wildcard(root.value.as_bytes()) {
        return Ok(());
    }
    let is_directory = find(source, root)?
        .iter()
        .all(|found| found.metadata.is_dir());
    if is_directory || source.keeps_owner {
        return Ok(());
    }
    Err(missing_below(source, root, pattern))
}

/// Says that what a `--parents` names is not there.
pub(super) fn missing_below(
    source: &SourceTree<'_>,
    root: &Spanned<String>,
    pattern: &str,
) -> CopyError {
    let joined = match root.value.as_str() {
        "." => pattern.to_owned(),
        root => format!("{root}/{pattern}"),
    };
    match RelPath::parse_chrooted(joined.as_bytes()) {
        Ok(path) => missing(source, &Spanned::new(joined, root.span), &path),
        Err(error) => rootfs::Error::from(error).into(),
    }
}

/// Says why a source is not there.
fn missing(source: &SourceTree<'_>, spec: &Spanned<String>, path: &RelPath) -> CopyError {
    CopyError::Missing {
        path: if source.keeps_owner {
            path.to_string()
        } else {
            rootfs::escape(spec.value.as_bytes())
        },
        tree: source.name.clone(),
        span: spec.span,
        absence: Box::new(absence::explain(source, path)),
    }
}
