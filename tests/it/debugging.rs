//! `longshore debug`: every answer as JSON.

use serde_json::{Value, json};

use crate::program::Scene;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_tree_of_a_dockerfile() {
    let scene = Scene::bare();
    scene.dockerfile("# escape=`\nFROM scratch AS a\nENV A=1 `\n    B=$A\nRUN <<E\nx\nE\n");
    let found = scene.longshore(&["debug", "parse", "Dockerfile"]).success();
    let tree = json(&found.stdout)["dockerfile"].clone();
    assert_eq!(tree["escape"], "`");
    let stage = &tree["stages"][0];
    assert_eq!(
        stage["name"],
        json!({"value": "a", "span": {"start": 27, "end": 28}})
    );
    let env = &stage["instructions"][0]["kind"]["env"];
    assert_eq!(
        env["pairs"][1]["value"],
        json!({"value": "$A", "span": {"start": 45, "end": 47}})
    );
    assert_eq!(
        stage["instructions"][1]["kind"]["run"]["heredocs"][0]["body"],
        "x\n"
    );
    let call = scene
        .longshore(&["debug", "parse", "-"])
        .stdin(b"FROM scratch\nCOPPY\n".to_vec());
    let wrong = call.run();
    assert_eq!(wrong.code(), 1);
    let errors = json(&wrong.stdout)["errors"].clone();
    assert_eq!(
        (&errors[0]["line"], &errors[0]["column"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(errors[0]["hint"], "did you mean COPY?");
}

#[test]
fn the_tree_of_a_large_dockerfile_takes_little_memory() {
    let scene = Scene::bare();
    let count = 100_000;
    scene.dockerfile(&format!("FROM scratch\n{}", "CMD a\n".repeat(count)));
    // In KiB. All of the answer in memory at once would be more than this.
    let limit = "ulimit -v 300000";
    let found = scene
        .longshore(&["debug", "parse", "Dockerfile"])
        .after(limit);
    let found = found.success();
    assert!(
        found.stdout.len() > 40_000_000,
        "{} bytes",
        found.stdout.len()
    );
    let tree = json(&found.stdout)["dockerfile"].clone();
    let instructions = tree["stages"][0]["instructions"].as_array().unwrap();
    assert_eq!(instructions.len(), count);
}

#[test]
fn words_paths_and_plans() {
    let scene = Scene::bare();
    let args = [
        "debug", "expand", "--env", "A=x y", "${A}z", "${B:-$A}", "${", "'$A'",
    ];
    let found = json(&scene.longshore(&args).success().stdout);
    assert_eq!(
        found[0],
        json!({"word": "${A}z", "value": "x yz", "undefined": []})
    );
    assert_eq!(
        found[1],
        json!({"word": "${B:-$A}", "value": "x y", "undefined": ["B"]})
    );
    assert!(found[2]["error"].is_string());
    assert_eq!(found[3]["value"], "$A");
    let split = ["debug", "expand", "--env", "A=x y", "--split", "${A}z"];
    assert_eq!(
        json(&scene.longshore(&split).success().stdout)[0]["value"],
        json!(["x", "yz"])
    );
    scene.file(".dockerignore", "# x\n*.md\n!README.md\n");
    let call = scene
        .longshore(&["debug", "ignore"])
        .stdin(b"a.md\nREADME.md\n".to_vec());
    let found = json(&call.success().stdout);
    assert_eq!(
        found[0],
        json!({"path": "a.md", "excluded": true, "rule": {"line": 2, "text": "*.md"}})
    );
    assert_eq!(
        found[1],
        json!({"path": "README.md", "excluded": false, "rule": null})
    );
    scene.dockerfile("FROM scratch\nARG V\nENV A=$V\nCOPY a /\n");
    let plan = ["debug", "plan", "Dockerfile", "--build-arg", "V=7"];
    let plan = json(&scene.longshore(&plan).success().stdout);
    let stage = &plan["stages"][0];
    assert_eq!(stage["base"], "scratch");
    assert_eq!(stage["steps"][1]["createdBy"], "ENV A=7");
    assert_eq!(
        (&stage["steps"][2]["kind"], &stage["steps"][2]["line"]),
        (&json!("copy"), &json!(4))
    );
    let missing = scene.longshore(&["debug", "parse", "nothing"]).run();
    assert_eq!(missing.code(), 2);
}
