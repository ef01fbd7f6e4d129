//! Tests of the expansion of words.

use proptest::prelude::*;

use super::word::{self, WordError, expand, expand_for_display, expand_heredoc, expand_words};

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "alpha",
        "EMPTY" => "",
        "BLANKS" => " b  c ",
        "FILE" => "dir/pkg.tar.gz",
        "PUNCT" => "a*b?c}d/e",
        "DOLLAR" => "$0-$x",
        "N" => "A",
        _ => return None,
    };
    Some(value.to_owned())
}

fn check(word: &str, expect: &str) {
    match expand(word, '\\', &lookup) {
        Ok(found) => assert_eq!(found.value, expect, "{word}"),
        Err(error) => panic!("{word}: {error}"),
    }
}

fn fails(word: &str, expect: &str) {
    match expand(word, '\\', &lookup) {
        Ok(found) => panic!("{word} gives {}", found.value),
        Err(error) => assert_eq!(error.to_string(), expect, "{word}"),
    }
}

#[test]
fn names() {
    check("$A", "alpha");
    check("${A}", "alpha");
    check("$A-x", "alpha-x");
    check("${A}x", "alphax");
    check("$Ax", "");
    check("$", "$");
    check("a$", "a$");
    check("$-", "");
    check("$1a", "a");
    check("$12a", "a");
    check("$?$@$*$#$!x", "x");
    check("$$A", "A");
    check("$.", "$.");
    check("$é|", "|");
    check("${UNSET}", "");
}

#[test]
fn defaults_and_alternatives() {
    check("${A:-w}", "alpha");
    check("${UNSET:-w}", "w");
    check("${EMPTY:-w}", "w");
    check("${EMPTY-w}", "");
    check("${UNSET-w}", "w");
    check("${A:+w}", "w");
    check("${EMPTY:+w}", "");
    check("${EMPTY+w}", "w");
    check("${UNSET+w}", "");
    check("${A:?m}", "alpha");
    check("${EMPTY?m}", "");
    check("${UNSET:-${A}}", "alpha");
    check("${UNSET:-${ALSO:-x y}z}", "x yz");
    check("${UNSET:-\"}\"}", "}");
    check(r"${UNSET:-\}}", "}");
    check("${UNSET:-'$A'}", "$A");
    check("${-}", "");
    fails("${UNSET:?must be set}", "UNSET: must be set");
    fails("${UNSET?}", "UNSET: is not allowed to be unset");
    fails("${EMPTY:?}", "EMPTY: is not allowed to be empty");
}

#[test]
fn prefixes_and_suffixes() {
    check("${FILE#*.}", "tar.gz");
    check("${FILE##*.}", "gz");
    check("${FILE%.*}", "dir/pkg.tar");
    check("${FILE%%.*}", "dir/pkg");
    check("${FILE##*/}", "pkg.tar.gz");
    check("${FILE%/*}", "dir");
    check("${FILE#pkg}", "dir/pkg.tar.gz");
    check("${FILE#???/}", "pkg.tar.gz");
    check("${FILE%[z]}", "dir/pkg.tar.gz");
    check(r"${PUNCT#a\*}", "b?c}d/e");
    check(r"${PUNCT##*\}}", "d/e");
    check(r"${PUNCT%\?*}", "a*b");
    check("${UNSET#x}", "");
    check("${A#$N}", "alpha");
    check("${A%${UNSET}}", "alpha");
    fails(
        r"${A#\a}",
        r"invalid pattern `\a` in a substitution: only * ? \ } and / can be escaped",
    );
    fails("${A:#x}", "unsupported modifier `:#` in a substitution");
}

#[test]
fn replacements() {
    check("${FILE/./-}", "dir/pkg-tar.gz");
    check("${FILE//./-}", "dir/pkg-tar-gz");
    check("${FILE//./}", "dir/pkgtargz");
    check("${FILE/.*/}", "dir/pkg");
    check(r"${FILE/\//_}", "dir_pkg.tar.gz");
    check("${A//a/$N}", "AlphA");
    check("${A/x/y}", "alpha");
    check("${A//?/x}", "xxxxx");
    check("${A//*/x}", "x");
    check("${EMPTY//*/x}", "x");
    check("${A/a/$DOLLAR}", "$0-$xlpha");
    check("${A//a/$DOLLAR}", "a-lpha-");
    fails(
        "${A/a}",
        "missing `/` in a substitution: expected ${name/pattern/replacement}",
    );
    fails("${A/a/b", "missing `}` after `${`");
}

