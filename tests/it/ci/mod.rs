//! Builds inside CI systems: what is taken from them, and what they are handed back.

mod canaries;
mod last_lines;
mod payloads;
mod runner;

use std::collections::HashMap;
use std::fs;

use serde_json::{Value, json};

use crate::image::Image;
use crate::program::{Call, Scene};
use crate::support::registry::{Auth, Registry};

const SHA: &str = "90dd6032fac8bda1b6c4436a2e65de27961ed071";

trait InCi {
    fn github(self, scene: &Scene) -> Self;
    fn gitlab(self, scene: &Scene) -> Self;
}

impl InCi for Call {
    fn github(self, scene: &Scene) -> Self {
        self.env("GITHUB_ACTIONS", "true")
            .env("GITHUB_REPOSITORY", "Acme/App")
            .env("GITHUB_SERVER_URL", "https://github.com")
            .env("GITHUB_REF", "refs/tags/v1.2.3")
            .env("GITHUB_SHA", SHA)
            .env("GITHUB_EVENT_NAME", "push")
            .env("GITHUB_WORKSPACE", scene.path(""))
            .env("GITHUB_OUTPUT", scene.out("output"))
            .env("GITHUB_STEP_SUMMARY", scene.out("summary"))
    }

    fn gitlab(self, scene: &Scene) -> Self {
        self.env("GITLAB_CI", "true")
            .env("CI_COMMIT_SHA", SHA)
            .env("CI_COMMIT_BRANCH", "feature/x")
            .env("CI_DEFAULT_BRANCH", "main")
            .env("CI_COMMIT_TIMESTAMP", "2024-01-07T05:08:09Z")
            .env("CI_PROJECT_URL", "https://gitlab.test/acme/app")
            .env("CI_PROJECT_TITLE", "App")
            .env("CI_PROJECT_DIR", scene.path(""))
    }
}

fn scene() -> Option<Scene> {
    let scene = Scene::new()?;
    scene
        .file("a", "1")
        .dockerfile("FROM scratch\nCOPY a /a\nENV X=1\n");
    Some(scene)
}

fn outputs(scene: &Scene) -> HashMap<String, String> {
    let text = fs::read_to_string(scene.out("output")).expect("the outputs");
    runner::file_command(&text).into_iter().collect()
}

#[test]
fn github_is_handed_outputs_and_a_summary() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let image = format!("{}/team/app", registry.host());
    fs::write(scene.out("output"), "before=1\n").unwrap();
    let finished = scene
        .build()
        .github(&scene)
        .args([
            "--images",
            &image,
            "--tags",
            "type=semver,pattern={{version}}\ntype=sha",
            "--push",
        ])
        .success();
    let built = Image::of_registry(&registry, "team/app", "1.2.3");
    for tag in ["sha-90dd603", "latest"] {
        assert_eq!(
            Image::of_registry(&registry, "team/app", tag).digest,
            built.digest,
            "{finished}"
        );
    }
    let outputs = outputs(&scene);
    assert_eq!(outputs["before"], "1");
    assert_eq!(outputs["digest"], built.digest);
    assert_eq!(outputs["image"], format!("{image}@{}", built.digest));
    assert_eq!(
        outputs["tags"],
        ["1.2.3", "sha-90dd603", "latest"]
            .map(|tag| format!("{image}:{tag}"))
            .join("\n")
    );
    assert_eq!(
        (&*outputs["version"], &*outputs["pushed"]),
        ("1.2.3", "true")
    );
    let metadata: Value = serde_json::from_str(&outputs["metadata"]).unwrap();
    assert_eq!(metadata["containerimage.digest"], built.digest);
    assert_eq!(metadata["containerimage.config.digest"], outputs["imageid"]);
    let summary = fs::read_to_string(scene.out("summary")).unwrap();
    for text in [&built.digest, "COPY a /a", "█", "team/app"] {
        assert!(summary.contains(text), "{text}: {summary}");
    }
    let labels = &built.config()["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], SHA);
    assert_eq!(labels["org.opencontainers.image.version"], "1.2.3");
    assert_eq!(
        labels["org.opencontainers.image.source"],
        "https://github.com/Acme/App"
    );
}

