//! COPY and ADD.

use crate::dockerfile::{Add, Copy, Heredoc, Span, Spanned};
use crate::oci::Digest;

use super::outline::find_image;
use super::remote::{self, Remote};
use super::sources::{ImageName, Source, copy_from_of, copy_source, reference};
use super::stage::{Outcome, State};
use super::{
    CopyFrom, CopySource, CopyStep, PlanError, RepositorySource, StepKind, Unpack, UrlSource,
    expand, path,
};

/// The parts that COPY and ADD share.
struct Transfer<'a> {
    instruction: &'static str,
    from: CopyFrom,
    sources: &'a [Spanned<String>],
    heredocs: &'a [Heredoc],
    destination: &'a Spanned<String>,
    chown: Option<&'a Spanned<String>>,
    chmod: Option<&'a Spanned<String>>,
    link: Option<&'a Spanned<bool>>,
    exclude: &'a [Spanned<String>],
    checksum: Option<Spanned<String>>,
    keeps_git_dir: Option<bool>,
    parents: bool,
    unpack: Unpack,
    span: Span,
}

impl State<'_> {
    pub(super) fn copy(&mut self, copy: &Copy, span: Span) -> Outcome {
        let transfer = Transfer {
            instruction: "COPY",
            from: self.copy_from(copy)?,
            sources: &copy.sources,
            heredocs: &copy.heredocs,
            destination: &copy.destination,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            link: copy.link.as_ref(),
            exclude: &copy.exclude,
            checksum: None,
            keeps_git_dir: None,
            parents: copy.parents.as_ref().is_some_and(|parents| parents.value),
            unpack: Unpack::Never,
            span,
        };
        self.transfer(&transfer)
    }

    pub(super) fn add(&mut self, add: &Add, span: Span) -> Outcome {
        let unpack = match add.unpack.as_ref().map(|unpack| unpack.value) {
            Some(false) => Unpack::Never,
            Some(true) => Unpack::Always,
            None => Unpack::Auto,
        };
        let transfer = Transfer {
            instruction: "ADD",
            from: CopyFrom::Context,
            sources: &add.sources,
            heredocs: &add.heredocs,
            destination: &add.destination,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            link: add.link.as_ref(),
            exclude: &add.exclude,
            checksum: self.expand_flag(add.checksum.as_ref())?,
            keeps_git_dir: add.keep_git_dir.as_ref().map(|keeps| keeps.value),
            parents: false,
            unpack,
            span,
        };
        self.transfer(&transfer)
    }

    /// # Deviation
    /// The history shows no password that a URL carries; BuildKit's does.
    fn transfer(&mut self, transfer: &Transfer<'_>) -> Outcome {
        let instruction = transfer.instruction;
        let chown = self.expand_flag(transfer.chown)?;
        let chmod = self.expand_flag(transfer.chmod)?;
        let mut history = vec![instruction.to_owned()];
        if transfer.parents {
            history.push("--parents".to_owned());
        }
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                history.push(format!("--{flag}={}", value.value));
            }
        }
        let mut sources = Vec::new();
        for written in transfer.sources {
            let source = Spanned::new(self.expand(written)?, self.at(written.span));
            history.push(match remote::remote(&source.value) {
                Some(Remote::Git) => remote::without_login(&source.value),
                Some(Remote::Url) | None => remote::without_password(&source.value),
            });
            sources.push(Self::source(transfer, source)?);
        }
        for heredoc in transfer.heredocs {
            history.push(format!("<<{}", heredoc.name));
            sources.push(self.inline(heredoc)?);
        }
        let destination = self.expand(transfer.destination)?;
        history.extend([destination.clone(), "# buildkit".to_owned()]);
        // With --chmod, BuildKit ignores --link.
        let link = chmod.is_none() && transfer.link.is_some_and(|link| link.value);
        let chmod = match chmod {
            None => None,
            Some(Spanned { value, span }) => {
                let parsed = value.parse();
                let parsed = parsed.map_err(|source| PlanError::Chmod { source, span })?;
                Some(Spanned::new(parsed, span))
            }
        };
        let exclude = transfer.exclude.iter();
        let step = CopyStep {
            instruction,
            from: transfer.from,
            sources,
            destination: path::destination(self.current_dir(), &destination),
            chown,
            chmod,
            exclude: exclude
                .map(|pattern| Spanned::new(pattern.value.clone(), self.at(pattern.span)))
                .collect(),
            link,
            unpack: transfer.unpack,
            span: self.at(transfer.span),
        };
        Ok((history.join(" "), StepKind::Copy(step)))
    }

    /// Tells what one source is.
    fn source(transfer: &Transfer<'_>, source: Spanned<String>) -> Result<CopySource, PlanError> {
        let what = remote::remote(&source.value);
        if let (Some(_), "COPY") = (what, transfer.instruction) {
            return Err(PlanError::RemoteCopy {
                location: remote::without_password(&source.value),
                span: source.span,
            });
        }
        if let Some(checksum) = &transfer.checksum
            && (what.is_none() || transfer.sources.len() != 1)
        {
            return Err(PlanError::ChecksumOfWhat {
                span: checksum.span,
            });
        }
        match what {
            Some(Remote::Git) => Ok(CopySource::Repository(RepositorySource {
                keeps_git_dir: transfer.keeps_git_dir,
                checksum: transfer.checksum.clone(),
                url: source,
                pinned: None,
            })),
            Some(Remote::Url) => Ok(CopySource::Url(UrlSource {
                name: remote::file_name(&source.value),
                checksum: transfer.checksum.as_ref().map(parse_digest).transpose()?,
                url: source,
            })),
            None if transfer.parents => Ok(parents(&source)),
            None => Ok(CopySource::Path(Spanned::new(
                path::source(&source.value),
                source.span,
            ))),
        }
    }

    /// Expands the value of a flag; an empty one is as good as none.
    fn expand_flag(
        &self,
        flag: Option<&Spanned<String>>,
    ) -> Result<Option<Spanned<String>>, PlanError> {
        let Some(flag) = flag else {
            return Ok(None);
        };
        let value = self.expand(flag)?;
        let span = self.at(flag.span);
        Ok((!value.is_empty()).then(|| Spanned::new(value, span)))
    }

    fn inline(&self, heredoc: &Heredoc) -> Result<CopySource, PlanError> {
        let content = heredoc.content();
        let content = if heredoc.expand {
            let span = self.at(heredoc.body_span);
            expand::expand_heredoc(&content, &self.environment, span)?
        } else {
            content.into_owned()
        };
        Ok(CopySource::Inline {
            name: heredoc.name.clone(),
            content,
        })
    }

    /// The number of an image that files are taken from.
    pub(super) fn image(&self, name: &ImageName) -> Result<Option<usize>, PlanError> {
        let reference = reference(self.scope.dockerfile, &name.name)?;
        let platform = name.platform.as_ref();
        let platform = platform.unwrap_or(&self.scope.options.target_platform);
        let images = &self.scope.outline.images;
        Ok(find_image(images, &reference, name.layout, platform))
    }

    fn copy_from(&self, copy: &Copy) -> Result<CopyFrom, PlanError> {
        let Some(from) = copy_from_of(copy) else {
            return Ok(CopyFrom::Context);
        };
        let from = Spanned::new(from.value.clone(), self.at(from.span));
        let unknown = || PlanError::MissingConfig {
            image: from.value.clone(),
            span: from.span,
        };
        match copy_source(&self.scope.names, &from)? {
            Source::Scratch => Err(self.unsupported("COPY --from=scratch", from.span)),
            Source::Stage(other) => {
                let place = self.scope.places[other].filter(|_| other < self.number);
                place.map(CopyFrom::Stage).ok_or_else(unknown)
            }
            Source::Files(context) => Ok(CopyFrom::Named(context)),
            Source::Image(name) => {
                let found = self.image(&name)?;
                found.map(CopyFrom::Image).ok_or_else(unknown)
            }
        }
    }
}

