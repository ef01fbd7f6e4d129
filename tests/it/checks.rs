//! `longshore check` in every format, and the same checks in a build.

use serde_json::{Value, json};

use crate::program::{Call, Scene};

/// A file with two findings, on lines 3 and 4.
const DOUBTFUL: &str = "FROM scratch\n\nMAINTAINER me\nCMD a, b: 100%\n";

fn check(scene: &Scene) -> Call {
    scene.longshore(&["check"])
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn warnings_do_not_fail_unless_they_are_to() {
    let scene = Scene::bare();
    scene.dockerfile(DOUBTFUL);
    let found = check(&scene).success();
    assert!(
        found.stdout.contains("warning: MaintainerDeprecated: "),
        "{found}"
    );
    assert!(
        found
            .stdout
            .contains("3 | MAINTAINER me\n  | ^^^^^^^^^^^^^"),
        "{found}"
    );
    assert!(
        found.stdout.contains("Dockerfile: 0 errors, 2 warnings"),
        "{found}"
    );
    assert_eq!(
        check(&scene).args(["--check", "error=true"]).run().code(),
        1
    );
    let argument = "BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended;error=true";
    assert_eq!(
        check(&scene).args(["--build-arg", argument]).run().code(),
        1
    );
    let none = check(&scene)
        .args(["--check", "skip=all;error=true"])
        .success();
    assert_eq!(none.stdout, "Dockerfile: nothing found\n");
    scene.dockerfile(&format!(
        "# check=skip=JSONArgsRecommended,MaintainerDeprecated;error=true\n{DOUBTFUL}"
    ));
    check(&scene).success();
    scene.dockerfile("# check=skip\nFROM scratch\n");
    let wrong = check(&scene).run();
    assert_eq!(wrong.code(), 1);
    assert!(
        wrong.stdout.contains("1 | # check=skip\n  |         ^^^^"),
        "{wrong}"
    );
    let wrong = check(&scene).args(["--format", "xml"]).run();
    assert_eq!(wrong.code(), 2);
    let wrong = check(&scene).args(["--context", "tar://x.tar"]).run();
    assert_eq!(wrong.code(), 2);
}

#[test]
fn mistakes_fail() {
    let scene = Scene::bare();
    scene.dockerfile("FROM scratch\nCOPPY a b\nLABLE c\n");
    let found = check(&scene).run();
    assert_eq!(found.code(), 1);
    assert!(found.stdout.contains("help: did you mean COPY?"), "{found}");
    assert!(
        found.stdout.contains("Dockerfile: 2 errors, 0 warnings"),
        "{found}"
    );
    let report = json(&check(&scene).args(["--format", "json"]).run().stdout);
    assert_eq!(report["errors"].as_array().unwrap().len(), 2);
    assert_eq!(
        report["buildError"]["message"],
        "unknown instruction: COPPY"
    );
    scene.dockerfile("FROM scratch AS a\nFROM scratch\nCOPY --from=5 x y\n");
    assert_eq!(check(&scene).run().code(), 1);
    std::fs::remove_file(scene.path("Dockerfile")).unwrap();
    let missing = check(&scene).run();
    assert_eq!(missing.code(), 1);
    missing.says("there is no Dockerfile");
}

#[test]
fn json_with_places() {
    let scene = Scene::bare();
    scene.dockerfile(DOUBTFUL);
    let report = json(&check(&scene).args(["--format=json"]).success().stdout);
    assert_eq!(report["version"], 1);
    let first = &report["warnings"][0];
    assert_eq!(first["ruleName"], "MaintainerDeprecated");
    assert_eq!(first["level"], "warning");
    let range = json!({"start": {"line": 3, "character": 0}, "end": {"line": 3, "character": 13}});
    assert_eq!(
        first["location"],
        json!({"sourceIndex": 0, "ranges": [range]})
    );
    assert_eq!(report["sources"][0]["filename"], "Dockerfile");
    assert!(report.get("buildError").is_none());
    // The keys are those of the schema, in both directions.
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/check.schema.json");
    let schema = json(&std::fs::read_to_string(schema).unwrap());
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
    };
    let known = keys(&schema["properties"]);
    assert!(keys(&report).is_subset(&known), "{report}");
    assert_eq!(
        keys(first),
        keys(&schema["properties"]["warnings"]["items"]["properties"])
    );
    assert_eq!(
        keys(&report["sources"][0]),
        keys(&schema["properties"]["sources"]["items"]["properties"])
    );
}

