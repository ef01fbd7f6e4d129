//! Caches as buildx names them: `type=registry,ref=...` and the like, to places.

use std::path::Path;

use crate::build::CachePlace;
use crate::cache::GhaOptions;
use crate::http::Secret;
use crate::oci::Reference;
use crate::store::Stores;

use super::UsageError;
use super::buckets;
use super::env::Env;
use super::resolve::absolute;

/// The longest tag that leaves room for a key: 128 characters (distribution-spec), less 64 and a dash.
const TAG_MAX: usize = 63;

/// What a cache is named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Layers are looked up.
    From,
    /// Layers are kept.
    To,
}

impl Direction {
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::From => "--cache-from",
            Self::To => "--cache-to",
        }
    }
}

/// What a name may depend on.
pub(super) struct Around<'a> {
    /// The environment.
    pub(super) env: &'a Env,
    /// Makes the stores that can be reached with an environment.
    pub(super) stores: &'a dyn Fn(&Env) -> Result<Stores, UsageError>,
}

/// What a text names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A place.
    Place(CachePlace),
    /// The image itself.
    Inline,
    /// None that is to be had here, and why.
    Absent(String),
}

/// The fields of a text, each taken once.
pub(super) struct Fields<'a> {
    flag: &'static str,
    kind: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    fn parse(flag: &'static str, text: &'a str) -> Result<Self, UsageError> {
        let mut pairs = if text.contains('=') {
            text.split(',')
                .map(|field| {
                    field.split_once('=').ok_or_else(|| {
                        let reason = format!("\"{field}\" is not of the form NAME=VALUE");
                        UsageError::flag(flag, reason)
                    })
                })
                .collect::<Result<_, _>>()?
        } else {
            vec![("type", "registry"), ("ref", text)]
        };
        let mut kind = "registry";
        pairs.retain(|(name, value)| {
            let is_kind = *name == "type";
            if is_kind {
                kind = value;
            }
            !is_kind
        });
        Ok(Self { flag, kind, pairs })
    }

    pub(super) fn bad(&self, reason: impl std::fmt::Display) -> UsageError {
        UsageError::flag(self.flag, reason)
    }

    /// Takes a field that may be absent or empty; of several the last counts.
    pub(super) fn take(&mut self, wanted: &str) -> Option<&'a str> {
        let mut found = None;
        self.pairs.retain(|(name, value)| {
            let is_wanted = *name == wanted;
            if is_wanted {
                found = Some(*value);
            }
            !is_wanted
        });
        found.filter(|value| !value.is_empty())
    }

    /// Takes a field that must be there.
    pub(super) fn need(&mut self, wanted: &str) -> Result<&'a str, UsageError> {
        let found = self.take(wanted);
        found.ok_or_else(|| self.bad(format_args!("type={} needs {wanted}=", self.kind)))
    }

    /// Nothing else may be there but what says what happens in any case.
    fn end(mut self) -> Result<(), UsageError> {
        self.pairs.retain(|(name, value)| {
            !matches!(
                (*name, *value),
                ("mode", "max") | ("oci-mediatypes" | "image-manifest", "true")
            )
        });
        match self.pairs.first() {
            Some((name, value)) => Err(self.bad(format_args!(
                "{name}={value} is not supported for type={}",
                self.kind
            ))),
            None => Ok(()),
        }
    }
}

/// A cache as buildx names it.
///
/// Whether the build has failed if the cache cannot be written, is said beside it.
///
/// # Deviation
/// A cache that cannot be written is a warning, unless `ignore-error=false` says otherwise.
///
/// Entries of a registry are tags of their own, `<tag>-<key>`, and not one manifest under the tag; what is kept are always the
/// layers of all steps, as with `mode=max`.
pub(super) fn named(
    direction: Direction,
    text: &str,
    around: &Around<'_>,
) -> Result<(Named, bool), UsageError> {
    of_flag(direction.flag(), direction, text, around)
}