#[test]
fn gitlab_names_the_image_and_reads_a_dotenv_report() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let image = format!("{}/Team/App", registry.host());
    let finished = scene
        .build()
        .gitlab(&scene)
        .env("CI_REGISTRY_IMAGE", &image)
        .args(["--push", "--label", "org.opencontainers.image.title=mine"])
        .args([
            "--ci-output",
            &format!("dotenv={}", scene.out("build.env").display()),
        ])
        .args([
            "--ci-output",
            &format!("properties={}", scene.out("build.properties").display()),
        ])
        .args([
            "--ci-output",
            &format!("json={}", scene.out("build.json").display()),
        ])
        .success();
    let built = Image::of_registry(&registry, "team/app", "feature-x");
    let dotenv = fs::read_to_string(scene.out("build.env")).unwrap();
    let values: HashMap<&str, &str> = dotenv
        .lines()
        .map(|line| line.split_once('=').unwrap())
        .collect();
    let name = format!("{}/team/app", registry.host());
    assert_eq!(values["IMAGE_DIGEST"], built.digest, "{finished}");
    assert_eq!(values["IMAGE_REF"], format!("{name}@{}", built.digest));
    assert_eq!(
        (values["IMAGE_NAME"], values["IMAGE_TAG"]),
        (&*name, "feature-x")
    );
    assert!(
        dotenv.len() < 5000 && !dotenv.contains(['"', '\'', '#']),
        "{dotenv}"
    );
    let properties = fs::read_to_string(scene.out("build.properties")).unwrap();
    assert!(
        properties.contains(&format!(
            "IMAGE_DIGEST={}\n",
            built.digest.replace(':', "\\:")
        )),
        "{properties}"
    );
    let object: Value =
        serde_json::from_slice(&fs::read(scene.out("build.json")).unwrap()).unwrap();
    assert_eq!(
        (&object["digest"], &object["pushed"]),
        (&json!(built.digest), &json!(true))
    );
    let labels = &built.config()["Labels"];
    assert_eq!(labels["org.opencontainers.image.title"], "mine");
    assert_eq!(
        labels["org.opencontainers.image.created"],
        "2024-01-07T05:08:09Z"
    );
}

#[test]
fn what_is_typed_in_kanikos_words_makes_that_image_only() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let destination = format!("{}/app:v1", registry.host());
    let outside = scene
        .build()
        .args(["-d", &destination])
        .env("SOURCE_DATE_EPOCH", "7")
        .success();
    let plain = Image::of_registry(&registry, "app", "v1");
    scene
        .build()
        .github(&scene)
        .args(["-d", &destination])
        .env("SOURCE_DATE_EPOCH", "7")
        .success();
    assert_eq!(
        Image::of_registry(&registry, "app", "v1").digest,
        plain.digest,
        "{outside}"
    );
    assert_eq!(outputs(&scene)["digest"], plain.digest);
}

#[test]
fn tekton_results_have_no_line_end_and_fit() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let mut call = scene.build();
    for number in 0..40 {
        call = call.args([
            "-d",
            &format!(
                "{}/a-rather-long-name-of-a-repository:{number}",
                registry.host()
            ),
        ]);
    }
    let results = scene.out("results");
    // A StepAction names the file of a result.
    let finished = call
        .args([
            "--ci=tekton",
            "--ci-output",
            &format!("tekton={}/IMAGE_DIGEST", results.display()),
        ])
        .success();
    let read = |name: &str| fs::read_to_string(results.join(name)).unwrap();
    let built = Image::of_registry(&registry, "a-rather-long-name-of-a-repository", "0");
    assert_eq!(read("IMAGE_DIGEST"), built.digest);
    assert_eq!(
        read("IMAGE_URL"),
        format!("{}/a-rather-long-name-of-a-repository:0", registry.host())
    );
    let images = read("IMAGES");
    assert!(images.len() <= 1024 && !images.ends_with('\n'), "{images}");
    assert!(
        images
            .lines()
            .all(|line| line.ends_with(&format!("@{}", built.digest))),
        "{images}"
    );
    finished.says("lines of IMAGES do not fit");
    let artifact: Value = serde_json::from_str(&read("IMAGE_ARTIFACT_OUTPUTS")).unwrap();
    assert_eq!(
        (&artifact["digest"], &artifact["isBuildArtifact"]),
        (&json!(built.digest), &json!("true"))
    );
}

