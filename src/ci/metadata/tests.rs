//! Rules against events, over facts as the engine gets them. The same table in the words of four CI systems is in `ci/tests.rs`.

use super::*;

const SHA: &str = "90dd6032fac8bda1b6c4436a2e65de27961ed071";
/// Sunday, 7 January 2024, 05:08:09 UTC.
const NOW: i64 = 1_704_604_089;

fn facts(event: &str, reference: &str) -> MetadataFacts {
    MetadataFacts {
        event: event.to_owned(),
        reference: reference.to_owned(),
        sha: SHA.to_owned(),
        default_branch: "main".to_owned(),
        is_other_branch: false,
        base_ref: "dev".to_owned(),
        commit_time: Some(NOW - 86_400),
        now: NOW,
    }
}

#[test]
fn a_rule_that_makes_no_sense_is_a_mistake() {
    for (rule, expect) in [
        ("type=raw,value=a,enable=yes", "neither true nor false"),
        ("type=raw,value={{what}}", "is no expression"),
        ("type=raw,value={{date 'YYYY", "has no end"),
        ("type=raw,value={{date YYYY}}", "in quotes"),
        ("type=raw,value={{date 'YYYY' tz='Mars'}}", "time zone"),
        ("type=match,pattern=(,value=x", "tag rule"),
        (
            "type=semver,pattern={{what}},value=1.2.3",
            "is no expression",
        ),
    ] {
        let rules = rules(rule).unwrap();
        let error = tags(
            &rules,
            &Flavor::default(),
            &facts("push", "refs/heads/main"),
        );
        let text = error.unwrap_err().to_string();
        assert!(text.contains(expect), "{rule}: {text}");
    }
}

#[test]
fn what_is_not_known_is_said() {
    let mut facts = facts("push", "refs/tags/nightly");
    let result = tags(
        &rules("type=semver,pattern={{version}}").unwrap(),
        &Flavor::default(),
        &facts,
    )
    .unwrap();
    assert_eq!(result.tags, [""; 0]);
    assert!(result.notices[0].contains("\"nightly\" is no semantic version"));
    facts.commit_time = None;
    let rules = rules("type=raw,value={{commit_date 'YYYY'}}").unwrap();
    assert!(tags(&rules, &Flavor::default(), &facts).is_err());
}

#[test]
fn tags_are_valid() {
    let long = "x".repeat(200);
    for (text, expect) in [
        ("a/b", Some("a-b")),
        ("a//b", Some("a-b")),
        ("a--b", Some("a--b")),
        (".hidden", Some("hidden")),
        ("-dash", Some("dash")),
        ("/slash", Some("slash")),
        ("_under", Some("_under")),
        ("1.0+build", Some("1.0-build")),
        ("größe", Some("gr-e")),
        ("", None),
        ("...", None),
        ("/", None),
    ] {
        assert_eq!(valid(text).as_deref(), expect, "{text}");
    }
    let (one, other) = (valid(&long).unwrap(), valid(&format!("{long}y")).unwrap());
    assert_eq!((one.len(), other.len()), (128, 128));
    assert_ne!(one, other, "what is cut stays apart");
}