fn parse_digest(text: &Spanned<String>) -> Result<Digest, PlanError> {
    text.value.parse().map_err(|source| PlanError::Checksum {
        source,
        span: text.span,
    })
}

/// Parts the source of a `COPY --parents` at `/./`: what is in front of it is not kept in the destination.
fn parents(source: &Spanned<String>) -> CopySource {
    let (root, pattern) = source
        .value
        .split_once("/./")
        .unwrap_or(("", source.value.as_str()));
    let pattern = path::clean(pattern);
    let is_literal = !has_wildcard(root) && !has_wildcard(&pattern);
    CopySource::Parents {
        root: Spanned::new(path::source(root), source.span),
        pattern: pattern.trim_start_matches('/').to_owned(),
        is_literal,
    }
}

fn has_wildcard(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' | '?' | '[' => return true,
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_part_at_the_pivot() {
        for (source, root, pattern, is_literal) in [
            ("a/b", ".", "a/b", true),
            ("/a//b/", ".", "a/b", true),
            ("./a/b", ".", "a/b", true),
            ("x/./a", "x", "a", true),
            ("x/y/./a/**/b", "x/y", "a/**/b", false),
            ("*/./a", "*", "a", false),
            ("x/./a/./b", "x", "a/b", true),
            ("../x/./../a", "x", "a", true),
            ("/./a", ".", "a", true),
            (".", ".", "", true),
            ("a\\*b", ".", "a\\*b", true),
        ] {
            let span = Span::default();
            let found = parents(&Spanned::new(source.to_owned(), span));
            let expect = CopySource::Parents {
                root: Spanned::new(root.to_owned(), span),
                pattern: pattern.to_owned(),
                is_literal,
            };
            assert_eq!(found, expect, "{source}");
        }
    }
}
