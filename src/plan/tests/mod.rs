//! Small Dockerfiles and what they come to.

mod errors;
mod history;
mod outline;
mod scopes;
mod steps;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::dockerfile::parse;

/// The images of these tests, by the name that the outline gives them.
fn images() -> BTreeMap<&'static str, ImageConfig> {
    let config = |config: Value| {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "docker_version": "1.2", "container_config": {"Cmd": ["x"]}, "os.features": ["f"],
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [{"created_by": "base"}],
        });
        serde_json::from_value(config).unwrap()
    };
    BTreeMap::from([
        ("docker.io/library/plain", config(json!({}))),
        (
            "docker.io/library/rich",
            config(json!({
                "User": "app", "Env": ["PATH=/p", "A=base", "EMPTY="], "WorkingDir": "/base",
                "Cmd": ["sh"], "Entrypoint": ["/init"], "Labels": {"l": "base"},
                "ExposedPorts": {"1/tcp": {}}, "Hostname": "h", "Shell": ["/bin/ash", "-ec"],
            })),
        ),
        (
            "docker.io/library/trigger",
            config(json!({"OnBuild": ["ENV T=1", "COPY --from=tools /t $T/", "CMD trig"]})),
        ),
        (
            "docker.io/library/trigger2",
            config(json!({"OnBuild": ["COPY --from=late:1 /x /x", "COPY --from=0 /y /y"]})),
        ),
        (
            "docker.io/library/broken",
            config(json!({"OnBuild": ["NONSENSE x"]})),
        ),
        ("docker.io/library/tools", config(json!({}))),
        ("docker.io/library/late:1", config(json!({}))),
    ])
}

fn options() -> Options {
    Options {
        target: None,
        build_args: Vec::new(),
        target_platform: "linux/arm64".parse().unwrap(),
        is_platform_explicit: false,
        build_platform: "linux/amd64".parse().unwrap(),
        labels: Vec::new(),
        network: crate::plan::RunNetwork::Default,
        contexts: Vec::new(),
    }
}

fn with_args(pairs: &[(&str, &str)]) -> Options {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Options {
        build_args: pairs.iter().map(own).collect(),
        ..options()
    }
}

/// Outlines until no image is new, as the engine does, and checks that earlier outlines are prefixes of later ones.
fn outlined(text: &str, options: &Options) -> Result<(Outline, Vec<ImageConfig>), PlanError> {
    let dockerfile = parse(text.as_bytes()).unwrap();
    let all = images();
    let mut known = Vec::new();
    loop {
        let found = super::outline(&dockerfile, options, &known)?;
        let configs = found.images.iter().map(|image| {
            let name = image.reference.to_string();
            all.get(name.as_str())
                .unwrap_or_else(|| panic!("{name}"))
                .clone()
        });
        let configs: Vec<ImageConfig> = configs.collect();
        assert!(configs.starts_with(&known), "images changed their order");
        if configs.len() == known.len() {
            return Ok((found, known));
        }
        known = configs;
    }
}

fn planned(text: &str, options: &Options) -> Result<Plan, PlanError> {
    let (outline, images) = outlined(text, options)?;
    let dockerfile = parse(text.as_bytes()).unwrap();
    plan(&dockerfile, &outline, &images, options)
}

/// The last stage.
fn last(text: &str, options: &Options) -> StagePlan {
    let plan = planned(text, options).unwrap_or_else(|error| panic!("{text}: {error}"));
    plan.stages.into_iter().next_back().unwrap()
}

/// The config object of the last stage.
fn config_of(text: &str) -> Value {
    serde_json::to_value(last(text, &options()).config.config).unwrap()
}

fn history_of(stage: &StagePlan) -> Vec<&str> {
    stage
        .steps
        .iter()
        .map(|step| step.created_by.as_str())
        .collect()
}

fn runs(stage: &StagePlan) -> Vec<&RunStep> {
    let runs = stage.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Run(run) => Some(run),
        _ => None,
    });
    runs.collect()
}

fn copies(stage: &StagePlan) -> Vec<&CopyStep> {
    let copies = stage.steps.iter().filter_map(|step| match &step.kind {
        StepKind::Copy(copy) => Some(copy),
        _ => None,
    });
    copies.collect()
}

#[test]
fn a_plan_is_printed_with_a_line_for_each_step() {
    let text = "FROM rich AS one\nONBUILD RUN hook\nRUN echo 'a  b'\nWORKDIR sub\n\
        FROM one\nUSER 5:6\nRUN [\"x\", \"\", \"a b\"]\n\
        COPY --chown=1:2 --chmod=u+x [\"a\", \"b c\", \"d/\"]\n\
        COPY --from=tools <<EOF x /\n1\nEOF\nADD t.tar .\nRUN <<P\n#!/bin/x\nP\n";
    let plan = planned(text, &options()).unwrap();
    assert_eq!(
        plan.to_string(),
        "stage 0 one from image 0 for linux/arm64\n  \
         silent ONBUILD RUN hook\n  \
         run /bin/ash -ec \"echo \\'a  b\\'\" in /base as app\n  \
         workdir /base/sub as app\n\
         stage 1 stage-1 from stage 0 for linux/arm64, the target\n  \
         onbuild run /bin/ash -ec hook in /base/sub as app\n  \
         config USER 5:6\n  \
         run x \"\" \"a b\" in /base/sub as 5:6\n  \
         copy a \"b c\" to /base/sub/d/ owner 1:2 mode u+x\n  \
         copy x <<EOF of 2 bytes from image 1 to /\n  \
         add t.tar to /base/sub/, archives unpacked\n  \
         run /bin/ash -ec /dev/pipes/P with /dev/pipes/P of 9 bytes in /base/sub as 5:6\n"
    );
}