/// A place of cache mounts, named like that of layers by `flag`; `Err` inside says why there is none here.
pub(super) fn of_mounts(
    flag: &'static str,
    direction: Direction,
    text: &str,
    around: &Around<'_>,
) -> Result<Result<CachePlace, String>, UsageError> {
    let (named, is_required) = of_flag(flag, direction, text, around)?;
    if is_required {
        return Err(UsageError::flag(
            flag,
            "ignore-error=false is for layers: what keeps a cache mount from being saved is a warning",
        ));
    }
    match named {
        Named::Place(place) => Ok(Ok(mounts_in(place))),
        Named::Absent(reason) => Ok(Err(reason)),
        Named::Inline => Err(UsageError::flag(
            flag,
            "type=inline: an image has no room for cache mounts, name a place of another type",
        )),
    }
}

/// Where cache mounts are, beside the layers of a place: an image's own entries are of layers only.
pub(super) fn mounts_in(place: CachePlace) -> CachePlace {
    match place {
        CachePlace::Image(reference) => CachePlace::Registry(reference),
        place => place,
    }
}

fn of_flag(
    flag: &'static str,
    direction: Direction,
    text: &str,
    around: &Around<'_>,
) -> Result<(Named, bool), UsageError> {
    let mut fields = Fields::parse(flag, text)?;
    let named = match fields.kind {
        "registry" => {
            let reference = registry(&mut fields)?;
            Named::Place(match direction {
                Direction::From => CachePlace::Image(reference),
                Direction::To => CachePlace::Registry(reference),
            })
        }
        "local" => {
            let directory = fields.need(match direction {
                Direction::From => "src",
                Direction::To => "dest",
            })?;
            Named::Place(CachePlace::Directory(absolute(Path::new(directory))))
        }
        "gha" => gha(&mut fields, around.env)?,
        "inline" if direction == Direction::To => Named::Inline,
        "inline" => {
            return Err(fields.bad("an image with entries within is type=registry,ref=IMAGE"));
        }
        "s3" => Named::Place(buckets::s3(&mut fields, around)?),
        "gcs" => Named::Place(buckets::gcs(&mut fields, around)?),
        "azblob" => Named::Place(buckets::azblob(&mut fields, around)?),
        other => {
            return Err(fields.bad(format_args!(
                "type={other} is not known: expected registry, local, gha, s3, gcs or azblob"
            )));
        }
    };
    let is_required = match fields.take("ignore-error") {
        None => false,
        Some("true") if direction == Direction::To => false,
        Some("false") if direction == Direction::To => true,
        Some(other) => {
            return Err(fields.bad(format_args!(
                "ignore-error={other} is not supported here: it is true or false, with --cache-to"
            )));
        }
    };
    fields.end()?;
    Ok((named, is_required))
}

fn registry(fields: &mut Fields<'_>) -> Result<Reference, UsageError> {
    let named = fields.need("ref")?;
    let reference: Reference = named.parse().map_err(|error| fields.bad(error))?;
    if reference.digest().is_some() {
        return Err(fields.bad(format_args!("\"{named}\" has a digest: name a tag")));
    }
    if reference.tag().is_some_and(|tag| tag.len() > TAG_MAX) {
        let reason = format!("the tag of \"{named}\" is longer than {TAG_MAX} characters");
        return Err(fields.bad(reason));
    }
    Ok(reference)
}

