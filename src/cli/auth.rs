//! `longshore auth`: which source of credentials a registry's would come from, and why not from the others.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};

use crate::auth::{Chain, Files, Verdict, VerdictKind, registry_name};
use crate::registry::RegistryOptions;

use super::env::Env;
use super::keychain::CredentialArgs;
use super::{UsageError, keychain, print_line, registries};

/// The flags of `longshore auth`.
#[derive(Debug, Args)]
pub(super) struct AuthArgs {
    /// The registry, or a repository of it
    #[arg(value_name = "HOST[/REPOSITORY]")]
    pub registry: String,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: OutputFormat,
    /// Where credentials come from.
    #[command(flatten)]
    pub credentials: CredentialArgs,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Explains. The exit code is 0 if a source answers, 1 if a build would go on without a credential or fail.
pub(super) fn auth(args: &AuthArgs, env: &Env) -> u8 {
    let (registry, repository) = split(&args.registry);
    let chain = registries::http_config(env, &RegistryOptions::default(), 0).and_then(|http| {
        keychain::chain(
            &args.credentials,
            env,
            &http,
            &BTreeSet::new(),
            &Files::default(),
        )
    });
    let chain = match chain {
        Ok(chain) => chain,
        Err(error) => return super::report_usage(&error),
    };
    let verdicts = match explain(&chain, &registry, &repository) {
        Ok(verdicts) => verdicts,
        Err(error) => return super::report_usage(&error),
    };
    match args.format {
        OutputFormat::Text => print_text(&registry, &repository, &verdicts),
        OutputFormat::Json => print_json(&registry, &repository, &verdicts),
    }
    u8::from(used(&verdicts).is_none())
}

fn explain(chain: &Chain, registry: &str, repository: &str) -> Result<Vec<Verdict>, UsageError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| UsageError::flag("auth", error))?;
    Ok(runtime.block_on(chain.explain(registry, repository)))
}

fn split(text: &str) -> (String, String) {
    let name = registry_name(text);
    match name.split_once('/') {
        Some((registry, repository)) => (registry.to_owned(), repository.to_owned()),
        None => (name, String::new()),
    }
}

fn used(verdicts: &[Verdict]) -> Option<&Verdict> {
    verdicts
        .iter()
        .find(|verdict| verdict.kind == VerdictKind::Used)
}

fn print_text(registry: &str, repository: &str, verdicts: &[Verdict]) {
    let name = if repository.is_empty() {
        registry.to_owned()
    } else {
        format!("{registry}/{repository}")
    };
    let failed = verdicts
        .iter()
        .find(|verdict| verdict.kind == VerdictKind::Failed);
    print_line(&match (used(verdicts), failed) {
        (Some(verdict), _) => format!("{name}: {}, {}", verdict.source, verdict.text),
        (None, Some(verdict)) => {
            format!("{name}: a build would end, since {} fails", verdict.source)
        }
        (None, None) => format!("{name}: no credential; a build would go on without one"),
    });
    print_line("sources in the order in which they are asked:");
    for verdict in verdicts {
        let mark = if verdict.kind == VerdictKind::Used {
            "*"
        } else {
            " "
        };
        print_line(&format!("{mark} {}: {}", verdict.source, verdict.text));
    }
}

fn print_json(registry: &str, repository: &str, verdicts: &[Verdict]) {
    let sources: Vec<_> = verdicts
        .iter()
        .map(|verdict| {
            serde_json::json!({
                "source": verdict.source,
                "outcome": verdict.kind.as_str(),
                "reason": verdict.text,
            })
        })
        .collect();
    let document = serde_json::json!({
        "registry": registry,
        "repository": repository,
        "used": used(verdicts).map(|verdict| &verdict.source),
        "sources": sources,
    });
    print_line(&document.to_string());
}
