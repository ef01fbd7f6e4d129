//! A plan for people and for golden tests: a line for each stage and for each step.

use std::fmt;

use super::remote::{without_login, without_password};
use super::{
    CopyFrom, CopySource, CopyStep, Plan, RunStep, StageBase, StagePlan, StepKind, Unpack,
};

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, stage) in self.stages.iter().enumerate() {
            write!(out, "stage {place} {}", stage.name)?;
            write_base(out, stage)?;
            writeln!(
                out,
                " for {}{}",
                stage.platform,
                if place == self.target {
                    ", the target"
                } else {
                    ""
                }
            )?;
            for step in &stage.steps {
                write!(out, "  ")?;
                if step.origin.trigger.is_some() {
                    write!(out, "onbuild ")?;
                }
                match &step.kind {
                    StepKind::Metadata => writeln!(out, "config {}", one_line(&step.created_by))?,
                    StepKind::Silent => writeln!(out, "silent {}", one_line(&step.display))?,
                    StepKind::Workdir(workdir) => {
                        write!(out, "workdir {}", one_line(&workdir.path))?;
                        write_user(out, &workdir.user)?;
                        writeln!(out)?;
                    }
                    StepKind::Run(run) => write_run(out, run)?,
                    StepKind::Copy(copy) => write_copy(out, copy)?,
                }
            }
        }
        Ok(())
    }
}

fn write_base(out: &mut fmt::Formatter<'_>, stage: &StagePlan) -> fmt::Result {
    match stage.base {
        StageBase::Scratch => write!(out, " from scratch"),
        StageBase::Image(image) => write!(out, " from image {image}"),
        StageBase::Stage(stage) => write!(out, " from stage {stage}"),
    }
}

fn write_run(out: &mut fmt::Formatter<'_>, run: &RunStep) -> fmt::Result {
    write!(out, "run")?;
    for word in &run.argv {
        write!(out, " {}", shown(word))?;
    }
    if let Some((path, content)) = &run.program {
        write!(out, " with {path} of {} bytes", content.len())?;
    }
    write!(out, " in {}", one_line(&run.workdir))?;
    write_user(out, &run.user)?;
    writeln!(out)
}

fn write_copy(out: &mut fmt::Formatter<'_>, copy: &CopyStep) -> fmt::Result {
    write!(out, "{}", copy.instruction.to_lowercase())?;
    for source in &copy.sources {
        match source {
            CopySource::Path(path) => write!(out, " {}", shown(&path.value))?,
            CopySource::Parents { root, pattern, .. } => {
                write!(out, " {} of {}", shown(pattern), shown(&root.value))?;
            }
            CopySource::Url(url) => {
                write!(out, " {}", shown(&without_password(&url.url.value)))?;
                if let Some(checksum) = &url.checksum {
                    write!(out, " of {checksum}")?;
                }
            }
            CopySource::Repository(repository) => {
                write!(out, " {}", shown(&without_login(&repository.url.value)))?;
                if let Some(checksum) = &repository.checksum {
                    write!(out, " of {}", shown(&checksum.value))?;
                }
            }
            CopySource::Inline { name, content } => {
                write!(out, " <<{} of {} bytes", one_line(name), content.len())?;
            }
        }
    }
    match copy.from {
        CopyFrom::Context => {}
        CopyFrom::Stage(stage) => write!(out, " from stage {stage}")?,
        CopyFrom::Image(image) => write!(out, " from image {image}")?,
        CopyFrom::Named(context) => write!(out, " from context {context}")?,
    }
    write!(out, " to {}", shown(&copy.destination))?;
    if let Some(chown) = &copy.chown {
        write!(out, " owner {}", shown(&chown.value))?;
    }
    if let Some(chmod) = &copy.chmod {
        write!(out, " mode {}", chmod.value.as_str())?;
    }
    for pattern in &copy.exclude {
        write!(out, " without {}", shown(&pattern.value))?;
    }
    if copy.link {
        write!(out, " linked")?;
    }
    match copy.unpack {
        Unpack::Auto => writeln!(out, ", archives unpacked"),
        Unpack::Always => writeln!(out, ", all archives unpacked"),
        Unpack::Never => writeln!(out),
    }
}

fn write_user(out: &mut fmt::Formatter<'_>, user: &str) -> fmt::Result {
    if user.is_empty() {
        return Ok(());
    }
    write!(out, " as {}", shown(user))
}

/// A word, in quotes where its end would not be clear.
fn shown(word: &str) -> String {
    let is_plain =
        !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_plain {
        word.to_owned()
    } else {
        format!("\"{}\"", word.escape_debug())
    }
}

/// A text without the characters that would break its line.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_debug());
            let plain = escaped.is_none().then_some(letter);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}
