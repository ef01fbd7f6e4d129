//! Why a source is not there, and what to do about it: the trees are looked through for what was meant.

use std::collections::VecDeque;

use crate::dockerfile;
use crate::rootfs::{self, Device, FileType, RelPath};

use super::sources::SourceTree;

/// So many files of a tree are looked at for one with the name: a message may take a second, not a minute.
const MAX_FILES: usize = 200_000;
/// So many names are told; more would hide what matters.
const MAX_NAMES: usize = 6;

/// Why a source is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// An ignore rule hides it.
    Hidden {
        /// The rule as written.
        rule: String,
        /// The ignore file and the line.
        place: String,
        /// What is hidden.
        path: String,
    },
    /// It would be below something that is no directory.
    BelowFile {
        /// What is there.
        path: String,
        /// Its kind.
        kind: FileType,
    },
    /// It is a link that leads nowhere, or is below one.
    Dangling {
        /// The link.
        link: String,
        /// What it points to.
        target: String,
    },
    /// This looks like it.
    Alike(String),
    /// These have its name.
    Elsewhere(Vec<String>),
    /// Nothing in the tree is like it.
    Unlike {
        /// What to call the tree.
        tree: String,
        /// How many files can be copied from it.
        files: usize,
        /// Whether there are more than were counted.
        has_more: bool,
        /// One of them.
        first: Option<String>,
        /// What its root shows.
        names: Vec<String>,
        /// The ignore file, if it hides anything.
        hidden_by: Option<String>,
    },
    /// It was to be downloaded.
    NotDownloaded,
}

impl Absence {
    /// What to do.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Hidden { rule, place, path } => format!(
                "the ignore rule \"{rule}\" ({place}) hides it: remove the rule, or take it back with a line !{path} below"
            ),
            Self::BelowFile { path, kind } => format!(
                "\"{path}\" is {kind}, with nothing below it: name a directory, or \"{path}\" itself"
            ),
            Self::Dangling { link, target } => format!(
                "\"{link}\" is a link to \"{target}\", which is not there: add that, or copy something else"
            ),
            Self::Alike(path) => format!("did you mean \"{path}\"?"),
            Self::Elsewhere(paths) => {
                let quoted: Vec<String> = paths.iter().map(|path| format!("\"{path}\"")).collect();
                format!("did you mean {}?", quoted.join(" or "))
            }
            Self::Unlike {
                tree,
                files,
                names,
                has_more,
                first,
                hidden_by,
            } => {
                let hidden_by = hidden_by.as_deref();
                match (files, first) {
                    (0, _) | (_, None) => bare(tree, hidden_by),
                    (1, Some(only)) => format!(
                        "check the path, and that it is the directory that was meant: {tree} holds nothing but {only}{}",
                        others(hidden_by)
                    ),
                    (files, Some(_)) => format!(
                        "check the path: none of the {}{files} files in {tree} has that name; at its root: {}{}",
                        if *has_more { "first " } else { "" },
                        names.join(", "),
                        others(hidden_by)
                    ),
                }
            }
            Self::NotDownloaded => "this is a mistake of longshore's: please report it".to_owned(),
        }
    }

    /// Whether the tree has something that was probably meant, or hides it.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Hidden { .. }
            | Self::BelowFile { .. }
            | Self::Dangling { .. }
            | Self::Alike(_)
            | Self::NotDownloaded => true,
            Self::Elsewhere(_) | Self::Unlike { .. } => false,
        }
    }
}

/// What to do about a tree that shows no file.
fn bare(tree: &str, hidden_by: Option<&str>) -> String {
    match hidden_by {
        Some(ignore) => format!(
            "{ignore} hides all that is in {tree}: take back what is needed, with lines such as !src below the other rules"
        ),
        None => format!(
            "{tree} is empty: check that it is the one that was meant, and that its files are made before"
        ),
    }
}

/// That there is more than is shown.
fn others(hidden_by: Option<&str>) -> String {
    hidden_by.map_or(String::new(), |ignore| format!("; {ignore} hides others"))
}

/// Finds out why a path is not there, as helpfully as can be.
pub(super) fn explain(source: &SourceTree<'_>, path: &RelPath) -> Absence {
    let rule = source
        .ignore
        .and_then(|rules| Some((rules, rules.excludes(path.as_bytes())?)));
    if let Some((rules, rule)) = rule {
        return Absence::Hidden {
            rule: rule.text.clone(),
            place: format!("{}:{}", rules.name(), rule.line),
            path: plain(path),
        };
    }
    if let Some(obstacle) = obstacle(source, path) {
        return obstacle;
    }
    let nearest = nearest(source, path);
    let survey = Survey::of(source, path.file_name().unwrap_or_default());
    match nearest {
        Some(nearest) if survey.same_name.is_empty() || same_name(&nearest, path) => {
            Absence::Alike(written(source, &nearest))
        }
        _ if !survey.same_name.is_empty() => {
            let paths = survey.same_name.iter();
            Absence::Elsewhere(paths.map(|path| written(source, path)).collect())
        }
        _ => Absence::Unlike {
            tree: source.name.clone(),
            files: survey.files,
            has_more: survey.has_more,
            first: survey.first,
            names: survey.names,
            hidden_by: source
                .ignore
                .filter(|_| survey.has_hidden)
                .map(|rules| rules.name().to_owned()),
        },
    }
}

