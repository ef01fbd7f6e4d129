//! Where which variable has which value.

use super::*;

/// The environment of the last RUN, without PATH, and the history entry of that RUN.
fn seen(text: &str, options: &Options) -> (Vec<String>, String) {
    let stage = last(text, options);
    let run = *runs(&stage).last().unwrap();
    let env = run.env.iter().filter(|(name, _)| name != "PATH");
    let env = env.map(|(name, value)| format!("{name}={value}")).collect();
    let history = stage
        .steps
        .iter()
        .rev()
        .find(|step| matches!(step.kind, StepKind::Run(_)));
    (env, history.unwrap().created_by.clone())
}

/// A Dockerfile, build arguments, the environment and the arguments in the history.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

#[test]
fn the_last_writer_wins() {
    let cases: [Case; 22] = [
        // A global ARG is not seen in a stage unless declared there again.
        ("ARG A=1\nFROM plain\nRUN x", &[], "", ""),
        ("ARG A=1\nFROM plain\nARG A\nRUN x", &[], "A=1", "|1 A=1"),
        ("ARG A=1\nFROM plain\nARG A=2\nRUN x", &[], "A=2", "|1 A=2"),
        (
            "ARG A=1\nFROM plain\nARG A=2\nRUN x",
            &[("A", "3")],
            "A=3",
            "|1 A=3",
        ),
        (
            "ARG A=1\nFROM plain\nARG A\nRUN x",
            &[("A", "2"), ("A", "3")],
            "A=3",
            "|1 A=3",
        ),
        (
            "ARG A=1\nARG B=$A-2\nFROM plain\nARG B\nRUN x",
            &[("A", "0")],
            "B=0-2",
            "|1 B=0-2",
        ),
        // Declared without a value.
        ("FROM plain\nARG A\nRUN x", &[], "", "|1 A="),
        ("FROM plain\nARG A=\nRUN x", &[], "A=", "|1 A="),
        // ENV against ARG.
        (
            "FROM plain\nARG A=1\nENV A=2\nRUN x",
            &[("A", "3")],
            "A=2",
            "|1 A=2",
        ),
        ("FROM plain\nENV A=1\nARG A=2\nRUN x", &[], "A=2", "|1 A=2"),
        (
            "FROM plain\nARG A=1\nENV A=${A}x B=$A\nRUN x",
            &[],
            "A=1x B=1",
            "|1 A=1x",
        ),
        ("FROM rich\nARG A=2\nRUN x", &[], "EMPTY= A=2", "|1 A=2"),
        // An overridden default is never expanded.
        (
            "FROM plain\nARG A=${B:?no}\nRUN x",
            &[("A", "1")],
            "A=1",
            "|1 A=1",
        ),
        // Within one ARG, later defaults see earlier values.
        (
            "FROM plain\nARG A=1 B=$A\nRUN x",
            &[],
            "A=1 B=1",
            "|2 A=1 B=1",
        ),
        (
            "FROM plain\nARG B=1\nARG A=2\nARG B=3\nRUN x",
            &[],
            "A=2 B=3",
            "|2 B=3 A=2",
        ),
        // Child stages inherit both; an ENV of the parent comes to the front again.
        (
            "FROM plain AS p\nARG A=1\nENV E=2\nFROM p\nRUN x",
            &[],
            "A=1 E=2",
            "|1 A=1",
        ),
        (
            "FROM plain AS p\nENV A=1\nARG A=2\nFROM p\nRUN x",
            &[],
            "A=1",
            "|1 A=1",
        ),
        ("FROM plain AS p\nARG A=1\nFROM plain\nRUN x", &[], "", ""),
        // Automatic arguments.
        ("FROM plain\nRUN x", &[("TARGETARCH", "x")], "", ""),
        (
            "FROM plain\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDARCH TARGETSTAGE\nRUN x",
            &[("TARGETOS", "beos")],
            "TARGETPLATFORM=linux/arm64 TARGETOS=beos TARGETARCH=arm64 TARGETVARIANT= BUILDPLATFORM=linux/amd64 BUILDARCH=amd64 TARGETSTAGE=default",
            "|7 TARGETPLATFORM=linux/arm64 TARGETOS=beos TARGETARCH=arm64 TARGETVARIANT= BUILDPLATFORM=linux/amd64 BUILDARCH=amd64 TARGETSTAGE=default",
        ),
        // Proxies reach RUN under both spellings, and the history only when declared.
        (
            "FROM plain\nENV http_proxy=old\nRUN x",
            &[
                ("http_proxy", "p"),
                ("HTTP_PROXY", "q"),
                ("no_proxy", "n"),
                ("ftp_proxy", ""),
            ],
            "HTTP_PROXY=p http_proxy=p NO_PROXY=n no_proxy=n",
            "",
        ),
        (
            "FROM plain\nARG HTTP_PROXY\nRUN x",
            &[("HTTP_PROXY", "q")],
            "HTTP_PROXY=q http_proxy=q",
            "|1 HTTP_PROXY=q",
        ),
    ];
    for (text, args, env, history) in cases {
        let (found, created_by) = seen(text, &with_args(args));
        assert_eq!(found.join(" "), env, "{text} {args:?}");
        let expect = format!("RUN {history} /bin/sh -c x # buildkit").replace("  ", " ");
        let expect = expect.replace(
            "/bin/sh -c",
            if text.contains("rich") {
                "/bin/ash -ec"
            } else {
                "/bin/sh -c"
            },
        );
        assert_eq!(created_by, expect, "{text} {args:?}");
    }
}

