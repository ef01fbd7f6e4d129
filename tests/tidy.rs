//! The walls between the rooms, enforced: dependency edges, `unsafe`, the size of files.
//!
//! The table of allowed edges is read out of ARCHITECTURE.md, so that the page and the code cannot drift apart.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More lines than this and a file is two files.
const LINES_MAX: usize = 1000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory.
fn sources(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(below)];
    while let Some(dir) = pending.pop() {
        for entry in
            std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no sources below {below}");
    found
}

/// The room of a file: the folder or file directly below `src`.
fn room(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).unwrap();
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// `room -> other rooms`, one a line, from the table in ARCHITECTURE.md.
fn table(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let edges: BTreeMap<String, BTreeSet<String>> = text
        .lines()
        .filter_map(|line| line.split_once(" ->"))
        .filter(|(room, _)| !room.is_empty() && room.bytes().all(|b| b.is_ascii_lowercase()))
        .map(|(room, rest)| {
            (
                room.to_owned(),
                rest.split_whitespace().map(str::to_owned).collect(),
            )
        })
        .collect();
    assert!(
        edges.len() > 10,
        "the table of rooms is not in ARCHITECTURE.md any more"
    );
    edges
}

/// The rooms that a file names after `crate::` (in the binary, after `longshore::`), comments left out.
fn used(text: &str, crate_name: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut rooms = BTreeSet::new();
    let prefix = format!("{crate_name}::");
    for (at, _) in code.match_indices(&prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            rooms.extend(top_level_names(list));
        } else {
            rooms.insert(leading_name(rest));
        }
    }
    rooms.remove("");
    rooms
}

fn leading_name(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first names of `a::b, c, d::{e, f}}`.
fn top_level_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(list[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(list[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn rooms_depend_only_as_the_table_allows() {
    let table = table(&std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap());
    let mut wrong = Vec::new();
    for path in sources("src") {
        let from = room(&path);
        if from == "lib" {
            continue;
        }
        let Some(allowed) = table.get(&from) else {
            wrong.push(format!(
                "{}: room `{from}` is not in the table",
                path.display()
            ));
            continue;
        };
        let crate_name = if from == "main" { "longshore" } else { "crate" };
        for to in used(&std::fs::read_to_string(&path).unwrap(), crate_name) {
            if to != from && !allowed.contains(&to) && table.contains_key(&to) {
                wrong.push(format!("{}: `{from}` uses `{to}`", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "edges that ARCHITECTURE.md does not allow:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_code_is_in_sys_only_and_says_why() {
    let mut wrong = Vec::new();
    for path in sources("src") {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_unsafe = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|form| code.contains(form));
            if !is_unsafe {
                continue;
            }
            if room(&path) != "sys" {
                wrong.push(format!(
                    "{}:{}: unsafe outside of sys",
                    path.display(),
                    at + 1
                ));
            }
            let above = &lines[at.saturating_sub(8)..at];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                wrong.push(format!(
                    "{}:{}: unsafe without a SAFETY comment",
                    path.display(),
                    at + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_of_a_size_to_read() {
    let long: Vec<String> = sources("src")
        .into_iter()
        .chain(sources("tests"))
        .filter_map(|path| {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    assert!(
        long.is_empty(),
        "files of more than {LINES_MAX} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn the_checks_see_what_they_are_for() {
    assert_eq!(
        used("use crate::{a::b, c};\ncrate::d::e();", "crate"),
        ["a", "c", "d"].map(str::to_owned).into()
    );
    assert_eq!(
        used("// use crate::a;\nuse mycrate::b;", "crate"),
        BTreeSet::new()
    );
    assert_eq!(
        used("use crate::{x::{y, z}, w::v};", "crate"),
        ["w", "x"].map(str::to_owned).into()
    );
}