/// A path as a COPY names it: from the root of a stage or image, and without a slash in the context.
pub(super) fn written(source: &SourceTree<'_>, path: &RelPath) -> String {
    if source.keeps_owner {
        path.to_string()
    } else {
        plain(path)
    }
}

fn plain(path: &RelPath) -> String {
    rootfs::escape(path.as_bytes())
}

fn same_name(found: &RelPath, wanted: &RelPath) -> bool {
    found
        .file_name()
        .zip(wanted.file_name())
        .is_some_and(|(found, wanted)| found.eq_ignore_ascii_case(wanted))
}

/// The first name on the way that is there and leads no further.
fn obstacle(source: &SourceTree<'_>, path: &RelPath) -> Option<Absence> {
    for prefix in path.ancestors_below_root().chain([path.clone()]) {
        let there = source.rootfs.lstat(&prefix).ok()??;
        match source.rootfs.stat(&prefix) {
            Ok(Some(metadata)) if metadata.is_dir() => {}
            Ok(Some(metadata)) => {
                return Some(Absence::BelowFile {
                    path: written(source, &prefix),
                    kind: metadata.file_type,
                });
            }
            _ if there.file_type == FileType::Symlink => {
                return Some(Absence::Dangling {
                    link: written(source, &prefix),
                    target: rootfs::escape(&source.rootfs.read_link(&prefix).ok()?),
                });
            }
            _ => return None,
        }
    }
    None
}

/// The path that looks most like a missing one: each of its names that is not there is taken for the one most like it.
fn nearest(source: &SourceTree<'_>, path: &RelPath) -> Option<RelPath> {
    let mut found = RelPath::root();
    for name in path.components() {
        let next = found.child(name);
        if source.rootfs.lstat(&next).ok()?.is_some() {
            found = next;
            continue;
        }
        let names = source.rootfs.read_dir(&found).ok()?;
        let names: Vec<String> = names
            .into_iter()
            .filter(|name| !is_hidden(source, &found.child(name)))
            .filter_map(|name| String::from_utf8(name).ok())
            .collect();
        let wanted = std::str::from_utf8(name).ok()?;
        let same = names.iter().find(|name| name.eq_ignore_ascii_case(wanted));
        let nearest = same.cloned().or_else(|| {
            let known = names.iter().map(String::as_str);
            let nearest = dockerfile::nearest(wanted, known)?;
            // It comes in the case of what was looked for.
            names
                .iter()
                .find(|name| name.eq_ignore_ascii_case(&nearest))
                .cloned()
        })?;
        found = found.child(nearest.as_bytes());
    }
    Some(found)
}

fn is_hidden(source: &SourceTree<'_>, path: &RelPath) -> bool {
    source
        .ignore
        .is_some_and(|rules| rules.excludes(path.as_bytes()).is_some())
}

/// What there is in a tree.
#[derive(Debug, Default)]
struct Survey {
    /// What has the wanted name, nearest to the root first.
    same_name: Vec<RelPath>,
    files: usize,
    has_more: bool,
    first: Option<String>,
    has_hidden: bool,
    /// What the root shows.
    names: Vec<String>,
}

impl Survey {
    /// Looks through a tree, level by level, without leaving its file system.
    fn of(source: &SourceTree<'_>, wanted: &[u8]) -> Self {
        let mut survey = Self::default();
        let root = RelPath::root();
        let Ok(Some(metadata)) = source.rootfs.lstat(&root) else {
            return survey;
        };
        let mut queue = VecDeque::from([root]);
        while let Some(dir) = queue.pop_front() {
            survey.directory(source, &dir, (wanted, metadata.dev), &mut queue);
            if survey.files >= MAX_FILES {
                survey.has_more = true;
                break;
            }
        }
        survey
    }

    /// Looks at one directory. One that cannot be read shows nothing: the message is not worth an error of its own.
    fn directory(
        &mut self,
        source: &SourceTree<'_>,
        path: &RelPath,
        (wanted, device): (&[u8], Device),
        queue: &mut VecDeque<RelPath>,
    ) {
        let Ok(dir) = source.rootfs.open_dir(path) else {
            return;
        };
        let mut names = dir.names().unwrap_or_default();
        names.sort_unstable();
        for name in names {
            let Ok(Some(metadata)) = dir.lstat(&name) else {
                continue;
            };
            let child = path.child(&name);
            let is_hidden = is_hidden(source, &child);
            self.has_hidden |= is_hidden;
            if metadata.is_dir() && metadata.dev == device {
                queue.push_back(child.clone());
            }
            if is_hidden {
                continue;
            }
            if !metadata.is_dir() {
                self.files += 1;
                self.first.get_or_insert_with(|| written(source, &child));
            }
            if path.is_root() {
                self.show(&name, metadata.is_dir());
            }
            if name == wanted && self.same_name.len() < MAX_NAMES / 2 {
                self.same_name.push(child);
            }
        }
    }

    fn show(&mut self, name: &[u8], is_dir: bool) {
        if self.names.len() < MAX_NAMES {
            let slash = if is_dir { "/" } else { "" };
            self.names.push(format!("{}{slash}", rootfs::escape(name)));
        } else if self.names.len() == MAX_NAMES {
            self.names.push("...".to_owned());
        }
    }
}
