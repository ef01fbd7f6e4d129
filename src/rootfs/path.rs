//! Paths inside an image: bytes, relative, clean, never above the root.

use std::cmp::Ordering;
use std::fmt;

/// A clean path relative to an image's root; the root itself is the empty path.
///
/// It has no empty, `.` or `..` components, no leading or trailing slash and no NUL. The order is by component,
/// so that a directory sorts right before everything below it, as the entries of a layer must.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Vec<u8>);

/// Why bytes are not a path inside an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The cleaned path would begin with `..`.
    #[error("path `{0}` leads out of the root")]
    Escapes(String),
    /// The path holds a NUL byte.
    #[error("path `{0}` contains a NUL byte")]
    Nul(String),
}

impl RelPath {
    /// Returns the root.
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// Cleans a path lexically: leading slashes, empty parts and `.` go, `..` takes its parent away.
    pub fn parse(raw: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let raw = raw.as_ref();
        if raw.contains(&0) {
            return Err(PathError::Nul(escape(raw)));
        }
        let mut clean = Vec::with_capacity(raw.len());
        for part in raw.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if clean.is_empty() {
                        return Err(PathError::Escapes(escape(raw)));
                    }
                    let end = clean.iter().rposition(|&b| b == b'/').unwrap_or(0);
                    clean.truncate(end);
                }
                name => push_component(&mut clean, name),
            }
        }
        Ok(Self(clean))
    }

    /// Cleans a path as a chroot would see it: a `..` at the root stays at the root.
    pub fn parse_chrooted(raw: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let raw = raw.as_ref();
        let mut path = Self::root();
        for part in raw.split(|&b| b == b'/') {
            if part == b".." {
                path = path.parent().unwrap_or_default();
            } else {
                path = path.join(&Self::parse(part)?);
            }
        }
        Ok(path)
    }

    /// Returns the bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Is this the root itself?
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the names from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// Counts the components.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Returns the directory that holds this path, or `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Returns the last component, or `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        if self.is_root() {
            return None;
        }
        let start = self.0.iter().rposition(|&b| b == b'/').map_or(0, |i| i + 1);
        Some(&self.0[start..])
    }

    /// Appends another clean path.
    #[must_use]
    pub fn join(&self, below: &Self) -> Self {
        if below.is_root() {
            return self.clone();
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + below.0.len());
        bytes.extend_from_slice(&self.0);
        push_component(&mut bytes, &below.0);
        Self(bytes)
    }

    /// Appends one name as a directory listing gives it: one component, neither `.` nor `..`.
    #[must_use]
    pub fn child(&self, name: &[u8]) -> Self {
        debug_assert!(is_plain_name(name), "not one component");
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        push_component(&mut bytes, name);
        Self(bytes)
    }

    /// Is this path `above` itself or somewhere below it?
    pub fn starts_with(&self, above: &Self) -> bool {
        above.is_root()
            || (self.0.starts_with(&above.0)
                && (self.0.len() == above.0.len() || self.0[above.0.len()] == b'/'))
    }

    /// Returns the path relative to `above`, if it is at or below it.
    pub fn strip_prefix(&self, above: &Self) -> Option<Self> {
        if !self.starts_with(above) {
            return None;
        }
        let rest = &self.0[above.0.len()..];
        Some(Self(rest.strip_prefix(b"/").unwrap_or(rest).to_vec()))
    }

    /// Iterates over the directories above this path, from the first below the root down; neither the root nor itself.
    pub fn ancestors_below_root(&self) -> impl Iterator<Item = Self> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter(|&(_, &b)| b == b'/')
            .map(|(end, _)| Self(self.0[..end].to_vec()))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        let slash_first = |b: &u8| if *b == b'/' { 0u16 } else { u16::from(*b) + 1 };
        self.0
            .iter()
            .map(slash_first)
            .cmp(other.0.iter().map(slash_first))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Shows the path with a leading slash, everything but plain text escaped.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escape(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// Makes bytes of a name safe to show: control characters and bytes that are not UTF-8 are escaped.
pub fn escape(bytes: &[u8]) -> String {
    /// A longer name is cut: it is shown to a person, and an attacker may choose its length.
    const SHOWN_BYTES_MAX: usize = 512;
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_invisible(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('?');
            text.extend(['\\', 'x', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// Line and paragraph separators and the marks that turn the direction of text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Is this one component that names something in its directory?
fn is_plain_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

fn push_component(bytes: &mut Vec<u8>, name: &[u8]) {
    if !bytes.is_empty() {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> RelPath {
        RelPath::parse(raw).unwrap()
    }

    #[test]
    fn cleans_as_written() {
        for (raw, expect) in [
            ("", ""),
            ("/", ""),
            ("./", ""),
            ("/etc/abs", "etc/abs"),
            ("//etc//abs2", "etc/abs2"),
            ("./a/./b", "a/b"),
            ("a/../b", "b"),
            ("a/b/../../c", "c"),
            ("a/..", ""),
            ("a\\..\\b", "a\\..\\b"),
            ("...", "..."),
        ] {
            assert_eq!(
                RelPath::parse(raw).unwrap().as_bytes(),
                expect.as_bytes(),
                "{raw}"
            );
        }
        for raw in ["..", "../evil", "a/../../evil", "/..", "a\0b"] {
            assert!(RelPath::parse(raw).is_err(), "{raw:?}");
        }
        assert_eq!(RelPath::parse_chrooted("../../x/../y").unwrap(), path("y"));
    }

    #[test]
    fn sorts_a_directory_before_what_it_holds() {
        let mut paths: Vec<_> = ["a-b", "a/b", "a", "b", "a/b/c", "", "a.b"]
            .map(path)
            .to_vec();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/", "/a", "/a/b", "/a/b/c", "/a-b", "/a.b", "/b"]);
    }

    #[test]
    fn takes_apart_and_puts_together() {
        let p = path("a/b/c");
        assert_eq!(p.parent(), Some(path("a/b")));
        assert_eq!(p.file_name(), Some(&b"c"[..]));
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
        assert!(p.starts_with(&path("a/b")) && p.starts_with(&RelPath::root()));
        assert!(!path("ab").starts_with(&path("a")));
        assert_eq!(p.strip_prefix(&path("a")), Some(path("b/c")));
        assert_eq!(p.strip_prefix(&p), Some(RelPath::root()));
        assert_eq!(
            p.ancestors_below_root().collect::<Vec<_>>(),
            [path("a"), path("a/b")]
        );
        assert_eq!(p.depth(), 3);
    }

    #[test]
    fn shows_no_control_bytes() {
        let shown = RelPath::parse(b"a\n::set-output\x1b[2J\xff\xe2\x80\xae")
            .unwrap()
            .to_string();
        assert_eq!(shown, "/a\\n::set-output\\u{1b}[2J\\xff\\u{202e}");
    }
}
