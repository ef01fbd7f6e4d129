//! Who is running us, and how results are handed back: one [`Ci`] for each CI system.
//!
//! [`detect`] is a pure function of the environment, which arrives as a value; what a system says on files (an event, a checkout's
//! `HEAD`) is read by [`Around::load`]. A system gives [`Facts`] in neutral words, each with where it came from, and
//! [`Defaults`] for what the user did not say; `metadata` makes tags and labels of the facts, so that one line means the same
//! everywhere. [`LogStyle`] groups the log and keeps a build's output from being taken for commands; [`Ci::publish`] writes
//! outputs. Secrets are named here by their variables; what they are used for is `auth`'s.

pub mod git;
pub mod inputs;
pub mod logins;
pub mod metadata;
pub mod outputs;

mod around;
mod env;
mod facts;
mod generic;
mod github;
mod gitlab;
mod jenkins;
mod journal;
mod neutral;
mod stated;
mod style;
mod summary;
mod tekton;

pub use around::Around;
pub use env::Env;
pub use facts::{Defaults, Facts, Found};
pub use git::web;
pub use journal::{Journal, Recorded, StepTime};
pub use neutral::Neutralizer;
pub use outputs::{CiError, Format, Report};
pub use stated::stated;
pub use style::{Annotation, LogStyle, Severity};

/// A CI system: what it tells us, and what it wants to be told.
pub trait Ci: std::fmt::Debug + Send + Sync {
    /// Its name, as `--ci` takes it.
    fn name(&self) -> &'static str;

    /// What it says of the commit and the event.
    fn facts(&self, around: &Around) -> Facts;

    /// What holds where the user says nothing.
    fn defaults(&self, around: &Around) -> Defaults;

    /// How its log is written.
    fn style(&self) -> LogStyle;

    /// Where that will be handed back.
    fn places(&self, _around: &Around) -> Vec<Found> {
        Vec::new()
    }

    /// Hands back what came of a build, where the system has a place for it. Returns what was written where.
    ///
    /// # Errors
    /// A place that cannot be written.
    fn publish(&self, around: &Around, report: &Report) -> Result<Vec<outputs::Written>, CiError>;
}

/// The systems that have an adapter of their own, in the order in which they are looked for.
const SYSTEMS: [&dyn Ci; 4] = [
    &github::GitHub,
    &gitlab::GitLab,
    &jenkins::Jenkins,
    &tekton::Tekton,
];

/// Finds the CI system that started us; none outside of one.
pub fn detect(around: &Around) -> Option<&'static dyn Ci> {
    let env = &around.env;
    let is_detected = [
        env.is("GITHUB_ACTIONS", "true")
            || env.is("GITEA_ACTIONS", "true")
            || env.is("FORGEJO_ACTIONS", "true"),
        // gitlab-ci-local says GITLAB_CI=false.
        env.is("GITLAB_CI", "true")
            || env
                .get("CI_JOB_ID")
                .and(env.get("CI_PROJECT_PATH"))
                .is_some(),
        env.get("JENKINS_URL").and(env.get("BUILD_TAG")).is_some(),
        around.has_tekton,
    ];
    let own = SYSTEMS
        .into_iter()
        .zip(is_detected)
        .find(|(_, is_it)| *is_it);
    own.map(|(ci, _)| ci).or_else(|| generic::detect(env))
}

/// What a CI system says, unless variables of our own say otherwise.
pub fn facts(ci: &dyn Ci, around: &Around) -> Facts {
    stated::own(around).or(ci.facts(around))
}

/// What holds in a CI system where the user says nothing, unless variables of our own say otherwise.
pub fn defaults(ci: &dyn Ci, around: &Around) -> Defaults {
    let mut defaults = ci.defaults(around);
    if let Some(image) = around.env.get("LONGSHORE_CI_IMAGE") {
        defaults.image = Some(Found::new(image, "LONGSHORE_CI_IMAGE"));
    }
    defaults
}

/// How the log of whoever started us is written, told by the environment alone.
pub fn style_of(env: Env) -> LogStyle {
    let around = Around {
        env,
        ..Around::default()
    };
    detect(&around).map(Ci::style).unwrap_or_default()
}

/// The CI system of a name.
pub fn by_name(name: &str) -> Option<&'static dyn Ci> {
    let own = SYSTEMS.into_iter().find(|ci| ci.name() == name);
    own.or_else(|| generic::by_name(name))
}

/// The names that [`by_name`] knows.
pub fn names() -> Vec<&'static str> {
    SYSTEMS
        .iter()
        .map(|ci| ci.name())
        .chain(generic::names())
        .collect()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod told_apart;