#[test]
fn sarif() {
    let scene = Scene::bare();
    scene.file("sub dir/Dockerfile", DOUBTFUL);
    let report = check(&scene).args(["--format=sarif", "sub dir"]).success();
    let report = json(&report.stdout);
    assert_eq!(report["version"], "2.1.0");
    let run = &report["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(
            result["message"]["text"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "sub%20dir/Dockerfile");
        let region = &place["region"];
        assert!(
            region["startLine"].as_u64() >= Some(3) && region["startColumn"].as_u64() >= Some(1)
        );
        assert!(region["endColumn"].as_u64() > region["startColumn"].as_u64());
    }
}

#[test]
fn gitlab_fingerprints_stay_when_lines_move() {
    let scene = Scene::bare();
    let prints = |text: &str| {
        scene.dockerfile(text);
        let file = scene.out("report.json");
        let done = check(&scene)
            .args(["--format=gitlab", "--output"])
            .arg(&file)
            .success();
        assert_eq!(done.stdout, "");
        let report = json(&std::fs::read_to_string(file).unwrap());
        let items = report.as_array().unwrap().clone();
        for item in &items {
            assert_eq!(item["location"]["path"], "Dockerfile");
            assert!(item["location"]["lines"]["begin"].is_u64());
            assert!(["minor", "major", "blocker"].contains(&item["severity"].as_str().unwrap()));
            assert!(item["check_name"].is_string() && item["description"].is_string());
        }
        let prints = items
            .iter()
            .map(|item| item["fingerprint"].as_str().unwrap().to_owned());
        prints.collect::<std::collections::BTreeSet<_>>()
    };
    let before = prints(DOUBTFUL);
    assert_eq!(before.len(), 2);
    assert_eq!(
        prints(&DOUBTFUL.replace("scratch\n", "scratch\nENV A=1\n\n")),
        before
    );
    let twice = prints("FROM scratch\nMAINTAINER me\nMAINTAINER me\n");
    assert_eq!(twice.len(), 2, "equal lines are told apart");
}

#[test]
fn github_annotations() {
    let scene = Scene::bare();
    scene.file("a,b/Dockerfile", DOUBTFUL);
    let found = check(&scene)
        .args(["--format=github", "--context", "a,b"])
        .success();
    let mut lines = found.stdout.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with(
            "::warning file=a%2Cb/Dockerfile,line=3,col=1,endColumn=14,title=MaintainerDeprecated::"
        ),
        "{first}"
    );
    assert!(first.contains("%0A"), "{first}");
    assert_eq!(lines.count(), 1);
    let many = format!("FROM scratch\n{}", "MAINTAINER me\n".repeat(30));
    scene.dockerfile(&many);
    let found = check(&scene).args(["--format=github"]).success();
    assert_eq!(found.stdout.lines().count(), 10, "GitHub shows ten");
    assert!(found.stdout.contains("title=21 more::line 11"), "{found}");
}

#[test]
fn files_of_the_context() {
    let scene = Scene::bare();
    scene
        .file(
            ".git/config",
            "[http]\n\textraheader = AUTHORIZATION: basic abc\n",
        )
        .file("hidden", "")
        .file(".dockerignore", "hidden\n")
        .dockerfile("FROM scratch\nCOPY . /\nCOPY hidden /\n");
    let found = check(&scene).success();
    assert!(
        found
            .stdout
            .contains("CopyShipsGit: .git/config comes along, and it holds a credential"),
        "{found}"
    );
    assert!(
        found.stdout.contains("CopyIgnoredFile: COPY of \"hidden\""),
        "{found}"
    );
    assert!(
        found.stdout.contains("\"hidden\" (.dockerignore:1)"),
        "{found}"
    );
    assert!(!found.stdout.contains("abc"), "{found}");
    scene.file(".dockerignore", ".git\n");
    let found = check(&scene).success();
    assert_eq!(found.stdout, "Dockerfile: nothing found\n");
}

#[test]
fn a_build_warns_and_fails_if_it_is_to() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(DOUBTFUL);
    let layout = scene.out("layout");
    let built = scene
        .build()
        .arg("--oci-layout-path")
        .arg(&layout)
        .success();
    built
        .says("warning: MaintainerDeprecated: ")
        .says("(Dockerfile:3)");
    std::fs::remove_dir_all(&layout).unwrap();
    scene.dockerfile(&format!("# check=error=true\n{DOUBTFUL}"));
    let failed = scene
        .build()
        .arg("--oci-layout-path")
        .arg(&layout)
        .mistake();
    failed.says("checks failed: JSONArgsRecommended, MaintainerDeprecated");
    assert!(!layout.exists());
    let argument = "BUILDKIT_DOCKERFILE_CHECK=skip=all";
    let built = scene
        .build()
        .args(["--build-arg", argument])
        .arg("--oci-layout-path")
        .arg(&layout)
        .success();
    assert!(!built.stderr.contains("MaintainerDeprecated"), "{built}");
}
