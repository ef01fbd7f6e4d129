//! The typed tree of a Dockerfile: what was written, unexpanded, each part with its place.

use std::time::Duration;

use serde::Serialize;

use super::heredoc::Heredoc;
use super::span::{Span, Spanned};

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dockerfile {
    /// Parser directives (`# syntax=`, `# escape=`, `# check=`) in the order in which they were written.
    pub directives: Vec<Directive>,
    /// The escape character: a backslash, or a backtick after `# escape=`.
    pub escape: char,
    /// The ARG instructions before the first FROM; visible to FROM lines only.
    pub meta_args: Vec<ArgInstruction>,
    /// The stages; never empty.
    pub stages: Vec<Stage>,
    /// Blank lines inside of continued instructions: legal, deprecated.
    pub empty_continuations: Vec<Span>,
}

/// A parser directive at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Directive {
    /// Which directive it is.
    pub kind: DirectiveKind,
    /// The text behind the `=`, without blanks around it.
    pub value: Spanned<String>,
    /// The whole line.
    pub span: Span,
}

/// The parser directives that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DirectiveKind {
    /// `# syntax=`: the frontend that the author had in mind.
    Syntax,
    /// `# escape=`: the escape character.
    Escape,
    /// `# check=`: configuration of the build checks.
    Check,
}

/// An ARG in front of the first FROM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgInstruction {
    /// The whole instruction.
    pub span: Span,
    /// The instruction as logs and history show it.
    pub text: String,
    /// The keyword as written.
    pub keyword: Span,
    /// Comment lines directly above, without `#` and blanks around.
    pub comments: Vec<Spanned<String>>,
    /// What it declares.
    pub arg: Arg,
}

/// One build stage: a FROM and the instructions after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The name after AS, in lower case.
    pub name: Option<Spanned<String>>,
    /// The FROM line.
    pub from: FromInstruction,
    /// The instructions after FROM, in order.
    pub instructions: Vec<Instruction>,
    /// From FROM to the end of the last instruction.
    pub span: Span,
}

/// A FROM instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FromInstruction {
    /// The whole instruction.
    pub span: Span,
    /// The instruction as logs and history show it.
    pub text: String,
    /// The keyword as written.
    pub keyword: Span,
    /// The word AS as written.
    pub as_keyword: Option<Span>,
    /// Comment lines directly above, without `#` and blanks around.
    pub comments: Vec<Spanned<String>>,
    /// Image, stage name or `scratch`; unexpanded.
    pub image: Spanned<String>,
    /// `--platform`, unexpanded.
    pub platform: Option<Spanned<String>>,
}

/// One instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instruction {
    /// The whole instruction, with its heredocs.
    pub span: Span,
    /// The instruction as logs and history show it: one line, continuations joined, without heredoc bodies.
    pub text: String,
    /// The keyword as written.
    pub keyword: Span,
    /// Comment lines directly above, without `#` and blanks around.
    pub comments: Vec<Spanned<String>>,
    /// What it says.
    pub kind: InstructionKind,
}

/// The instructions that a stage can hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InstructionKind {
    /// ADD.
    Add(Add),
    /// ARG.
    Arg(Arg),
    /// CMD.
    Cmd(Cmd),
    /// COPY.
    Copy(Copy),
    /// ENTRYPOINT.
    Entrypoint(Entrypoint),
    /// ENV.
    Env(Env),
    /// EXPOSE.
    Expose(Expose),
    /// HEALTHCHECK.
    Healthcheck(Healthcheck),
    /// LABEL.
    Label(Label),
    /// MAINTAINER.
    Maintainer(Maintainer),
    /// ONBUILD.
    Onbuild(Onbuild),
    /// RUN.
    Run(Run),
    /// SHELL.
    Shell(Shell),
    /// STOPSIGNAL.
    Stopsignal(Stopsignal),
    /// USER.
    User(User),
    /// VOLUME.
    Volume(Volume),
    /// WORKDIR.
    Workdir(Workdir),
}

impl InstructionKind {
    /// Returns the keyword in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A command line: text for the shell, or an argument vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Shell form: one string that the shell of the image gets after `-c`. May be empty.
    Shell(String),
    /// Exec form: a JSON array. May be empty.
    Exec(Vec<String>),
}

/// `ADD [flags] source... destination`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Paths, URLs and git references; expanded later. Heredoc sources are in `heredocs`.
    pub sources: Vec<Spanned<String>>,
    /// Sources whose content is in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// The destination; expanded later.
    pub destination: Spanned<String>,
    /// `--chown`; expanded later.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`; expanded later.
    pub chmod: Option<Spanned<String>>,
    /// `--link`.
    pub link: Option<Spanned<bool>>,
    /// `--exclude`, each one; never expanded.
    pub exclude: Vec<Spanned<String>>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<Spanned<bool>>,
    /// `--checksum`; expanded later.
    pub checksum: Option<Spanned<String>>,
    /// `--unpack`.
    pub unpack: Option<Spanned<bool>>,
}

