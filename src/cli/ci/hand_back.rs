//! What the CI system is told in the end: outputs and summary of what was made, or why nothing was.

use std::sync::Arc;

use serde_json::json;

use crate::build::{Event, Events, Outcome, Request};
use crate::ci::{self, Journal, Report};
use crate::context::Source;

use super::super::diagnostic;
use super::super::render::Renderer;
use super::Platform;

impl Platform {
    /// Hands back what was made.
    pub(in crate::cli) fn publish(
        &self,
        request: &Request,
        outcome: &Outcome,
        renderer: &Renderer,
    ) -> Result<(), ci::CiError> {
        let names: Vec<String> = request
            .outputs
            .destinations
            .iter()
            .map(|name| format!("{}:{}", name.name(), name.tag_or_latest()))
            .collect();
        let mut metadata = json!({
            "containerimage.config.digest": outcome.config_digest,
            "containerimage.descriptor": outcome.descriptor,
            "containerimage.digest": outcome.digest,
        });
        if !names.is_empty() {
            metadata["image.name"] = names.join(",").into();
        }
        let report = Report {
            digest: outcome.digest.as_str().to_owned(),
            image_id: outcome.config_digest.as_str().to_owned(),
            names,
            version: self.version.clone(),
            source: self.source(request),
            is_pushed: request.outputs.pushes,
            size: outcome.layers.iter().map(|layer| layer.size).sum(),
            layers: outcome.layers.len(),
            platform: request.platform.to_string(),
            metadata,
            recorded: self.journal.recorded(),
            took: renderer.elapsed(),
            failure: None,
        };
        let mut written = match self.ci {
            Some(ci) => ci.publish(&self.around, &report)?,
            None => Vec::new(),
        };
        for (format, path) in &self.outputs {
            written.push(ci::outputs::write(*format, path, &report, &self.around)?);
        }
        for one in written {
            renderer.info(&format!("wrote {} {}", one.what, one.path.display()));
            if let Some(notice) = one.notice {
                renderer.notice(&notice);
            }
        }
        Ok(())
    }

    /// The repository and the commit that were built: those that were fetched, else those of the job, if its directory was built.
    fn source(&self, request: &Request) -> Option<(String, String)> {
        match &request.context {
            Source::Git(git) => {
                let commit = self.journal.recorded().commit?;
                Some((ci::web(&git.remote.to_string()), commit))
            }
            Source::Directory(_) => {
                let (url, commit) = (self.facts.url.as_ref()?, self.facts.sha.as_ref()?);
                Some((url.value.clone(), commit.value.clone()))
            }
            _ => None,
        }
    }

    /// Tells the CI system why there is no image, where it has a place for that.
    pub(in crate::cli) fn publish_failure(&self, text: &str, renderer: &Renderer) {
        let report = Report {
            recorded: self.journal.recorded(),
            took: renderer.elapsed(),
            failure: Some(renderer.cleaned(text).into_owned()),
            ..Report::default()
        };
        if let Some(ci) = self.ci
            && let Err(error) = ci.publish(&self.around, &report)
        {
            renderer.error(&diagnostic::plain(&diagnostic::chain(&error), None, false));
        }
    }
}

/// Sends events to the log and to the journal.
pub(in crate::cli) struct Tee {
    pub(in crate::cli) renderer: Arc<Renderer>,
    pub(in crate::cli) journal: Arc<Journal>,
}

impl Events for Tee {
    fn send(&self, event: Event) {
        self.journal.note(&event);
        self.renderer.send(event);
    }
}
