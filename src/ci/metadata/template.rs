//! The expressions in double braces that rules may hold.

use super::moment;
use super::{MetadataError, MetadataFacts};

/// Replaces each `{{expression}}` by what `known` makes of it, else by what the commit and event say.
///
/// # Errors
/// An expression that does not exist, or a time zone that does not.
pub(super) fn render(
    text: &str,
    facts: &MetadataFacts,
    known: &dyn Fn(&str) -> Option<String>,
) -> Result<String, MetadataError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((expression, after)) = after.split_once("}}") else {
            return Err(wrong(text, "it has no end".to_owned()));
        };
        out.push_str(before);
        let expression = expression.trim();
        match known(expression) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&global(expression, text, facts)?),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn wrong(text: &str, reason: String) -> MetadataError {
    MetadataError::Grammar {
        what: "template",
        text: text.to_owned(),
        reason,
    }
}

fn global(expression: &str, text: &str, facts: &MetadataFacts) -> Result<String, MetadataError> {
    let (name, arguments) = expression
        .split_once(char::is_whitespace)
        .unwrap_or((expression, ""));
    match name {
        "branch" => Ok(facts.branch().unwrap_or_default().to_owned()),
        "tag" => Ok(facts.tag().unwrap_or_default().to_owned()),
        "sha" => Ok(facts.short_sha().to_owned()),
        "base_ref" => Ok(facts.base_ref.clone()),
        "is_default_branch" => Ok(facts.is_default_branch().to_string()),
        "is_not_default_branch" => Ok((!facts.is_default_branch()).to_string()),
        "date" => date(facts.now, arguments, text),
        "commit_date" => match facts.commit_time {
            Some(time) => date(time, arguments, text),
            None => Err(wrong(
                text,
                "this CI system does not tell the commit's time".to_owned(),
            )),
        },
        _ => Err(wrong(text, format!("\"{expression}\" is no expression"))),
    }
}

/// `'format' tz='zone'`, in either kind of quotes.
fn date(seconds: i64, arguments: &str, text: &str) -> Result<String, MetadataError> {
    let (mut format, mut zone) = (String::from("YYYY-MM-DDTHH:mm:ssZ"), String::from("UTC"));
    let mut rest = arguments.trim();
    while !rest.is_empty() {
        let (key, quoted) = match rest.strip_prefix("tz=") {
            Some(quoted) => ("tz", quoted),
            None => ("format", rest),
        };
        let quote = quoted.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let Some((value, after)) =
            quote.and_then(|quote| quoted[quote.len_utf8()..].split_once(quote))
        else {
            return Err(wrong(
                text,
                "a date takes 'FORMAT' and tz='ZONE', in quotes".to_owned(),
            ));
        };
        value.clone_into(if key == "tz" { &mut zone } else { &mut format });
        rest = after.trim_start();
    }
    moment::format(seconds, &format, &zone).map_err(|reason| wrong(text, reason))
}
