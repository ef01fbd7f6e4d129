//! Addresses of repositories, in all their forms.

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn kaniko(text: &str) -> Result<GitSource, GitSourceError> {
    GitSource::parse_kaniko(text)
}

fn url(text: &str) -> Result<GitSource, GitSourceError> {
    GitSource::parse_url(text).unwrap_or_else(|| panic!("{text} is no form of git"))
}

#[test]
fn kaniko_forms_parse() {
    let check = |text: &str, place: &str, reference: GitReference, commit: Option<&str>| {
        let parsed = kaniko(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.remote.to_string(), place, "{text}");
        assert_eq!(parsed.reference, reference, "{text}");
        assert_eq!(parsed.commit.as_deref(), commit, "{text}");
        assert!(!parsed.has_submodules && !parsed.keeps_git_dir);
    };
    let place = "https://h.io/a/b.git";
    check("h.io/a/b.git", place, GitReference::Head, None);
    check("h.io/a/b", "https://h.io/a/b", GitReference::Head, None);
    let full = GitReference::Full("refs/heads/x".to_owned());
    check("h.io/a/b.git#refs/heads/x", place, full.clone(), None);
    check(
        &format!("h.io/a/b.git#refs/heads/x#{COMMIT}"),
        place,
        full,
        Some(COMMIT),
    );
    check(
        &format!("h.io/a/b.git#{COMMIT}"),
        place,
        GitReference::Commit(COMMIT.to_owned()),
        None,
    );
    check(
        &format!("h.io/a/b.git##{COMMIT}"),
        place,
        GitReference::Head,
        Some(COMMIT),
    );
    check(
        "h.io/a/b.git#v1",
        place,
        GitReference::Any("v1".to_owned()),
        None,
    );
    check(
        "h.io:8443/a",
        "https://h.io:8443/a",
        GitReference::Head,
        None,
    );
}

#[test]
fn a_login_leaves_the_address() {
    let parsed = kaniko("tok%2Fen@h.io/a").expect("an address");
    assert_eq!(parsed.to_string(), "https://h.io/a");
    let login = parsed.login.expect("a login");
    assert_eq!(login.user.expose(), "tok/en");
    assert!(login.password.is_empty());
    let text = format!("{:?}", url("https://u:hunter2@h.io/a.git"));
    assert!(!text.contains("hunter2"), "{text}");
    let error = kaniko("u:hunter2@/x").expect_err("no host").to_string();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn buildkit_forms_parse() {
    let parsed = url("https://h.io/r.git#v1:a/./b/").expect("a source");
    assert_eq!(parsed.reference, GitReference::Any("v1".to_owned()));
    assert_eq!(parsed.subdir.as_deref(), Some("a/b"));
    assert!(parsed.has_submodules);
    assert_eq!(parsed.to_string(), "https://h.io/r.git#v1:a/b");
    let parsed = url("https://h.io/r.git#:sub").expect("a source");
    assert_eq!(parsed.reference, GitReference::Head);
    assert_eq!(parsed.subdir.as_deref(), Some("sub"));
    let parsed = url(
        "https://h.io/r.git?branch=x&subdir=s&checksum=0123456&keep-git-dir=1&submodules=false",
    )
    .expect("a source");
    assert_eq!(parsed.reference, GitReference::Branch("x".to_owned()));
    assert_eq!(parsed.commit.as_deref(), Some("0123456"));
    assert!(parsed.keeps_git_dir && !parsed.has_submodules && parsed.checks_commit);
    assert_eq!(parsed.remote.to_string(), "https://h.io/r.git");
    let parsed = url("git@h.io:a/b.git?tag=v1").expect("a source");
    assert_eq!(parsed.remote.to_string(), "ssh://git@h.io/a/b.git");
    assert_eq!(parsed.reference, GitReference::Tag("v1".to_owned()));
    let parsed = url("ssh://me@[::1]:2222/a/b.git#main").expect("a source");
    assert_eq!(parsed.remote.to_string(), "ssh://me@[::1]:2222/a/b.git");
    let parsed = url("github.com/a/b#main").expect("a source");
    assert_eq!(parsed.remote.to_string(), "https://github.com/a/b");
    for other in [
        "https://h.io/a.tar.gz",
        "./x",
        "a/b",
        "https://h.io/a.git/x",
    ] {
        assert!(GitSource::parse_url(other).is_none(), "{other}");
    }
}

#[test]
fn mistakes_are_told() {
    for text in [
        "",
        "h.io",
        "h.io/",
        "h.io/a#-x",
        "h.io/a#--upload-pack=touch x",
        "h.io/a#a..b",
        "h.io/a#refs/heads/x#abc",
        "h.io/a#x.lock",
        "h.io/a?ref=a&tag=b",
        "h.io/a?ref=a#b",
        "h.io/a?mode=x",
        "h.io/a?checksum=xyz",
        "h.io/a#x:../y",
    ] {
        assert!(kaniko(text).is_err(), "{text}");
    }
    assert!(url("ssh://u:p@h/x").is_err());
    assert!(url("ssh://-oProxyCommand=x/y").is_err());
}