/// The cache of GitHub Actions, with what the runner says of it.
fn gha(fields: &mut Fields<'_>, env: &Env) -> Result<Named, UsageError> {
    let scope = fields.take("scope").unwrap_or("longshore");
    let is_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/');
    if !scope.bytes().all(is_name) || scope.len() > 128 {
        let reason = "has letters, digits and . - _ / only, 128 at most";
        return Err(fields.bad(format_args!(
            "scope=\"{}\": a scope {reason}",
            scope.escape_debug()
        )));
    }
    let url = fields.take("url_v2").or(fields.take("url"));
    let url = url.or_else(|| env.text("ACTIONS_RESULTS_URL"));
    let token = fields.take("token");
    let token = token.or_else(|| env.text("ACTIONS_RUNTIME_TOKEN"));
    let (Some(url), Some(token)) = (url, token) else {
        return Ok(Named::Absent(
            "type=gha: no ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN, which GitHub gives to actions and not to \"run:\" steps: the build goes on without that cache"
                .to_owned(),
        ));
    };
    let mut url: url::Url = url
        .parse()
        .map_err(|error| fields.bad(format_args!("type=gha: the service's URL: {error}")))?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(Named::Place(CachePlace::Gha(GhaOptions {
        url,
        token: Secret::new(token),
        scope: scope.to_owned(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_have_places_of_their_own_kind() {
        let (env, stores) = (Env::default(), |_: &Env| Ok(Stores::default()));
        let around = Around {
            env: &env,
            stores: &stores,
        };
        let place = |direction, text: &str| of_mounts("--flag", direction, text, &around);
        let registry = Ok(CachePlace::Registry("x.io/a".parse().unwrap()));
        assert_eq!(place(Direction::From, "x.io/a").unwrap(), registry);
        assert_eq!(place(Direction::To, "x.io/a").unwrap(), registry);
        for text in ["type=inline", "type=local,dest=/c,ignore-error=false"] {
            let error = place(Direction::To, text).unwrap_err().to_string();
            assert!(error.contains("--flag"), "{text}: {error}");
        }
    }

    #[test]
    fn caches_are_named_as_in_buildx() {
        let mut env = Env::default();
        let stores = |_: &Env| Ok(Stores::default());
        let nothing = Env::default();
        let place = |text: &str| {
            let around = Around {
                env: &nothing,
                stores: &stores,
            };
            named(Direction::To, text, &around)
        };
        let registry = |text: &str| Named::Place(CachePlace::Registry(text.parse().unwrap()));
        for (text, expect) in [
            ("x.io/a:cache", registry("x.io/a:cache")),
            ("type=registry,ref=x.io/a", registry("x.io/a")),
            (
                "type=registry,ref=x.io/a:b,mode=max,image-manifest=true",
                registry("x.io/a:b"),
            ),
            (
                "type=local,dest=/c",
                Named::Place(CachePlace::Directory("/c".into())),
            ),
        ] {
            assert_eq!(place(text).unwrap(), (expect, false), "{text}");
        }
        for text in [
            "",
            "type=other",
            "type=registry",
            "type=local,src=/c",
            "type=local",
            "type=registry,ref=x.io/a,mode=min",
            "type=registry,ref=x.io/a,compression=zstd",
            "type=registry,ref",
            "type=inline,ref=x",
            "type=gha,scope=a b",
            "type=gha,repository=a/b",
            "ref=x.io/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            &format!("ref=x.io/a:{}", "t".repeat(64)),
        ] {
            assert!(place(text).is_err(), "{text}");
        }
        assert_eq!(place("type=inline").unwrap().0, Named::Inline);
        assert!(place("ref=x.io/a,ignore-error=no").is_err());
        assert!(place("ref=x.io/a,ignore-error=false").unwrap().1);
        assert!(matches!(place("type=gha").unwrap().0, Named::Absent(_)));
        env.set("ACTIONS_RESULTS_URL", "https://results.invalid/x");
        env.set("ACTIONS_RUNTIME_TOKEN", "hunter2");
        let around = Around {
            env: &env,
            stores: &stores,
        };
        let found = named(Direction::From, "type=gha,scope=app,mode=max", &around);
        let (found, _) = found.unwrap();
        let expect = GhaOptions {
            url: "https://results.invalid/x/".parse().unwrap(),
            token: Secret::new("hunter2"),
            scope: "app".to_owned(),
        };
        assert!(!format!("{found:?}").contains("hunter2"));
        assert_eq!(found, Named::Place(CachePlace::Gha(expect)));
    }
}
