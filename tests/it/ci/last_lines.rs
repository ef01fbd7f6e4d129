//! What a failed command wrote last stands with the error, wherever that is told.

use std::fs;

use serde_json::Value;

use super::{InCi as _, payloads, runner};
use crate::program::{Call, Finished, Scene};

const TITLE: &str = "\n  last lines of its output:\n";

/// A build whose last command prints a file of the context and fails. The file's end is that of a line.
fn failing(
    output: impl AsRef<[u8]>,
    prepare: impl FnOnce(Call, &Scene) -> Call,
) -> Option<(Scene, Finished)> {
    let scene = Scene::with_busybox()?;
    scene.file("output", output).dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY output /\nRUN cat /output; exit 3\n",
    );
    let failed = prepare(scene.build(), &scene).run();
    assert_eq!(failed.code(), 3, "{failed}");
    failed.says("RUN cat /output; exit 3: exit code 3");
    Some((scene, failed))
}

/// The lines below the error.
fn told(failed: &Finished) -> Vec<&str> {
    let Some((_, below)) = failed.stderr.split_once(TITLE) else {
        return Vec::new();
    };
    below
        .lines()
        .map_while(|line| line.strip_prefix("    | "))
        .collect()
}

fn numbered(count: usize) -> String {
    let lines = (1..=count).map(|number| format!("line {number}"));
    lines.chain([String::new()]).collect::<Vec<_>>().join("\n")
}

/// Nothing but errors: what the command writes is in the error only.
fn quiet(call: Call, _: &Scene) -> Call {
    call.arg("--verbosity=error")
}

#[test]
fn github_is_told_the_last_lines() {
    let Some((scene, failed)) = failing(numbered(30), Call::github) else {
        return;
    };
    let expect: Vec<String> = (11..=30).map(|number| format!("line {number}")).collect();
    assert_eq!(told(&failed), expect, "{failed}");
    let (folded, after) = failed
        .stderr
        .rsplit_once("::endgroup::\n")
        .expect("a group");
    assert!(
        folded.contains("\nline 30\n") && !folded.contains(TITLE),
        "{failed}"
    );
    assert!(after.starts_with("error: RUN"), "{failed}");
    failed.says(&format!(
        "::error file=Dockerfile,line=5,title=longshore::RUN cat /output; exit 3: exit code 3%0A{}\n",
        expect.join("%0A")
    ));
    let summary = fs::read_to_string(scene.out("summary")).expect("a summary");
    let block = format!("{TITLE}    | {}\n```\n", expect.join("\n    | "));
    assert!(summary.contains(&block), "{summary}");
}

#[test]
fn gitlab_is_told_the_last_lines_outside_of_the_section() {
    let Some((_, failed)) = failing("one\ntwo\n", Call::gitlab) else {
        return;
    };
    assert_eq!(told(&failed), ["one", "two"], "{failed}");
    let (folded, after) = failed
        .stderr
        .rsplit_once("section_end:")
        .expect("a section");
    assert!(
        folded.contains("\ntwo\n") && !folded.contains(TITLE),
        "{failed}"
    );
    assert!(after.contains(TITLE), "{failed}");
}

#[test]
fn what_stands_directly_above_is_not_told_again() {
    let Some((_, failed)) = failing("one\ntwo\n", |call, _| call) else {
        return;
    };
    failed.says("\none\ntwo\nerror: RUN");
    assert_eq!(told(&failed), [""; 0], "{failed}");
    // Nor does a CI system without groups get it twice.
    let (_, failed) = failing("one\n", |call, _| call.env("CI", "true")).expect("as before");
    assert_eq!(told(&failed), [""; 0], "{failed}");
    let (_, failed) = failing("one\ntwo\n", quiet).expect("as before");
    assert_eq!(told(&failed), ["one", "two"], "{failed}");

    // Of several stages, another may have written in between.
    let scene = Scene::with_busybox().expect("as before");
    scene.dockerfile(
        "FROM scratch AS base\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\n\
         FROM base AS other\nRUN echo of the other; sleep 60\n\
         FROM base AS failing\nRUN sleep 2; echo of this; exit 4\n\
         FROM base\nCOPY --from=other /x /y\nCOPY --from=failing /x /y\n",
    );
    let failed = scene.build().args(["--no-push", "--jobs=2"]).run();
    assert_eq!(failed.code(), 4, "{failed}");
    if failed.stderr.contains("of the other") {
        assert_eq!(told(&failed), ["of this"], "{failed}");
    }
}

#[test]
fn json_has_the_last_lines_in_a_field() {
    let Some((_, failed)) = failing("one\n\u{1b}[31mtwo\u{1b}[0m\n", |call, scene| {
        call.github(scene).arg("--log-format=json")
    }) else {
        return;
    };
    let last = failed.stderr.lines().last().expect("a line");
    let object: Value = serde_json::from_str(last).expect("an object");
    assert_eq!(object["level"], "error", "{failed}");
    assert_eq!(object["stage"], "stage-0", "{failed}");
    assert_eq!(
        object["output"],
        serde_json::json!(["one", "two"]),
        "{failed}"
    );
}

