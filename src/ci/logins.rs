//! The registries that the inputs of our GitHub action give credentials for: `registry`, `username` and `password`, and the list
//! `registry-auth` in docker/login-action's form.

use super::Env;
use super::inputs::{InputError, value};

/// A registry with its user and password. Nothing prints it.
#[expect(
    missing_debug_implementations,
    reason = "a password is not for printing"
)]
pub struct Login {
    /// The registry's host, `docker.io` for Docker Hub.
    pub registry: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Docker Hub, as docker/login-action has it where no registry is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// What an item of the list has.
const KEYS: [&str; 3] = ["registry", "username", "password"];

/// The credentials that the inputs give, the single one first.
///
/// # Errors
/// A user without a password or the other way round; a list that cannot be read.
pub fn logins(env: &Env) -> Result<Vec<Login>, InputError> {
    let mut logins = Vec::new();
    match (value(env, "username"), value(env, "password")) {
        (Some(username), Some(password)) => logins.push(Login {
            registry: value(env, "registry")
                .unwrap_or(DEFAULT_REGISTRY)
                .trim()
                .to_owned(),
            username: username.trim().to_owned(),
            password: password.trim_end().to_owned(),
        }),
        (Some(_), None) => return Err(InputError::Alone("password", "username")),
        (None, Some(_)) => return Err(InputError::Alone("username", "password")),
        (None, None) => {}
    }
    logins.extend(list(value(env, "registry-auth").unwrap_or_default())?);
    Ok(logins)
}

/// Reads a list of flat mappings: as much of YAML as docker/login-action's users write.
fn list(text: &str) -> Result<Vec<Login>, InputError> {
    let mut items: Vec<(usize, [Option<String>; 3])> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let wrong = |what| InputError::RegistryAuth(number, what);
        let mut rest = line.trim();
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        if let Some(after) = rest.strip_prefix('-') {
            items.push((number, [const { None }; 3]));
            rest = after.trim_start();
        }
        let (_, fields) = items
            .last_mut()
            .ok_or(wrong("a list is expected, `- registry: HOST`"))?;
        if rest.is_empty() {
            continue;
        }
        let (key, text) = rest
            .split_once(':')
            .ok_or(wrong("it is not of the form `key: value`"))?;
        let field = KEYS.iter().position(|known| *known == key.trim());
        let field = field.ok_or(wrong("the keys are registry, username and password"))?;
        let text =
            scalar(text.trim()).ok_or(wrong("the quoted text does not end, or has an escape"))?;
        if fields[field].replace(text).is_some() {
            return Err(wrong("the key is there twice"));
        }
    }
    let logins = items.into_iter().map(|(number, fields)| {
        let [registry, username, password] =
            fields.map(|field| field.filter(|text| !text.is_empty()));
        match (username, password) {
            (Some(username), Some(password)) => Ok(Login {
                registry: registry.unwrap_or_else(|| DEFAULT_REGISTRY.to_owned()),
                username,
                password,
            }),
            _ => Err(InputError::RegistryAuth(
                number,
                "the item needs a username and a password",
            )),
        }
    });
    logins.collect()
}

/// A scalar of YAML on one line: plain, in single quotes, or in double ones without escapes.
fn scalar(text: &str) -> Option<String> {
    let quoted = |quote: char| -> Option<Option<&str>> {
        let rest = text.strip_prefix(quote)?;
        let end = rest.rfind(quote);
        Some(end.map(|end| &rest[..end]))
    };
    if let Some(inside) = quoted('\'') {
        return Some(inside?.replace("''", "'"));
    }
    if let Some(inside) = quoted('"') {
        return inside
            .filter(|inside| !inside.contains('\\'))
            .map(str::to_owned);
    }
    let end = text.find(" #").unwrap_or(text.len());
    Some(text[..end].trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inputs: &[(&str, &str)]) -> Result<Vec<[String; 3]>, String> {
        let env: Env = inputs
            .iter()
            .map(|(name, text)| (format!("INPUT_{name}"), *text))
            .collect();
        let logins = logins(&env).map_err(|error| error.to_string())?;
        let fields = |login: Login| [login.registry, login.username, login.password];
        Ok(logins.into_iter().map(fields).collect())
    }

    #[test]
    fn inputs_name_registries() {
        for (inputs, expect) in [
            (&[][..], &[][..]),
            (
                &[("USERNAME", "u"), ("PASSWORD", "p=:\n")],
                &[["docker.io", "u", "p=:"]],
            ),
            (
                &[
                    ("REGISTRY", "ghcr.io"),
                    ("USERNAME", "u"),
                    ("PASSWORD", "p"),
                    ("REGISTRY-AUTH", "- username: v\n  password: q\n"),
                ],
                &[["ghcr.io", "u", "p"], ["docker.io", "v", "q"]],
            ),
            (
                &[(
                    "REGISTRY_AUTH",
                    "# two\n- registry: localhost:5000\n  username: 'it''s'\n  password: \"a: b # c\"\n\n-\n  password: x#y z # no\n  username: w\n",
                )],
                &[
                    ["localhost:5000", "it's", "a: b # c"],
                    ["docker.io", "w", "x#y z"],
                ],
            ),
        ] {
            assert_eq!(read(inputs).unwrap(), expect, "{inputs:?}");
        }
    }

    #[test]
    fn lists_that_cannot_be_read() {
        for (text, expect) in [
            ("ghcr.io=u:s3cret", "line 1: a list is expected"),
            ("- registry: a\n  s3cret", "line 2: it is not of the form"),
            ("- ecr: auto", "line 1: the keys are"),
            (
                "- username: a\n  username: b",
                "line 2: the key is there twice",
            ),
            (
                "- username: a\n- username: b\n  password: s3cret",
                "line 1: the item needs",
            ),
            ("- password: 's3cret", "line 1: the quoted text"),
            ("- password: \"s3cr\\et\"", "line 1: the quoted text"),
        ] {
            let error = read(&[("REGISTRY-AUTH", text)]).unwrap_err();
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("s3c"), "{error}");
        }
        let error = read(&[("USERNAME", "u")]).unwrap_err();
        assert_eq!(error, "input password: it is empty, and username is not");
    }
}
