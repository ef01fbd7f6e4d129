//! What the rules are told about the world outside of the Dockerfile.

/// What the rules are told.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Build arguments in order; the last one of a name counts.
    pub build_args: &'a [(String, String)],
    /// The arguments that every Dockerfile may use in FROM (`TARGETPLATFORM` and its kin) with their values.
    pub automatic_args: &'a [(&'static str, String)],
    /// Whether a stage is to be looked at: all are, unless a target is given.
    pub is_needed: &'a dyn Fn(usize) -> bool,
    /// Whether a text is an image reference.
    pub is_reference: &'a dyn Fn(&str) -> bool,
    /// The operating system and the architecture of a platform, if the text is one.
    pub platform: &'a dyn Fn(&str) -> Option<(String, String)>,
    /// The base image of a stage, where it is known.
    pub base: &'a dyn Fn(usize) -> Option<BaseFacts>,
    /// The build context, where it is known.
    pub context: Option<ContextFacts<'a>>,
}

impl std::fmt::Debug for Facts<'_> {
    /// Names of build arguments only: values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.build_args.iter().map(|(name, _)| name).collect();
        f.debug_struct("Facts")
            .field("build_args", &names)
            .finish_non_exhaustive()
    }
}

/// What is known of a base image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseFacts {
    /// The names of the variables that it sets.
    pub variables: Vec<String>,
    /// Whether it sets a shell of its own.
    pub has_shell: bool,
    /// Its platform and the platform that was wanted, where they differ.
    pub mismatch: Option<(String, String)>,
}

/// What is known of the build context.
#[derive(Clone, Copy, Debug)]
pub struct ContextFacts<'a> {
    /// The ignore file, if there is one.
    pub ignore: Option<IgnoreFacts<'a>>,
    /// What there is of a git repository that is not ignored.
    pub git: GitDirectory,
}

/// What is known of the ignore file.
#[derive(Clone, Copy)]
pub struct IgnoreFacts<'a> {
    /// Its name.
    pub name: &'a str,
    /// The rule that hides a path, and its line from 1.
    pub excluded_by: &'a dyn Fn(&str) -> Option<(String, usize)>,
    /// Whether a rule takes exclusions back.
    pub has_reincludes: bool,
    /// The rule that hides all that is in the context, and its line from 1.
    pub everything: Option<(&'a str, usize)>,
}

impl std::fmt::Debug for IgnoreFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IgnoreFacts")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a copy of the whole context would take of a git repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GitDirectory {
    /// Nothing.
    #[default]
    Absent,
    /// `.git`.
    Present,
    /// `.git`, whose `config` holds a credential: CI systems put the job's token there.
    WithCredential,
}
