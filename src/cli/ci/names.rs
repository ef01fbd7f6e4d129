//! The image's names, out of tag rules, and its labels.

use std::fmt::Write as _;

use crate::ci::{Found, metadata};

use super::super::UsageError;
use super::super::env::Env;
use super::super::flags::BuildArgs;
use super::super::resolve;
use super::Platform;

impl Platform {
    /// Makes destinations of images and tag rules. Says whether there were any to make.
    pub(super) fn name(&mut self, args: &mut BuildArgs) -> Result<bool, UsageError> {
        let flags = &args.ci;
        let is_asked = !flags.images.is_empty() || !flags.tags.is_empty();
        if !is_asked && (flags.push != Some(true) || !args.destination.is_empty()) {
            if !flags.flavor.is_empty() {
                return Err(UsageError::flag(
                    "--flavor",
                    "there is no tag to flavor: add --images, --tags or --push",
                ));
            }
            return Ok(false);
        }
        let mut images = metadata::images(&flags.images.join("\n"))?;
        let source = if images.is_empty() {
            let Some(found) = self.defaults.image.clone() else {
                let who = self.ci.map_or(
                    "no CI system that names an image was found",
                    |_| "this CI system does not name an image",
                );
                return Err(UsageError::flag(
                    "--images",
                    format_args!("{who}: name it by --images or --destination"),
                ));
            };
            images.push(found.value);
            found.source
        } else {
            "--images".to_owned()
        };
        let (rules, by) = if flags.tags.is_empty() {
            (metadata::DEFAULT_RULES.to_owned(), "the default rules")
        } else {
            (flags.tags.join("\n"), "--tags")
        };
        let facts = self.facts.for_metadata(self.around.now);
        let flavor = metadata::flavor(&flags.flavor.join("\n"))?;
        let tags = metadata::tags(&metadata::rules(&rules)?, &flavor, &facts)?;
        if tags.tags.is_empty() {
            let mut reason = format!(
                "no rule makes a tag of ref \"{}\", event \"{}\"",
                facts.reference, facts.event
            );
            for notice in &tags.notices {
                let _ = write!(reason, "; {notice}");
            }
            return Err(UsageError::flag("--tags", reason));
        }
        self.notices.extend(tags.notices);
        for image in &images {
            for tag in &tags.tags {
                let destination = format!("{image}:{tag}");
                if !args.destination.contains(&destination) {
                    self.decided.push((
                        "destination",
                        Found::new(destination.clone(), format!("{source} and {by}")),
                    ));
                    args.destination.push(destination);
                }
            }
        }
        self.version = tags.version;
        Ok(true)
    }

    pub(super) fn label(&mut self, args: &mut BuildArgs, env: &Env, has_names: bool) {
        if !args.ci.ci_labels.unwrap_or(has_names) {
            return;
        }
        let text = |found: &Option<Found>| {
            found
                .as_ref()
                .map_or_else(String::new, |found| found.value.clone())
        };
        let epoch = env
            .text("SOURCE_DATE_EPOCH")
            .and_then(|text| text.trim().parse().ok());
        let facts = metadata::LabelFacts {
            title: text(&self.facts.title),
            description: text(&self.facts.description),
            url: text(&self.facts.url),
            version: self.version.clone(),
            revision: text(&self.facts.sha),
            licenses: text(&self.facts.license),
            created: epoch
                .or(self.facts.commit_seconds())
                .or(Some(self.around.now)),
        };
        // A commit that is fetched is not necessarily that of the job.
        let is_fetched = matches!(
            resolve::source(&resolve::context_text(args, false)),
            Ok(crate::context::Source::Git(_))
        );
        for (name, value) in metadata::labels(&facts) {
            if is_fetched && name == metadata::REVISION {
                continue;
            }
            let prefix = format!("{name}=");
            if !args.label.iter().any(|label| label.starts_with(&prefix)) {
                let source = self.label_source(&name, epoch.is_some());
                self.decided
                    .push(("label", Found::new(format!("{prefix}{value}"), source)));
                args.label.push(format!("{prefix}{value}"));
            }
        }
    }

    /// Where a label's value came from.
    fn label_source(&self, name: &str, has_epoch: bool) -> String {
        let facts = &self.facts;
        let fact = match name.rsplit('.').next().unwrap_or_default() {
            "title" => &facts.title,
            "description" => &facts.description,
            "url" | "source" => &facts.url,
            "revision" => &facts.sha,
            "licenses" => &facts.license,
            "version" => return "the first tag".to_owned(),
            _ if has_epoch => return "SOURCE_DATE_EPOCH".to_owned(),
            _ => &facts.commit_time,
        };
        let source = fact.as_ref().map(|found| found.source.clone());
        source.unwrap_or_else(|| "the time of the build".to_owned())
    }
}
