//! `COPY . .` of a context that holds a git repository.

use super::copy_ignored_file::is_remote;
use super::shell::clean_path;
use super::{GitDirectory, Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let git = pass
        .facts
        .context
        .map_or(GitDirectory::Absent, |context| context.git);
    let message = match git {
        GitDirectory::Absent => return,
        GitDirectory::Present => {
            ".git comes along: the whole history of the repository is in the image"
        }
        GitDirectory::WithCredential => {
            ".git/config comes along, and it holds a credential: whoever has the image has it"
        }
    };
    for copied in &pass.evaluation.copies {
        let path = clean_path(&copied.path);
        if is_remote(&copied.path) || !matches!(path.as_str(), "" | ".git" | ".git/config" | "*") {
            continue;
        }
        let excludes = match &copied.instruction.kind {
            crate::dockerfile::ast::InstructionKind::Copy(copy) => &copy.exclude,
            crate::dockerfile::ast::InstructionKind::Add(add) => &add.exclude,
            _ => continue,
        };
        if excludes.iter().any(|pattern| {
            matches!(
                clean_path(&pattern.value).as_str(),
                ".git" | "**/.git" | ".git/**" | "**/.git/**"
            )
        }) {
            continue;
        }
        pass.report(
            rule,
            &copied.instruction.comments,
            copied.span,
            message,
            "add a line `.git` to .dockerignore",
        );
    }
}
