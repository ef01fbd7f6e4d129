//! The inputs of our GitHub action to a command line: names that users of docker/build-push-action and of the kaniko actions know.
//!
//! Inputs arrive as variables, `INPUT_BUILD-ARGS` from the runner or `INPUT_BUILD_ARGS` from a composite action, and become
//! arguments without a shell in between. [`INPUTS`] is the table; a test compares it with `action.yml` and with the flags.

mod written;

use super::Env;

/// How an input becomes arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// `--flag=value`.
    Value(&'static str),
    /// `--flag=line` for each line; commas belong to the line.
    Lines(&'static str),
    /// `--flag=item` for each item, separated by lines or commas.
    List(&'static str),
    /// `--flag=true` or `--flag=false`.
    Switch(&'static str),
    /// Arguments as they are, one a line.
    Arguments,
    /// A name, a rule or a reference: see [`arguments`].
    Tags,
    /// `name=value` lines, which may begin with `manifest:`.
    Annotations,
    /// The single platform.
    Platforms,
    /// `id=value` lines: the values stay in variables, see [`secrets`].
    Secrets,
    /// `id=path` lines.
    SecretFiles,
    /// `id=variable`, separated by lines or commas.
    SecretVariables,
    /// What buildx writes, one a line: see [`written`].
    Outputs,
    /// Whether nothing is looked up in a cache.
    NoCache,
    /// Arguments separated by blanks.
    Words,
    /// True or false, and both are what is done.
    Always,
    /// What is not done: only this may be asked for, else the reason is told.
    Only(&'static str, &'static str),
    /// Read where credentials are, and never an argument.
    Credential,
    /// For the step itself: which program is run, and how.
    Step,
    /// Another name of an input.
    Same(&'static str),
}

/// The inputs and what they mean.
pub const INPUTS: &[(&str, Meaning)] = &[
    ("context", Meaning::Value("--context")),
    ("file", Meaning::Value("--dockerfile")),
    ("build-args", Meaning::Lines("--build-arg")),
    ("build-contexts", Meaning::Lines("--build-context")),
    ("target", Meaning::Value("--target")),
    ("platforms", Meaning::Platforms),
    ("images", Meaning::Lines("--images")),
    ("tags", Meaning::Tags),
    ("flavor", Meaning::Lines("--flavor")),
    ("labels", Meaning::Lines("--label")),
    ("annotations", Meaning::Annotations),
    ("push", Meaning::Switch("--push")),
    ("push-from-forks", Meaning::Switch("--push-from-forks")),
    ("secrets", Meaning::Secrets),
    ("secret-files", Meaning::SecretFiles),
    ("secret-envs", Meaning::SecretVariables),
    ("ssh", Meaning::Lines("--ssh")),
    ("network", Meaning::Value("--network")),
    ("allow", Meaning::List("--allow")),
    ("outputs", Meaning::Outputs),
    ("no-cache", Meaning::NoCache),
    ("cache-from", Meaning::Lines("--cache-from")),
    ("cache-to", Meaning::Lines("--cache-to")),
    ("cache", Meaning::Switch("--cache")),
    ("cache-repository", Meaning::Value("--cache-repo")),
    ("cache-ttl", Meaning::Value("--cache-ttl")),
    ("cache-directory", Meaning::Value("--cache-dir")),
    ("registry-mirror", Meaning::List("--registry-mirror")),
    ("registry", Meaning::Credential),
    ("username", Meaning::Credential),
    ("password", Meaning::Credential),
    ("registry-auth", Meaning::Credential),
    ("github-token", Meaning::Credential),
    ("tar-path", Meaning::Value("--tar-path")),
    ("oci-layout-path", Meaning::Value("--oci-layout-path")),
    ("compression", Meaning::Value("--compression")),
    ("isolation", Meaning::Value("--isolation")),
    ("push-retry", Meaning::Value("--push-retry")),
    ("verbosity", Meaning::Value("--verbosity")),
    ("args", Meaning::Arguments),
    ("kaniko-args", Meaning::Same("args")),
    ("extra_args", Meaning::Words),
    ("pull", Meaning::Always),
    (
        "load",
        Meaning::Only(
            "false",
            "no image is handed to a daemon: tar-path writes an archive for `docker load`",
        ),
    ),
    ("provenance", Meaning::Only("false", NO_ATTESTATION)),
    ("sbom", Meaning::Only("false", NO_ATTESTATION)),
    (
        "call",
        Meaning::Only(
            "build",
            "an image is built, and nothing else: `longshore check` in a step of its own checks a Dockerfile",
        ),
    ),
    ("path", Meaning::Same("context")),
    ("build_file", Meaning::Same("file")),
    ("image", Meaning::Same("images")),
    ("tag", Meaning::Same("tags")),
    ("cache_registry", Meaning::Same("cache-repository")),
    ("cache_ttl", Meaning::Same("cache-ttl")),
    ("cache_directory", Meaning::Same("cache-directory")),
    ("binary", Meaning::Step),
    ("sudo", Meaning::Step),
];

const NO_ATTESTATION: &str = "an image gets no attestation";

/// Inputs that contradict each other or cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Several platforms.
    #[error(
        "input platforms: one build makes one platform, and {0} are listed: use a matrix with one platform each"
    )]
    Platforms(usize),
    /// An input given by two names.
    #[error("inputs {0} and {1} are the same: set one of them")]
    Twice(&'static str, &'static str),
    /// A switch that is neither.
    #[error("input {name}: \"{}\" is neither true nor false", value.escape_debug())]
    Switch {
        /// The input.
        name: &'static str,
        /// What it is set to.
        value: String,
    },
    /// Looking layers up, and not.
    #[error(
        "input no-cache is true, and cache is, too: name the place to keep layers in by cache-to"
    )]
    NoCache,
    /// A line without a name.
    #[error("input {0} has a line that is not of the form id=value")]
    Pair(&'static str),
    /// An annotation of something that one build does not make.
    #[error("input annotations: a build makes one manifest, and \"{0}\" is for something else")]
    Annotation(String),
    /// A user without a password, or the other way round.
    #[error("input {0}: it is empty, and {1} is not")]
    Alone(&'static str, &'static str),
    /// A list of credentials that cannot be read.
    #[error("input registry-auth, line {0}: {1}")]
    RegistryAuth(usize, &'static str),
    /// Something that is not done.
    #[error("input {name}: it may be {only} and nothing else: {reason}")]
    Only {
        /// The input.
        name: &'static str,
        /// What it may be.
        only: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// A kind of output, or a field of one, that is not made.
    #[error("input outputs: {0}")]
    Outputs(String),
    /// A line end where one line is meant.
    #[error("input {0} has more than one line")]
    Line(&'static str),
}

/// The value of an input that is set and not empty.
pub fn value<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    let upper = name.to_ascii_uppercase();
    env.get(&format!("INPUT_{upper}"))
        .or_else(|| env.get(&format!("INPUT_{}", upper.replace('-', "_"))))
        .filter(|value| !value.trim().is_empty())
}

/// The secrets of the build, `(id, value)`, of the input `secrets`. Lines without a name are left out.
pub fn secrets(env: &Env) -> Vec<(String, String)> {
    let text = value(env, "secrets").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(id, value)| (id.trim().to_owned(), value.to_owned()))
        .collect()
}

/// The variable in which a secret is carried to the build.
pub fn secret_variable(number: usize) -> String {
    format!("LONGSHORE_INPUT_SECRET_{number}")
}

/// The arguments of `longshore build` that the inputs ask for.
///
/// A line of `tags` that begins with `type=` is a rule. With `images`, a bare word is a tag of theirs. What has a slash or a
/// colon is a reference, as docker/build-push-action takes them.
///
/// # Errors
/// Inputs that cannot be followed.
pub fn arguments(env: &Env) -> Result<Vec<String>, InputError> {
    let given = |name: &'static str| -> Result<Option<&str>, InputError> {
        let others = INPUTS
            .iter()
            .filter(|(_, meaning)| *meaning == Meaning::Same(name))
            .map(|(other, _)| *other)
            // Their variable is the same.
            .filter(|other| other.replace('_', "-") != name);
        let mut found = value(env, name).map(|text| (name, text));
        for other in others {
            if let Some(text) = value(env, other) {
                if let Some((first, _)) = found {
                    return Err(InputError::Twice(first, other));
                }
                found = Some((other, text));
            }
        }
        Ok(found.map(|(_, text)| text))
    };
    let has_images = given("images")?.is_some();
    let no_cache = switch("no-cache", given("no-cache")?.unwrap_or("false"))?;
    if no_cache && switch("cache", given("cache")?.unwrap_or("false"))? {
        return Err(InputError::NoCache);
    }
    let mut arguments = Vec::new();
    let mut last = Vec::new();
    let outputs = written::outputs(given("outputs")?.unwrap_or_default())?;
    for (name, meaning) in INPUTS {
        if matches!(
            meaning,
            Meaning::Same(_) | Meaning::Credential | Meaning::Step
        ) {
            continue;
        }
        let Some(text) = given(name)? else { continue };
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let items = || {
            text.split(['\n', ','])
                .map(str::trim)
                .filter(|item| !item.is_empty())
        };
        match meaning {
            Meaning::Value(flag) => {
                if text.trim().contains(['\n', '\r']) {
                    return Err(InputError::Line(name));
                }
                arguments.push(format!("{flag}={}", text.trim()));
            }
            Meaning::Lines("--cache-from") if no_cache => {}
            Meaning::Lines(flag) => arguments.extend(lines().map(|line| format!("{flag}={line}"))),
            Meaning::List(flag) => arguments.extend(items().map(|item| format!("{flag}={item}"))),
            Meaning::Switch("--push") if outputs.pushes => {}
            Meaning::Switch(flag) => arguments.push(format!("{flag}={}", switch(name, text)?)),
            Meaning::Tags => {
                for line in lines().filter(|line| !line.starts_with('#')) {
                    if line.starts_with("type=") {
                        arguments.push(format!("--tags={line}"));
                        continue;
                    }
                    for item in line
                        .split(',')
                        .map(str::trim)
                        .filter(|item| !item.is_empty())
                    {
                        let is_reference = item.contains(['/', ':']) || !has_images;
                        let flag = if is_reference {
                            "--destination"
                        } else {
                            "--tags"
                        };
                        arguments.push(format!("{flag}={item}"));
                    }
                }
            }
            Meaning::Annotations => {
                for line in lines().filter(|line| !line.starts_with('#')) {
                    let name = line.split('=').next().unwrap_or_default();
                    let (level, rest) = line
                        .split_once(':')
                        .filter(|_| name.contains(':'))
                        .unwrap_or(("manifest", line));
                    if level != "manifest" {
                        return Err(InputError::Annotation(level.to_owned()));
                    }
                    arguments.push(format!("--annotation={rest}"));
                }
            }
            Meaning::Platforms => match items().count() {
                1 => arguments.extend(items().map(|item| format!("--custom-platform={item}"))),
                many => return Err(InputError::Platforms(many)),
            },
            Meaning::Secrets => {
                for (number, (id, _)) in secrets(env).into_iter().enumerate() {
                    arguments.push(format!("--secret=id={id},env={}", secret_variable(number)));
                }
            }
            Meaning::SecretFiles => {
                for line in lines() {
                    let (id, path) = line.split_once('=').ok_or(InputError::Pair(name))?;
                    arguments.push(format!("--secret=id={},src={}", id.trim(), path.trim()));
                }
            }
            Meaning::SecretVariables => {
                for item in items() {
                    let (id, variable) = item.split_once('=').ok_or(InputError::Pair(name))?;
                    arguments.push(format!("--secret=id={},env={}", id.trim(), variable.trim()));
                }
            }
            Meaning::Arguments => last.extend(lines().map(str::to_owned)),
            Meaning::Words => last.extend(text.split_whitespace().map(str::to_owned)),
            Meaning::Outputs => arguments.extend(outputs.arguments.iter().cloned()),
            Meaning::Always => {
                switch(name, text)?;
            }
            Meaning::Only(only, reason) if text.trim() != *only => {
                return Err(InputError::Only { name, only, reason });
            }
            Meaning::Only(..)
            | Meaning::NoCache
            | Meaning::Credential
            | Meaning::Step
            | Meaning::Same(_) => {}
        }
    }
    // Docker's default is the context's own Dockerfile; ours looks into the working directory first.
    if given("file")?.is_none()
        && let Some(context) = given("context")?
            .map(str::trim)
            .filter(|context| !context.contains("://"))
    {
        arguments.push(format!(
            "--dockerfile={}/Dockerfile",
            context.trim_end_matches('/')
        ));
    }
    arguments.extend(last);
    Ok(arguments)
}

