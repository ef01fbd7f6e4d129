//! The last lines of a build: what was made, how large it is, how long it took.

use crate::build::{Outcome, Request};

use super::render::{Renderer, bytes_text, seconds};

/// Prints the summary on standard error and the digest, as data, on standard output.
pub(super) fn print(request: &Request, outcome: &Outcome, renderer: &Renderer) {
    let size: u64 = outcome.layers.iter().map(|layer| layer.size).sum();
    renderer.info(&format!(
        "image {} with {} layers of {} in {}, {} pushed",
        outcome.digest,
        outcome.layers.len(),
        bytes_text(size),
        seconds(renderer.elapsed()),
        bytes_text(renderer.pushed_bytes()),
    ));
    if request.outputs.pushes {
        for reference in &request.outputs.destinations {
            super::print_line(&format!("{reference}@{}", outcome.digest));
        }
    } else {
        super::print_line(outcome.digest.as_str());
    }
}
