//! Texts of others in the log, against the runners' grammars: no payload of the fixture is a command, whichever way it gets in.

use std::fs;

use serde_json::{Value, json};

use super::{InCi as _, outputs, runner};
use crate::program::{Call, Finished, Scene};
use crate::support::registry::{Action, Auth, Registry};

/// The fixture's payloads, each with the number of its heading.
fn payloads() -> Vec<(u32, Vec<u8>)> {
    let mut number = 0;
    let mut payloads = Vec::new();
    for line in include_str!("../../fixtures/ci/payloads").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let first = heading.split(' ').next().expect("a number");
            number = first.parse().expect("a number");
        } else if !line.is_empty() && !line.starts_with("# ") {
            payloads.push((number, bytes(line)));
        }
    }
    payloads
}

/// A line of the fixture as the bytes that it stands for.
fn bytes(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        let kind = rest.chars().next().expect("a kind");
        rest = &rest[1..];
        let mut digits = |count: usize| {
            let number = u32::from_str_radix(&rest[..count], 16).expect("a number");
            rest = &rest[count..];
            number
        };
        match kind {
            'e' => bytes.push(0x1b),
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'L' => bytes.extend(std::iter::repeat_n(b'x', 64 * 1024)),
            'x' => bytes.push(u8::try_from(digits(2)).expect("a byte")),
            'u' => {
                let c = char::from_u32(digits(4)).expect("a character");
                bytes.extend(c.to_string().bytes());
            }
            other => panic!("\\{other} in the payloads"),
        }
    }
    bytes
}

/// All of them, a line each.
pub(super) fn joined() -> Vec<u8> {
    let lines: Vec<Vec<u8>> = payloads().into_iter().map(|(_, bytes)| bytes).collect();
    let mut all = lines.join(&b'\n');
    all.push(b'\n');
    all
}

/// As a variable or a JSON text can hold them.
fn as_text() -> String {
    String::from_utf8_lossy(&joined()).replace('\0', "")
}

/// Builds an image whose RUN step prints all payloads, on both streams, and tries to write them to the runner's files.
fn hostile(prepare: impl FnOnce(Call, &Scene) -> Call) -> Option<(Scene, Finished)> {
    let scene = Scene::with_busybox()?;
    scene.file("payloads", joined()).dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY payloads /\n\
         RUN echo begin; cat /payloads; cat /payloads >&2; printf '::error::without a line end'\n\
         RUN for file in \"$GITHUB_OUTPUT\" \"$GITHUB_ENV\" \"$GITHUB_STEP_SUMMARY\" /tekton/results/IMAGE_DIGEST; do \
         [ -z \"$file\" ] || cat /payloads >>\"$file\"; done 2>/dev/null; echo end ; : '::error::in the instruction ##[error]x'\n",
    );
    let finished = prepare(scene.build(), &scene).success();
    finished.says("begin").says("end");
    Some((scene, finished))
}

/// A text as it is when somebody has taken colours and the like away, and then reads it.
fn without_sequences(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ';' | ':'));
        rest = rest.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Nothing is read by any runner's grammar but GitHub's.
pub(super) fn is_plain(log: &str, what: &str) {
    assert_eq!(runner::azure_and_teamcity(log), [], "{what}");
    assert_eq!(runner::jenkins(log), [], "{what}");
    assert_eq!(runner::folds(log), [], "{what}");
    assert_eq!(runner::gitlab(log), [], "{what}");
    assert_eq!(runner::terminal(log), [""; 0], "{what}");
}

#[test]
fn the_payloads_are_commands_as_they_stand() {
    let payloads = payloads();
    let of = |number: u32| payloads.iter().filter(|(row, _)| *row == number).count();
    for (number, least) in [
        (1, 35),
        (2, 70),
        (3, 45),
        (4, 8),
        (5, 8),
        (6, 3),
        (7, 3),
        (8, 3),
    ] {
        assert!(of(number) >= least, "{number}: {}", of(number));
    }
    // What finds nothing in a log finds something here: in each payload of the first three kinds, and in all by each grammar.
    let is_found = |text: &str| {
        // A token of nobody's would end what stops commands.
        let text = text.replace("stop-commands", "stop");
        !runner::github(&text, false).is_empty()
            || !runner::azure_and_teamcity(&text).is_empty()
            || !runner::gitlab(&text).is_empty()
            || !runner::jenkins(&text).is_empty()
            || !runner::folds(&text).is_empty()
            || !runner::terminal(&text).is_empty()
    };
    for (number, payload) in &payloads {
        let text = String::from_utf8_lossy(payload);
        // What is shown as another character, and what is behind a line's worth, is harmless until something else ends the line.
        let is_maimed = text.contains('\u{fffd}') || payload.len() > 64 * 1024;
        if *number <= 3 && !is_maimed {
            assert!(
                is_found(&text) || is_found(&without_sequences(&text)),
                "{text:?}"
            );
        }
    }
}