#[test]
fn quotes_and_escapes() {
    check("'$A'", "$A");
    check("\"$A\"", "alpha");
    check("\"'$A'\"", "'alpha'");
    check(r"'a\'", r"a\");
    check(r"\$A", "$A");
    check(r"\a", "a");
    check(r#""\a\"\$\\""#, r#"\a"$\"#);
    check("a\\", "a");
    check("a\"b c\"'d'", "ab cd");
    check("$BLANKS", " b  c ");
    check("a<<  b", "a<<  b");
    let backtick = expand("`$A\\`\"x", '`', &lookup).unwrap();
    assert_eq!(backtick.value, "$A\\\"x");
    fails("'a", "the single quote is not closed");
    fails("\"a", "the double quote is not closed");
    fails("\"a\\", "the double quote is not closed");
}

#[test]
fn broken_substitutions() {
    fails("${", "missing `}` after `${`");
    fails("${A", "missing `}` after `${`");
    fails("${A:-x", "missing `}` after `${`");
    fails("${}", "bad substitution: no variable name after `${`");
    fails("${:}", "bad substitution: no variable name after `${`");
    fails("${{A}}", "bad substitution: no variable name after `${`");
    fails("${A=w}", "unsupported modifier `=` in a substitution");
    fails("${A b}", "unsupported modifier ` ` in a substitution");
}

#[test]
fn undefined_names_are_reported_once_in_order() {
    let found = expand("$Z ${Y:-$X}$Z $A", '\\', &lookup).unwrap();
    assert_eq!(found.undefined, ["Z", "X", "Y"]);
}

#[test]
fn words_are_split_after_expansion() {
    let words = |text: &str| expand_words(text, '\\', &lookup).unwrap().words;
    assert_eq!(words("x$BLANKS-y"), ["x", "b", "c", "-y"]);
    assert_eq!(words("\"x y\" z"), ["x y", "z"]);
    assert_eq!(words("\"$BLANKS\""), [" b  c "]);
    assert_eq!(words(r"x\ y"), ["x y"]);
    assert_eq!(words("$UNSET"), [""; 0]);
    assert_eq!(words("80${UNSET:-80}"), ["8080"]);
}

#[test]
fn heredoc_bodies_keep_their_quotes() {
    let body = expand_heredoc("'$A' \"$UNSET\"\n\\$A \\\\ `\n", &lookup).unwrap();
    assert_eq!(body.value, "'alpha' \"\"\n$A \\ `\n");
    assert_eq!(body.undefined, ["UNSET"]);
}

#[test]
fn display_keeps_what_is_not_set() {
    let shown = |text: &str| expand_for_display(text, '\\', &lookup);
    assert_eq!(
        shown("RUN echo \"$A\" $U ${U} ${U:-x}"),
        "RUN echo \"alpha\" $U ${U} ${U:-x}"
    );
    assert_eq!(shown("RUN echo 'open $A"), "RUN echo 'open $A");
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth: usize| format!("{}x{}", "${U:-".repeat(depth), "}".repeat(depth));
    check(&nested(word::MAX_DEPTH), "x");
    assert_eq!(
        expand(&nested(10_000), '\\', &lookup),
        Err(WordError::TooDeep)
    );
    assert_eq!(
        expand(&"${U:-".repeat(10_000), '\\', &lookup),
        Err(WordError::TooDeep)
    );
    let big = |_: &str| Some("x".repeat(1 << 20));
    assert_eq!(
        expand(&"$A".repeat(100), '\\', &big),
        Err(WordError::TooLong)
    );
    assert_eq!(
        expand(&format!("\"{}\"", "$A".repeat(100)), '\\', &big),
        Err(WordError::TooLong)
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"([$}{:/%#?*+'"\\`< ab\-.é]|\$\{A|\$\{U:-){0,40}"#) {
        for escape in ['\\', '`'] {
            let one = expand(&text, escape, &lookup);
            let split = expand_words(&text, escape, &lookup);
            prop_assert_eq!(one.is_ok(), split.is_ok());
        }
        let _ = expand_heredoc(&text, &lookup);
        let _ = expand_for_display(&text, '\\', &lookup);
    }

    #[test]
    fn plain_text_stays(text in "[a-zA-Z0-9 _./:=é,-]{0,40}") {
        prop_assert_eq!(expand(&text, '\\', &lookup).unwrap().value, text);
    }

    #[test]
    fn single_quotes_protect_everything(text in "[^']{0,40}") {
        prop_assert_eq!(expand(&format!("'{text}'"), '\\', &lookup).unwrap().value, text);
    }
}
