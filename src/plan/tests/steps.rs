//! What RUN, COPY, ADD, WORKDIR and triggers come to.

use super::*;

#[test]
fn copies_have_clean_paths_and_absolute_destinations() {
    let cases: [(&str, &[&str], &str); 11] = [
        ("COPY a b", &["a"], "/w/b"),
        ("COPY . .", &["."], "/w/"),
        ("COPY / ./", &["."], "/w/"),
        ("COPY ../../a/ /x/../y", &["a"], "/y"),
        ("COPY a b c/", &["a", "b"], "/w/c/"),
        ("COPY a* $EMPTY", &["a*"], "/w/"),
        ("COPY [\"a b\", \"c d\"]", &["a b"], "/w/c d"),
        ("COPY a ..", &["a"], "/"),
        ("COPY --link --chmod=644 a /", &["a"], "/"),
        ("COPY --link=false --parents=false a /", &["a"], "/"),
        ("COPY --chown= --chmod=$EMPTY a /d/.", &["a"], "/d/"),
    ];
    for (instruction, sources, destination) in cases {
        let stage = last(
            &format!("FROM plain\nWORKDIR /w\n{instruction}\n"),
            &options(),
        );
        let copy = copies(&stage)[0];
        let found = copy.sources.iter().map(|source| match source {
            CopySource::Path(path) => path.value.as_str(),
            CopySource::Parents { .. }
            | CopySource::Inline { .. }
            | CopySource::Url(_)
            | CopySource::Repository(_) => {
                panic!("{instruction}")
            }
        });
        assert_eq!(found.collect::<Vec<_>>(), sources, "{instruction}");
        assert_eq!(copy.destination, destination, "{instruction}");
        assert_eq!((copy.from, copy.unpack), (CopyFrom::Context, Unpack::Never));
        assert_eq!(copy.chown, None, "{instruction}");
    }
}

#[test]
fn copies_carry_their_owner_and_mode() {
    let text = "FROM plain\nARG U=me\nCOPY --chown=$U:7 --chmod=u=rwX,go=rX a /b\n";
    let stage = last(text, &options());
    let copy = copies(&stage)[0];
    let chown = copy.chown.as_ref().unwrap();
    assert_eq!(chown.value, "me:7");
    assert_eq!(&text[chown.span.start..chown.span.end], "$U:7");
    let chmod = &copy.chmod.as_ref().unwrap().value;
    assert_eq!(
        (chmod.apply(0o600, false), chmod.apply(0o700, true)),
        (0o644, 0o755)
    );
}

#[test]
fn add_unpacks_unless_told_not_to() {
    for (flag, unpack) in [
        ("", Unpack::Auto),
        ("--unpack", Unpack::Always),
        ("--unpack=false", Unpack::Never),
        ("--keep-git-dir=false", Unpack::Auto),
    ] {
        let stage = last(&format!("FROM plain\nADD {flag} a.tar /\n"), &options());
        let add = copies(&stage)[0];
        assert_eq!((add.instruction, add.unpack), ("ADD", unpack), "{flag}");
    }
}

#[test]
fn documents_become_files() {
    let text = "FROM plain\nARG V='a b'\nCOPY <<ONE <<-'TWO' <<\"THREE\" /d/\n$V \"q\" \\$V\nONE\n\t$V\n\tTWO\n$V\nTHREE\n";
    let stage = last(text, &options());
    let found: Vec<(&str, &str)> = copies(&stage)[0]
        .sources
        .iter()
        .map(|source| match source {
            CopySource::Inline { name, content } => (name.as_str(), content.as_str()),
            source => panic!("{source:?}"),
        })
        .collect();
    assert_eq!(
        found,
        [
            ("ONE", "a b \"q\" $V\n"),
            ("TWO", "$V\n"),
            ("THREE", "$V\n")
        ]
    );
}

