//! What a RUN's shell text says, as far as a rule has to know: its commands and their words.

use crate::dockerfile::Instruction;
use crate::dockerfile::ast::{InstructionKind, Invocation, Run};

/// The simple commands of a shell text: words between separators, quotes taken off. What is not plain (substitutions,
/// here documents) stays as it is; a rule looks for words that it knows.
pub(super) fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut characters = text.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(character) = characters.next() {
        if let Some(open) = quote {
            if character == open {
                quote = None;
            } else {
                word.get_or_insert_default().push(character);
            }
            continue;
        }
        match character {
            '\'' | '"' => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            '\\' => {
                // A continued line inside of a heredoc is a blank.
                match characters.next() {
                    Some('\n') | None => {}
                    Some(escaped) => word.get_or_insert_default().push(escaped),
                }
            }
            '#' if word.is_none() => {
                while characters.next_if(|character| *character != '\n').is_some() {}
            }
            ';' | '&' | '|' | '\n' | '(' | ')' | '{' | '}'
                if !matches!(character, '{' | '}') || word.is_none() =>
            {
                flush(&mut commands, &mut word);
                commands.push(Vec::new());
            }
            _ if character.is_whitespace() => flush(&mut commands, &mut word),
            _ => word.get_or_insert_default().push(character),
        }
    }
    flush(&mut commands, &mut word);
    commands.retain(|command| !command.is_empty());
    commands
}

fn flush(commands: &mut [Vec<String>], word: &mut Option<String>) {
    if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
        command.push(word);
    }
}

/// The commands of a RUN; none if it is a program in another language.
pub(super) fn commands_of(run: &Run) -> Vec<Vec<String>> {
    match run.invocation() {
        Invocation::Shell(text) => commands(&text),
        Invocation::Exec(words) => match words.as_slice() {
            [_, flag, text] if flag == "-c" || flag == "-lc" => commands(text),
            _ => vec![words],
        },
        Invocation::Program { .. } => Vec::new(),
    }
}

/// The RUN of an instruction.
pub(super) fn run_of(instruction: &Instruction) -> Option<&Run> {
    match &instruction.kind {
        InstructionKind::Run(run) => Some(run),
        _ => None,
    }
}

/// Whether one of the commands is `program` with `subcommand`, whatever flags and assignments stand around.
pub(super) fn calls(command: &[String], programs: &[&str], subcommands: &[&str]) -> bool {
    let at = command.iter().position(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        programs.contains(&name)
    });
    let Some(at) = at else { return false };
    let mut words = command[at + 1..].iter();
    words
        .find(|word| !word.starts_with('-'))
        .is_some_and(|word| subcommands.contains(&word.as_str()))
}

/// Whether a mount of the RUN takes the place of a path or of what is above it.
pub(super) fn mounts_over(run: &Run, path: &str) -> bool {
    run.mounts.iter().any(|mount| {
        let mut options = mount.value.split(',');
        let target = options.find_map(|option| {
            let (key, value) = option.split_once('=')?;
            matches!(
                key.trim().to_lowercase().as_str(),
                "target" | "dst" | "destination"
            )
            .then_some(value)
        });
        target.is_some_and(|target| {
            let target = target.trim_end_matches('/');
            path == target
                || path
                    .strip_prefix(target)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    })
}

/// A path of the context without `.`, `..` and slashes at its ends.
pub(super) fn clean_path(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_at_operators() {
        let check = |text: &str, expect: &[&[&str]]| {
            assert_eq!(commands(text), expect, "{text}");
        };
        check("a b && c; d | e", &[&["a", "b"], &["c"], &["d"], &["e"]]);
        check("echo 'x && y' \"z\"", &[&["echo", "x && y", "z"]]);
        check("a # b\nc", &[&["a"], &["c"]]);
        check("{ a; b; } ${X}", &[&["a"], &["b"], &["${X}"]]);
        check("", &[]);
    }

    #[test]
    fn paths_are_cleaned() {
        let check = |path: &str, expect: &str| assert_eq!(clean_path(path), expect, "{path}");
        check(".", "");
        check("./a//b/", "a/b");
        check("/a/../b", "b");
        check("../a", "a");
    }
}
