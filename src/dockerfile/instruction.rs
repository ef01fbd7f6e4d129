//! One logical line to one typed instruction.

use super::ast::{
    Add, Arg, ArgDeclaration, Cmd, Command, Copy, Entrypoint, Env, Expose, FromInstruction,
    HealthTest, Healthcheck, Instruction, InstructionKind, Invocation, KeyValue, Label, Maintainer,
    Onbuild, Run, Shell, Stopsignal, User, Volume, Workdir,
};
use super::duration;
use super::error::{ParseError, Problem};
use super::flags::{Flags, Table, Takes};
use super::heredoc::{self, Heredoc};
use super::lines::Logical;
use super::span::{Span, Spanned};
use super::suggest;
use super::word;
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
/// none are errors everywhere: BuildKit ignores them on ARG, STOPSIGNAL and HEALTHCHECK NONE.
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

fn known(keyword: &str) -> Option<&'static str> {
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

struct Reader<'a> {
    line: &'a Logical,
    escape: char,
    span: Span,
}

/// What every arm needs.
struct Arguments<'a> {
    name: &'static str,
    piece: Piece<'a>,
    keyword: Span,
}

impl<'a> Reader<'a> {
    fn node(
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

    fn from(
        &self,
        arguments: &Arguments<'a>,
        mut flags: Flags,
        (span, text, comments): (Span, String, Vec<Spanned<String>>),
    ) -> Result<Node, ParseError> {
        let words = words::split_blanks(arguments.piece);
        let place = arguments.piece.word().place(self.line);
        let mut words = words.into_iter();
        let (Some(image), as_word, name, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(ParseError::new(
                Problem::FromArguments,
                self.span_or(place, arguments),
            ));
        };
        let (as_keyword, name) = match (as_word, name) {
            (None, _) => (None, None),
            (Some(as_word), Some(name)) if as_word.text.eq_ignore_ascii_case("as") => {
                let name = name.spanned(self.line);
                if !is_stage_name(&name.value.to_lowercase()) {
                    let problem = Problem::StageName { name: name.value };
                    return Err(ParseError::new(problem, name.span));
                }
                let name = name.map(|name| name.to_lowercase());
                (Some(as_word.place(self.line)), Some(name))
            }
            (Some(_), _) => return Err(ParseError::new(Problem::FromArguments, place)),
        };
        let instruction = FromInstruction {
            span,
            text,
            keyword: arguments.keyword,
            as_keyword,
            comments,
            image: image.spanned(self.line),
            platform: flags.one("platform"),
        };
        Ok(Node::From(instruction, name))
    }

    fn arg(&self, arguments: &Arguments<'a>) -> Result<Arg, ParseError> {
        let words = words::split_quoted(arguments.piece, self.escape);
        if words.is_empty() {
            return Err(self.no_argument(arguments));
        }
        let declarations = words.into_iter().map(|word| {
            if !word.text.contains('=') {
                let name = word.spanned(self.line);
                return Ok(ArgDeclaration {
                    name,
                    default: None,
                });
            }
            let KeyValue { key, value } = self.pair(word, arguments.name)?;
            Ok(ArgDeclaration {
                name: key,
                default: Some(value),
            })
        });
        Ok(Arg {
            declarations: declarations.collect::<Result<_, _>>()?,
        })
    }

    /// Reads `key=value` words, or the old form of one key and the rest of the line.
    fn pairs(&self, arguments: &Arguments<'a>) -> Result<(Vec<KeyValue>, bool), ParseError> {
        let instruction = arguments.name;
        let words = words::split_quoted(arguments.piece, self.escape);
        let Some(first) = words.first() else {
            return Err(self.no_argument(arguments));
        };
        if !first.text.contains('=') {
            let (key, Some(value)) = arguments.piece.split_blank() else {
                let place = first.place(self.line);
                return Err(ParseError::new(Problem::NoValue { instruction }, place));
            };
            let key = key.word().spanned(self.line);
            let value = value.word().spanned(self.line);
            return Ok((vec![KeyValue { key, value }], true));
        }
        let mut previous = "";
        let mut pairs = Vec::with_capacity(words.len());
        for word in &words {
            if !word.text.contains('=') {
                let is_inside = previous
                    .rfind("${")
                    .is_some_and(|at| !previous[at..].contains('}'));
                let problem = Problem::NoEquals {
                    instruction,
                    word: word.text.clone(),
                };
                let hint = if is_inside {
                    "words are split before variables are expanded: put the value into double quotes"
                } else {
                    "a value with blanks needs quotes"
                };
                return Err(ParseError::new(problem, word.place(self.line)).with_hint(hint));
            }
            pairs.push(self.pair(word.clone(), instruction)?);
            previous = &word.text;
        }
        Ok((pairs, false))
    }

    /// Splits a word at its first `=`.
    fn pair(&self, word: Word, instruction: &'static str) -> Result<KeyValue, ParseError> {
        let place = word.place(self.line);
        let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        if key.is_empty() {
            return Err(ParseError::new(Problem::BlankName { instruction }, place));
        }
        let middle = (word.start + key.len()).min(word.end);
        let key_place = self.line.place(word.start, middle);
        let value_place = self.line.place((middle + 1).min(word.end), word.end);
        Ok(KeyValue {
            key: Spanned::new(key.to_owned(), key_place),
            value: Spanned::new(value.to_owned(), value_place),
        })
    }

    /// Reads a command in shell form or in exec form.
    fn command(&self, arguments: &Arguments<'a>) -> Result<Spanned<Command>, ParseError> {
        self.command_in(arguments.piece)
    }

    fn command_in(&self, piece: Piece<'a>) -> Result<Spanned<Command>, ParseError> {
        let place = piece.word().place(self.line);
        let command = match words::json_strings(piece) {
            Json::Strings(words) => {
                Command::Exec(words.into_iter().map(|word| word.text).collect())
            }
            Json::No => Command::Shell(piece.text.to_owned()),
            Json::Mixed => return Err(ParseError::new(Problem::JsonNotStrings, place)),
        };
        Ok(Spanned::new(command, place))
    }

    /// Reads a list in JSON form or between blanks.
    fn list(&self, arguments: &Arguments<'a>) -> Result<(Vec<Word>, bool), ParseError> {
        match words::json_strings(arguments.piece) {
            Json::Strings(words) => Ok((words, true)),
            Json::No => Ok((words::split_blanks(arguments.piece), false)),
            Json::Mixed => {
                let place = arguments.piece.word().place(self.line);
                Err(ParseError::new(Problem::JsonNotStrings, place))
            }
        }
    }

    /// Reads the sources and the destination of COPY and ADD.
    #[expect(
        clippy::type_complexity,
        reason = "sources, documents, destination: used twice, right above"
    )]
    fn transfer(
        &self,
        arguments: &Arguments<'a>,
        heredocs: Vec<Heredoc>,
    ) -> Result<(Vec<Spanned<String>>, Vec<Heredoc>, Spanned<String>), ParseError> {
        let instruction = arguments.name;
        let (mut words, is_json) = self.list(arguments)?;
        let Some(destination) = words.pop().filter(|_| !words.is_empty()) else {
            let place = arguments.piece.word().place(self.line);
            let place = self.span_or(place, arguments);
            return Err(ParseError::new(
                Problem::NoDestination { instruction },
                place,
            ));
        };
        let announced = |word: &Word| heredoc::announcement(&word.text, word.place(self.line));
        if announced(&destination).is_some() {
            let place = destination.place(self.line);
            return Err(ParseError::new(
                Problem::HeredocDestination { instruction },
                place,
            ));
        }
        let (documents, sources): (Vec<Word>, Vec<Word>) = words
            .into_iter()
            .partition(|word| announced(word).is_some());
        if is_json && let Some(word) = documents.first() {
            let hint = "heredocs are not read in JSON form";
            return Err(
                ParseError::new(Problem::MisplacedHeredoc, word.place(self.line)).with_hint(hint),
            );
        }
        if documents.len() != heredocs.len() {
            let starts: Vec<usize> = documents
                .iter()
                .map(|word| word.place(self.line).start)
                .collect();
            let odd = heredocs
                .iter()
                .find(|heredoc| !starts.contains(&heredoc.span.start));
            let place = odd.map_or(self.span, |heredoc| heredoc.span);
            let hint = "write the delimiter directly behind `<<`, without blanks";
            return Err(ParseError::new(Problem::MisplacedHeredoc, place).with_hint(hint));
        }
        Ok((
            self.spanned(sources),
            heredocs,
            destination.spanned(self.line),
        ))
    }

    fn run(
        &self,
        arguments: &Arguments<'a>,
        mut flags: Flags,
        heredocs: Vec<Heredoc>,
    ) -> Result<Run, ParseError> {
        let run = Run {
            command: self.command(arguments)?,
            heredocs,
            mounts: flags.many("mount"),
            network: flags.any("network"),
            security: flags.any("security"),
            devices: flags.many("device"),
        };
        one_of(
            "--network",
            run.network.as_ref(),
            &["default", "none", "host"],
            "default, none or host",
        )?;
        one_of(
            "--security",
            run.security.as_ref(),
            &["sandbox", "insecure"],
            "sandbox or insecure",
        )?;
        Ok(run)
    }

    fn healthcheck(
        &self,
        arguments: &Arguments<'a>,
        mut flags: Flags,
    ) -> Result<Healthcheck, ParseError> {
        let text = arguments.piece.text;
        let end = text.find(words::is_ascii_space).unwrap_or(text.len());
        let kind = &text[..end];
        let next = text[end..].trim_start_matches(words::is_ascii_space);
        let rest = arguments.piece.from(text.len() - next.len());
        let place = Piece {
            text: kind,
            ..arguments.piece
        }
        .word()
        .place(self.line);
        let test = match kind.to_ascii_uppercase().as_str() {
            "" => return Err(self.no_argument(arguments)),
            "NONE" if rest.text.is_empty() => HealthTest::None,
            "NONE" => {
                let place = rest.word().place(self.line);
                return Err(ParseError::new(Problem::HealthcheckNone, place));
            }
            "CMD" => match self.command_in(rest)?.value {
                Command::Shell(text) if text.is_empty() => {
                    return Err(ParseError::new(Problem::HealthcheckCommand, place));
                }
                Command::Exec(words) if words.is_empty() => {
                    return Err(ParseError::new(Problem::HealthcheckCommand, place));
                }
                command => HealthTest::Command(command),
            },
            _ => {
                let word = kind.to_owned();
                return Err(ParseError::new(Problem::HealthcheckType { word }, place));
            }
        };
        Ok(Healthcheck {
            test,
            interval: duration_flag("--interval", flags.one("interval"))?,
            timeout: duration_flag("--timeout", flags.one("timeout"))?,
            start_period: duration_flag("--start-period", flags.one("start-period"))?,
            start_interval: duration_flag("--start-interval", flags.one("start-interval"))?,
            retries: retries_flag(flags.one("retries"))?,
        })
    }

    fn shell(&self, arguments: &Arguments<'a>) -> Result<Shell, ParseError> {
        let command = self.command(arguments)?;
        let place = self.span_or(command.span, arguments);
        match command.value {
            Command::Exec(words) if !words.is_empty() => Ok(Shell {
                shell: Spanned::new(words, place),
            }),
            Command::Shell(text) if !text.is_empty() => {
                let hint = "for example SHELL [\"/bin/bash\", \"-c\"]";
                Err(ParseError::new(Problem::ShellNotJson, place).with_hint(hint))
            }
            Command::Exec(_) | Command::Shell(_) => Err(self.no_argument(arguments)),
        }
    }

    fn volume(&self, arguments: &Arguments<'a>) -> Result<Volume, ParseError> {
        let (words, _) = self.list(arguments)?;
        if words.is_empty() {
            return Err(self.no_argument(arguments));
        }
        let mut paths = self.spanned(words);
        for path in &mut paths {
            path.value = path.value.trim().to_owned();
            if path.value.is_empty() {
                return Err(ParseError::new(Problem::EmptyVolume, path.span));
            }
        }
        Ok(Volume { paths })
    }

    fn onbuild(
        &self,
        arguments: &Arguments<'a>,
        heredocs: Vec<Heredoc>,
    ) -> Result<Onbuild, ParseError> {
        if arguments.piece.text.is_empty() {
            return Err(self.no_argument(arguments));
        }
        let (keyword, _) = arguments.piece.split_blank();
        if let Some(instruction @ ("ONBUILD" | "FROM" | "MAINTAINER")) = known(keyword.text) {
            let place = keyword.word().place(self.line);
            return Err(ParseError::new(
                Problem::OnbuildTrigger { instruction },
                place,
            ));
        }
        // What follows on the line belongs to the trigger as written, trailing blanks too.
        let start = arguments.piece.at;
        let mut trigger = self.line.text[start..].to_owned();
        for heredoc in &heredocs {
            trigger.push('\n');
            trigger.push_str(&heredoc.body);
            trigger.push_str(&heredoc.name);
        }
        match self.node(arguments.piece, Vec::new(), heredocs)? {
            Node::Instruction(instruction) => Ok(Onbuild {
                trigger,
                instruction: Box::new(instruction),
            }),
            Node::From(from, _) => {
                let problem = Problem::OnbuildTrigger {
                    instruction: "FROM",
                };
                Err(ParseError::new(problem, from.keyword))
            }
        }
    }

    /// Takes the whole rest of the line as one argument.
    fn one(&self, arguments: &Arguments<'a>) -> Result<Spanned<String>, ParseError> {
        if arguments.piece.text.is_empty() {
            let problem = Problem::NotOneArgument {
                instruction: arguments.name,
            };
            return Err(ParseError::new(problem, arguments.keyword));
        }
        Ok(arguments.piece.word().spanned(self.line))
    }

    fn spanned(&self, words: Vec<Word>) -> Vec<Spanned<String>> {
        words
            .into_iter()
            .map(|word| word.spanned(self.line))
            .collect()
    }

    #[expect(clippy::unused_self, reason = "reads as the other errors do")]
    fn no_argument(&self, arguments: &Arguments<'a>) -> ParseError {
        let problem = Problem::NoArgument {
            instruction: arguments.name,
        };
        ParseError::new(problem, arguments.keyword)
    }

    #[expect(clippy::unused_self, reason = "reads as the other places do")]
    fn span_or(&self, place: Span, arguments: &Arguments<'a>) -> Span {
        if place.start == place.end {
            arguments.keyword
        } else {
            place
        }
    }
}

