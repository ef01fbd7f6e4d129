//! One logical line to one typed instruction.

use super::arms::check_from;
use super::ast::{
    Add, Cmd, Copy, Entrypoint, Env, Expose, FromInstruction, Instruction, InstructionKind, Label,
    Maintainer, Stopsignal, User, Workdir,
};
use super::error::{ParseError, Problem};
use super::flags::{Flags, Table, Takes};
use super::heredoc::Heredoc;
use super::lines::Logical;
use super::span::{Span, Spanned};
use super::suggest;
use super::words::{self, Json, Piece, Word};

/// Every keyword, for suggestions and for the search for one.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const ADD_FLAGS: Table = &[
    ("checksum", Takes::One),
    ("chmod", Takes::One),
    ("chown", Takes::One),
    ("exclude", Takes::Many),
    ("keep-git-dir", Takes::Bool),
    ("link", Takes::Bool),
    ("unpack", Takes::Bool),
];
const COPY_FLAGS: Table = &[
    ("chmod", Takes::One),
    ("chown", Takes::One),
    ("exclude", Takes::Many),
    ("from", Takes::One),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
];
const FROM_FLAGS: Table = &[("platform", Takes::One)];
const HEALTHCHECK_FLAGS: Table = &[
    ("interval", Takes::One),
    ("retries", Takes::One),
    ("start-interval", Takes::One),
    ("start-period", Takes::One),
    ("timeout", Takes::One),
];
const RUN_FLAGS: Table = &[
    ("device", Takes::Many),
    ("mount", Takes::Many),
    ("network", Takes::One),
    ("security", Takes::One),
];
const NO_FLAGS: Table = &[];

/// A FROM, or an instruction that belongs to a stage.
#[derive(Debug)]
pub(super) enum Node {
    From(FromInstruction, Option<Spanned<String>>),
    Instruction(Instruction),
}

/// Whether documents follow the line of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Documents {
    No,
    Yes,
    /// The keyword is unknown; it may be a misspelt RUN.
    Perhaps,
}

/// Says whether the heredocs that a line announces follow it.
pub(super) fn documents(line: &Logical, escape: char) -> Documents {
    if !line.text.contains("<<") {
        return Documents::No;
    }
    let mut head = Head::split(
        Piece {
            text: &line.text,
            at: 0,
        },
        escape,
    );
    if head.keyword.text.eq_ignore_ascii_case("ONBUILD") {
        head = Head::split(head.arguments, escape);
    }
    match known(head.keyword.text) {
        Some("ADD" | "COPY" | "RUN") => match words::json_strings(head.arguments) {
            Json::Strings(_) => Documents::No,
            Json::No | Json::Mixed => Documents::Yes,
        },
        Some(_) => Documents::No,
        None => Documents::Perhaps,
    }
}

/// Reads an instruction.
///
/// # Deviation
/// The trigger of ONBUILD is checked where it is written, not only where it fires, and flags of instructions that have
/// none are errors everywhere: BuildKit ignores them on ARG, STOPSIGNAL and HEALTHCHECK NONE. `COPY << EOF /x` is an error
/// that says so; BuildKit takes `<<` and `EOF` for files.
pub(super) fn read(
    line: &Logical,
    heredocs: Vec<Heredoc>,
    span: Span,
    escape: char,
) -> Result<Node, ParseError> {
    let reader = Reader { line, escape, span };
    let piece = Piece {
        text: &line.text,
        at: 0,
    };
    reader.node(piece, line.comments.clone(), heredocs)
}

/// Finds a keyword, whatever its case.
pub(super) fn known(keyword: &str) -> Option<&'static str> {
    let mut keywords = KEYWORDS.into_iter();
    keywords.find(|known| known.eq_ignore_ascii_case(keyword))
}

/// Keyword, flags and the rest.
struct Head<'a> {
    keyword: Piece<'a>,
    flags: Vec<Word>,
    arguments: Piece<'a>,
}

impl<'a> Head<'a> {
    fn split(piece: Piece<'a>, escape: char) -> Self {
        let piece = piece.trim();
        let (keyword, rest) = piece.split_blank();
        let rest = rest.unwrap_or(piece.from(piece.text.len()));
        let (flags, arguments) = words::split_flags(rest, escape);
        Self {
            keyword,
            flags,
            arguments: arguments.trim(),
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) line: &'a Logical,
    pub(super) escape: char,
    pub(super) span: Span,
}

/// What every arm needs.
pub(super) struct Arguments<'a> {
    pub(super) name: &'static str,
    pub(super) piece: Piece<'a>,
    pub(super) keyword: Span,
}

