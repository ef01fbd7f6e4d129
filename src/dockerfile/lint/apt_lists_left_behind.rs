//! `apt-get update` whose lists stay in the layer.

use super::shell::{calls, commands_of, mounts_over, run_of};
use super::{Pass, Rule};

/// Where apt keeps the lists.
const LISTS: &str = "/var/lib/apt/lists";

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    let last = pass.dockerfile.stages.len().saturating_sub(1);
    for (number, stage) in pass.dockerfile.stages.iter().enumerate() {
        // Layers of other stages do not reach the image.
        if number != last || !(pass.facts.is_needed)(number) {
            continue;
        }
        for instruction in &stage.instructions {
            let Some(run) = run_of(instruction) else {
                continue;
            };
            let commands = commands_of(run);
            let updates = commands
                .iter()
                .any(|command| calls(command, &["apt-get", "apt"], &["update"]));
            let installs = commands.iter().any(|command| {
                calls(
                    command,
                    &["apt-get", "apt"],
                    &["install", "upgrade", "dist-upgrade", "full-upgrade"],
                )
            });
            let removes = commands.iter().any(|command| {
                command
                    .first()
                    .is_some_and(|word| word == "rm" || word == "find")
                    && command.iter().any(|word| {
                        word.contains(LISTS)
                            || LISTS.starts_with(word.trim_end_matches(['/', '*']))
                                && word.starts_with("/var/lib")
                    })
            });
            if updates && installs && !removes && !mounts_over(run, LISTS) {
                pass.report(
                    rule,
                    &instruction.comments,
                    instruction.span,
                    "the package lists of apt-get update stay in the layer, some 20 to 50 MB",
                    format!("end the RUN with `&& rm -rf {LISTS}/*`, or add --mount=type=cache,target={LISTS}"),
                );
            }
        }
    }
}
