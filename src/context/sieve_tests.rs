//! With the sieve and without it a build sees the same.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use super::super::Context;
use super::super::dockerfile::DockerfileSource;
use super::super::unpack::Unpack;
use crate::rootfs::{Leaf, RelPath};

/// One entry: a directory, a file with its text, a symbolic link, a hard link.
#[derive(Clone, Debug)]
enum Entry {
    D(String),
    F(String, String),
    S(String, String),
    H(String, String),
}
use Entry::{D, F, H, S};

fn f(name: &str, text: &str) -> Entry {
    F(name.to_owned(), text.to_owned())
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (number, entry) in entries.iter().enumerate() {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1000 + number as u64);
        header.set_mode(0o640);
        let (name, text) = match entry {
            D(name) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o750);
                (name, "")
            }
            F(name, text) => (name, text.as_str()),
            S(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(target).unwrap();
                (name, "")
            }
            H(name, target) => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_link_name(target).unwrap();
                (name, "")
            }
        };
        header.set_size(text.len() as u64);
        let bytes = text.as_bytes();
        builder.append_data(&mut header, name, bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// How an archive is asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    sub_path: Option<&'static str>,
    dockerfile: &'static str,
}

const ROOT: Asked = Asked {
    sub_path: None,
    dockerfile: "Dockerfile",
};

struct Seen {
    /// What a COPY of everything sees: what it is, and its text or target.
    view: BTreeMap<String, String>,
    dockerfile: Vec<u8>,
    directory: PathBuf,
    /// How often the archive was opened.
    opened: usize,
    _scratch: tempfile::TempDir,
}

impl Seen {
    fn is_on_disk(&self, path: &str) -> bool {
        self.directory.join(path).symlink_metadata().is_ok()
    }
}

fn extract(bytes: &[u8], asked: Asked, is_sieved: bool) -> Option<Seen> {
    let scratch = tempfile::tempdir().unwrap();
    let dockerfile = DockerfileSource::Path(asked.dockerfile.into());
    let sub_path = asked.sub_path.map(Path::new);
    let unpack = Unpack {
        name: "archive".to_owned(),
        scratch: scratch.path(),
        limit: u64::MAX,
        sub_path,
        dockerfile: Some(&dockerfile),
    };
    let mut opened = 0;
    let directory = if is_sieved {
        unpack.sieved(&mut || {
            opened += 1;
            Ok(Box::new(Cursor::new(bytes.to_vec())))
        })
    } else {
        unpack.whole(&mut Cursor::new(bytes.to_vec()))
    };
    let directory = directory.ok()?;
    let mut context = Context::open_fetched(directory.clone(), sub_path).ok()?;
    let text = context.read_dockerfile(Path::new(asked.dockerfile)).ok()?;
    let mut view = BTreeMap::new();
    see(&context, &RelPath::root(), &mut view);
    Some(Seen {
        view,
        dockerfile: text.bytes,
        directory,
        opened,
        _scratch: scratch,
    })
}

fn see(context: &Context, at: &RelPath, view: &mut BTreeMap<String, String>) {
    let files = context.rootfs();
    for name in files.read_dir(at).unwrap() {
        let path = at.child(&name);
        let metadata = files.lstat(&path).unwrap().unwrap();
        let rules = context.ignore();
        if rules.is_none_or(|rules| rules.excludes(path.as_bytes()).is_none()) {
            let what = if metadata.is_dir() {
                format!("directory {:o}", metadata.mode)
            } else if metadata.is_file() {
                let mut text = String::new();
                let mut file = files.open_file(&path, Leaf::Keep).unwrap();
                std::io::Read::read_to_string(&mut file, &mut text).unwrap();
                format!("{:o} {} {text}", metadata.mode, metadata.mtime.secs)
            } else {
                format!("{:?}", files.read_link(&path).unwrap())
            };
            view.insert(path.to_string(), what);
        }
        if metadata.is_dir() {
            see(context, &path, view);
        }
    }
}

/// Extracts both ways, and returns what was seen with the sieve.
fn same(entries: &[Entry], asked: Asked) -> Seen {
    let bytes = archive(entries);
    let whole = extract(&bytes, asked, false).expect("it can be extracted");
    let sieved = extract(&bytes, asked, true).expect("it can be extracted with the sieve too");
    assert_eq!(whole.view, sieved.view, "{entries:?} {asked:?}");
    assert_eq!(whole.dockerfile, sieved.dockerfile, "{entries:?}");
    sieved
}

#[test]
fn what_the_rules_hide_is_not_written() {
    let entries = [
        f(
            ".dockerignore",
            "big\nmodules\n!modules/kept\nDockerfile\nhollow/*\n",
        ),
        f("Dockerfile", "FROM scratch"),
        f("big", "large"),
        D("modules".to_owned()),
        D("modules/a".to_owned()),
        f("modules/a/x", "1"),
        f("modules/kept", "2"),
        f("hollow/x", "3"),
        S("link".to_owned(), "big".to_owned()),
        f("seen", "4"),
    ];
    let seen = same(&entries, ROOT);
    assert_eq!(seen.opened, 1);
    for path in ["big", "modules/a/x", "hollow/x"] {
        assert!(!seen.is_on_disk(path), "{path}");
    }
    for path in ["Dockerfile", "modules/kept", "seen", "hollow"] {
        assert!(seen.is_on_disk(path), "{path}");
    }
    // Late rules find it written already.
    let late: Vec<Entry> = entries.iter().rev().cloned().collect();
    let seen = same(&late, ROOT);
    assert!(seen.is_on_disk("big") && seen.opened == 1);
}