fn switch(name: &'static str, text: &str) -> Result<bool, InputError> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(InputError::Switch {
            name,
            value: other.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inputs: &[(&str, &str)], expect: &[&str]) {
        let env: Env = inputs
            .iter()
            .map(|(name, value)| (format!("INPUT_{name}"), *value))
            .collect();
        assert_eq!(arguments(&env).unwrap(), expect, "{inputs:?}");
    }

    #[test]
    fn inputs_become_arguments() {
        check(&[], &[]);
        check(
            &[("CONTEXT", "./app/")],
            &["--context=./app/", "--dockerfile=./app/Dockerfile"],
        );
        check(
            &[("PATH", "a"), ("BUILD_FILE", "b")],
            &["--context=a", "--dockerfile=b"],
        );
        check(
            &[("BUILD-ARGS", "A=1,2\n\n B=x y \n")],
            &["--build-arg=A=1,2", "--build-arg=B=x y"],
        );
        check(&[("BUILD_ARGS", "A=1")], &["--build-arg=A=1"]);
        check(
            &[("BUILD-CONTEXTS", "base=docker-image://a/b:1\nmore=./x\n")],
            &[
                "--build-context=base=docker-image://a/b:1",
                "--build-context=more=./x",
            ],
        );
        check(
            &[("ANNOTATIONS", "a.b=x:y\nmanifest:c=d, e\n# no")],
            &["--annotation=a.b=x:y", "--annotation=c=d, e"],
        );
        check(
            &[("TAGS", "a/b:1, a/b:2\nc")],
            &[
                "--destination=a/b:1",
                "--destination=a/b:2",
                "--destination=c",
            ],
        );
        check(
            &[
                ("IMAGES", "a/b"),
                ("TAGS", "# no\ntype=raw,value=x,enable=true\n1.2\nq/r:3"),
            ],
            &[
                "--images=a/b",
                "--tags=type=raw,value=x,enable=true",
                "--tags=1.2",
                "--destination=q/r:3",
            ],
        );
        check(
            &[("IMAGE", "a/b"), ("TAG", "v1")],
            &["--images=a/b", "--tags=v1"],
        );
        check(
            &[("PUSH", "true"), ("PLATFORMS", "linux/arm64")],
            &["--custom-platform=linux/arm64", "--push=true"],
        );
        check(
            &[("ARGS", "--label=a=$(id)\n--no-push"), ("PASSWORD", "x")],
            &["--label=a=$(id)", "--no-push"],
        );
        check(
            &[("EXTRA_ARGS", "--build-arg A=1\n --reproducible")],
            &["--build-arg", "A=1", "--reproducible"],
        );
        check(
            &[("CACHE_TTL", "1h"), ("CACHE_DIRECTORY", "d")],
            &["--cache-ttl=1h", "--cache-dir=d"],
        );
        let asked = [("PULL", "true"), ("LOAD", "false"), ("SBOM", "false")];
        check(&asked, &[]);
        check(&[("PROVENANCE", "false"), ("CALL", "build")], &[]);
    }

    #[test]
    fn caches_in_the_words_of_buildx() {
        let named = [
            ("CACHE-FROM", "type=gha\nx.io/a:cache"),
            ("CACHE_TO", "type=registry,ref=x.io/a:cache,mode=max"),
            ("ALLOW", "security.insecure"),
            ("NO-CACHE", "false"),
        ];
        let to = "--cache-to=type=registry,ref=x.io/a:cache,mode=max";
        check(
            &named,
            &[
                "--allow=security.insecure",
                "--cache-from=type=gha",
                "--cache-from=x.io/a:cache",
                to,
            ],
        );
        check(&[named[0], named[1], ("NO-CACHE", "true")], &[to]);
        check(
            &[("CACHE_REGISTRY", "x.io/c"), ("CACHE-TTL", "1h")],
            &["--cache-repo=x.io/c", "--cache-ttl=1h"],
        );
    }

    #[test]
    fn secrets_stay_out_of_the_arguments() {
        check(
            &[
                ("SECRETS", "tok=s3cret=x\n"),
                ("SECRET_FILES", "npm=./npmrc"),
                ("SECRET_ENVS", "a=A_TOKEN, b=B"),
                ("CACHE", "true"),
            ],
            &[
                "--secret=id=tok,env=LONGSHORE_INPUT_SECRET_0",
                "--secret=id=npm,src=./npmrc",
                "--secret=id=a,env=A_TOKEN",
                "--secret=id=b,env=B",
                "--cache=true",
            ],
        );
    }

    #[test]
    fn the_action_declares_these_inputs_and_passes_them_on() {
        let text = include_str!("../../../action.yml");
        let declared = text
            .split_once("\ninputs:\n")
            .and_then(|(_, rest)| rest.split_once("\noutputs:\n"));
        let (declared, rest) = declared.expect("inputs and outputs");
        let names = |text: &str| -> Vec<String> {
            let keys = text
                .lines()
                .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
            keys.filter_map(|line| Some(line.trim().strip_suffix(':')?.to_owned()))
                .collect()
        };
        let mut inputs = names(declared);
        inputs.sort();
        let mut known: Vec<&str> = INPUTS.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(inputs, known);
        for name in &known {
            let other = name.replace('_', "-");
            let hyphened = known.contains(&&*other) && other != *name;
            let expression = if hyphened {
                format!("inputs.{other} || inputs.{name}")
            } else {
                let other = name.replace('-', "_");
                let has_other = known.contains(&&*other) && other != *name;
                let other = format!("inputs.{name} || inputs.{other}");
                if has_other {
                    other
                } else {
                    format!("inputs.{name}")
                }
            };
            let variable = name.to_ascii_uppercase().replace('-', "_");
            let variable = format!("INPUT_{variable}: ${{{{ {expression} }}}}");
            assert!(text.contains(&variable), "{variable}");
        }
        let outputs = names(rest.split_once("\nruns:\n").expect("runs").0);
        let promised: Vec<&str> = crate::ci::outputs::step_outputs(&crate::ci::Report::default())
            .iter()
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(outputs, promised);
    }

    #[test]
    fn inputs_that_cannot_be_followed() {
        for (inputs, expect) in [
            (&[("PLATFORMS", "a,b")][..], "2 are listed"),
            (&[("PUSH", "yes")], "neither true nor false"),
            (&[("TARGET", "a\nb")], "more than one line"),
            (&[("SECRET-ENVS", "TOKEN")], "not of the form id=value"),
            (
                &[("NO-CACHE", "true"), ("CACHE", "true")],
                "no-cache is true",
            ),
            (
                &[("ANNOTATIONS", "index:a=b")],
                "\"index\" is for something",
            ),
            (
                &[("CONTEXT", "a"), ("PATH", "b")],
                "inputs context and path are the same",
            ),
            (&[("LOAD", "true")], "may be false and nothing else"),
            (&[("PROVENANCE", "mode=max")], "no attestation"),
            (&[("SBOM", "true")], "no attestation"),
            (&[("CALL", "check")], "`longshore check`"),
            (&[("PULL", "always")], "neither true nor false"),
        ] {
            let env: Env = inputs
                .iter()
                .map(|(name, value)| (format!("INPUT_{name}"), *value))
                .collect();
            let text = arguments(&env).unwrap_err().to_string();
            assert!(text.contains(expect), "{text}");
        }
    }
}
