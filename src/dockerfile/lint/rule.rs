//! The table of rules.

use crate::dockerfile::span::Span;

use super::Pass;

/// One check.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its name, as `# check=skip=` takes it.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub description: &'static str,
    /// Where it is documented; rules of ours have a page in `docs/checks` only.
    pub url: Option<&'static str>,
    /// Whether it runs only if `experimental=` asks for it.
    pub is_experimental: bool,
    pub(super) check: fn(&mut Pass<'_>, &'static Rule),
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What is wrong here.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Where.
    pub span: Span,
}

/// Declares a rule of BuildKit.
macro_rules! buildkit {
    ($module:ident, $name:literal, $page:literal, $description:literal) => {
        buildkit!($module, $name, $page, $description, false)
    };
    ($module:ident, $name:literal, $page:literal, $description:literal, $experimental:literal) => {
        Rule {
            name: $name,
            description: $description,
            url: Some(concat!(
                "https://docs.docker.com/go/dockerfile/rule/",
                $page,
                "/"
            )),
            is_experimental: $experimental,
            check: super::$module::check,
        }
    };
}

/// Declares a rule of our own.
macro_rules! own {
    ($module:ident, $name:literal, $description:literal) => {
        Rule {
            name: $name,
            description: $description,
            url: None,
            is_experimental: false,
            check: super::$module::check,
        }
    };
}

/// Every rule: BuildKit's, then ours.
pub static RULES: &[Rule] = &[
    buildkit!(
        stage_name_casing,
        "StageNameCasing",
        "stage-name-casing",
        "names of stages are in lower case"
    ),
    buildkit!(
        from_as_casing,
        "FromAsCasing",
        "from-as-casing",
        "AS is written in the case of its FROM"
    ),
    buildkit!(
        no_empty_continuation,
        "NoEmptyContinuation",
        "no-empty-continuation",
        "a continued instruction has no blank lines inside"
    ),
    buildkit!(
        consistent_instruction_casing,
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "all instructions of a file are written in the same case"
    ),
    buildkit!(
        duplicate_stage_name,
        "DuplicateStageName",
        "duplicate-stage-name",
        "names of stages are unique"
    ),
    buildkit!(
        reserved_stage_name,
        "ReservedStageName",
        "reserved-stage-name",
        "no stage is called scratch or context"
    ),
    buildkit!(
        json_args_recommended,
        "JSONArgsRecommended",
        "json-args-recommended",
        "CMD and ENTRYPOINT are in JSON form, so that the program gets the signals"
    ),
    buildkit!(
        maintainer_deprecated,
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "MAINTAINER is deprecated, a label takes its place"
    ),
    buildkit!(
        undefined_arg_in_from,
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "variables in FROM are declared by an ARG in front of the first FROM"
    ),
    buildkit!(
        undefined_var,
        "UndefinedVar",
        "undefined-var",
        "variables are set before they are used"
    ),
    buildkit!(
        workdir_relative_path,
        "WorkdirRelativePath",
        "workdir-relative-path",
        "the first WORKDIR is absolute, so that it does not depend on the base image"
    ),
    buildkit!(
        multiple_instructions_disallowed,
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "a stage has one CMD, ENTRYPOINT and HEALTHCHECK at most: only the last one counts"
    ),
    buildkit!(
        legacy_key_value_format,
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "ENV and LABEL are written as key=value"
    ),
    buildkit!(
        invalid_base_image_platform,
        "InvalidBaseImagePlatform",
        "invalid-base-image-platform",
        "the base image is for the platform that is built"
    ),
    buildkit!(
        redundant_target_platform,
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "FROM --platform=$TARGETPLATFORM says what happens anyway"
    ),
    buildkit!(
        secrets_used_in_arg_or_env,
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "secrets are not given by ARG or ENV, which end up in the image"
    ),
    buildkit!(
        invalid_default_arg_in_from,
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "FROM names a valid image also if no build argument is given"
    ),
    buildkit!(
        from_platform_flag_const_disallowed,
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform is not a constant"
    ),
    buildkit!(
        copy_ignored_file,
        "CopyIgnoredFile",
        "copy-ignored-file",
        "COPY and ADD do not name files that the ignore file hides"
    ),
    buildkit!(
        invalid_definition_description,
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "a comment directly above a stage or an ARG describes it: its name, then the description",
        true
    ),
    buildkit!(
        expose_proto_casing,
        "ExposeProtoCasing",
        "expose-proto-casing",
        "protocols in EXPOSE are in lower case"
    ),
    buildkit!(
        expose_invalid_format,
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "EXPOSE names ports of the container, without address and host port"
    ),
    own!(
        apt_lists_left_behind,
        "AptListsLeftBehind",
        "the package lists that apt-get update downloads do not stay in the layer"
    ),
    own!(
        apt_update_alone,
        "AptUpdateAlone",
        "apt-get update and apt-get install stand in the same RUN"
    ),
    own!(
        chown_after_copy,
        "ChownAfterCopy",
        "owners and modes are set by COPY, not by a RUN that stores every file again"
    ),
    own!(
        copy_ships_git,
        "CopyShipsGit",
        "the repository's .git directory is not copied into the image"
    ),
    own!(
        credential_in_url,
        "CredentialInUrl",
        "no URL holds a password or a token"
    ),
    own!(
        foreign_syntax,
        "ForeignSyntax",
        "# syntax= names a frontend that longshore stands in for"
    ),
    own!(
        unknown_check,
        "UnknownCheck",
        "# check= names checks that exist"
    ),
];
