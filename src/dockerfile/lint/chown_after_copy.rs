//! `RUN chown -R` of what was copied before.

use super::shell::{commands_of, run_of};
use super::{Pass, Rule};

use crate::dockerfile::ast::InstructionKind;

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (number, stage) in pass.dockerfile.stages.iter().enumerate() {
        if !(pass.facts.is_needed)(number) {
            continue;
        }
        let mut copied: Vec<&str> = Vec::new();
        for instruction in &stage.instructions {
            let destination = match &instruction.kind {
                InstructionKind::Copy(copy) => &copy.destination.value,
                InstructionKind::Add(add) => &add.destination.value,
                _ => {
                    let Some(run) = run_of(instruction) else {
                        continue;
                    };
                    if let Some((program, path)) = changes_owner(&commands_of(run), &copied) {
                        pass.report(
                            rule,
                            &instruction.comments,
                            instruction.span,
                            format!("{program} stores every file below {path} a second time, in a layer of its own"),
                            format!("say it where the files are copied: COPY --{program}=..."),
                        );
                    }
                    continue;
                }
            };
            // Relative ones and those with variables are not worth a guess.
            if destination.starts_with('/') && destination != "/" && !destination.contains('$') {
                copied.push(destination.trim_end_matches('/'));
            }
        }
    }
}

/// The program and the path, if a command changes all of a directory that was copied to.
fn changes_owner(commands: &[Vec<String>], copied: &[&str]) -> Option<(&'static str, String)> {
    commands.iter().find_map(|command| {
        let program = match command.first()?.as_str() {
            "chown" => "chown",
            "chmod" => "chmod",
            _ => return None,
        };
        let is_recursive = |word: &String| {
            word == "--recursive"
                || word.starts_with('-') && !word.starts_with("--") && word.contains('R')
        };
        if !command.iter().any(is_recursive) {
            return None;
        }
        let paths = command[1..]
            .iter()
            .filter(|word| !word.starts_with('-'))
            .skip(1);
        let mut paths = paths.map(|path| path.trim_end_matches('/'));
        paths
            .find(|path| copied.contains(path))
            .map(|path| (program, path.to_owned()))
    })
}
