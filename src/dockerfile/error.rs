//! What can be wrong with a Dockerfile, and where.

use std::fmt;

use super::span::{LineIndex, Span};

/// Every problem that was found in one Dockerfile, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors {
    /// The problems.
    pub errors: Vec<ParseError>,
}

impl ParseErrors {
    pub(super) fn locate(mut errors: Vec<ParseError>, lines: &LineIndex) -> Self {
        for error in &mut errors {
            error.line = lines.line(error.span.start);
        }
        errors.sort_by_key(|error| error.span.start);
        Self { errors }
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                writeln!(out)?;
            }
            write!(out, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseErrors {}

/// One problem, its place and, where there is one, a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub problem: Problem,
    /// Where it is wrong.
    pub span: Span,
    /// The line, from 1, where `span` begins.
    pub line: usize,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ParseError {
    pub(super) fn new(problem: Problem, span: Span) -> Self {
        Self {
            problem,
            span,
            line: 0,
            hint: None,
        }
    }

    /// What to do: the hint for this very place, else what can be said of every such problem.
    pub fn advice(&self) -> Option<String> {
        if self.hint.is_some() {
            return self.hint.clone();
        }
        let advice = match &self.problem {
            Problem::JsonNotStrings => "put every element into double quotes",
            Problem::NoDestination { .. } => {
                "name what is copied, then where to: COPY source destination"
            }
            Problem::BadEscape { .. } => "write # escape=` or remove the line",
            Problem::DuplicateDirective { .. } => "remove one of the two lines",
            Problem::NoValue { .. } => "write NAME=value; a value may be empty: NAME=",
            Problem::FlagValue { .. } => {
                "write one of the values that it takes, or leave the flag out"
            }
            Problem::UnknownFlag { .. } => "`--` in front of the arguments ends the flags",
            Problem::DuplicateFlag { .. } => "keep one of them",
            Problem::FlagNeedsValue { .. } => "write the flag with its value: --flag=value",
            Problem::FromArguments => "to name the stage write FROM image AS name",
            Problem::Duration { .. } => "write for example 30s or 1m30s",
            Problem::HealthcheckType { .. } => "write HEALTHCHECK CMD command, or HEALTHCHECK NONE",
            Problem::HeredocDestination { .. } => {
                "put the heredoc first and the destination last: COPY <<EOF /path"
            }
            Problem::UnterminatedHeredoc { .. } => {
                "end the document with a line that holds nothing but the delimiter; only <<- allows tabs before it"
            }
            Problem::OutsideStage { .. } => "move it below a FROM",
            Problem::NoFrom | Problem::NoInstruction | Problem::Empty => {
                "begin with FROM and the image to start from, or FROM scratch"
            }
            Problem::OnbuildTrigger { .. } => {
                "triggers can be any instruction but FROM, ONBUILD and MAINTAINER"
            }
            Problem::StageName { .. } => "choose another name",
            _ => return None,
        };
        Some(advice.to_owned())
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "dockerfile line {}: {}", self.line, self.problem)?;
        match &self.hint {
            Some(hint) => write!(out, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.problem)
    }
}

/// The kinds of problems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no text at all.
    #[error("the dockerfile is empty")]
    Empty,
    /// There are only comments and blank lines.
    #[error("the dockerfile holds no instruction, only comments")]
    NoInstruction,
    /// There are instructions, but no FROM.
    #[error("the dockerfile has no FROM, so there is nothing to build")]
    NoFrom,
    /// The text is over the limit.
    #[error("the dockerfile is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A physical line is over the limit.
    #[error("the line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// An instruction or a heredoc is not UTF-8.
    #[error("the text is not valid UTF-8")]
    NotUtf8,
    /// An instruction or a heredoc holds a NUL byte.
    #[error("the text holds a NUL byte")]
    NulByte,
    /// So many problems that the rest is not reported.
    #[error("too many problems, the rest of the file was not checked")]
    TooMany,
    /// A parser directive is repeated.
    #[error("only one `{name}` parser directive can be used")]
    DuplicateDirective {
        /// The directive.
        name: &'static str,
    },
    /// `# escape=` names neither a backslash nor a backtick.
    #[error("invalid escape character `{value}`: it must be a backslash or a backtick")]
    BadEscape {
        /// What was written.
        value: String,
    },
    /// The keyword is not known.
    #[error("unknown instruction: {keyword}")]
    UnknownInstruction {
        /// The keyword as written.
        keyword: String,
    },
    /// An instruction other than ARG stands in front of the first FROM.
    #[error("{instruction} before the first FROM: only ARG may stand there")]
    OutsideStage {
        /// The keyword.
        instruction: &'static str,
    },
    /// A flag that the instruction does not have.
    #[error("unknown flag for {instruction}: {flag}")]
    UnknownFlag {
        /// The keyword.
        instruction: &'static str,
        /// The flag with its dashes.
        flag: String,
    },
    /// A flag that may be given only once.
    #[error("{flag} is given more than once")]
    DuplicateFlag {
        /// The flag with its dashes.
        flag: String,
    },
    /// A flag without its value.
    #[error("{flag} needs a value")]
    FlagNeedsValue {
        /// The flag with its dashes.
        flag: String,
    },
    /// A flag whose value is not among those that it takes.
    #[error("invalid value `{value}` for {flag}: expected {expected}")]
    FlagValue {
        /// The flag with its dashes.
        flag: String,
        /// What was written.
        value: String,
        /// What can be written.
        expected: &'static str,
    },
    /// A `--mount` that cannot be read.
    #[error("{0}")]
    Mount(super::mount::MountError),
    /// No argument where there must be one.
    #[error("{instruction} requires at least one argument")]
    NoArgument {
        /// The keyword.
        instruction: &'static str,
    },
    /// No argument where there must be exactly one.
    #[error("{instruction} requires exactly one argument")]
    NotOneArgument {
        /// The keyword.
        instruction: &'static str,
    },
    /// COPY or ADD with fewer than two arguments.
    #[error("{instruction} requires at least one source and a destination")]
    NoDestination {
        /// The keyword.
        instruction: &'static str,
    },
    /// A JSON array with something else than strings in it.
    #[error("arrays in JSON form must hold only strings")]
    JsonNotStrings,
    /// SHELL without a JSON array.
    #[error("SHELL requires its arguments in JSON form")]
    ShellNotJson,
    /// FROM with a wrong number of words.
    #[error("FROM requires either one argument, or three: FROM <image> AS <name>")]
    FromArguments,
    /// A stage name that breaks the rules.
    #[error(
        "invalid stage name `{name}`: it must start with a letter and hold only letters, digits, `-`, `_` and `.`"
    )]
    StageName {
        /// The name as written.
        name: String,
    },
    /// A name in front of `=` is empty.
    #[error("{instruction} names cannot be blank")]
    BlankName {
        /// The keyword.
        instruction: &'static str,
    },
    /// A word of ENV or LABEL without `=`.
    #[error("no `=` in `{word}`: {instruction} takes words of the form name=value")]
    NoEquals {
        /// The keyword.
        instruction: &'static str,
        /// The word.
        word: String,
    },
    /// `ENV name` without a value.
    #[error("{instruction} must have two arguments, a name and a value")]
    NoValue {
        /// The keyword.
        instruction: &'static str,
    },
    /// A heredoc runs to the end of the file.
    #[error("unterminated heredoc: no line `{name}` follows")]
    UnterminatedHeredoc {
        /// The delimiter.
        name: String,
    },
    /// A heredoc where the destination should be.
    #[error("{instruction} cannot write to a heredoc: the destination comes last")]
    HeredocDestination {
        /// The keyword.
        instruction: &'static str,
    },
    /// A heredoc word of COPY or ADD in a place or form in which it names no document.
    #[error("this heredoc is not a source of its own")]
    MisplacedHeredoc,
    /// An instruction that may not be a trigger.
    #[error("{instruction} is not allowed as an ONBUILD trigger")]
    OnbuildTrigger {
        /// The keyword of the trigger.
        instruction: &'static str,
    },
    /// A trigger that does not hold exactly one instruction.
    #[error("an ONBUILD trigger must hold exactly one instruction")]
    TriggerCount,
    /// HEALTHCHECK with something else than CMD or NONE.
    #[error("unknown type `{word}` in HEALTHCHECK: expected CMD or NONE")]
    HealthcheckType {
        /// The word.
        word: String,
    },
    /// HEALTHCHECK NONE with arguments.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    /// HEALTHCHECK CMD without a command.
    #[error("missing command after HEALTHCHECK CMD")]
    HealthcheckCommand,
    /// A duration that is none.
    #[error("invalid duration `{value}` for {flag}: {reason}")]
    Duration {
        /// The flag with its dashes.
        flag: String,
        /// What was written.
        value: String,
        /// Why it is none.
        reason: &'static str,
    },
    /// An empty path in VOLUME.
    #[error("VOLUME cannot be an empty string")]
    EmptyVolume,
    /// A variable in `COPY --from`.
    #[error("variables are not expanded in --from")]
    VariableInFrom,
}