#[test]
fn what_is_outside_of_the_directory_is_not_written() {
    let below = Asked {
        sub_path: Some("a/b"),
        ..ROOT
    };
    let entries = [
        f("outside", "1"),
        f("a/outside", "2"),
        f("a/b/Dockerfile", "FROM scratch"),
        f("a/b/.dockerignore", "x"),
        f("a/b/x", "3"),
        f("a/b/y", "4"),
    ];
    let seen = same(&entries, below);
    assert_eq!(seen.opened, 1);
    for path in ["outside", "a/outside", "a/b/x"] {
        assert!(!seen.is_on_disk(path), "{path}");
    }
    // Through a link the directory is another one.
    let mut linked = entries.to_vec();
    linked.insert(1, S("a".to_owned(), "real".to_owned()));
    linked.push(f("real/b/z", "5"));
    assert!(
        same(&linked, below)
            .view
            .keys()
            .any(|path| path.ends_with("/z"))
    );
}

#[test]
fn guesses_that_were_wrong_are_put_right() {
    let first = f(".dockerignore", "big\n");
    let dockerfile = f("Dockerfile", "FROM scratch");
    let other = Asked {
        dockerfile: "none-such/Dockerfile.other",
        ..ROOT
    };
    let cases = [
        // A hard link to what was held back.
        (ROOT, vec![H("link".to_owned(), "big".to_owned())]),
        // Other rules win.
        (ROOT, vec![f("Dockerfile.dockerignore", "small\n")]),
        (
            other,
            vec![
                f(other.dockerfile, "FROM scratch"),
                f("none-such/Dockerfile.other.dockerignore", "small\n"),
            ],
        ),
        // The rules are replaced, and used once more before the end.
        (ROOT, vec![f(".dockerignore", "small\n"), f("more", "3")]),
        (
            ROOT,
            vec![
                S(".dockerignore".to_owned(), "rules".to_owned()),
                f("rules", "x"),
            ],
        ),
        // The Dockerfile is what was held back.
        (ROOT, vec![S("Dockerfile".to_owned(), "big".to_owned())]),
    ];
    for (asked, more) in cases {
        let start = [
            first.clone(),
            dockerfile.clone(),
            f("big", "1"),
            f("small", "2"),
        ];
        let entries: Vec<Entry> = start.into_iter().chain(more).collect();
        assert_eq!(same(&entries, asked).opened, 2, "{entries:?}");
    }
    // The same rules once more are no other rules.
    let entries = [first.clone(), dockerfile, f("big", "1"), first, f("x", "2")];
    assert_eq!(same(&entries, ROOT).opened, 1);
}

/// A small generator, so that a failure can be made again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.below(all.len())]
    }
}

#[test]
fn any_archive_looks_the_same() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    const RULES: [&str; 9] = [
        "a", "b/*", "**/c", "!a/b", "!b/**", "*", "!c", "a/**/b", "!**/a",
    ];
    let mut compared = 0;
    let mut held_back = 0;
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut entries = vec![f("Dockerfile", "FROM scratch")];
        for _ in 0..dice.below(14) {
            let depth = 1 + dice.below(3);
            let path = |dice: &mut Dice| {
                let parts: Vec<&str> = (0..depth).map(|_| dice.one_of(&NAMES)).collect();
                parts.join("/")
            };
            let name = path(&mut dice);
            entries.push(match dice.below(8) {
                0 | 1 => D(name),
                2 => S(
                    name,
                    dice.one_of(&["a", "b", "../c", "a/b", "/b"]).to_owned(),
                ),
                3 => H(name, path(&mut dice)),
                _ => F(name, dice.below(1000).to_string()),
            });
        }
        let rules: Vec<&str> = (0..=dice.below(3)).map(|_| dice.one_of(&RULES)).collect();
        let at = dice.below(entries.len() + 1) / 2;
        let ignore = dice.one_of(&[".dockerignore", ".dockerignore", "Dockerfile.dockerignore"]);
        entries.insert(at, f(ignore, &rules.join("\n")));
        let bytes = archive(&entries);
        let Some(whole) = extract(&bytes, ROOT, false) else {
            continue;
        };
        let Some(sieved) = extract(&bytes, ROOT, true) else {
            panic!("{seed}: {entries:?}");
        };
        assert_eq!(whole.view, sieved.view, "{seed}: {entries:?}");
        compared += 1;
        let count = |seen: &Seen| walk(&seen.directory);
        held_back += usize::from(sieved.opened == 1 && count(&sieved) < count(&whole));
    }
    assert!(compared > 100 && held_back > 20, "{compared} {held_back}");
}

fn walk(at: &Path) -> usize {
    let entries = std::fs::read_dir(at).unwrap().flatten();
    let below = entries.map(|entry| {
        let is_dir = entry.file_type().unwrap().is_dir();
        1 + if is_dir { walk(&entry.path()) } else { 0 }
    });
    below.sum()
}
