//! Checks: what is legal in a Dockerfile and probably not meant.
//!
//! [`lint`] runs every rule of [`RULES`] over a parsed Dockerfile and returns the [`Finding`]s in the order of their
//! lines. The rules of BuildKit have BuildKit's names and meaning, so that the documentation that people know applies;
//! ours have names of their own. One rule is one file, one row of the table, and one page of `docs/checks`.
//!
//! This room does no I/O: what a rule wants to know about the context, the base images or the command line arrives in
//! [`Facts`]. Where a fact is not known, the rules that need it say nothing.

mod apt_lists_left_behind;
mod apt_update_alone;
mod chown_after_copy;
mod config;
mod consistent_instruction_casing;
mod copy_ignored_file;
mod copy_ships_git;
mod credential_in_url;
mod duplicate_stage_name;
mod evaluate;
mod expose_invalid_format;
mod expose_proto_casing;
mod facts;
mod foreign_syntax;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_base_image_platform;
mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod redundant_target_platform;
mod reserved_stage_name;
mod rule;
mod secrets_used_in_arg_or_env;
mod shell;
mod stage_name_casing;
#[cfg(test)]
mod tests;
mod undefined_arg_in_from;
mod undefined_var;
mod unknown_check;
mod workdir_relative_path;

pub use config::{Config, ConfigError};
pub use facts::{BaseFacts, ContextFacts, Facts, GitDirectory, IgnoreFacts};
pub use rule::{Finding, RULES, Rule};

use super::ast::{DirectiveKind, Dockerfile};
use super::span::{Span, Spanned};
use evaluate::Evaluation;

/// What the checks say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The findings, in the order of their places.
    pub findings: Vec<Finding>,
    /// Whether the Dockerfile or the build argument asks for a failure if there is a finding (`error=true`).
    pub is_error: bool,
}

/// The build argument that takes the place of `# check=`.
pub const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Runs the checks. `text` is what `dockerfile` was parsed from.
///
/// # Errors
/// When the configuration in `# check=` or [`CHECK_ARG`] is not valid.
pub fn lint(
    dockerfile: &Dockerfile,
    text: &[u8],
    facts: &Facts<'_>,
) -> Result<Report, ConfigError> {
    let config = configuration(dockerfile, facts)?;
    let evaluation = evaluate::evaluate(dockerfile, facts);
    let mut pass = Pass {
        dockerfile,
        text,
        facts,
        config: &config,
        evaluation: &evaluation,
        findings: Vec::new(),
    };
    for rule in RULES {
        (rule.check)(&mut pass, rule);
    }
    let mut findings = pass.findings;
    findings.sort_by_key(|finding| (finding.span.start, finding.span.end));
    Ok(Report {
        findings,
        is_error: config.is_error,
    })
}

/// The configuration: that of the build argument, else that of the directive.
fn configuration(dockerfile: &Dockerfile, facts: &Facts<'_>) -> Result<Config, ConfigError> {
    let given = facts
        .build_args
        .iter()
        .rev()
        .find(|(name, _)| name == CHECK_ARG);
    if let Some((_, value)) = given {
        return Config::parse(value, None);
    }
    let mut directives = dockerfile.directives.iter();
    match directives.find(|directive| directive.kind == DirectiveKind::Check) {
        Some(directive) => Config::parse(&directive.value.value, Some(directive.value.span)),
        None => Ok(Config::default()),
    }
}

/// One run of all rules: what they look at, and where they report.
struct Pass<'a> {
    dockerfile: &'a Dockerfile,
    text: &'a [u8],
    facts: &'a Facts<'a>,
    config: &'a Config,
    evaluation: &'a Evaluation<'a>,
    findings: Vec<Finding>,
}

impl<'a> Pass<'a> {
    /// Adds a finding, unless the file or a comment above the instruction switches the rule off.
    fn report(
        &mut self,
        rule: &'static Rule,
        comments: &[Spanned<String>],
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.config.runs(rule, comments) {
            return;
        }
        self.findings.push(Finding {
            rule,
            message: message.into(),
            hint: hint.into(),
            span,
        });
    }

    /// The text as it is written.
    fn written(&self, span: Span) -> &'a str {
        let bytes = self.text.get(span.start..span.end).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}
