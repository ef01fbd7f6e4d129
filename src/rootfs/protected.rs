//! Paths that nobody may create, replace, remove or chmod.

use std::collections::BTreeSet;

use super::path::RelPath;

/// Mount points and the builder's own state, as canonical paths inside a root.
#[derive(Debug, Clone, Default)]
pub struct Protected(BTreeSet<RelPath>);

impl Protected {
    /// Protects nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a path; the root itself is never protected, so adding it does nothing.
    pub fn add(&mut self, path: RelPath) {
        if !path.is_root() {
            self.0.insert(path);
        }
    }

    /// Is nothing protected?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the protected paths in order.
    pub fn iter(&self) -> impl Iterator<Item = &RelPath> {
        self.0.iter()
    }

    /// Is `path` a protected path or below one?
    pub fn covers(&self, path: &RelPath) -> bool {
        !self.0.is_empty()
            && (self.0.contains(path) || path.ancestors_below_root().any(|a| self.0.contains(&a)))
    }

    /// Is a protected path strictly below `path`? Such a directory may be neither replaced nor removed.
    pub fn has_below(&self, path: &RelPath) -> bool {
        self.0
            .range((
                std::ops::Bound::Excluded(path.clone()),
                std::ops::Bound::Unbounded,
            ))
            .next()
            .is_some_and(|next| next.starts_with(path))
    }

    /// Is `path` protected, below a protected path or above one?
    pub fn touches(&self, path: &RelPath) -> bool {
        self.covers(path) || self.has_below(path)
    }
}

impl FromIterator<RelPath> for Protected {
    fn from_iter<I: IntoIterator<Item = RelPath>>(paths: I) -> Self {
        let mut protected = Self::none();
        for path in paths {
            protected.add(path);
        }
        protected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_is_above_and_below() {
        let path = |p: &str| RelPath::parse(p).unwrap();
        let protected: Protected = ["etc/hosts", "proc", "", "a-b"]
            .map(path)
            .into_iter()
            .collect();
        for (p, covers, below) in [
            ("etc/hosts", true, false),
            ("etc", false, true),
            ("etc/hosts2", false, false),
            ("proc/1/environ", true, false),
            ("proc", true, false),
            ("", false, true),
            ("a", false, false),
            ("usr", false, false),
        ] {
            assert_eq!(protected.covers(&path(p)), covers, "covers {p}");
            assert_eq!(protected.has_below(&path(p)), below, "below {p}");
            assert_eq!(protected.touches(&path(p)), covers || below, "touches {p}");
        }
    }
}
