//! CMD and ENTRYPOINT in shell form.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for instruction in &pass.evaluation.shell_forms {
        let name = instruction.kind.keyword();
        pass.report(
            rule,
            &instruction.comments,
            instruction.span,
            format!("{name} in shell form: signals reach the shell, not the program"),
            format!("write {name} [\"program\", \"argument\"], or set the SHELL that is meant"),
        );
    }
}