#[test]
fn a_command_that_wrote_nothing_has_no_last_lines() {
    let Some((scene, failed)) = failing("", Call::github) else {
        return;
    };
    failed.keeps("last lines of its output");
    failed.says("::RUN cat /output; exit 3: exit code 3\n");
    scene.dockerfile("FROM scratch\nCOPY busybox /bin/sh\nRUN echo; echo >&2; exit 4\n");
    let failed = scene.build().github(&scene).mistake();
    assert_eq!(failed.code(), 4, "{failed}");
    failed.keeps("last lines of its output");
}

#[test]
fn lines_are_bounded_and_readable() {
    // An enormous line, with what ends it cut off; and so many long ones that only some are told.
    let mut output = vec![b'x'; 1 << 20];
    output.extend(b"\nshort\n");
    let Some((_, failed)) = failing(&output, Call::github) else {
        return;
    };
    let lines = told(&failed);
    assert_eq!(lines.len(), 2, "{}", lines.len());
    assert_eq!(lines[0], format!("{}…", "x".repeat(400)));
    assert_eq!(lines[1], "short");
    let annotation = failed
        .stderr
        .lines()
        .find(|line| line.starts_with("::error "));
    assert!(annotation.is_some_and(|line| line.len() < 4000 && line.ends_with("%0Ashort")));

    let wide = "ü".repeat(300);
    let output: Vec<String> = (10..30).map(|number| format!("{number} {wide}")).collect();
    let (_, failed) = failing(output.join("\n"), quiet).expect("as before");
    let lines = told(&failed);
    assert!(lines.iter().map(|line| line.len() + 1).sum::<usize>() <= 8 * 1024);
    assert!((12..20).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines.last(), Some(&&*format!("29 {wide}")));

    // Bytes that are no text, sequences, a progress bar, and no line end.
    let output =
        b"a\xff\xfeb\n\x1b[2J\x1b[31mred\x1b[0m\tend\r\n 10%\r 50%\r100%\n\n\n\nlast\r".as_slice();
    let (_, failed) = failing(output, quiet).expect("as before");
    assert_eq!(
        told(&failed),
        ["a\u{fffd}\u{fffd}b", "red\tend", "100%", "", "last"],
        "{failed}"
    );
}

#[test]
fn the_last_lines_are_no_commands() {
    // Each payload would fill all lines alone: several builds, each with as many as there is room for.
    let all = payloads::joined();
    let lines: Vec<&[u8]> = all.split(|byte| *byte == b'\n').collect();
    let short: Vec<&[u8]> = lines.into_iter().filter(|line| line.len() < 200).collect();
    for some in short.chunks(20) {
        let Some((scene, failed)) = failing(some.join(&b'\n'), Call::github) else {
            return;
        };
        for obeys_stop in [true, false] {
            let commands = runner::github(&failed.stderr, obeys_stop);
            let expect = ["group", "stop-commands", "endgroup", "error"];
            assert_eq!(runner::names(&commands), expect, "{failed}");
        }
        payloads::is_plain(&failed.stderr, "the last lines");
        let summary = fs::read_to_string(scene.out("summary")).expect("a summary");
        payloads::is_plain(&summary, "the summary");
    }
}

#[test]
fn the_last_lines_stay_in_the_summarys_fence() {
    let output = "</details><img src=x>\n```\n# heading\n````text\n~~~\n`code`\n";
    let Some((scene, failed)) = failing(output, Call::github) else {
        return;
    };
    assert_eq!(told(&failed).len(), 6, "{failed}");
    let summary = fs::read_to_string(scene.out("summary")).expect("a summary");
    let fences: Vec<&str> = summary
        .lines()
        .filter(|line| line.contains("```"))
        .collect();
    assert_eq!(fences, ["```text", "```"], "{summary}");
    let (fenced, _) = summary.split_once("\n```\n").expect("a fence");
    assert!(fenced.ends_with("    | `code`"), "{summary}");
}

#[test]
fn the_last_lines_hold_no_secret() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    let (secret, token) = ("planted-secret-value", "planted-job-token");
    // What is kept of a line ends in the middle of the secret then.
    let fill = "\u{1b}[m".repeat((16 * 1024 - secret.len() / 2) / 3);
    scene.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY fill /\nARG T\n\
         RUN --mount=type=secret,id=a echo \"it is $T\"; cat /run/secrets/a; echo; cat /fill; cat /run/secrets/a; \
         cat /fill /run/secrets/a >&2; exit 1\n",
    );
    scene.file("fill", fill);
    let failed = scene
        .build()
        .github(&scene)
        .env("GITHUB_TOKEN", token)
        .env("A", secret)
        .args(["--secret=id=a,env=A", "--build-arg", &format!("T={token}")])
        .mistake();
    assert!(told(&failed).contains(&"it is ***"), "{failed}");
    assert!(told(&failed).contains(&"***"), "{failed}");
    let summary = fs::read_to_string(scene.out("summary")).expect("a summary");
    assert!(summary.contains("    | it is ***\n"), "{summary}");
    failed.keeps("planted").says("%0Ait is ***");
    assert!(!summary.contains("planted"), "{summary}");
}