#[test]
fn arguments_never_enter_the_config() {
    let config = config_of("ARG G=1\nFROM rich\nARG G\nARG A=2\nENV B=$A\nRUN x\n");
    assert_eq!(config["Env"], json!(["PATH=/p", "A=base", "EMPTY=", "B=2"]));
}

#[test]
fn the_search_path_is_always_set() {
    let stage = last("FROM plain\nRUN x\n", &options());
    let expect = (
        "PATH".to_owned(),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    );
    assert_eq!(runs(&stage)[0].env, [expect]);
}

#[test]
fn what_is_expanded_and_what_is_not() {
    let text = "FROM plain\nARG V=1\nENV K$V=$V\nLABEL l$V=$V\nEXPOSE $V ${V}0/udp\nUSER u$V\nVOLUME /v$V\n\
        WORKDIR /w$V\nSTOPSIGNAL $V\nCOPY --chown=$V --chmod=$V a$V b$V/\nCMD $V\nENTRYPOINT [\"$V\"]\n\
        SHELL [\"$V\"]\nHEALTHCHECK CMD $V\nMAINTAINER $V\nONBUILD RUN $V\nRUN $V\n";
    assert_eq!(
        history_of(&last(text, &options()))[1..],
        [
            "ENV K1=1",
            "LABEL l1=1",
            "EXPOSE [1/tcp 10/udp]",
            "USER u1",
            "VOLUME [/v1]",
            "WORKDIR /w1",
            "STOPSIGNAL 1",
            "COPY --chown=1 --chmod=1 a1 b1/ # buildkit",
            "CMD [\"/bin/sh\" \"-c\" \"$V\"]",
            "ENTRYPOINT [\"$V\"]",
            "SHELL [$V]",
            "HEALTHCHECK {Test:[CMD-SHELL $V] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            "MAINTAINER $V",
            "",
            "RUN |1 V=1 $V $V # buildkit",
        ]
    );
}

#[test]
fn from_sees_global_and_automatic_arguments() {
    let text = "ARG NAME=pla\nFROM --platform=$BUILDPLATFORM ${NAME}in AS x\nFROM x\n";
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[], "plain linux/amd64"),
        (&[("BUILDPLATFORM", "linux/s390x")], "plain linux/s390x"),
        (
            &[("NAME", "pla"), ("BUILDPLATFORM", "linux/arm")],
            "plain linux/arm/v7",
        ),
    ];
    for (args, expect) in cases {
        let (outline, _) = outlined(text, &with_args(args)).unwrap();
        let [image] = &outline.images[..] else {
            panic!("{args:?}");
        };
        let name = image.reference.repository().trim_start_matches("library/");
        assert_eq!(format!("{name} {}", image.platform), expect, "{args:?}");
    }
    // A variable of a stage is not seen, whatever its ENV says.
    let error = outlined("FROM plain\nENV N=plain\nFROM $N\n", &options()).unwrap_err();
    assert!(matches!(error, PlanError::BlankBase { .. }), "{error}");
}

#[test]
fn the_target_stage_has_a_name() {
    for (target, expect) in [
        (None, "default"),
        (Some("a"), "a"),
        (Some("A"), "A"),
        (Some("0"), "a"),
        (Some("1"), "default"),
    ] {
        let options = Options {
            target: target.map(str::to_owned),
            ..options()
        };
        let stage = last(
            "FROM plain AS a\nARG TARGETSTAGE\nFROM a\nARG TARGETSTAGE\n",
            &options,
        );
        assert_eq!(
            history_of(&stage),
            [format!("ARG TARGETSTAGE={expect}")],
            "{target:?}"
        );
    }
}

#[test]
fn unused_build_arguments_are_named() {
    let options = with_args(&[
        ("USED", "1"),
        ("GLOBAL", "1"),
        ("OTHER", "1"),
        ("HTTP_proxy", "1"),
        ("TARGETOS", "linux"),
        ("BUILDKIT_CONTEXT_KEEP_GIT_DIR", "1"),
        ("SOURCE_DATE_EPOCH", "0"),
        ("TYPO", "1"),
        ("AGAIN", "1"),
    ]);
    let text = "ARG GLOBAL\nFROM plain AS unneeded\nARG OTHER\nFROM plain\nARG USED\n";
    let plan = planned(text, &options).unwrap();
    let expect = PlanWarning::UnusedBuildArgs(vec!["AGAIN".to_owned(), "TYPO".to_owned()]);
    assert_eq!(plan.warnings, [expect]);
    assert!(
        planned(text, &with_args(&[("USED", "1")]))
            .unwrap()
            .warnings
            .is_empty()
    );
}
