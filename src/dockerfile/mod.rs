//! Dockerfile text to typed instructions, each with the place where it was written.
//!
//! The language is BuildKit's stable frontend. Everything is parsed, also what other rooms do not implement: they
//! refuse it with the span that they find here. Nothing is expanded here but on request: [`word`] expands variables,
//! and its documentation says which part of which instruction BuildKit expands; `plan` does the calling.
//!
//! This room reads no file, and no input makes it panic. Entry points: [`parse`], [`parse_instruction`] (ONBUILD
//! triggers of base images), [`word::expand`].

mod ast;
mod heredoc;
mod span;

pub use ast::{
    Add, Arg, ArgDeclaration, ArgInstruction, Cmd, Command, Copy, Directive, DirectiveKind,
    Dockerfile, Entrypoint, Env, Expose, FromInstruction, HealthTest, Healthcheck, Instruction,
    InstructionKind, Invocation, KeyValue, Label, Maintainer, Onbuild, Run, Shell, Stage,
    Stopsignal, User, Volume, Workdir,
};
pub use heredoc::Heredoc;
pub use span::{LineIndex, Position, Span, Spanned};
