//! Tests of the arguments of single instructions.

use super::tests::{copy, exec, fails, one, pairs, shell, values};
use super::*;

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
