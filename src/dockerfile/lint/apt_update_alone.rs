//! `apt-get update` in a RUN of its own.

use super::shell::{calls, commands_of, mounts_over, run_of};
use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (number, stage) in pass.dockerfile.stages.iter().enumerate() {
        if !(pass.facts.is_needed)(number) {
            continue;
        }
        for instruction in &stage.instructions {
            let Some(run) = run_of(instruction) else {
                continue;
            };
            let commands = commands_of(run);
            let mut of_apt = commands.iter().filter(|command| {
                command
                    .iter()
                    .any(|word| word == "apt-get" || word == "apt")
            });
            let is_update = of_apt
                .next()
                .is_some_and(|command| calls(command, &["apt-get", "apt"], &["update"]));
            if is_update
                && of_apt.next().is_none()
                && !mounts_over(run, "/var/lib/apt/lists")
                && is_only_apt(&commands)
            {
                pass.report(
                    rule,
                    &instruction.comments,
                    instruction.span,
                    "apt-get update in a RUN of its own: a cached layer keeps lists that are out of date",
                    "join it with the apt-get install that follows: RUN apt-get update && apt-get install ...",
                );
            }
        }
    }
}

/// Scripts may install by other means: what calls another program is not judged.
fn is_only_apt(commands: &[Vec<String>]) -> bool {
    const KNOWN: [&str; 7] = ["apt-get", "apt", "set", "echo", "export", "true", "sudo"];
    commands.iter().all(|command| {
        command
            .first()
            .is_some_and(|word| KNOWN.contains(&word.as_str()) || word.contains('='))
    })
}
