//! The arguments of each instruction: one method per arm.

use std::time::Duration;

use super::ast::{
    Arg, ArgDeclaration, Command, FromInstruction, HealthTest, Healthcheck, KeyValue, Onbuild, Run,
    Shell, Volume,
};
use super::duration;
use super::error::{ParseError, Problem};
use super::flags::Flags;
use super::heredoc::{self, Heredoc};
use super::instruction::{Arguments, Node, Reader, known};
use super::mount::mount_from;
use super::span::{Span, Spanned};
use super::suggest;
use super::word;
use super::words::{self, Json, Piece, Word};

impl<'a> Reader<'a> {
    pub(super) fn from(
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

    pub(super) fn arg(&self, arguments: &Arguments<'a>) -> Result<Arg, ParseError> {
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
            let KeyValue { key, value } = self.pair(&word, arguments.name)?;
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
    pub(super) fn pairs(
        &self,
        arguments: &Arguments<'a>,
    ) -> Result<(Vec<KeyValue>, bool), ParseError> {
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
            pairs.push(self.pair(word, instruction)?);
            previous = &word.text;
        }
        Ok((pairs, false))
    }

    /// Splits a word at its first `=`.
    pub(super) fn pair(
        &self,
        word: &Word,
        instruction: &'static str,
    ) -> Result<KeyValue, ParseError> {
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
    pub(super) fn command(
        &self,
        arguments: &Arguments<'a>,
    ) -> Result<Spanned<Command>, ParseError> {
        self.command_in(arguments.piece)
    }

    pub(super) fn command_in(&self, piece: Piece<'a>) -> Result<Spanned<Command>, ParseError> {
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
    pub(super) fn list(&self, arguments: &Arguments<'a>) -> Result<(Vec<Word>, bool), ParseError> {
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
    pub(super) fn transfer(
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

    pub(super) fn run(
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
        for mount in &run.mounts {
            mount_from(&mount.value).map_err(|problem| {
                let hint = problem.hint();
                let error = ParseError::new(Problem::Mount(problem), mount.span);
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            })?;
        }
        Ok(run)
    }

    pub(super) fn healthcheck(
        &self,
        arguments: &Arguments<'a>,
        mut flags: Flags,
    ) -> Result<Healthcheck, ParseError> {
        let whole = arguments.piece.text;
        let end = whole.find(words::is_ascii_space).unwrap_or(whole.len());
        let kind = &whole[..end];
        let next = whole[end..].trim_start_matches(words::is_ascii_space);
        let rest = arguments.piece.from(whole.len() - next.len());
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

    pub(super) fn shell(&self, arguments: &Arguments<'a>) -> Result<Shell, ParseError> {
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

    pub(super) fn volume(&self, arguments: &Arguments<'a>) -> Result<Volume, ParseError> {
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

    pub(super) fn onbuild(
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
    pub(super) fn one(&self, arguments: &Arguments<'a>) -> Result<Spanned<String>, ParseError> {
        if arguments.piece.text.is_empty() {
            let problem = Problem::NotOneArgument {
                instruction: arguments.name,
            };
            return Err(ParseError::new(problem, arguments.keyword));
        }
        Ok(arguments.piece.word().spanned(self.line))
    }

    pub(super) fn spanned(&self, words: Vec<Word>) -> Vec<Spanned<String>> {
        words
            .into_iter()
            .map(|word| word.spanned(self.line))
            .collect()
    }

    #[expect(clippy::unused_self, reason = "reads as the other errors do")]
    pub(super) fn no_argument(&self, arguments: &Arguments<'a>) -> ParseError {
        let problem = Problem::NoArgument {
            instruction: arguments.name,
        };
        ParseError::new(problem, arguments.keyword)
    }

    #[expect(clippy::unused_self, reason = "reads as the other places do")]
    pub(super) fn span_or(&self, place: Span, arguments: &Arguments<'a>) -> Span {
        if place.start == place.end {
            arguments.keyword
        } else {
            place
        }
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|character| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))
}

/// Refuses a variable in `--from`: it would be taken literally.
pub(super) fn check_from(from: &Spanned<String>) -> Result<(), ParseError> {
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
const MIN_DURATION: Duration = Duration::from_millis(1);

fn duration_flag(
    flag: &str,
    value: Option<Spanned<String>>,
) -> Result<Option<Spanned<Duration>>, ParseError> {
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
    if let Some(retries) = value
        .parse::<i32>()
        .ok()
        .and_then(|retries| u32::try_from(retries).ok())
    {
        return Ok(Some(Spanned::new(retries, span)));
    }
    let problem = Problem::FlagValue {
        flag: "--retries".to_owned(),
        value,
        expected: "a number from 0 on",
    };
    Err(ParseError::new(problem, span))
}
