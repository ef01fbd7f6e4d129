//! Dockerfile text to typed instructions, each with the place where it was written.
//!
//! The language is BuildKit's stable frontend. Everything is parsed, also what other rooms do not implement: they
//! refuse it with the span that they find here. Nothing is expanded here but on request: [`word`] expands variables,
//! and its documentation says which part of which instruction BuildKit expands; `plan` does the calling.
//!
//! This room reads no file, and no input makes it panic. Entry points: [`parse`], [`parse_instruction`] (ONBUILD
//! triggers of base images), [`word::expand`].

mod arms;
#[cfg(test)]
mod arms_tests;
mod ast;
mod duration;
mod error;
mod flags;
mod heredoc;
mod instruction;
mod lines;
pub mod lint;
mod mount;
mod pattern;
#[cfg(test)]
mod robustness_tests;
mod run;
mod span;
mod suggest;
pub mod word;
#[cfg(test)]
mod word_tests;
mod words;

pub use ast::{
    Add, Arg, ArgDeclaration, ArgInstruction, Cmd, Command, Copy, Directive, DirectiveKind,
    Dockerfile, Entrypoint, Env, Expose, FromInstruction, HealthTest, Healthcheck, Instruction,
    InstructionKind, Invocation, KeyValue, Label, Maintainer, Onbuild, Run, Shell, Stage,
    Stopsignal, User, Volume, Workdir,
};
pub use error::{ParseError, ParseErrors, Problem};
pub use heredoc::Heredoc;
pub use mount::{Mount, MountError, MountType, Sharing, mount_from};
pub use span::{LineIndex, Position, Span, Spanned};
pub use suggest::{nearest, nearest_name};

use instruction::{Documents, Node};
use lines::{Lines, Logical};

/// The largest Dockerfile that is read, in bytes; generated ones have been seen with some hundred thousand.
pub const MAX_SIZE: usize = 8 << 20;

/// So many problems are reported at once; more would only bury the first one.
const MAX_ERRORS: usize = 50;

/// Parses a Dockerfile.
///
/// # Errors
/// All problems that can be told apart, each with its place; a broken instruction does not hide the next one.
pub fn parse(text: &[u8]) -> Result<Dockerfile, ParseErrors> {
    let mut builder = Builder::default();
    let read = read(text, &mut |node| builder.add(node));
    let read = read.and_then(|lines| {
        if builder.stages.is_empty() {
            return Err(vec![ParseError::new(
                Problem::NoFrom,
                Span::new(text.len(), text.len()),
            )]);
        }
        Ok(lines)
    });
    let lines = read.map_err(|errors| ParseErrors::locate(errors, &LineIndex::new(text)))?;
    Ok(Dockerfile {
        directives: lines.directives,
        escape: lines.escape,
        meta_args: builder.meta_args,
        stages: builder.stages,
        empty_continuations: lines.empty_continuations,
    })
}

/// Parses an ONBUILD trigger out of the config of a base image: one instruction, without FROM, in a text of its own.
///
/// # Errors
/// As [`parse`]; the places are those in `text`.
pub fn parse_instruction(text: &str) -> Result<Instruction, ParseErrors> {
    let mut found: Vec<Instruction> = Vec::new();
    let read = read(text.as_bytes(), &mut |node| match node {
        Node::Instruction(instruction) => {
            found.push(instruction);
            Ok(())
        }
        Node::From(from, _) => {
            let problem = Problem::OnbuildTrigger {
                instruction: "FROM",
            };
            Err(ParseError::new(problem, from.keyword))
        }
    });
    let errors = match (read, found.pop(), found.is_empty()) {
        (Ok(_), Some(instruction), true) => return Ok(instruction),
        (Ok(_), _, _) => vec![ParseError::new(
            Problem::TriggerCount,
            Span::new(0, text.len()),
        )],
        (Err(errors), _, _) => errors,
    };
    Err(ParseErrors::locate(
        errors,
        &LineIndex::new(text.as_bytes()),
    ))
}

