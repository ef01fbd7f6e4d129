//! Secrets in ARG and ENV.

use crate::dockerfile::ast::InstructionKind;

use super::{Pass, Rule};

/// Words of a name that say it holds a secret.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
/// Words that say it does not.
const PUBLIC: [&str; 3] = ["public", "file", "version"];

pub(super) fn check(pass: &mut Pass<'_>, rule: &'static Rule) {
    for (number, stage) in pass.dockerfile.stages.iter().enumerate() {
        if !(pass.facts.is_needed)(number) {
            continue;
        }
        for instruction in &stage.instructions {
            let names: Vec<_> = match &instruction.kind {
                InstructionKind::Arg(arg) => arg.declarations.iter().map(|one| &one.name).collect(),
                InstructionKind::Env(env) => env.pairs.iter().map(|pair| &pair.key).collect(),
                _ => continue,
            };
            let keyword = instruction.kind.keyword();
            for name in names.into_iter().filter(|name| is_secret(&name.value)) {
                let leak = if keyword == "ARG" {
                    "its value is in the image's history"
                } else {
                    "its value is in the image's configuration"
                };
                pass.report(
                    rule,
                    &instruction.comments,
                    name.span,
                    format!("{keyword} {} looks like a secret: {leak}", name.value),
                    "give it to the step that needs it: RUN --mount=type=secret",
                );
            }
        }
    }
}

fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|word| words.contains(&word));
    has(&SECRET) && !has(&PUBLIC)
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn names_of_secrets() {
        let check = |name: &str, expect: bool| assert_eq!(is_secret(name), expect, "{name}");
        check("API_KEY", true);
        check("token", true);
        check("DATABASE_PASSWORD", true);
        check("secret_MESSAGE", true);
        check("APIKEY", true);
        check("KEYBOARD", false);
        check("TOKENIZER", false);
        check("PUBLIC_KEY", false);
        check("TOKEN_FILE", false);
        check("AUTH_VERSION", false);
        check("MY-TOKEN", false);
    }
}