#[test]
fn runs_have_all_that_a_process_needs() {
    let text = "FROM rich\nRUN one\nUSER u:g\nWORKDIR sub//\nSHELL [\"/s\", \"-x\"]\nRUN two\nRUN [\"three\", \"$A\"]\n\
        RUN <<EOF\nfour\nEOF\nRUN cat <<A && cat <<-B\n1\nA\n\t2\nB\nRUN <<P\n#!/usr/bin/env x\nP\n";
    let stage = last(text, &options());
    let found: Vec<String> = runs(&stage)
        .iter()
        .map(|run| {
            format!(
                "{}|{}|{}|{}",
                run.argv.join(","),
                run.workdir,
                run.user,
                run.shell_form
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            "/bin/ash,-ec,one|/base|app|true",
            "/s,-x,two|/base/sub|u:g|true",
            "three,$A|/base/sub|u:g|false",
            "/s,-x,four\n|/base/sub|u:g|true",
            "/s,-x,cat <<A && cat <<-B\n1\nA\n\t2\nB|/base/sub|u:g|true",
            "/s,-x,/dev/pipes/P|/base/sub|u:g|true",
        ]
    );
    let programs: Vec<_> = runs(&stage)
        .iter()
        .filter_map(|run| run.program.clone())
        .collect();
    assert_eq!(
        programs,
        [("/dev/pipes/P".to_owned(), "#!/usr/bin/env x\n".to_owned())]
    );
}

#[test]
fn a_working_directory_belongs_to_the_user() {
    let stage = last(
        "FROM rich\nWORKDIR a/../b\nUSER 0\nWORKDIR /c/\n",
        &options(),
    );
    let found: Vec<(&str, &str)> = stage
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Workdir(workdir) => Some((workdir.path.as_str(), workdir.user.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(found, [("/base/b", "app"), ("/c", "0")]);
}

#[test]
fn triggers_of_an_image_come_first() {
    let text = "FROM trigger\nRUN own\n";
    let stage = last(text, &options());
    assert_eq!(
        history_of(&stage),
        [
            "ENV T=1",
            "COPY /t 1/ # buildkit",
            "CMD [\"/bin/sh\" \"-c\" \"trig\"]",
            "RUN /bin/sh -c own # buildkit",
        ]
    );
    assert!(stage.config.config.on_build.is_empty());
    let origin = &stage.steps[1].origin;
    assert_eq!(origin.trigger.as_deref(), Some("COPY --from=tools /t $T/"));
    assert_eq!(&text[origin.span.start..origin.span.end], "FROM trigger");
    let copy = copies(&stage)[0];
    assert_eq!(copy.from, CopyFrom::Image(1));
    assert_eq!(&text[copy.span.start..copy.span.end], "FROM trigger");
    assert_eq!(stage.steps[3].origin.trigger, None);
}

#[test]
fn triggers_of_a_stage_fire_in_its_children_only() {
    let text = "FROM plain AS a\nONBUILD ENV X=$Y\nONBUILD COPY <<EOF /\nin $Y\nEOF\nENV Y=1\nFROM a AS b\nRUN x\nFROM b\nRUN y\n";
    let plan = planned(text, &options()).unwrap();
    let all: Vec<Vec<&str>> = plan.stages.iter().map(history_of).collect();
    assert_eq!(all[0], ["", "", "ENV Y=1"]);
    assert_eq!(
        all[1],
        [
            "ENV X=1",
            "COPY <<EOF / # buildkit",
            "RUN /bin/sh -c x # buildkit"
        ]
    );
    assert_eq!(all[2], ["RUN /bin/sh -c y # buildkit"]);
    let on_build: Vec<_> = plan
        .stages
        .iter()
        .map(|stage| stage.config.config.on_build.len())
        .collect();
    assert_eq!(on_build, [2, 0, 0]);
    assert_eq!(
        plan.stages[0].config.config.on_build[1],
        "COPY <<EOF /\nin $Y\nEOF"
    );
    assert_eq!(
        plan.stages[1].steps[0].origin.trigger.as_deref(),
        Some("ENV X=$Y")
    );
    let inline = CopySource::Inline {
        name: "EOF".to_owned(),
        content: "in 1\n".to_owned(),
    };
    assert_eq!(copies(&plan.stages[1])[0].sources, [inline]);
}

#[test]
fn display_is_the_instruction_on_one_line() {
    let stage = last("FROM plain\nrun a \\\n  b\n", &options());
    assert_eq!(stage.steps[0].display, "run a   b");
}