impl Run {
    /// Returns what is executed: BuildKit's meaning of heredocs on RUN.
    ///
    /// A command line that is nothing but `<<NAME` is replaced by the document; otherwise the documents are put back
    /// behind the command line and the shell reads them itself.
    pub fn invocation(&self) -> Invocation {
        let text = match &self.command.value {
            Command::Exec(words) => return Invocation::Exec(words.clone()),
            Command::Shell(text) => text,
        };
        let Some(first) = self.heredocs.first() else {
            return Invocation::Shell(text.clone());
        };
        if heredoc::announcement(text, self.command.span).is_some() {
            let content = first.content().into_owned();
            if content.starts_with("#!") {
                let name = first.name.clone();
                return Invocation::Program { name, content };
            }
            return Invocation::Shell(content);
        }
        let mut script = text.clone();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(&heredoc.body);
            script.push_str(&heredoc.name);
        }
        Invocation::Shell(script)
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

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))
}

/// Refuses a variable in `--from`: it would be taken literally.
fn check_from(from: &Spanned<String>) -> Result<(), ParseError> {
    match word::expand(&from.value, '\\', &|_| None) {
        Ok(expansion) if expansion.value == from.value => Ok(()),
        Ok(_) | Err(_) => {
            let hint = "define a stage with `FROM ${NAME} AS name` and copy from that";
            Err(ParseError::new(Problem::VariableInFrom, from.span).with_hint(hint))
        }
    }
}

