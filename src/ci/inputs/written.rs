//! The input `outputs`: what buildx's `--output` says, as far as it is ours to do.

use super::InputError;

/// What the lines ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outputs {
    /// The arguments that they mean.
    pub(super) arguments: Vec<String>,
    /// Whether one of them pushes, so that the input `push` has nothing to add.
    pub(super) pushes: bool,
}

/// Reads lines of `type=KIND,name=value,...`, fields in quotes as CSV has them.
///
/// # Errors
/// A kind or a field that asks for something that is not made.
pub(super) fn outputs(text: &str) -> Result<Outputs, InputError> {
    let mut outputs = Outputs::default();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        one(line, &mut outputs)?;
    }
    if outputs.pushes {
        outputs.arguments.push("--push=true".to_owned());
    }
    Ok(outputs)
}

fn one(line: &str, outputs: &mut Outputs) -> Result<(), InputError> {
    let wrong = |reason: &str| InputError::Outputs(format!("\"{line}\": {reason}"));
    let (mut kind, mut dest, mut push, mut tar) = ("", None, None, true);
    let fields = fields(line);
    for field in &fields {
        let Some((name, value)) = field.split_once('=') else {
            return Err(wrong(
                "a directory of the image's files is not written: type=docker or type=oci writes an image",
            ));
        };
        let truth = |value: &str| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(wrong(&format!("{name} is neither true nor false"))),
        };
        match name.trim() {
            "type" => kind = value,
            "dest" => dest = Some(value),
            "push" => push = Some(truth(value)?),
            "tar" => tar = truth(value)?,
            "name" => {
                let names = value.split(',').map(str::trim);
                outputs
                    .arguments
                    .extend(names.map(|name| format!("--destination={name}")));
            }
            "compression" => outputs.arguments.push(format!("--compression={value}")),
            "compression-level" => {
                outputs
                    .arguments
                    .push(format!("--compression-level={value}"));
            }
            "oci-mediatypes" => {
                let format = if truth(value)? { "oci" } else { "docker" };
                outputs.arguments.push(format!("--image-format={format}"));
            }
            "push-by-digest" if truth(value)? => {
                return Err(wrong(
                    "a push has a tag: give each platform one of its own, and `longshore index create` makes one name of them",
                ));
            }
            "push-by-digest" => {}
            other => match other.strip_prefix("annotation.") {
                Some(key) => outputs
                    .arguments
                    .push(format!("--annotation={key}={value}")),
                None => return Err(wrong(&format!("the field {other} is not supported"))),
            },
        }
    }
    match (kind, dest) {
        ("registry", None) => outputs.pushes = true,
        ("image", None) => outputs.pushes |= push == Some(true),
        ("docker", Some(path)) => outputs.arguments.push(format!("--tar-path={path}")),
        ("docker", None) => {
            return Err(wrong(
                "no image is handed to a daemon: with dest=FILE it is an archive for `docker load`",
            ));
        }
        ("oci", Some(path)) if !tar => {
            outputs.arguments.push(format!("--oci-layout-path={path}"));
        }
        ("oci", _) => {
            return Err(wrong(
                "an OCI layout is written as a directory: dest=DIRECTORY,tar=false",
            ));
        }
        ("registry" | "image", Some(_)) => return Err(wrong("what is pushed has no dest")),
        _ => {
            return Err(wrong(
                "the types are registry, image, docker and oci: an image is made, and nothing else",
            ));
        }
    }
    Ok(())
}

/// The fields of a line: commas separate them, but not between quotes, which are taken off.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    for character in line.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            _ => {
                if let Some(last) = fields.last_mut() {
                    last.push(character);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_buildx_are_arguments() {
        for (text, expect) in [
            ("", &[][..]),
            ("type=registry", &["--push=true"]),
            (
                "type=image,\"name=a.test/x:1,a.test/y:1\",push=true,oci-mediatypes=false",
                &[
                    "--destination=a.test/x:1",
                    "--destination=a.test/y:1",
                    "--image-format=docker",
                    "--push=true",
                ],
            ),
            (
                "type=image,name=a.test/x,push=false,push-by-digest=false",
                &["--destination=a.test/x"],
            ),
            (
                "# both\ntype=docker,dest=/tmp/x.tar\ntype=oci,dest=out,tar=false,compression=zstd,compression-level=9,annotation.a.b=c",
                &[
                    "--tar-path=/tmp/x.tar",
                    "--compression=zstd",
                    "--compression-level=9",
                    "--annotation=a.b=c",
                    "--oci-layout-path=out",
                ],
            ),
        ] {
            assert_eq!(outputs(text).unwrap().arguments, expect, "{text}");
        }
    }

    #[test]
    fn what_is_not_made_is_said() {
        for (text, expect) in [
            ("out", "directory of the image's files"),
            ("type=local,dest=out", "registry, image, docker and oci"),
            ("type=tar,dest=x", "registry, image, docker and oci"),
            ("name=x", "registry, image, docker and oci"),
            ("type=docker", "dest=FILE"),
            ("type=oci,dest=x.tar", "tar=false"),
            ("type=registry,dest=x", "has no dest"),
            ("type=image,push=yes", "push is neither true nor false"),
            ("type=image,push-by-digest=true", "`longshore index create`"),
            (
                "type=image,unpack=true",
                "the field unpack is not supported",
            ),
        ] {
            let error = outputs(text).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }
}