impl<'a> Reader<'a> {
    pub(super) fn node(
        &self,
        piece: Piece<'a>,
        comments: Vec<Spanned<String>>,
        heredocs: Vec<Heredoc>,
    ) -> Result<Node, ParseError> {
        let head = Head::split(piece, self.escape);
        let keyword = head.keyword.word().place(self.line);
        let Some(name) = known(head.keyword.text) else {
            return Err(unknown_instruction(head.keyword.text, keyword));
        };
        let table = match name {
            "ADD" => ADD_FLAGS,
            "COPY" => COPY_FLAGS,
            "FROM" => FROM_FLAGS,
            "HEALTHCHECK" => HEALTHCHECK_FLAGS,
            "RUN" => RUN_FLAGS,
            _ => NO_FLAGS,
        };
        let flags = Flags::read(name, table, head.flags, self.line)?;
        let text = piece.text.trim().to_owned();
        let arguments = Arguments {
            name,
            piece: head.arguments,
            keyword,
        };
        let span = Span::new(keyword.start, self.span.end);
        if name == "FROM" {
            return self.from(&arguments, flags, (span, text, comments));
        }
        let kind = self.kind(&arguments, flags, heredocs)?;
        Ok(Node::Instruction(Instruction {
            span,
            text,
            keyword,
            comments,
            kind,
        }))
    }

    fn kind(
        &self,
        arguments: &Arguments<'a>,
        mut flags: Flags,
        heredocs: Vec<Heredoc>,
    ) -> Result<InstructionKind, ParseError> {
        Ok(match arguments.name {
            "ADD" => {
                let (sources, heredocs, destination) = self.transfer(arguments, heredocs)?;
                InstructionKind::Add(Add {
                    sources,
                    heredocs,
                    destination,
                    chown: flags.one("chown"),
                    chmod: flags.one("chmod"),
                    link: flags.switch("link"),
                    exclude: flags.many("exclude"),
                    keep_git_dir: flags.switch("keep-git-dir"),
                    checksum: flags.one("checksum"),
                    unpack: flags.switch("unpack"),
                })
            }
            "ARG" => InstructionKind::Arg(self.arg(arguments)?),
            "CMD" => InstructionKind::Cmd(Cmd {
                command: self.command(arguments)?,
            }),
            "COPY" => {
                let (sources, heredocs, destination) = self.transfer(arguments, heredocs)?;
                let from = flags.one("from");
                if let Some(from) = &from {
                    check_from(from)?;
                }
                InstructionKind::Copy(Copy {
                    sources,
                    heredocs,
                    destination,
                    from,
                    chown: flags.one("chown"),
                    chmod: flags.one("chmod"),
                    link: flags.switch("link"),
                    parents: flags.switch("parents"),
                    exclude: flags.many("exclude"),
                })
            }
            "ENTRYPOINT" => InstructionKind::Entrypoint(Entrypoint {
                command: self.command(arguments)?,
            }),
            "ENV" => {
                let (pairs, is_legacy) = self.pairs(arguments)?;
                InstructionKind::Env(Env { pairs, is_legacy })
            }
            "EXPOSE" => {
                let mut ports = self.spanned(words::split_blanks(arguments.piece));
                if ports.is_empty() {
                    return Err(self.no_argument(arguments));
                }
                // In the order in which BuildKit writes them to the history.
                ports.sort_by(|left, right| left.value.cmp(&right.value));
                InstructionKind::Expose(Expose { ports })
            }
            "HEALTHCHECK" => InstructionKind::Healthcheck(self.healthcheck(arguments, flags)?),
            "LABEL" => {
                let (pairs, is_legacy) = self.pairs(arguments)?;
                InstructionKind::Label(Label { pairs, is_legacy })
            }
            "MAINTAINER" => InstructionKind::Maintainer(Maintainer {
                name: self.one(arguments)?,
            }),
            "ONBUILD" => InstructionKind::Onbuild(self.onbuild(arguments, heredocs)?),
            "RUN" => InstructionKind::Run(self.run(arguments, flags, heredocs)?),
            "SHELL" => InstructionKind::Shell(self.shell(arguments)?),
            "STOPSIGNAL" => InstructionKind::Stopsignal(Stopsignal {
                signal: self.one(arguments)?,
            }),
            "USER" => InstructionKind::User(User {
                user: self.one(arguments)?,
            }),
            "VOLUME" => InstructionKind::Volume(self.volume(arguments)?),
            "WORKDIR" => InstructionKind::Workdir(Workdir {
                path: self.one(arguments)?,
            }),
            other => return Err(unknown_instruction(other, arguments.keyword)),
        })
    }
}

fn unknown_instruction(keyword: &str, place: Span) -> ParseError {
    let shown: String = keyword.chars().take(80).collect();
    let error = ParseError::new(Problem::UnknownInstruction { keyword: shown }, place);
    if let Some(near) = suggest::nearest(keyword, KEYWORDS) {
        return error.with_hint(format!("did you mean {near}?"));
    }
    if keyword.starts_with(['&', '|', '-']) {
        return error.with_hint("is the line above missing its continuation character at the end?");
    }
    error
}
