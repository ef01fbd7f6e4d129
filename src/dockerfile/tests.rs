//! Tests of the room as a whole: text in, tree or problems out.

use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;

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

fn values(words: &[Spanned<String>]) -> Vec<&str> {
    words.iter().map(|word| word.value.as_str()).collect()
}

fn run(body: &str) -> Run {
    match one(body) {
        InstructionKind::Run(run) => run,
        other => panic!("{body}: {other:?}"),
    }
}

fn copy(body: &str) -> Copy {
    match one(body) {
        InstructionKind::Copy(copy) => copy,
        other => panic!("{body}: {other:?}"),
    }
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn exec(words: &[&str]) -> Command {
    Command::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

fn pairs(pairs: &[KeyValue]) -> Vec<(&str, &str)> {
    pairs
        .iter()
        .map(|pair| (pair.key.value.as_str(), pair.value.value.as_str()))
        .collect()
}

/// One instruction that is wrong, and what is said about it.
fn fails(instruction: &str, expect: &str) {
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
fn copy_and_add() {
    let found = copy(
        "COPY --from=b --chown=1:2 --chmod=u=rwX --link --parents=false --exclude=*.o --exclude=x a b c/",
    );
    assert_eq!(values(&found.sources), ["a", "b"]);
    assert_eq!(found.destination.value, "c/");
    assert_eq!(values(&found.exclude), ["*.o", "x"]);
    assert_eq!(found.from.map(|from| from.value).as_deref(), Some("b"));
    assert_eq!(
        found.chmod.map(|chmod| chmod.value).as_deref(),
        Some("u=rwX")
    );
    assert_eq!(found.link.map(|link| link.value), Some(true));
    assert_eq!(found.parents.map(|parents| parents.value), Some(false));
    assert_eq!(values(&copy(r#"COPY ["a b", "c"]"#).sources), ["a b"]);
    assert_eq!(values(&copy("COPY \"a b\" c").sources), ["\"a", "b\""]);
    assert_eq!(copy("COPY --from= a b").from, None);
    let mixed = copy("COPY f <<a <<-\"b\" /d/\n$A\na\n\tx\nb");
    assert_eq!(values(&mixed.sources), ["f"]);
    let documents: Vec<_> = mixed
        .heredocs
        .iter()
        .map(|found| (found.name.as_str(), found.content(), found.expand))
        .collect();
    assert_eq!(
        documents,
        [("a", "$A\n".into(), true), ("b", "x\n".into(), false)]
    );
    let InstructionKind::Add(add) =
        one("ADD --checksum=sha256:$X --keep-git-dir --unpack=false http://x/y /z")
    else {
        panic!("not an ADD");
    };
    assert_eq!(
        add.checksum.map(|checksum| checksum.value).as_deref(),
        Some("sha256:$X")
    );
    assert_eq!(
        (
            add.keep_git_dir.map(|on| on.value),
            add.unpack.map(|on| on.value)
        ),
        (Some(true), Some(false))
    );

    fails(
        "COPY a",
        "COPY requires at least one source and a destination",
    );
    fails("ADD", "ADD requires at least one source and a destination");
    fails("COPY --link= a b", "--link needs a value");
    fails(
        "COPY --link=maybe a b",
        "invalid value `maybe` for --link: expected true or false",
    );
    fails("COPY --chown a b", "--chown needs a value");
    fails(
        "COPY --chown=1 --chown=2 a b",
        "--chown is given more than once",
    );
    fails(
        "COPY --exlude=x a b",
        "unknown flag for COPY: --exlude (did you mean --exclude?)",
    );
    fails("ADD --parents a b", "unknown flag for ADD: --parents");
    fails(
        "COPY --from=$X a b",
        "variables are not expanded in --from (define a stage with `FROM ${NAME} AS name` and copy from that)",
    );
    fails(
        "COPY a <<E\nE",
        "COPY cannot write to a heredoc: the destination comes last",
    );
    fails(
        "COPY << E /x\nE",
        "this heredoc is not a source of its own (write the delimiter directly behind `<<`, without blanks)",
    );
    fails(
        "COPY [\"<<E\", \"/x\"]",
        "this heredoc is not a source of its own (heredocs are not read in JSON form)",
    );
}

#[test]
fn env_label_and_arg() {
    let env = |body: &str| match one(body) {
        InstructionKind::Env(env) => env,
        other => panic!("{other:?}"),
    };
    let modern = env(r#"ENV a=1 b="x y" c=z\ w d= "e f"=g"#);
    assert_eq!(
        pairs(&modern.pairs),
        [
            ("a", "1"),
            ("b", "\"x y\""),
            ("c", "z\\ w"),
            ("d", ""),
            ("\"e f\"", "g")
        ]
    );
    assert!(!modern.is_legacy);
    let legacy = env("ENV a  b c=d \"e\"");
    assert_eq!(
        (pairs(&legacy.pairs), legacy.is_legacy),
        (vec![("a", "b c=d \"e\"")], true)
    );
    let InstructionKind::Label(label) = one("LABEL a.b=c d='e f'") else {
        panic!()
    };
    assert_eq!(pairs(&label.pairs), [("a.b", "c"), ("d", "'e f'")]);
    fails("ENV", "ENV requires at least one argument");
    fails("ENV a", "ENV must have two arguments, a name and a value");
    fails("LABEL =a", "LABEL names cannot be blank");
    fails("ARG =a", "ARG names cannot be blank");
    fails("ARG", "ARG requires at least one argument");
    fails(
        "ENV a=b c",
        "no `=` in `c`: ENV takes words of the form name=value (a value with blanks needs quotes)",
    );
    fails(
        "ENV a=${B:?must set}",
        "no `=` in `set}`: ENV takes words of the form name=value (words are split before variables are expanded: put \
         the value into double quotes)",
    );
}

#[test]
fn healthchecks() {
    let check = |body: &str| match one(body) {
        InstructionKind::Healthcheck(check) => check,
        other => panic!("{other:?}"),
    };
    let full = check(
        "HEALTHCHECK --interval=1m30s --timeout=0 --start-period=1ms --start-interval=2s --retries=3 cmd curl -f x || exit 1",
    );
    assert_eq!(full.test, HealthTest::Command(shell("curl -f x || exit 1")));
    let durations = [
        &full.interval,
        &full.timeout,
        &full.start_period,
        &full.start_interval,
    ];
    let durations = durations.map(|found| found.as_ref().map(|found| found.value.as_millis()));
    assert_eq!(durations, [Some(90_000), Some(0), Some(1), Some(2_000)]);
    assert_eq!(full.retries.map(|retries| retries.value), Some(3));
    assert_eq!(
        check("HEALTHCHECK CMD [\"a\"]").test,
        HealthTest::Command(exec(&["a"]))
    );
    assert_eq!(check("HEALTHCHECK none").test, HealthTest::None);
    fails("HEALTHCHECK", "HEALTHCHECK requires at least one argument");
    fails("HEALTHCHECK CMD", "missing command after HEALTHCHECK CMD");
    fails(
        "HEALTHCHECK CMD []",
        "missing command after HEALTHCHECK CMD",
    );
    fails("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments");
    fails(
        "HEALTHCHECK curl x",
        "unknown type `curl` in HEALTHCHECK: expected CMD or NONE",
    );
    fails(
        "HEALTHCHECK --interval=5 CMD x",
        "invalid duration `5` for --interval: the unit is missing: use h, m, s, ms, us or ns",
    );
    fails(
        "HEALTHCHECK --timeout=1us CMD x",
        "invalid duration `1us` for --timeout: it is less than 1ms",
    );
    fails(
        "HEALTHCHECK --retries=-1 CMD x",
        "invalid value `-1` for --retries: expected a number from 0 on",
    );
}

#[test]
fn the_small_ones() {
    let InstructionKind::Expose(expose) = one("EXPOSE 90/udp $PORT 80") else {
        panic!()
    };
    assert_eq!(values(&expose.ports), ["$PORT", "80", "90/udp"]);
    let InstructionKind::Volume(volume) = one(r#"VOLUME [" /a ", "/b"]"#) else {
        panic!()
    };
    assert_eq!(values(&volume.paths), ["/a", "/b"]);
    let InstructionKind::User(user) = one("USER a b ") else {
        panic!()
    };
    assert_eq!(user.user.value, "a b");
    let InstructionKind::Workdir(workdir) = one("WORKDIR \"/a b\"") else {
        panic!()
    };
    assert_eq!(workdir.path.value, "\"/a b\"");
    let InstructionKind::Stopsignal(stopsignal) = one("STOPSIGNAL $S") else {
        panic!()
    };
    assert_eq!(stopsignal.signal.value, "$S");
    let InstructionKind::Shell(shell) = one(r#"SHELL ["a", "-c"]"#) else {
        panic!()
    };
    assert_eq!(shell.shell.value, ["a", "-c"]);
    let InstructionKind::Maintainer(maintainer) = one("MAINTAINER A <a@b>") else {
        panic!()
    };
    assert_eq!(maintainer.name.value, "A <a@b>");
    fails("EXPOSE", "EXPOSE requires at least one argument");
    fails("VOLUME [\"\"]", "VOLUME cannot be an empty string");
    fails("VOLUME []", "VOLUME requires at least one argument");
    fails("USER", "USER requires exactly one argument");
    fails("WORKDIR", "WORKDIR requires exactly one argument");
    fails("SHELL []", "SHELL requires at least one argument");
    fails(
        "SHELL bash -c",
        "SHELL requires its arguments in JSON form (for example SHELL [\"/bin/bash\", \"-c\"])",
    );
    fails(
        "FROM",
        "FROM requires either one argument, or three: FROM <image> AS <name>",
    );
    fails(
        "FROM a b",
        "FROM requires either one argument, or three: FROM <image> AS <name>",
    );
    fails(
        "FROM a as b c",
        "FROM requires either one argument, or three: FROM <image> AS <name>",
    );
    fails(
        "FROM a AS 1b",
        "invalid stage name `1b`: it must start with a letter and hold only letters, digits, `-`, `_` and `.`",
    );
    fails(
        "CMD --version",
        "unknown flag for CMD: --version (CMD has no flags; put `--` in front of an argument that starts with two dashes)",
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

#[test]
fn bytes_that_are_not_text() {
    let check = |text: &[u8], expect: &str| {
        assert_eq!(parse(text).unwrap_err().to_string(), expect);
    };
    check(
        b"FROM a\nRUN \xff\n",
        "dockerfile line 2: the text is not valid UTF-8",
    );
    check(
        b"FROM a\nRUN a\0b\n",
        "dockerfile line 2: the text holds a NUL byte",
    );
    check(
        b"FROM a\nRUN <<E\nx\xff\nE\n",
        "dockerfile line 3: the text is not valid UTF-8",
    );
    check(
        b"FROM a\nRUN <<E\nx\0\nE\n",
        "dockerfile line 3: the text holds a NUL byte",
    );
    assert!(parse(b"# caf\xe9\nFROM a\nRUN a \\\n # \xe9\n b\n").is_ok());
}

#[test]
fn limits() {
    let line = |length: usize| format!("FROM a\nRUN {}", "x".repeat(length - 4));
    assert_eq!(problems(&line(65_535)), [""; 0]);
    assert_eq!(
        problems(&line(65_536)),
        ["dockerfile line 2: the line is longer than 65535 bytes"]
    );
    assert_eq!(
        problems(&line(10 << 20)),
        ["dockerfile line 1: the dockerfile is larger than 8388608 bytes"]
            .map(|text| text.replace("line 1", "line 2"))
    );
}

#[test]
fn large_files_take_linear_time() {
    let mut stages = String::new();
    for number in 0..10_000 {
        writeln!(
            stages,
            "FROM scratch AS s{number}\nCOPY --from=s{number} a b"
        )
        .unwrap();
    }
    let texts = [
        stages,
        format!("FROM a\n{}", "ENV a=${b:-c} d=\"e f\"\n".repeat(300_000)),
        format!("FROM a\nRUN {}", "a <<x \\\n".repeat(100_000)),
        format!("FROM a\nRUN {}", "x\\\n\n# c\n".repeat(900_000)),
        format!("FROM a\nENV {}b=c", "a=b \\\n".repeat(1_000_000)),
        format!("FROM a\nCMD {}", "[ \\\n".repeat(1_000_000)),
        format!("FROM a\nRUN {}", "${a:- \\\n".repeat(500_000)),
        format!("FROM a\n{}", "RUNN <<E\n".repeat(500_000)),
    ];
    for text in texts {
        let start = Instant::now();
        let _ = parse(text.as_bytes());
        // Generous: this build is not optimized and the machine may be busy.
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?} for {}",
            start.elapsed(),
            &text[..40]
        );
    }
}

const SCRAPS: &str = r#"(FROM a|RUN|COPY|ADD|ENV|ARG|CMD|HEALTHCHECK|ONBUILD|LABEL|VOLUME|EXPOSE|SHELL|# escape=`| |--from=|--mount|--|<<EOF|<<-'E'|EOF|E|\[|\]|"|'|\\|\n|\r|\t|=|,|\$\{|\}|é|a|0|`|#|\x00){0,40}"#;

/// Every span lies in the text, on the bounds of characters.
fn check_spans(text: &[u8], file: &Dockerfile) {
    let check = |span: Span| {
        assert!(
            span.start <= span.end && span.end <= text.len(),
            "{span:?} in {text:?}"
        )
    };
    for stage in &file.stages {
        check(stage.span);
        check(stage.from.image.span);
        for instruction in &stage.instructions {
            check(instruction.span);
            check(instruction.keyword);
            let keyword = &text[instruction.keyword.start..instruction.keyword.end];
            if !keyword.contains(&b'\\') && !keyword.contains(&b'`') {
                assert!(
                    keyword.eq_ignore_ascii_case(instruction.kind.keyword().as_bytes()),
                    "{text:?}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(file) = parse(&text) {
            check_spans(&text, &file);
        }
    }

    #[test]
    fn no_scraps_panic(text in SCRAPS) {
        for text in [text.clone(), format!("FROM a\n{text}")] {
            match parse(text.as_bytes()) {
                Ok(file) => check_spans(text.as_bytes(), &file),
                Err(errors) => {
                    prop_assert!(!errors.errors.is_empty());
                    for error in errors.errors {
                        prop_assert!(error.line >= 1 && error.span.end <= text.len());
                    }
                }
            }
            let _ = parse_instruction(&text);
        }
    }

    #[test]
    fn no_truncation_panics(cut in 0_usize..400) {
        let text = "# syntax=x\nARG A=1\nFROM --platform=$P a AS b\nRUN --mount=type=x <<-EOF\n\ta\n\tEOF\nCOPY --chown=1 [\"a\", \"b\"]\n\
            ENV a=\"b c\" \\\n # c\n d=é\nHEALTHCHECK --interval=1s CMD x\nONBUILD COPY <<'E' /x\ny\nE\nLABEL a b\nVOLUME /x\n";
        let _ = parse(&text.as_bytes()[..cut.min(text.len())]);
    }

    #[test]
    fn triggers_survive_a_second_reading(words in "[a-z$={} ]{1,20}", body in "[a-z \t$]{0,10}") {
        let text = format!("FROM a\nONBUILD RUN x{words}<<E y\n{body}\nE\n");
        if let Ok(file) = parse(text.as_bytes())
            && let InstructionKind::Onbuild(onbuild) = &file.stages[0].instructions[0].kind
            && let InstructionKind::Run(first) = &onbuild.instruction.kind
        {
            let again = parse_instruction(&onbuild.trigger);
            let Ok(InstructionKind::Run(second)) = again.map(|found| found.kind) else {
                panic!("{}", onbuild.trigger);
            };
            prop_assert_eq!(first.invocation(), second.invocation());
        }
    }
}
