//! History entries and configurations.

use super::*;

/// One instruction on an image with a search path: its history entry and what it changed in the config.
#[test]
fn instructions_change_the_config_and_say_so() {
    let cases = [
        (
            "ENV A=1 B=\"x y\" C=$A",
            "ENV A=1 B=x y C=",
            json!({"Env": ["A=1", "B=x y", "C="]}),
        ),
        (
            "ENV KEY some  value",
            "ENV KEY=some  value",
            json!({"Env": ["KEY=some  value"]}),
        ),
        (
            "ENV PATH=/x:$PATH",
            "ENV PATH=/x:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            json!({"Env": null, "PATH": "/x:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}),
        ),
        (
            "LABEL a=1 \"b c\"='d e'",
            "LABEL a=1 b c=d e",
            json!({"Labels": {"a": "1", "b c": "d e"}}),
        ),
        (
            "CMD a b",
            "CMD [\"/bin/sh\" \"-c\" \"a b\"]",
            json!({"Cmd": ["/bin/sh", "-c", "a b"], "ArgsEscaped": true}),
        ),
        (
            "CMD [\"a\", \"b\\n\"]",
            "CMD [\"a\" \"b\\n\"]",
            json!({"Cmd": ["a", "b\n"], "ArgsEscaped": true}),
        ),
        ("CMD []", "CMD []", json!({"ArgsEscaped": true})),
        (
            "ENTRYPOINT [\"e\"]",
            "ENTRYPOINT [\"e\"]",
            json!({"Entrypoint": ["e"]}),
        ),
        (
            "ENTRYPOINT e $HOME",
            "ENTRYPOINT [\"/bin/sh\" \"-c\" \"e $HOME\"]",
            json!({"Entrypoint": ["/bin/sh", "-c", "e $HOME"]}),
        ),
        (
            "EXPOSE 90/udp 80 8000-8001",
            "EXPOSE [80/tcp 8000/tcp 8001/tcp 90/udp]",
            json!({"ExposedPorts": {"80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}, "90/udp": {}}}),
        ),
        (
            "VOLUME /b /a",
            "VOLUME [/b /a]",
            json!({"Volumes": {"/a": {}, "/b": {}}}),
        ),
        (
            "VOLUME [\"/b c\", \"/a\"]",
            "VOLUME [/b c /a]",
            json!({"Volumes": {"/a": {}, "/b c": {}}}),
        ),
        ("USER 5:6", "USER 5:6", json!({"User": "5:6"})),
        (
            "STOPSIGNAL SIGQUIT",
            "STOPSIGNAL SIGQUIT",
            json!({"StopSignal": "SIGQUIT"}),
        ),
        (
            "SHELL [\"/bin/bash\", \"-o\", \"x y\"]",
            "SHELL [/bin/bash -o x y]",
            json!({"Shell": ["/bin/bash", "-o", "x y"]}),
        ),
        (
            "HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD curl -f x",
            "HEALTHCHECK {Test:[CMD-SHELL curl -f x] Interval:5s Timeout:1m30s StartPeriod:0s StartInterval:0s Retries:3}",
            json!({"Healthcheck": {"Test": ["CMD-SHELL", "curl -f x"], "Interval": 5_000_000_000_i64, "Timeout": 90_000_000_000_i64, "Retries": 3}}),
        ),
        (
            "HEALTHCHECK --start-period=500ms --start-interval=1s CMD [\"a\", \"b\"]",
            "HEALTHCHECK {Test:[CMD a b] Interval:0s Timeout:0s StartPeriod:500ms StartInterval:1s Retries:0}",
            json!({"Healthcheck": {"Test": ["CMD", "a", "b"], "StartPeriod": 500_000_000, "StartInterval": 1_000_000_000}}),
        ),
        (
            "HEALTHCHECK NONE",
            "HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            json!({"Healthcheck": {"Test": ["NONE"]}}),
        ),
        ("ONBUILD RUN  $x", "", json!({"OnBuild": ["RUN  $x"]})),
        ("MAINTAINER Me <me@x>", "MAINTAINER Me <me@x>", json!({})),
        ("ARG A", "ARG A", json!({})),
        ("ARG A=1 B C=\"x y\"", "ARG A=1 B C=x y", json!({})),
        ("WORKDIR /", "WORKDIR /", json!({"WorkingDir": "/"})),
        ("WORKDIR a/../b/", "WORKDIR /b", json!({"WorkingDir": "/b"})),
        ("WORKDIR /a/", "WORKDIR /a/", json!({"WorkingDir": "/a/"})),
        ("RUN a  b", "RUN /bin/sh -c a  b # buildkit", json!({})),
        ("RUN [\"a\", \"b c\"]", "RUN a b c # buildkit", json!({})),
        (
            "COPY --chown=1:2 --chmod=644 /a b. ./",
            "COPY --chown=1:2 --chmod=644 /a b. ./ # buildkit",
            json!({}),
        ),
        ("COPY --from=tools a .", "COPY a . # buildkit", json!({})),
        ("ADD a /x", "ADD a /x # buildkit", json!({})),
        (
            "COPY a <<ONE <<\"TWO\" /\n1\nONE\n2\nTWO",
            "COPY a <<ONE <<TWO / # buildkit",
            json!({}),
        ),
        (
            "RUN <<EOF\na\nb\nEOF",
            "RUN /bin/sh -c a\nb\n # buildkit",
            json!({}),
        ),
    ];
    for (instruction, history, changes) in cases {
        let text = format!("FROM plain\n{instruction}\n");
        let stage = last(&text, &options());
        assert_eq!(history_of(&stage), [history], "{instruction}");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        let mut expect = changes.clone();
        let path = changes["PATH"]
            .as_str()
            .map_or(path, |path| format!("PATH={path}"));
        let mut env = vec![Value::from(path)];
        env.extend(changes["Env"].as_array().into_iter().flatten().cloned());
        expect["Env"] = env.into();
        expect.as_object_mut().unwrap().remove("PATH");
        let found = serde_json::to_value(&stage.config.config).unwrap();
        assert_eq!(found, expect, "{instruction}");
    }
}

#[test]
fn only_file_operations_and_run_make_layers() {
    let text = "FROM plain\nENV a=b\nONBUILD RUN x\nWORKDIR /\nWORKDIR //.\nWORKDIR /a\nRUN x\nCOPY a b\nADD a b\n";
    let kinds = last(text, &options())
        .steps
        .into_iter()
        .map(|step| match step.kind {
            StepKind::Metadata => "metadata",
            StepKind::Silent => "silent",
            StepKind::Workdir(_) => "workdir",
            StepKind::Run(_) => "run",
            StepKind::Copy(_) => "copy",
        });
    let kinds: Vec<&str> = kinds.collect();
    let expect = [
        "metadata", "silent", "metadata", "metadata", "workdir", "run", "copy", "copy",
    ];
    assert_eq!(kinds, expect);
}

#[test]
fn nothing_has_a_path_and_a_directory() {
    let stage = last("FROM scratch\n", &options());
    let expect = json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "WorkingDir": "/",
    });
    assert_eq!(serde_json::to_value(&stage.config.config).unwrap(), expect);
    assert_eq!(stage.config.platform().to_string(), "linux/arm64");
    assert_eq!(stage.base, StageBase::Scratch);
}

