//! Tests of the room as a whole: text in, tree or problems out.

use super::*;

fn stage(body: &str) -> Stage {
    let text = format!("FROM scratch\n{body}\n");
    match parse(text.as_bytes()) {
        Ok(mut file) => file.stages.remove(0),
        Err(errors) => panic!("{body}: {errors}"),
    }
}

fn one(body: &str) -> InstructionKind {
    let mut instructions = stage(body).instructions;
    assert_eq!(instructions.len(), 1, "{body}");
    instructions.remove(0).kind
}

fn problems(text: &str) -> Vec<String> {
    match parse(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn smoke() {
    let run = one("RUN a \\\n  b");
    let InstructionKind::Run(run) = run else {
        panic!()
    };
    assert_eq!(run.command.value, Command::Shell("a   b".into()));
    assert_eq!(
        problems("FROM a\nCOPPY a b\n"),
        ["dockerfile line 2: unknown instruction: COPPY (did you mean COPY?)"]
    );
}
