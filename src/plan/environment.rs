//! Variables: the order in which they were set, the global scope, proxies.

use std::collections::BTreeMap;

use crate::dockerfile::Dockerfile;

use super::expand::expand;
use super::{Options, PlanError};

/// The search path of images that set none.
pub(super) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Proxy variables: given as build arguments, they reach every RUN without an ARG, under both spellings.
const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Variables in the order in which they were set last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Sets a variable; the last writer wins.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Sets what an image's config sets: `NAME=value` each.
    pub(super) fn set_all(&mut self, config: &[String]) {
        for entry in config {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.set(name, value);
        }
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a variable, as the expansion of words asks for it.
    pub(super) fn lookup(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The variables, the one that was set last at the end.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

/// The build arguments by name; the last one of a name counts.
pub(super) fn build_args(options: &Options) -> BTreeMap<&str, &str> {
    options
        .build_args
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The global scope: the automatic arguments, then the ARGs in front of the first FROM.
pub(super) fn globals(
    dockerfile: &Dockerfile,
    options: &Options,
) -> Result<Environment, PlanError> {
    let given = build_args(options);
    let mut scope = Environment::default();
    for (name, value) in automatic_args(dockerfile, options) {
        scope.set(name, given.get(name).copied().unwrap_or(&value));
    }
    for instruction in &dockerfile.meta_args {
        for declaration in &instruction.arg.declarations {
            let name = declaration.name.value.as_str();
            let value = match (given.get(name), &declaration.default) {
                (Some(value), _) => (*value).to_owned(),
                (None, Some(default)) => {
                    expand(&default.value, &scope, dockerfile.escape, default.span)?
                }
                (None, None) => continue,
            };
            scope.set(name, &value);
        }
    }
    Ok(scope)
}

/// The arguments that every Dockerfile may use in FROM without declaring them, with their values.
pub fn automatic_args(dockerfile: &Dockerfile, options: &Options) -> Vec<(&'static str, String)> {
    let (target, build) = (&options.target_platform, &options.build_platform);
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", text(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", text(&build.variant)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", text(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", text(&target.variant)),
        ("TARGETSTAGE", target_stage(dockerfile, options)),
    ]
    .into()
}

/// The target as it was asked for, else the name of the last stage, else `default`.
fn target_stage(dockerfile: &Dockerfile, options: &Options) -> String {
    let name_of = |number: usize| dockerfile.stages.get(number)?.name.as_ref();
    let asked = options
        .target
        .as_deref()
        .filter(|target| !target.is_empty());
    let stage_name = match asked.map(str::parse::<usize>) {
        Some(Err(_)) => return asked.unwrap_or_default().to_owned(),
        Some(Ok(number)) => name_of(number),
        None => name_of(dockerfile.stages.len().saturating_sub(1)),
    };
    stage_name.map_or_else(|| "default".to_owned(), |name| name.value.clone())
}

/// The proxy variables that the build arguments ask for. Of two spellings, the one in lower case counts.
pub(super) fn proxies(options: &Options) -> Vec<(String, String)> {
    let given = build_args(options);
    let mut found = Vec::new();
    for name in PROXIES {
        let value = given
            .iter()
            .rev()
            .find(|(given, value)| given.eq_ignore_ascii_case(name) && !value.is_empty());
        if let Some((_, value)) = value {
            found.push((name.to_owned(), (*value).to_owned()));
            found.push((name.to_ascii_lowercase(), (*value).to_owned()));
        }
    }
    found
}

/// Whether a build argument does something without an ARG that names it.
pub(super) fn is_predefined(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
        || super::magic::is_known(name)
        || name == "SOURCE_DATE_EPOCH"
        || ["TARGET", "BUILD"].iter().any(|side| {
            name.strip_prefix(side).is_some_and(|rest| {
                ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"].contains(&rest)
            })
        })
}