#[test]
fn a_forks_change_request_is_built_and_not_pushed() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Open);
    let event = json!({"number": 7, "pull_request": {
        "head": {"repo": {"full_name": "eve/app"}}, "base": {"ref": "main", "repo": {"full_name": "Acme/App"}}}});
    fs::write(scene.out("event.json"), event.to_string()).unwrap();
    let build = || {
        scene
            .build()
            .github(&scene)
            .env("GITHUB_EVENT_PATH", scene.out("event.json"))
            .env("GITHUB_EVENT_NAME", "pull_request")
            .env("GITHUB_REF", "refs/pull/7/merge")
            .args(["--push", "--images", &format!("{}/app", registry.host())])
    };
    let finished = build().success();
    finished.says(
        "from the fork eve/app: the image is built and not pushed, and no identity token is used",
    );
    assert_eq!(registry.state().requests.len(), 0, "{finished}");
    assert_eq!(outputs(&scene)["pushed"], "false");
    build().arg("--push-from-forks").success();
    Image::of_registry(&registry, "app", "pr-7");

    // What an identity can be had by is not there for anything in such a build.
    let identified = || {
        build()
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:9/")
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "planted")
            .arg("--secret=id=identity,env=ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    };
    identified()
        .mistake()
        .says("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    identified().arg("--push-from-forks").success();
}

#[test]
fn mistakes_become_annotations_at_their_line() {
    let Some(scene) = scene() else { return };
    scene.dockerfile("FROM scratch\nCOPY a /a\nCOPY missing /b\n");
    let failed = scene.build().github(&scene).mistake();
    let errors: Vec<_> = runner::github(&failed.stderr, true)
        .into_iter()
        .filter(|command| command.name == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{failed}");
    failed.says("::error file=Dockerfile,line=3,title=longshore::");
    assert!(errors[0].text.contains("missing"), "{failed}");
    assert!(!scene.out("output").exists(), "no outputs of what failed");
    let summary = fs::read_to_string(scene.out("summary")).unwrap();
    assert!(summary.contains("was not built"), "{summary}");
    assert!(summary.contains("3 | COPY missing /b"), "{summary}");
    assert!(!summary.contains('\u{1b}'), "{summary}");
    scene.dockerfile("FROM scratch\nCOPIE a\nRUNN b\n");
    let failed = scene.build().github(&scene).run();
    assert!(!failed.status.success(), "{failed}");
    failed
        .says("::error file=Dockerfile,line=2,")
        .says("::error file=Dockerfile,line=3,");
    scene
        .build()
        .env("TF_BUILD", "True")
        .run()
        .says("##vso[task.logissue type=error;sourcepath=");
}

#[test]
fn a_steps_line_is_in_no_group() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    // The first layer is packed while the second command runs.
    scene.dockerfile(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/dd\nCOPY busybox /bin/sleep\n\
         RUN dd if=/dev/urandom of=/large bs=1M count=8\nRUN echo begun; sleep 3; echo over\nENV A=1\n",
    );
    let is_of_a_step = |line: &&str| line.starts_with("[stage-0 ") && line.ends_with(')');
    let finished = scene.build().arg("--no-push").github(&scene).success();
    let outside = finished.stderr.split("::endgroup::\n").map(|part| {
        let before = part.split("::group::").next();
        before.unwrap_or_default().lines().filter(is_of_a_step)
    });
    assert_eq!(outside.flatten().count(), 6, "{finished}");
    let finished = scene.build().arg("--no-push").gitlab(&scene).success();
    let outside = finished.stderr.split("section_end:").map(|part| {
        let before = part.split("section_start:").next();
        before.unwrap_or_default().lines().filter(is_of_a_step)
    });
    assert_eq!(outside.flatten().count(), 6, "{finished}");
}

#[test]
fn secrets_of_the_platform_are_masked() {
    let Some(scene) = Scene::with_busybox() else {
        return;
    };
    scene.dockerfile("FROM scratch\nCOPY busybox /bin/sh\nARG T\nRUN echo \"it is $T\"\n");
    let secret = "glpat-planted-secret";
    let finished = scene
        .build()
        .gitlab(&scene)
        .env("CI_JOB_TOKEN", secret)
        .args(["--build-arg", &format!("T={secret}")])
        .success();
    finished.says("it is ***").keeps(secret);
}

#[test]
fn the_actions_inputs_are_a_build() {
    let Some(scene) = scene() else { return };
    let registry = Registry::start(Auth::Basic);
    let host = registry.host();
    scene
        .file(
            "app/Dockerfile",
            "FROM scratch\nARG A\nCOPY x /x\nLABEL a=$A\n",
        )
        .file("app/x", "x");
    let action = |password: &str| {
        scene
            .longshore(&["action"])
            .github(&scene)
            .current_dir(scene.path(""))
            .env("LONGSHORE_STATE_DIR", scene.state())
            .env("INPUT_CONTEXT", "app")
            .env("INPUT_BUILD-ARGS", "A=1,$(id)\n")
            .env("INPUT_TAGS", format!("{host}/team/app:1,{host}/team/app:2"))
            .env("INPUT_PUSH", "true")
            .env("INPUT_REGISTRY", &host)
            .env("INPUT_USERNAME", "user")
            .env("INPUT_PASSWORD", password)
    };
    let finished = action(crate::support::registry::PASSWORD).success();
    let built = Image::of_registry(&registry, "team/app", "2");
    assert_eq!(outputs(&scene)["digest"], built.digest, "{finished}");
    assert_eq!(built.config()["Labels"]["a"], "1,$(id)");
    assert_eq!(built.paths(), ["x"]);
    action("wrong").mistake().says("::error");
    scene
        .longshore(&["action"])
        .env("INPUT_PUSH", "perhaps")
        .mistake()
        .says("neither true nor false");
}

#[test]
fn ci_says_what_was_found_and_what_a_build_would_do() {
    let scene = Scene::bare();
    let call = |format: &str| {
        scene
            .longshore(&["ci", "--push", "--tags", "type=sha", format])
            .gitlab(&scene)
            .env("CI_REGISTRY_IMAGE", "registry.test/acme/app")
            .env("CI_JOB_TOKEN", "planted-secret")
    };
    let finished = call("--format=text").success();
    for text in [
        "CI system: gitlab",
        "CI_COMMIT_BRANCH",
        "registry.test/acme/app:sha-90dd603",
        "CI_REGISTRY_IMAGE and --tags",
        "context: .  (the working directory)",
        "Dockerfile: Dockerfile  (there, else in the context)",
        "longshore auth registry.test/acme/app:sha-90dd603",
    ] {
        assert!(finished.stdout.contains(text), "{text}: {finished}");
    }
    finished.keeps("planted-secret");
    let object: Value = serde_json::from_str(&call("--format=json").success().stdout).unwrap();
    assert_eq!(object["ci"], "gitlab");
    assert_eq!(
        object["facts"]["sha"],
        json!({"value": SHA, "source": "CI_COMMIT_SHA"})
    );
    assert_eq!(object["version"], "sha-90dd603");
    // Which caches: the branch's own, the default branch's to read; or what is said.
    let build = |arguments: &[&str]| {
        let call = scene.longshore(&["ci", "--format=json"]).gitlab(&scene);
        let text = call.args(arguments).success().stdout;
        let object: Value = serde_json::from_str(&text).unwrap();
        let rows = object["build"].as_array().unwrap();
        let is_scope = |row: &&Value| row["what"].as_str().unwrap().starts_with("scope of");
        Value::from(rows.iter().filter(is_scope).cloned().collect::<Vec<_>>())
    };
    let scopes = json!([
        {"what": "scope of cache mounts", "value": "refs/heads/feature/x", "source": "CI_COMMIT_BRANCH"},
        {"what": "scope of cache mounts, only read", "value": "refs/heads/main", "source": "CI_DEFAULT_BRANCH"},
    ]);
    assert_eq!(build(&[]), scopes);
    let named = json!([{"what": "scope of cache mounts", "value": "team", "source": "--cache-mounts-scope"}]);
    assert_eq!(build(&["--cache-mounts-scope=team"]), named);
    scene
        .longshore(&["ci", "--push"])
        .mistake()
        .says("no CI system that names an image was found");
    scene
        .longshore(&["ci", "--ci=what"])
        .mistake()
        .says("\"what\" is none of auto, none, github");
    scene
        .longshore(&["ci", "--images=a/b", "--tags=type=ref"])
        .mistake()
        .says("it needs event=");
    scene
        .longshore(&["ci", "--images=a/b", "--tags=x", "--push", "--no-push"])
        .mistake()
        .says("contrary");
}