fn one_of(
    flag: &str,
    value: Option<&Spanned<String>>,
    known: &'static [&'static str],
    expected: &'static str,
) -> Result<(), ParseError> {
    let Some(value) = value.filter(|value| !known.contains(&value.value.as_str())) else {
        return Ok(());
    };
    let problem = Problem::FlagValue {
        flag: flag.to_owned(),
        value: value.value.clone(),
        expected,
    };
    let error = ParseError::new(problem, value.span);
    Err(
        match suggest::nearest(&value.value, known.iter().copied()) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error,
        },
    )
}

/// Durations below this are refused, but for zero: what the engine that runs the image can do.
const MIN_DURATION: std::time::Duration = std::time::Duration::from_millis(1);

fn duration_flag(
    flag: &str,
    value: Option<Spanned<String>>,
) -> Result<Option<Spanned<std::time::Duration>>, ParseError> {
    let Some(Spanned { value, span }) = value else {
        return Ok(None);
    };
    let reason = match duration::parse(&value) {
        Ok(duration) if duration.is_zero() || duration >= MIN_DURATION => {
            return Ok(Some(Spanned::new(duration, span)));
        }
        Ok(_) => "it is less than 1ms",
        Err(reason) => reason,
    };
    let flag = flag.to_owned();
    Err(ParseError::new(
        Problem::Duration {
            flag,
            value,
            reason,
        },
        span,
    ))
}

fn retries_flag(value: Option<Spanned<String>>) -> Result<Option<Spanned<u32>>, ParseError> {
    let Some(Spanned { value, span }) = value else {
        return Ok(None);
    };
    match value
        .parse::<i32>()
        .ok()
        .and_then(|retries| u32::try_from(retries).ok())
    {
        Some(retries) => Ok(Some(Spanned::new(retries, span))),
        None => {
            let problem = Problem::FlagValue {
                flag: "--retries".to_owned(),
                value,
                expected: "a number from 0 on",
            };
            Err(ParseError::new(problem, span))
        }
    }
}
