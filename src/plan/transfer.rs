//! COPY and ADD.

use crate::dockerfile::{Add, Copy, Heredoc, Span, Spanned};

use super::outline::find_image;
use super::sources::{Source, copy_from_of, copy_source, reference};
use super::stage::{Outcome, State};
use super::{CopyFrom, CopySource, CopyStep, PlanError, StepKind, Unpack, expand, path};

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
    unpack: Unpack,
    span: Span,
}

impl State<'_> {
    pub(super) fn copy(&mut self, copy: &Copy, span: Span) -> Outcome {
        if let Some(parents) = copy.parents.as_ref().filter(|parents| parents.value) {
            return Err(self.unsupported("COPY --parents", parents.span));
        }
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
            unpack: Unpack::Never,
            span,
        };
        self.transfer(&transfer)
    }

    pub(super) fn add(&mut self, add: &Add, span: Span) -> Outcome {
        if let Some(keep) = add.keep_git_dir.as_ref().filter(|keep| keep.value) {
            return Err(self.unsupported("ADD --keep-git-dir", keep.span));
        }
        if let Some(checksum) = &add.checksum
            && !self.expand(checksum)?.is_empty()
        {
            return Err(self.unsupported("ADD --checksum", checksum.span));
        }
        let unpack = match &add.unpack {
            Some(unpack) if !unpack.value => Unpack::Never,
            _ => Unpack::Auto,
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
            unpack,
            span,
        };
        self.transfer(&transfer)
    }

    fn transfer(&mut self, transfer: &Transfer<'_>) -> Outcome {
        let instruction = transfer.instruction;
        if let Some(exclude) = transfer.exclude.first() {
            return Err(self.unsupported(&format!("{instruction} --exclude"), exclude.span));
        }
        let chown = self.expand_flag(transfer.chown)?;
        let chmod = self.expand_flag(transfer.chmod)?;
        // With --chmod, BuildKit ignores --link.
        if let Some(link) = transfer.link.filter(|link| link.value && chmod.is_none()) {
            return Err(self.unsupported(&format!("{instruction} --link"), link.span));
        }
        let mut history = vec![instruction.to_owned()];
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                history.push(format!("--{flag}={}", value.value));
            }
        }
        let mut sources = Vec::new();
        for written in transfer.sources {
            let source = self.expand(written)?;
            let span = self.at(written.span);
            check_is_local(instruction, &source, span)?;
            history.push(source.clone());
            sources.push(CopySource::Path(Spanned::new(path::source(&source), span)));
        }
        for heredoc in transfer.heredocs {
            history.push(format!("<<{}", heredoc.name));
            sources.push(self.inline(heredoc)?);
        }
        let destination = self.expand(transfer.destination)?;
        history.extend([destination.clone(), "# buildkit".to_owned()]);
        let chmod = match chmod {
            None => None,
            Some(Spanned { value, span }) => {
                let parsed = value.parse();
                let parsed = parsed.map_err(|source| PlanError::Chmod { source, span })?;
                Some(Spanned::new(parsed, span))
            }
        };
        let step = CopyStep {
            instruction,
            from: transfer.from,
            sources,
            destination: path::destination(self.current_dir(), &destination),
            chown,
            chmod,
            unpack: transfer.unpack,
            span: self.at(transfer.span),
        };
        Ok((history.join(" "), StepKind::Copy(step)))
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

    fn copy_from(&self, copy: &Copy) -> Result<CopyFrom, PlanError> {
        let Some(from) = copy_from_of(copy) else {
            return Ok(CopyFrom::Context);
        };
        let from = Spanned::new(from.value.clone(), self.at(from.span));
        let unknown = || PlanError::MissingConfig {
            image: from.value.clone(),
            span: from.span,
        };
        match copy_source(self.scope.dockerfile, &from)? {
            Source::Scratch => Err(self.unsupported("COPY --from=scratch", from.span)),
            Source::Stage(other) => {
                let place = self.scope.places[other].filter(|_| other < self.number);
                place.map(CopyFrom::Stage).ok_or_else(unknown)
            }
            Source::Image(name) => {
                let reference = reference(self.scope.dockerfile, &name)?;
                let platform = &self.scope.options.target_platform;
                let found = find_image(&self.scope.outline.images, &reference, platform);
                found.map(CopyFrom::Image).ok_or_else(unknown)
            }
        }
    }
}

fn check_is_local(instruction: &str, source: &str, span: Span) -> Result<(), PlanError> {
    match (remote(source), instruction) {
        (None, _) => Ok(()),
        (Some(_), "COPY") => Err(PlanError::RemoteCopy {
            location: source.to_owned(),
            span,
        }),
        (Some(what), _) => Err(PlanError::Unsupported {
            what: format!("ADD of {what}"),
            span,
        }),
    }
}

/// What a source is if it is not local. (`github.com/...` without a scheme is local.)
fn remote(source: &str) -> Option<&'static str> {
    if let Some((scheme, rest)) = source.split_once("://") {
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        return match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => Some("a git repository"),
            "http" | "https" if rest.strip_suffix(".git").is_some() => Some("a git repository"),
            "http" | "https" => Some("a URL"),
            _ => None,
        };
    }
    // user@host:path
    let is_word = |text: &str, more: &[u8]| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let (host, _) = source.split_once(':')?;
    let (user, host) = host.split_once('@')?;
    (is_word(user, b"-_") && is_word(host, b"-.")).then_some("a git repository")
}

#[cfg(test)]
mod tests {
    use super::remote;

    #[test]
    fn urls_and_repositories_are_not_local() {
        for (source, expect) in [
            ("https://example.com/a.tar.gz", Some("a URL")),
            ("HTTP://example.com/", Some("a URL")),
            ("https://example.com/a.git", Some("a git repository")),
            (
                "https://example.com/a.git#main:dir",
                Some("a git repository"),
            ),
            ("https://example.com/a.git?ref=x", Some("a git repository")),
            ("git://example.com/a", Some("a git repository")),
            ("ssh://git@example.com/a", Some("a git repository")),
            ("git@example.com:a/b", Some("a git repository")),
            ("github.com/a/b", None),
            ("ftp://example.com/a", None),
            ("./git@example.com:a", None),
            ("a@b", None),
            ("c:/x", None),
            ("dir/file", None),
        ] {
            assert_eq!(remote(source), expect, "{source}");
        }
    }
}