/// One `NAME` or `NAME=default` of an ARG.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgDeclaration {
    /// The name; never expanded.
    pub name: Spanned<String>,
    /// The default; expanded only when it is used.
    pub default: Option<Spanned<String>>,
}

/// `ARG NAME[=default]...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arg {
    /// The declarations, in order; at least one.
    pub declarations: Vec<ArgDeclaration>,
}

/// `CMD command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cmd {
    /// The command; never expanded.
    pub command: Spanned<Command>,
}

/// `COPY [flags] source... destination`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// Paths; expanded later. Heredoc sources are in `heredocs`.
    pub sources: Vec<Spanned<String>>,
    /// Sources whose content is in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// The destination; expanded later.
    pub destination: Spanned<String>,
    /// `--from`: stage, image or named context; never expanded, and never holds a `$`.
    pub from: Option<Spanned<String>>,
    /// `--chown`; expanded later.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`; expanded later.
    pub chmod: Option<Spanned<String>>,
    /// `--link`.
    pub link: Option<Spanned<bool>>,
    /// `--parents`.
    pub parents: Option<Spanned<bool>>,
    /// `--exclude`, each one; never expanded.
    pub exclude: Vec<Spanned<String>>,
}

/// `ENTRYPOINT command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entrypoint {
    /// The command; never expanded.
    pub command: Spanned<Command>,
}

/// One `key=value` of ENV or LABEL; both sides with their quotes, expanded later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyValue {
    /// The key.
    pub key: Spanned<String>,
    /// The value; may be empty.
    pub value: Spanned<String>,
}

/// `ENV key=value...` or `ENV key value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Env {
    /// The pairs in order; at least one.
    pub pairs: Vec<KeyValue>,
    /// Whether the old form `ENV key value` was used.
    pub is_legacy: bool,
}

/// `EXPOSE port[/protocol]...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// The words, sorted by bytes as BuildKit does; each is expanded and split again later.
    pub ports: Vec<Spanned<String>>,
}

/// What HEALTHCHECK runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HealthTest {
    /// `HEALTHCHECK NONE`: switches an inherited check off.
    None,
    /// `HEALTHCHECK CMD command`; never expanded.
    Command(Command),
}

/// `HEALTHCHECK [flags] CMD command` or `HEALTHCHECK NONE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Healthcheck {
    /// The check.
    pub test: HealthTest,
    /// `--interval`; zero means inherit.
    pub interval: Option<Spanned<Duration>>,
    /// `--timeout`; zero means inherit.
    pub timeout: Option<Spanned<Duration>>,
    /// `--start-period`; zero means inherit.
    pub start_period: Option<Spanned<Duration>>,
    /// `--start-interval`; zero means inherit.
    pub start_interval: Option<Spanned<Duration>>,
    /// `--retries`; zero means inherit.
    pub retries: Option<Spanned<u32>>,
}

/// `LABEL key=value...` or `LABEL key value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Label {
    /// The pairs in order; at least one.
    pub pairs: Vec<KeyValue>,
    /// Whether the old form `LABEL key value` was used.
    pub is_legacy: bool,
}

/// `MAINTAINER name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Maintainer {
    /// The name; never expanded.
    pub name: Spanned<String>,
}

/// `ONBUILD instruction`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Onbuild {
    /// What the config's `OnBuild` list gets: the trigger as written on one line, with its heredocs.
    pub trigger: String,
    /// The trigger, parsed.
    pub instruction: Box<Instruction>,
}

/// `RUN [flags] command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The command line as written, without heredoc bodies; see [`Run::invocation`].
    pub command: Spanned<Command>,
    /// The heredocs that the command line names, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each one, as written.
    pub mounts: Vec<Spanned<String>>,
    /// `--network`.
    pub network: Option<Spanned<String>>,
    /// `--security`.
    pub security: Option<Spanned<String>>,
    /// `--device`, each one.
    pub devices: Vec<Spanned<String>>,
}

/// What a RUN executes once its heredocs are taken into account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Invocation {
    /// The shell of the image gets this text after `-c`.
    Shell(String),
    /// These arguments, without a shell.
    Exec(Vec<String>),
    /// A program in the Dockerfile (one heredoc that begins with `#!`): a file of this name, mode 0755, is mounted
    /// read-only below `/dev/pipes/`, and the shell of the image gets its path, `/dev/pipes/NAME`, after `-c`.
    Program {
        /// File name below `/dev/pipes/`.
        name: String,
        /// Content of the file.
        content: String,
    },
}

/// `SHELL ["program", "argument"...]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shell {
    /// The program and its arguments; at least one; never expanded.
    pub shell: Spanned<Vec<String>>,
}

/// `STOPSIGNAL signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopsignal {
    /// The signal; expanded and validated later.
    pub signal: Spanned<String>,
}

/// `USER name[:group]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The user; expanded later.
    pub user: Spanned<String>,
}

/// `VOLUME path...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// The paths; expanded later; at least one.
    pub paths: Vec<Spanned<String>>,
}

/// `WORKDIR path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workdir {
    /// The path; expanded later.
    pub path: Spanned<String>,
}