#[test]
fn no_output_of_a_step_is_a_command_of_github() {
    let Some((scene, finished)) = hostile(Call::github) else {
        return;
    };
    // With the bracket, and as if there were none.
    for obeys_stop in [true, false] {
        let expect = [
            "group",
            "stop-commands",
            "endgroup",
            "group",
            "stop-commands",
            "endgroup",
        ];
        let commands = runner::github(&finished.stderr, obeys_stop);
        assert_eq!(runner::names(&commands), expect, "{finished}");
    }
    is_plain(&finished.stderr, "github");
    // What the step wrote to is not the runner's.
    let mut written: Vec<String> = outputs(&scene).into_keys().collect();
    written.sort_unstable();
    let promised = [
        "digest", "image", "imageid", "metadata", "pushed", "tags", "version",
    ];
    assert_eq!(written, promised);
    let summary = fs::read_to_string(scene.out("summary")).expect("a summary");
    assert!(!summary.contains("forged"), "{summary}");
    // The token cannot be foreseen.
    let token = |finished: &Finished| {
        let line = finished
            .stderr
            .lines()
            .find(|line| line.starts_with("::stop-commands::"));
        line.expect("a token").to_owned()
    };
    let (_, again) = hostile(Call::github).expect("as before");
    assert_ne!(token(&finished), token(&again));
}

#[test]
fn no_output_of_a_step_is_a_command_elsewhere() {
    let Some((_, finished)) = hostile(Call::gitlab) else {
        return;
    };
    let sections: Vec<_> = runner::gitlab(&finished.stderr)
        .into_iter()
        .map(|section| (section.name, section.text))
        .collect();
    let expect = [
        ("section_start", "longshore_1"),
        ("section_start", "longshore_2"),
        ("section_end", "longshore_1"),
        ("section_end", "longshore_2"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(sections, expect, "{finished}");
    let without_sections = finished
        .stderr
        .replace("\u{1b}[0Ksection_", "")
        .replace("\r\u{1b}[0K", "");
    is_plain(&without_sections, "gitlab");
    assert_eq!(runner::github(&finished.stderr, false), []);

    for variables in [
        &[("TF_BUILD", "True")][..],
        &[("BUILDKITE", "true")],
        &[("CI", "true")],
        &[("DRONE", "true")],
        &[("CIRCLECI", "true")],
        &[
            ("JENKINS_URL", "https://ci.test/"),
            ("BUILD_TAG", "jenkins-a-1"),
        ],
        &[("LONGSHORE_CI", "tekton")],
    ] {
        let set = |call: Call, _: &Scene| {
            variables
                .iter()
                .fold(call, |call, (name, value)| call.env(name, value))
        };
        let (_, finished) = hostile(set).expect("as before");
        let mut log = finished.stderr.clone();
        // Its own: two groups, or two headings.
        for own in ["##[group]", "##[endgroup]", "\n--- "] {
            let name = variables[0].0;
            let is_own = name == "TF_BUILD" && own.starts_with("##")
                || name == "BUILDKITE" && own.starts_with('\n');
            let count = format!("\n{log}").matches(own).count();
            assert_eq!(count, if is_own { 2 } else { 0 }, "{own:?} {finished}");
            log = format!("\n{log}").replace(own, "\n");
        }
        is_plain(&log, variables[0].0);
        assert_eq!(runner::github(&log, false), [], "{finished}");
    }

    let set = |call: Call, scene: &Scene| call.github(scene).arg("--log-format=json");
    let (_, finished) = hostile(set).expect("as before");
    assert_eq!(runner::github(&finished.stderr, false), [], "{finished}");
    is_plain(&finished.stderr, "JSON");
    for line in finished.stderr.lines() {
        serde_json::from_str::<Value>(line).expect("an object a line");
    }
}

#[test]
fn what_goes_wrong_is_no_command_either() {
    let Some(scene) = Scene::new() else { return };
    let only_errors = |finished: &Finished| {
        let commands = runner::github(&finished.stderr, false);
        assert!(!commands.is_empty(), "{finished}");
        let strange = commands.iter().find(|command| command.name != "error");
        assert_eq!(strange, None, "{finished}");
        is_plain(&finished.stderr, "a mistake");
    };
    // In the Dockerfile.
    scene.dockerfile(&format!("FROM scratch\n{}", as_text()));
    let failed = scene.build().github(&scene).run();
    assert!(!failed.status.success(), "{failed}");
    only_errors(&failed);
    // In an input.
    scene.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    let action = || {
        scene
            .longshore(&["action"])
            .github(&scene)
            .current_dir(scene.path(""))
            .env("LONGSHORE_STATE_DIR", scene.state())
    };
    // A variable holds 128 KiB.
    let mut short = as_text();
    short = short.replace(&"x".repeat(64 * 1024), "");
    for name in [
        "INPUT_TARGET",
        "INPUT_TAGS",
        "INPUT_LABELS",
        "INPUT_PLATFORMS",
        "INPUT_FILE",
    ] {
        only_errors(&action().env(name, &short).mistake());
    }
    // In what a registry says.
    let registry = Registry::start(Auth::Open);
    let message = json!({"errors": [{"code": "DENIED", "message": as_text()}]});
    let kind = ("content-type", "application/json".to_owned());
    let denied = Action::Status(403, vec![kind], message.to_string());
    registry.fault("*", "/v2/app", usize::MAX, denied);
    let refused = action()
        .env("INPUT_TAGS", format!("{}/app:1", registry.host()))
        .env("INPUT_PUSH", "true")
        .mistake();
    refused.says("forged");
    only_errors(&refused);
}
