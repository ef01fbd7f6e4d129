//! `EXPOSE 127.0.0.1:80:80`.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (port, span, instruction) in &pass.evaluation.ports {
        if let Some((_, container)) = port.rsplit_once(':') {
            pass.report(
                rule,
                &instruction.comments,
                *span,
                format!("EXPOSE {port} names an address or a port of the host"),
                format!("write EXPOSE {container}: what the host maps to it is said when a container starts"),
            );
        }
    }
}