#[test]
fn a_base_hands_on_what_images_are_made_of() {
    let stage = last("FROM rich\n", &options());
    let expect = json!({
        "User": "app", "Env": ["PATH=/p", "A=base", "EMPTY="], "WorkingDir": "/base",
        "Cmd": ["sh"], "Entrypoint": ["/init"], "Labels": {"l": "base"},
        "ExposedPorts": {"1/tcp": {}}, "Shell": ["/bin/ash", "-ec"],
    });
    let config = serde_json::to_value(&stage.config).unwrap();
    assert_eq!(config["config"], expect);
    let mut keys: Vec<&String> = config.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "architecture",
            "config",
            "history",
            "os",
            "os.features",
            "rootfs"
        ]
    );
    assert_eq!(
        stage.config.history.len(),
        1,
        "the base's history stays as it is"
    );
}

#[test]
fn an_entrypoint_drops_an_inherited_cmd_only() {
    let cases = [
        ("FROM rich\nENTRYPOINT [\"e\"]\n", Value::Null),
        ("FROM rich\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n", json!(["c"])),
        ("FROM rich\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n", json!(["c"])),
        (
            "FROM rich AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n",
            Value::Null,
        ),
        (
            "FROM trigger\nENTRYPOINT [\"e\"]\n",
            json!(["/bin/sh", "-c", "trig"]),
        ),
    ];
    for (text, cmd) in cases {
        let config = config_of(text);
        assert_eq!(config["Cmd"], cmd, "{text}");
        assert_eq!(config["Entrypoint"], json!(["e"]), "{text}");
    }
}

#[test]
fn the_author_is_the_last_maintainer() {
    let stage = last("FROM plain\nMAINTAINER a\nMAINTAINER b c\n", &options());
    assert_eq!(stage.config.author.as_deref(), Some("b c"));
}

#[test]
fn labels_of_the_command_line_win_in_the_target_only() {
    let labelled = Options {
        target: Some("b".to_owned()),
        labels: vec![
            ("l".to_owned(), "mine".to_owned()),
            ("n".to_owned(), "1".to_owned()),
        ],
        ..options()
    };
    let plan = planned(
        "FROM rich AS a\nFROM a AS b\nLABEL l=x\nFROM b\n",
        &labelled,
    )
    .unwrap();
    let labels: Vec<Value> = plan
        .stages
        .iter()
        .map(|stage| serde_json::to_value(&stage.config.config.labels).unwrap())
        .collect();
    assert_eq!(
        labels,
        [json!({"l": "base"}), json!({"l": "mine", "n": "1"})]
    );
    assert_eq!(history_of(&plan.stages[1]), ["LABEL l=x"]);
}

#[test]
fn the_image_is_for_the_platform_that_was_asked_for() {
    let platform = |text: &str, is_platform_explicit| {
        let options = Options {
            is_platform_explicit,
            ..options()
        };
        last(text, &options).config.platform().to_string()
    };
    // The base says amd64, the target is arm64.
    assert_eq!(platform("FROM plain\n", false), "linux/amd64");
    assert_eq!(platform("FROM plain\n", true), "linux/arm64");
    assert_eq!(platform("FROM scratch\n", false), "linux/arm64");
}
