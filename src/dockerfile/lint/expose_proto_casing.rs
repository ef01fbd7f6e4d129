//! `EXPOSE 80/TCP`.

use super::{Pass, Rule};

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (port, span, instruction) in &pass.evaluation.ports {
        let protocol = port.rsplit_once('/').map_or("", |(_, protocol)| protocol);
        if protocol != protocol.to_lowercase() {
            pass.report(
                rule,
                &instruction.comments,
                *span,
                format!("the protocol in EXPOSE {port} is not in lower case"),
                format!("write {}", port.to_lowercase()),
            );
        }
    }
}