/// Reads all instructions of a text and hands them on, one by one.
fn read<'a>(
    text: &'a [u8],
    take: &mut dyn FnMut(Node) -> Result<(), ParseError>,
) -> Result<Lines<'a>, Vec<ParseError>> {
    if text.len() > MAX_SIZE {
        let problem = Problem::TooLarge { limit: MAX_SIZE };
        return Err(vec![ParseError::new(
            problem,
            Span::new(MAX_SIZE, MAX_SIZE),
        )]);
    }
    let mut lines = Lines::new(text);
    let mut errors = Vec::new();
    let mut is_blank = true;
    loop {
        let node = match lines.next_logical() {
            Ok(None) => break,
            Ok(Some(line)) => read_node(&mut lines, &line, text),
            Err(error) => Err(error),
        };
        is_blank = false;
        if let Err(error) = node.and_then(&mut *take) {
            let is_last = matches!(error.problem, Problem::UnterminatedHeredoc { .. });
            errors.push(error);
            if is_last {
                break;
            }
            if errors.len() >= MAX_ERRORS {
                let at = lines.offset();
                errors.push(ParseError::new(Problem::TooMany, Span::new(at, at)));
                break;
            }
        }
    }
    errors.append(&mut lines.errors);
    if is_blank && errors.is_empty() {
        let is_empty = text.trim_ascii().is_empty();
        let problem = if is_empty {
            Problem::Empty
        } else {
            Problem::NoInstruction
        };
        errors.push(ParseError::new(problem, Span::new(text.len(), text.len())));
    }
    if errors.is_empty() {
        Ok(lines)
    } else {
        Err(errors)
    }
}

/// Reads the documents that a line announces, then the instruction itself.
fn read_node(lines: &mut Lines<'_>, line: &Logical, text: &[u8]) -> Result<Node, ParseError> {
    let documents = instruction::documents(line, lines.escape);
    let mut heredocs = Vec::new();
    let mut span = line.span;
    if documents != Documents::No {
        for announced in heredoc::announcements(line) {
            let before = lines.offset();
            let Some(body_span) = lines.heredoc_body(&announced.name, announced.chomp)? else {
                if documents == Documents::Perhaps {
                    lines.rewind(before);
                    break;
                }
                let problem = Problem::UnterminatedHeredoc {
                    name: announced.name,
                };
                return Err(ParseError::new(problem, announced.span));
            };
            span.end = lines.offset();
            let bytes = &text[body_span.start..body_span.end];
            heredocs.push(announced.complete(bytes, body_span)?);
        }
    }
    instruction::read(line, heredocs, span, lines.escape)
}

/// Puts instructions into stages.
#[derive(Debug, Default)]
struct Builder {
    meta_args: Vec<ArgInstruction>,
    stages: Vec<Stage>,
    has_stray: bool,
}

impl Builder {
    fn add(&mut self, node: Node) -> Result<(), ParseError> {
        let instruction = match node {
            Node::From(from, name) => {
                self.stages.push(Stage {
                    name,
                    span: from.span,
                    from,
                    instructions: Vec::new(),
                });
                return Ok(());
            }
            Node::Instruction(instruction) => instruction,
        };
        if let Some(stage) = self.stages.last_mut() {
            stage.span.end = instruction.span.end;
            stage.instructions.push(instruction);
            return Ok(());
        }
        if let InstructionKind::Arg(arg) = instruction.kind {
            self.meta_args.push(ArgInstruction {
                span: instruction.span,
                text: instruction.text,
                keyword: instruction.keyword,
                comments: instruction.comments,
                arg,
            });
            return Ok(());
        }
        // One report is enough: the rest stands there for the same reason.
        if std::mem::replace(&mut self.has_stray, true) {
            return Ok(());
        }
        let problem = Problem::OutsideStage {
            instruction: instruction.kind.keyword(),
        };
        Err(ParseError::new(problem, instruction.keyword))
    }
}

#[cfg(test)]
mod tests;
