//! Tests of the ignore rules.

use std::fmt::Write;

use proptest::prelude::*;

use super::ignore::{DirState, Ignore};

fn rules(text: &str) -> Ignore {
    Ignore::parse(text.as_bytes(), ".dockerignore")
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(text: &str, excluded: &[&str], included: &[&str]) {
    let ignore = rules(text);
    for path in excluded {
        assert!(
            ignore.excludes(path.as_bytes()).is_some(),
            "{path} by {text:?}"
        );
    }
    for path in included {
        assert!(
            ignore.excludes(path.as_bytes()).is_none(),
            "{path} not by {text:?}"
        );
    }
}

#[test]
fn patterns() {
    check("a", &["a", "a/b", "a/b/c"], &["b/a", "ab"]);
    check("a/b", &["a/b", "a/b/c"], &["a", "b", "a/bc"]);
    check("*", &["a", "a/b", ".git"], &[]);
    check("*/a", &["x/a", "x/a/b"], &["a", "x/y/a"]);
    check("*.go", &["x.go", ".go"], &["d/x.go", "x.gox"]);
    check("**/*.go", &["x.go", "d/x.go", "d/e/x.go"], &["x.gox"]);
    check("**/a", &["a", "d/a", "d/e/a", "a/b"], &["xa", "d/xa"]);
    check("**a", &["a", "xa", "d/xa"], &["ab"]);
    check("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
    check("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a", "ab", "a/xb"]);
    check("a**b", &["ab", "ax/b", "a/x/b"], &["axb"]);
    check("**", &["a", "a/b"], &[]);
    check("**/b/**", &["b/c", "a/b/c"], &["b", "a/b", "c"]);
    check("a?c", &["abc", "aéc"], &["a/c", "abbc"]);
    check("a[bc]d", &["abd", "acd"], &["aed", "a[bc]d"]);
    check("a[^b]d", &["acd"], &["abd"]);
    check(r"a\*b", &["a*b"], &["axb"]);
    check(r"a\ b", &["a b"], &[]);
    check("a.b+c(d)$", &["a.b+c(d)$"], &["axb+c(d)$"]);
    check("", &[], &["a"]);
    check("/", &[], &["a"]);
    check(".", &[], &["a"]);
    check("../a", &[], &["a"]);
}

#[test]
fn lines() {
    check(
        "\u{feff}a\r\n# b\n #c\n\n  d  \n",
        &["a", "d", "#c"],
        &["b", "# b"],
    );
    check("/a", &["a"], &["b/a"]);
    check("./a/../b//c/", &["b/c"], &["a"]);
    check("! a", &[], &["a"]);
    check("*\n! /a", &["b"], &["a"]);
}

#[test]
fn the_last_match_wins() {
    check("a\n!a", &[], &["a"]);
    check("!a\na", &["a"], &[]);
    check(
        "*.md\n!README*.md\nREADME-secret.md",
        &["x.md", "README-secret.md"],
        &["README.md", "x.go"],
    );
    check("d\n!d/keep", &["d", "d/x"], &["d/keep", "d/keep/x"]);
    check("d/**\n!d/keep/**", &["d/x", "d/keep"], &["d", "d/keep/x"]);
    check(
        "*\n!src\nsrc/tmp",
        &["a", "src/tmp", "src/tmp/x"],
        &["src", "src/x"],
    );
    check("*\n!**/*.rs", &["a", "d"], &["a.rs", "d/a.rs"]);
    // A rule that changes nothing for a directory does not count for what is below it.
    check("d/x\n!d", &["d/x"], &["d", "d/y"]);
}

#[test]
fn errors_name_the_line() {
    let check = |text: &str, expect: &str| {
        let error = Ignore::parse(text.as_bytes(), "x.dockerignore").err();
        assert_eq!(
            error.map(|error| error.to_string()).as_deref(),
            Some(expect),
            "{text}"
        );
    };
    check("a\n!", "x.dockerignore line 2: `!` without a pattern");
    check("! ", "x.dockerignore line 1: `!` without a pattern");
    check("!/", "x.dockerignore line 1: `!` without a pattern");
    check(
        "\n\na[",
        "x.dockerignore line 3: bad pattern `a[`: the character class after `[` is empty or not closed",
    );
    check(
        "a\\",
        "x.dockerignore line 1: bad pattern `a\\`: the backslash at the end escapes nothing",
    );
    check(
        &"a".repeat(70_000),
        "x.dockerignore line 1: the line is longer than 65535 bytes",
    );
}

#[test]
fn the_rule_that_excludes_is_known() {
    let ignore = rules("# comment\n\n  /build/ \n!build/keep\nbuild/keep/not");
    let found = |path: &str| {
        ignore
            .excludes(path.as_bytes())
            .map(|rule| (rule.line, rule.text.clone()))
    };
    assert_eq!(found("build/x"), Some((3, "/build/".into())));
    assert_eq!(found("build/keep"), None);
    assert_eq!(
        found("build/keep/not/x"),
        Some((5, "build/keep/not".into()))
    );
}

#[test]
fn walks_skip_what_nothing_takes_back() {
    let check = |text: &str, dir: &str, expect: bool| {
        assert_eq!(
            rules(text).may_have_reincluded_below(dir.as_bytes()),
            expect,
            "{dir} {text:?}"
        );
    };
    check("*", "a", false);
    check("*\n!a/b", "a", true);
    check("*\n!a/b", "a/b", false);
    check("*\n!a/b", "ab", false);
    check("*\n!ab/c", "a", false);
    check("*\n!a/**", "a/x", true);
    check("*\n!a/x*/y", "a/xx", true);
    check("*\n!a/x*/y", "a/b", false);
    check("*\n!**/y", "q", true);
    check("*\n!*.go", "q", true);
}

#[test]
fn names_need_not_be_text() {
    let ignore = Ignore::parse(b"a\xff\n*\xfe", "x").unwrap();
    assert!(ignore.excludes(b"a\xff").is_some());
    assert!(ignore.excludes(b"b\xfe").is_some());
    assert!(ignore.excludes(b"b\xfd").is_none());
}

#[test]
fn a_hundred_thousand_rules_and_hostile_ones_take_linear_time() {
    let mut text = String::new();
    for number in 0..100_000 {
        writeln!(text, "dir{number}/file\n**/name{number}\nsame\n!{number}x").unwrap();
    }
    let ignore = rules(&text);
    let start = std::time::Instant::now();
    let root = ignore.root();
    for number in 0..20_000 {
        let dir = ignore.decide(&root, format!("dir{number}").as_bytes());
        assert!(dir.excluded_by.is_none());
        let file = ignore.decide(&dir.state, format!("dir{number}/file").as_bytes());
        assert!(file.excluded_by.is_some());
    }
    let hostile = rules(&format!("**/{}", "*a*b".repeat(200)));
    assert!(
        hostile
            .excludes("ab/".repeat(300).trim_end_matches('/').as_bytes())
            .is_none()
    );
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// The rules as the reference states them: every rule asked in turn, with what the parent matched.
fn decide_one_by_one(single: &[(bool, Ignore)], parent: &[bool], path: &[u8]) -> (bool, Vec<bool>) {
    let mut excluded = false;
    let mut matched = vec![false; single.len()];
    for (at, (is_reinclude, rule)) in single.iter().enumerate() {
        let inherited = parent.get(at).copied().unwrap_or(false);
        if !inherited && *is_reinclude != excluded {
            continue;
        }
        matched[at] = inherited
            || rule
                .decide(&DirState::default(), path)
                .excluded_by
                .is_some();
        if matched[at] {
            excluded = !is_reinclude;
        }
    }
    (excluded, matched)
}

proptest! {
    #[test]
    fn the_index_decides_as_the_rules_one_by_one(
        lines in prop::collection::vec(("!?", "([ab]|\\*|\\*\\*|a\\*|\\?)(/([ab]|\\*|\\*\\*|\\*b)){0,2}"), 1..7),
        path in "[ab](/[ab]){0,3}",
    ) {
        let text: Vec<String> = lines.iter().map(|(sign, pattern)| format!("{sign}{pattern}")).collect();
        let ignore = rules(&text.join("\n"));
        let single: Vec<_> = lines.iter().map(|(sign, pattern)| (!sign.is_empty(), rules(pattern))).collect();
        let (mut state, mut parent, mut hidden) = (ignore.root(), Vec::new(), None);
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let here = &path.as_bytes()[..end];
            let decision = ignore.decide(&state, here);
            let (expect, matched) = decide_one_by_one(&single, &parent, here);
            prop_assert_eq!(decision.excluded_by.is_some(), expect, "{} {}", path, end);
            if decision.excluded_by.is_none() && let Some(dir) = hidden {
                prop_assert!(ignore.may_have_reincluded_below(dir));
            }
            hidden = decision.excluded_by.map(|_| here).or(hidden);
            (state, parent) = (decision.state, matched);
        }
    }

    #[test]
    fn no_file_panics(text in prop::collection::vec(any::<u8>(), 0..80), path in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(ignore) = Ignore::parse(&text, "x") {
            let _ = ignore.excludes(&path);
            let _ = ignore.may_have_reincluded_below(&path);
        }
    }
}
