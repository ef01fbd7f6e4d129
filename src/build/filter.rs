//! What of a copied directory is copied: the patterns of `--exclude` and `--parents`.
//!
//! Both are asked for paths relative to the copied directory, never for a source itself: as in BuildKit,
//! `COPY --exclude=*.txt *.txt /` copies the files that it names.

use crate::context::ignore::{DirState, Ignore, IgnoreError};
use crate::plan::{CopySource, CopyStep};
use crate::rootfs::RelPath;

use super::CopyError;

/// What of a copied directory is copied.
#[derive(Debug, Default)]
pub(super) struct Filter {
    include: Option<Include>,
    exclude: Option<Ignore>,
}

/// The pattern of a `--parents`.
#[derive(Debug)]
struct Include {
    pattern: Ignore,
    /// The names that the pattern begins with before anything in it is a wildcard: nowhere else is anything to be found.
    beginning: Vec<Vec<u8>>,
}

/// What the patterns said of a directory, for what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct FilterState {
    include: DirState,
    exclude: DirState,
}

/// What the patterns say of a path.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Whether it is copied.
    pub(super) is_included: bool,
    /// Whether, if it is a directory that is not copied, something in it may be.
    pub(super) may_hold: bool,
    /// The state for what is in it.
    pub(super) state: FilterState,
}

impl Filter {
    /// The patterns for one source of a copy.
    pub(super) fn of(step: &CopyStep, source: &CopySource) -> Result<Self, CopyError> {
        let mut exclude = None;
        if !step.exclude.is_empty() {
            let patterns = step.exclude.iter().map(|pattern| pattern.value.as_bytes());
            let parsed = Ignore::from_patterns(patterns, "--exclude");
            exclude = Some(parsed.map_err(bad_pattern)?);
        }
        let include = match source {
            CopySource::Parents { pattern, .. } => Some(Include {
                pattern: Ignore::from_patterns([pattern.as_bytes()], "--parents")
                    .map_err(bad_pattern)?,
                beginning: pattern
                    .split('/')
                    .take_while(|name| !name.contains(['*', '?', '[', '\\']))
                    .map(|name| name.as_bytes().to_vec())
                    .collect(),
            }),
            CopySource::Path(_)
            | CopySource::Inline { .. }
            | CopySource::Url(_)
            | CopySource::Repository(_) => None,
        };
        Ok(Self { include, exclude })
    }

    /// Decides about a path, given the state of the directory that holds it.
    pub(super) fn judge(&self, state: &FilterState, path: &RelPath) -> Verdict {
        let mut verdict = Verdict {
            is_included: true,
            may_hold: true,
            state: FilterState::default(),
        };
        if let Some(include) = &self.include {
            let decision = include.pattern.decide(&state.include, path.as_bytes());
            verdict.is_included = decision.excluded_by.is_some();
            verdict.may_hold = include.may_match_below(path);
            verdict.state.include = decision.state;
        }
        if let Some(exclude) = &self.exclude {
            let decision = exclude.decide(&state.exclude, path.as_bytes());
            if decision.excluded_by.is_some() {
                verdict.is_included = false;
                verdict.may_hold &= exclude.has_reincludes();
            }
            verdict.state.exclude = decision.state;
        }
        verdict
    }
}

impl Include {
    fn may_match_below(&self, dir: &RelPath) -> bool {
        dir.components()
            .zip(&self.beginning)
            .all(|(name, wanted)| name == wanted)
    }
}

fn bad_pattern(error: IgnoreError) -> CopyError {
    CopyError::Filter(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks down to a path and says whether it is copied; `None` if the walk ends before it.
    fn verdict(filter: &Filter, path: &str) -> Option<bool> {
        let mut state = FilterState::default();
        let path = RelPath::parse(path.as_bytes()).expect("a path");
        for above in path.ancestors_below_root() {
            let verdict = filter.judge(&state, &above);
            if !verdict.is_included && !verdict.may_hold {
                return None;
            }
            state = verdict.state;
        }
        Some(filter.judge(&state, &path).is_included)
    }

    fn filter(include: Option<&str>, exclude: &[&str]) -> Filter {
        let exclude = (!exclude.is_empty()).then(|| {
            let patterns = exclude.iter().map(|pattern| pattern.as_bytes());
            Ignore::from_patterns(patterns, "--exclude").expect("patterns")
        });
        let include = include.map(|pattern| Include {
            pattern: Ignore::from_patterns([pattern.as_bytes()], "--parents").expect("a pattern"),
            beginning: pattern
                .split('/')
                .take_while(|name| !name.contains('*'))
                .map(|name| name.as_bytes().to_vec())
                .collect(),
        });
        Filter { include, exclude }
    }

    #[test]
    fn patterns_decide() {
        for (include, exclude, path, expect) in [
            (None, &["*.txt"][..], "a.txt", Some(false)),
            (None, &["*.txt"], "d/a.txt", Some(true)),
            (None, &["**/*.txt"], "d/a.txt", Some(false)),
            (None, &["/a"], "a", Some(true)),
            (None, &["#a"], "#a", Some(false)),
            (None, &["a"], "a/b", None),
            (None, &["a", "!a/b"], "a/b", Some(true)),
            (None, &["a", "!a/b"], "a/c", Some(false)),
            (Some("a/b"), &[], "a", Some(false)),
            (Some("a/b"), &[], "a/b", Some(true)),
            (Some("a/b"), &[], "a/b/c", Some(true)),
            (Some("a/b"), &[], "a/c", Some(false)),
            (Some("a/b"), &[], "x/b", None),
            (Some("a/**/c"), &[], "a/x/y/c", Some(true)),
            (Some("a/**/c"), &[], "a/c", Some(true)),
            (Some("a/b"), &["a/b/*.o"], "a/b/x.o", Some(false)),
            (Some("a/b"), &["a"], "a/b", None),
            (Some("a/b"), &["a", "!a/b"], "a/b", Some(true)),
            (Some(""), &[], "a", Some(false)),
        ] {
            let filter = filter(include, exclude);
            assert_eq!(
                verdict(&filter, path),
                expect,
                "{include:?} {exclude:?} {path}"
            );
        }
    }
}
