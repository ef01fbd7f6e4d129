//! Tests of the room as a whole: text in, tree or problems out.

use super::*;

fn stage(body: &str) -> Stage {
    let text = format!("FROM scratch\n{body}\n");
    match parse(text.as_bytes()) {
        Ok(mut file) => file.stages.remove(0),
        Err(errors) => panic!("{body}: {errors}"),
    }
}

pub(super) fn one(body: &str) -> InstructionKind {
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

pub(super) fn values(words: &[Spanned<String>]) -> Vec<&str> {
    words.iter().map(|word| word.value.as_str()).collect()
}

fn run(body: &str) -> Run {
    match one(body) {
        InstructionKind::Run(run) => run,
        other => panic!("{body}: {other:?}"),
    }
}

pub(super) fn copy(body: &str) -> Copy {
    match one(body) {
        InstructionKind::Copy(copy) => copy,
        other => panic!("{body}: {other:?}"),
    }
}

pub(super) fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

pub(super) fn exec(words: &[&str]) -> Command {
    Command::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

pub(super) fn pairs(pairs: &[KeyValue]) -> Vec<(&str, &str)> {
    pairs
        .iter()
        .map(|pair| (pair.key.value.as_str(), pair.value.value.as_str()))
        .collect()
}

/// One instruction that is wrong, and what is said about it.
pub(super) fn fails(instruction: &str, expect: &str) {
    let found = problems(&format!("FROM scratch\n{instruction}\n"));
    assert_eq!(
        found,
        [format!("dockerfile line 2: {expect}")],
        "{instruction}"
    );
}

#[test]
fn continuations_join_lines() {
    let check =
        |body: &str, expect: &str| assert_eq!(run(body).command.value, shell(expect), "{body:?}");
    check("RUN a \\\n  b", "a   b");
    check("  RUN a\\\nb", "ab");
    check("RUN a \\ \t\nb", "a b");
    check("RUN a \\\r\nb\r", "a b");
    check("RUN a \\\n# comment\n  # another\nb", "a b");
    check("RUN a \\\n\n  \nb", "a b");
    check("RUN a \\", "a");
    check("RUN \\\na", "a");
    check("RUN a \\\\", "a \\\\");
    check("RUN a \\\\\\", "a \\\\\\");
    check("\\\nRUN a", "a");
    check("RUN a # b", "a # b");
    check("RUN\ta", "a");
    check("run a", "a");
    check("RUN", "");
    let file = parse(b"FROM a\nRUN a \\\n\n b\n").unwrap();
    assert_eq!(file.empty_continuations, [Span::new(15, 15)]);
}

#[test]
fn escape_directive_changes_continuations() {
    let file = parse(b"# Escape = `\nFROM a\nRUN dir C:\\ `\n x\nENV a=b` c\n").unwrap();
    assert_eq!(file.escape, '`');
    let texts: Vec<_> = file.stages[0]
        .instructions
        .iter()
        .map(|instruction| instruction.text.as_str())
        .collect();
    assert_eq!(texts, ["RUN dir C:\\  x", "ENV a=b` c"]);
}

#[test]
fn directives_stand_at_the_top() {
    let kinds = |text: &str| -> Vec<(DirectiveKind, String)> {
        let file = parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        file.directives
            .into_iter()
            .map(|directive| (directive.kind, directive.value.value))
            .collect()
    };
    let syntax = || (DirectiveKind::Syntax, "docker/dockerfile:1".to_owned());
    let check = || (DirectiveKind::Check, "skip=A,B;error=true".to_owned());
    assert_eq!(
        kinds("# syntax=docker/dockerfile:1\n#check = skip=A,B;error=true \nFROM a\n"),
        [syntax(), check()]
    );
    assert_eq!(
        kinds("\u{feff}# syntax=docker/dockerfile:1\r\nFROM a\r\n"),
        [syntax()]
    );
    for before in ["# comment\n", "\n", "# unknown=x\n", "FROM a\n"] {
        assert_eq!(
            kinds(&format!("{before}# escape=`\nFROM a\n")),
            [],
            "{before:?}"
        );
    }
    assert_eq!(
        problems("# escape=`\n# escape=`\nFROM a\n"),
        ["dockerfile line 2: only one `escape` parser directive can be used"]
    );
    assert_eq!(
        problems("# escape=x\nFROM a\n"),
        ["dockerfile line 1: invalid escape character `x`: it must be a backslash or a backtick"]
    );
}

#[test]
fn comments_belong_to_the_instruction_below() {
    let text = "# syntax=x\n# base the base\nFROM a AS base\n# one\n\n  # two \nARG A\nRUN b\n# three\n#\nRUN c\n";
    let file = parse(text.as_bytes()).unwrap();
    assert_eq!(values(&file.stages[0].from.comments), ["base the base"]);
    let comments: Vec<_> = file.stages[0]
        .instructions
        .iter()
        .map(|found| values(&found.comments))
        .collect();
    assert_eq!(comments, [vec!["one", "two"], vec![], vec![]]);
}

#[test]
fn stages() {
    let text = "ARG V=1\nARG W X=\"a b\"\nFROM --platform=$P img:$V\nRUN a\nfrom img as Build-1.x\nFROM build-1.x\n";
    let file = parse(text.as_bytes()).unwrap();
    let args: Vec<Vec<_>> = file
        .meta_args
        .iter()
        .map(|meta| {
            let declared = meta.arg.declarations.iter();
            declared
                .map(|arg| {
                    (
                        arg.name.value.as_str(),
                        arg.default.as_ref().map(|value| value.value.as_str()),
                    )
                })
                .collect()
        })
        .collect();
    assert_eq!(
        args,
        [
            vec![("V", Some("1"))],
            vec![("W", None), ("X", Some("\"a b\""))]
        ]
    );
    let [first, second, third] = file.stages.as_slice() else {
        panic!("{:?}", file.stages)
    };
    assert_eq!(
        first
            .from
            .platform
            .as_ref()
            .map(|platform| platform.value.as_str()),
        Some("$P")
    );
    assert_eq!(
        (first.from.image.value.as_str(), &first.name),
        ("img:$V", &None)
    );
    assert_eq!(
        second.name.as_ref().map(|name| name.value.as_str()),
        Some("build-1.x")
    );
    assert_eq!(
        &text[second.name.as_ref().unwrap().span.start..second.name.as_ref().unwrap().span.end],
        "Build-1.x"
    );
    assert_eq!(third.from.image.value, "build-1.x");
    assert_eq!(
        &text[first.span.start..first.span.end],
        "FROM --platform=$P img:$V\nRUN a"
    );
}

#[test]
fn commands_in_shell_and_exec_form() {
    let check = |body: &str, expect: Command| {
        for keyword in ["RUN", "CMD", "ENTRYPOINT"] {
            let command = match one(&format!("{keyword} {body}")) {
                InstructionKind::Run(run) => run.command,
                InstructionKind::Cmd(cmd) => cmd.command,
                InstructionKind::Entrypoint(entrypoint) => entrypoint.command,
                other => panic!("{other:?}"),
            };
            assert_eq!(command.value, expect, "{keyword} {body}");
        }
    };
    check(r#"["a", "b c"]"#, exec(&["a", "b c"]));
    check("[]", exec(&[]));
    check("", shell(""));
    check("[ -f x ] && y", shell("[ -f x ] && y"));
    check("['a']", shell("['a']"));
    check("\"a\"", shell("\"a\""));
    check("-- --a", shell("--a"));
    fails(
        "CMD [\"a\", 1]",
        "arrays in JSON form must hold only strings",
    );
}

#[test]
fn run_flags() {
    let body = "RUN --mount=type=cache,target=/c --mount='type=tmpfs,target=/a b' --network=none --security=sandbox --device=x make";
    let run = run(body);
    assert_eq!(
        values(&run.mounts),
        ["type=cache,target=/c", "type=tmpfs,target=/a b"]
    );
    assert_eq!(values(&run.devices), ["x"]);
    assert_eq!(
        run.network.map(|network| network.value).as_deref(),
        Some("none")
    );
    assert_eq!(
        run.security.map(|security| security.value).as_deref(),
        Some("sandbox")
    );
    fails(
        "RUN --network=hots a",
        "invalid value `hots` for --network: expected default, none or host (did you mean host?)",
    );
    fails(
        "RUN --security=x a",
        "invalid value `x` for --security: expected sandbox or insecure",
    );
    fails(
        "RUN --mont=x a",
        "unknown flag for RUN: --mont (did you mean --mount?)",
    );
}

#[test]
fn run_heredocs() {
    let invocation = |body: &str| run(body).invocation();
    let script = |text: &str| Invocation::Shell(text.to_owned());
    assert_eq!(invocation("RUN <<EOF\na\n  b\nEOF"), script("a\n  b\n"));
    assert_eq!(
        invocation("RUN <<-EOF\n\ta\n\t\tb\n\tEOF"),
        script("a\nb\n")
    );
    assert_eq!(invocation("RUN << EOF\na\nEOF"), script("a\n"));
    assert_eq!(
        invocation("RUN bash <<EOF\n$a\nEOF"),
        script("bash <<EOF\n$a\nEOF")
    );
    assert_eq!(
        invocation("RUN <<A cat >a && <<-B cat >b\n1\nA\n\t2\nB"),
        script("<<A cat >a && <<-B cat >b\n1\nA\n\t2\nB")
    );
    assert_eq!(
        invocation("RUN <<EOF\n#!/usr/bin/env python3\nx\nEOF"),
        Invocation::Program {
            name: "EOF".into(),
            content: "#!/usr/bin/env python3\nx\n".into()
        }
    );
    assert_eq!(
        invocation("RUN [\"a\", \"<<EOF\"]"),
        Invocation::Exec(vec!["a".into(), "<<EOF".into()])
    );
    assert_eq!(invocation("RUN cat <<<EOF"), script("cat <<<EOF"));
    assert_eq!(invocation("RUN echo '<<EOF'"), script("echo '<<EOF'"));
    assert_eq!(invocation("RUN echo $((1<<2))\n"), script("echo $((1<<2))"));
    let found = run("RUN 3<<'E' cat\n# no comment \\\nE").heredocs.remove(0);
    assert_eq!(
        (
            found.name.as_str(),
            found.fd,
            found.expand,
            found.body.as_str()
        ),
        ("E", 3, false, "# no comment \\\n")
    );
    assert_eq!(
        problems("FROM a\nRUN a\nRUN <<EOF\nRUN x\n"),
        ["dockerfile line 3: unterminated heredoc: no line `EOF` follows"]
    );
}

#[test]
fn heredocs_span_their_bodies() {
    let text = "FROM a\nCOPY <<x /y\nbody\nx\nRUN z\n";
    let file = parse(text.as_bytes()).unwrap();
    let [copy, run] = file.stages[0].instructions.as_slice() else {
        panic!("{file:?}")
    };
    assert_eq!(copy.text, "COPY <<x /y");
    assert_eq!(LineIndex::new(text.as_bytes()).lines(copy.span), (2, 4));
    assert_eq!(run.text, "RUN z");
    let InstructionKind::Copy(copy) = &copy.kind else {
        panic!()
    };
    assert_eq!(
        &text[copy.heredocs[0].span.start..copy.heredocs[0].span.end],
        "<<x"
    );
    assert_eq!(
        &text[copy.heredocs[0].body_span.start..copy.heredocs[0].body_span.end],
        "body\n"
    );
}

#[test]
fn onbuild_keeps_the_trigger_as_written() {
    let onbuild = |body: &str| match one(body) {
        InstructionKind::Onbuild(onbuild) => onbuild,
        other => panic!("{other:?}"),
    };
    let found = onbuild("ONBUILD  run  a \\\n  b");
    assert_eq!(found.trigger, "run  a   b");
    assert_eq!(found.instruction.text, "run  a   b");
    let found = onbuild("ONBUILD COPY <<-x <<y /d/\n\t1\n\tx\n2\ny");
    assert_eq!(found.trigger, "COPY <<-x <<y /d/\n\t1\nx\n2\ny");
    let again = parse_instruction(&found.trigger).unwrap();
    let (InstructionKind::Copy(first), InstructionKind::Copy(second)) =
        (&found.instruction.kind, &again.kind)
    else {
        panic!("{again:?}");
    };
    let bodies = |copy: &Copy| -> Vec<String> {
        copy.heredocs
            .iter()
            .map(|found| found.content().into())
            .collect()
    };
    assert_eq!(bodies(first), bodies(second));
    assert_eq!(bodies(first), ["1\n", "2\n"]);
    fails("ONBUILD", "ONBUILD requires at least one argument");
    fails(
        "ONBUILD onbuild RUN x",
        "ONBUILD is not allowed as an ONBUILD trigger",
    );
    fails(
        "ONBUILD FROM x",
        "FROM is not allowed as an ONBUILD trigger",
    );
    fails(
        "ONBUILD MAINTAINER x",
        "MAINTAINER is not allowed as an ONBUILD trigger",
    );
    fails(
        "ONBUILD RNU x",
        "unknown instruction: RNU (did you mean RUN?)",
    );
}

#[test]
fn triggers_of_base_images() {
    assert_eq!(parse_instruction("RUN a\n").unwrap().text, "RUN a");
    let fails = |text: &str, expect: &str| {
        assert_eq!(
            parse_instruction(text).map_err(|errors| errors.to_string()),
            Err(expect.to_owned()),
            "{text}"
        );
    };
    fails(
        "RUN a\nRUN b",
        "dockerfile line 1: an ONBUILD trigger must hold exactly one instruction",
    );
    fails(
        "FROM a",
        "dockerfile line 1: FROM is not allowed as an ONBUILD trigger",
    );
    fails("", "dockerfile line 1: the dockerfile is empty");
    fails(
        "RUNN a",
        "dockerfile line 1: unknown instruction: RUNN (did you mean RUN?)",
    );
}

#[test]
fn files_without_anything_to_build() {
    assert_eq!(problems(""), ["dockerfile line 1: the dockerfile is empty"]);
    assert_eq!(
        problems(" \n\n"),
        ["dockerfile line 3: the dockerfile is empty"]
    );
    assert_eq!(
        problems("# a"),
        ["dockerfile line 1: the dockerfile holds no instruction, only comments"]
    );
    assert_eq!(
        problems("ARG A"),
        ["dockerfile line 1: the dockerfile has no FROM, so there is nothing to build"]
    );
    assert_eq!(
        problems("ARG A\nRUN a\nRUN b\nFROM x\n"),
        ["dockerfile line 2: RUN before the first FROM: only ARG may stand there"]
    );
}

#[test]
fn several_problems_are_reported_at_once() {
    let text = "FROM a\nCOPPY a b\nRUN x\nRUNN <<EOF\nCOPY this\nEOF\n&& y\nCOPY a\n";
    assert_eq!(
        problems(text),
        [
            "dockerfile line 2: unknown instruction: COPPY (did you mean COPY?)",
            "dockerfile line 4: unknown instruction: RUNN (did you mean RUN?)",
            "dockerfile line 7: unknown instruction: && (is the line above missing its continuation character at the end?)",
            "dockerfile line 8: COPY requires at least one source and a destination",
        ]
    );
    let many = problems(&format!("FROM a\n{}", "x\n".repeat(10_000)));
    assert_eq!(many.len(), 51);
    assert!(
        many[50].ends_with("too many problems, the rest of the file was not checked"),
        "{}",
        many[50]
    );
}

#[test]
fn problems_point_at_the_columns() {
    let text = "FROM a\nRUN --mount=x \\\n  --netwrk=none \\\n  a\n";
    let errors = parse(text.as_bytes()).unwrap_err().errors;
    let span = errors[0].span;
    assert_eq!(&text[span.start..span.end], "--netwrk=none");
    let position = LineIndex::new(text.as_bytes()).position(text.as_bytes(), span.start);
    assert_eq!((position.line, position.column), (3, 3));
    let text = "FROM a\nENV é=1 \\\n# c\n  b=\"2\" c\n";
    let span = parse(text.as_bytes()).unwrap_err().errors[0].span;
    assert_eq!(&text[span.start..span.end], "c");
    let found = run("RUN --mount=type=tmpfs,target=/x a");
    let text = "FROM scratch\nRUN --mount=type=tmpfs,target=/x a\n";
    assert_eq!(
        &text[found.mounts[0].span.start..found.mounts[0].span.end],
        "type=tmpfs,target=/x"
    );
    assert_eq!(&text[found.command.span.start..found.command.span.end], "a");
}
