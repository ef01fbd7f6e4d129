//! Tests of our own rules, and that each rule is documented; BuildKit's rules are compared with BuildKit by tests/golden.rs.

use crate::dockerfile::parse;

use super::*;

/// The findings of our own rules: name and place as written.
fn own(text: &str, git: GitDirectory) -> Vec<(&'static str, String)> {
    let dockerfile = parse(text.as_bytes()).unwrap();
    let facts = Facts {
        build_args: &[],
        automatic_args: &[],
        is_needed: &|_| true,
        is_reference: &|_| true,
        platform: &|_| None,
        base: &|_| None,
        context: Some(ContextFacts { ignore: None, git }),
    };
    let report = lint(&dockerfile, text.as_bytes(), &facts).unwrap();
    let findings = report
        .findings
        .into_iter()
        .filter(|finding| finding.rule.url.is_none());
    findings
        .map(|finding| {
            let written = &text[finding.span.start..finding.span.end];
            assert!(!finding.message.is_empty() && !finding.hint.is_empty());
            (finding.rule.name, written.trim_end().to_owned())
        })
        .collect()
}

#[track_caller]
fn check(body: &str, expect: &[(&str, &str)]) {
    let found = own(&format!("FROM debian\n{body}\n"), GitDirectory::Absent);
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|(name, place)| (*name, place.as_str()))
        .collect();
    assert_eq!(found, expect, "{body}");
}

#[test]
fn apt() {
    let lists = "AptListsLeftBehind";
    for run in [
        "RUN apt-get update && apt-get install -y curl",
        "RUN apt update; apt -y install curl",
        "RUN [\"sh\", \"-c\", \"apt-get update && apt-get install curl\"]",
        "RUN apt-get -qq update && DEBIAN_FRONTEND=x apt-get install -y a && rm -rf /tmp/*",
    ] {
        check(run, &[(lists, run)]);
    }
    for run in [
        "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*",
        "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt",
        "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/*",
        "RUN --mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y curl",
        "RUN --mount=type=tmpfs,dst=/var/lib/apt/lists apt-get update && apt-get install -y curl",
        "RUN apt-get install -y curl",
        "RUN echo 'apt-get update && apt-get install'",
        "RUN apt-get update && ./install.sh",
    ] {
        check(run, &[]);
    }
    check(
        "RUN apt-get update\nRUN apt-get install -y curl",
        &[("AptUpdateAlone", "RUN apt-get update")],
    );
    check("# check=skip=AptUpdateAlone\nRUN apt-get update", &[]);
    check(
        "RUN <<E\napt-get update\napt-get install -y a\nE",
        &[(lists, "RUN <<E\napt-get update\napt-get install -y a\nE")],
    );
    check(
        "RUN apt-get update && apt-get install -y a\nFROM scratch",
        &[],
    );
}

#[test]
fn owners() {
    let rule = "ChownAfterCopy";
    check(
        "COPY a /app/\nRUN chown -R 1:1 /app",
        &[(rule, "RUN chown -R 1:1 /app")],
    );
    check(
        "ADD a /app\nRUN make && chmod --recursive a+r /app/",
        &[(rule, "RUN make && chmod --recursive a+r /app/")],
    );
    check("COPY a /app\nRUN chown 1:1 /app", &[]);
    check("COPY a /app\nRUN chown -R 1:1 /data", &[]);
    check("RUN chown -R 1:1 /app\nCOPY a /app", &[]);
    check("COPY a /app\nFROM x\nRUN chown -R 1:1 /app", &[]);
}

#[test]
fn git() {
    let find = |body: &str, git| own(&format!("FROM debian\n{body}\n"), git);
    let rule = "CopyShipsGit";
    assert_eq!(
        find("COPY . /src", GitDirectory::Present),
        [(rule, ".".to_owned())]
    );
    assert_eq!(
        find("ADD ./ /src", GitDirectory::WithCredential),
        [(rule, "./".to_owned())]
    );
    assert_eq!(
        find("COPY a . /src/", GitDirectory::Present),
        [(rule, ".".to_owned())]
    );
    for body in [
        "COPY src /src",
        "COPY --exclude=.git . /src",
        "COPY --from=x . /src",
        "ADD https://example.com/. /x",
    ] {
        assert_eq!(find(body, GitDirectory::Present), [], "{body}");
    }
    assert_eq!(find("COPY . /src", GitDirectory::Absent), []);
}

#[test]
fn urls_and_directives() {
    check(
        "RUN curl https://a:b@example.com",
        &[("CredentialInUrl", "a:b")],
    );
    check("ENV URL=https://a:$B@example.com", &[]);
    let find = |head: &str| own(&format!("{head}\nFROM scratch\n"), GitDirectory::Absent);
    assert_eq!(find("# syntax=docker/dockerfile:1"), []);
    assert_eq!(
        find("# syntax=docker.io/docker/dockerfile:1.20@sha256:0"),
        []
    );
    assert_eq!(
        find("# syntax=docker/dockerfile:1-labs")[0].0,
        "ForeignSyntax"
    );
    assert_eq!(find("# syntax=x/y"), [("ForeignSyntax", "x/y".to_owned())]);
    assert_eq!(
        find("# check=skip=StageNameCasin"),
        [("UnknownCheck", "StageNameCasin".to_owned())]
    );
    check(
        "# check=skip=Nothing\nRUN a",
        &[("UnknownCheck", "Nothing")],
    );
    check(
        "# check=skp=StageNameCasing\nRUN a",
        &[("UnknownCheck", "# check=skp=StageNameCasing")],
    );
}

#[test]
fn every_rule_has_a_name_a_page_and_a_row() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let index = std::fs::read_to_string(docs.join("check.md")).unwrap();
    let mut names = std::collections::BTreeSet::new();
    for rule in RULES {
        assert!(names.insert(rule.name), "{} twice", rule.name);
        let page = std::fs::read_to_string(docs.join(format!("checks/{}.md", rule.name))).unwrap();
        assert!(
            page.starts_with(&format!("# {}\n", rule.name)),
            "{}",
            rule.name
        );
        assert!(
            index.contains(&format!("(checks/{}.md)", rule.name)),
            "{}",
            rule.name
        );
    }
    assert_eq!(
        std::fs::read_dir(docs.join("checks")).unwrap().count(),
        names.len()
    );
    assert_eq!(RULES.iter().filter(|rule| rule.url.is_some()).count(), 22);
}
