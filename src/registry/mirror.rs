//! Where images are pulled from instead of their own registry: maps and mirrors.
//!
//! Only reading is redirected: what is pushed goes where its name says. The places of a registry are asked in order; the
//! one that served a repository last is asked first from then on, so that a mirror that is down costs its time once.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::oci::{DOCKER_HUB, Reference, ReferenceError};

use super::client::Client;
use super::error::Error;

/// A registry, or a path of one, that stands in for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    registry: String,
    /// What is put before the repository.
    path: Option<String>,
}

/// Why a text names no mirror.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MirrorError {
    /// It has a scheme.
    #[error("\"{}\" has a scheme: a mirror is HOST[:PORT][/PATH]", .0.escape_debug())]
    Scheme(String),
    /// It breaks the grammar of references.
    #[error("\"{}\" is not of the form HOST[:PORT][/PATH]: {source}", text.escape_debug())]
    Grammar {
        /// The text.
        text: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The registry that is mapped is no host.
    #[error("\"{}\" is no registry: expected HOST[:PORT]", .0.escape_debug())]
    Registry(String),
    /// There is no `=`.
    #[error("\"{}\" is not of the form REGISTRY=HOST[:PORT][/PATH]", .0.escape_debug())]
    Form(String),
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        if text.contains("://") {
            return Err(MirrorError::Scheme(text.to_owned()));
        }
        let (registry, path) = match text.split_once('/') {
            Some((registry, path)) => (registry, path.trim_end_matches('/')),
            None => (text, ""),
        };
        let mirror = Self {
            registry: registry.to_owned(),
            path: (!path.is_empty()).then(|| path.to_owned()),
        };
        // Whatever is wrong with it is wrong with any image there.
        let any: Reference = "docker.io/any/name".parse().expect("it is a reference");
        match mirror.place(&any) {
            Ok(_) => Ok(mirror),
            Err(source) => Err(MirrorError::Grammar {
                text: text.to_owned(),
                source,
            }),
        }
    }
}

impl Mirror {
    /// Gives the name that an image has here.
    fn place(&self, reference: &Reference) -> Result<Reference, ReferenceError> {
        let repository = reference.repository();
        match &self.path {
            Some(path) => reference.with_name(&self.registry, &format!("{path}/{repository}")),
            None => reference.with_name(&self.registry, repository),
        }
    }
}

/// The mirrors of each registry, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    by_registry: BTreeMap<String, Vec<Mirror>>,
    /// Whether a registry that has mirrors is never asked itself.
    pub is_exclusive: bool,
}

impl Mirrors {
    /// Adds what `--registry-map` says: `REGISTRY=MIRROR`, several with `;` between them.
    ///
    /// # Errors
    /// The first entry that cannot be read.
    pub fn add_map(&mut self, text: &str) -> Result<(), MirrorError> {
        for entry in text
            .split(';')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let (registry, mirror) = entry
                .split_once('=')
                .ok_or_else(|| MirrorError::Form(entry.to_owned()))?;
            // A registry is what a reference may begin with; Docker Hub has several names.
            let probe: Reference = format!("{registry}/any/name")
                .parse()
                .map_err(|_| MirrorError::Registry(registry.to_owned()))?;
            let is_registry = probe.repository() == "any/name";
            if !is_registry {
                return Err(MirrorError::Registry(registry.to_owned()));
            }
            self.add(probe.registry(), mirror.parse()?);
        }
        Ok(())
    }

    /// Adds what `--registry-mirror` says: a mirror of Docker Hub.
    ///
    /// # Errors
    /// When it names no mirror.
    pub fn add_hub(&mut self, text: &str) -> Result<(), MirrorError> {
        self.add(DOCKER_HUB, text.parse()?);
        Ok(())
    }

    fn add(&mut self, registry: &str, mirror: Mirror) {
        let known = self.by_registry.entry(registry.to_owned()).or_default();
        if !known.contains(&mirror) {
            known.push(mirror);
        }
    }

    /// Gives the places of an image in the order in which they are asked.
    fn places(&self, reference: &Reference) -> Vec<Reference> {
        let mirrors = self.by_registry.get(reference.registry());
        let mut places: Vec<Reference> = mirrors
            .into_iter()
            .flatten()
            .filter_map(|mirror| mirror.place(reference).ok())
            .collect();
        if places.is_empty() || !self.is_exclusive {
            places.push(reference.clone());
        }
        places
    }
}

/// Which place served a repository last.
#[derive(Debug, Default)]
pub(super) struct Served(Mutex<HashMap<String, String>>);

impl Client {
    /// Gives the places of a blob. They are those of its image, if that was resolved; what else there is in a registry,
    /// such as a cache, is there and nowhere else.
    pub(super) fn blob_places(&self, reference: &Reference) -> Vec<Reference> {
        let is_mapped = {
            let served = self.shared.served.0.lock();
            let served = served.unwrap_or_else(PoisonError::into_inner);
            served.contains_key(&reference.name())
        };
        if is_mapped {
            self.places(reference)
        } else {
            vec![reference.clone()]
        }
    }

    /// Gives the places to read from, the one that is known to serve first.
    fn places(&self, reference: &Reference) -> Vec<Reference> {
        let mut places = self.shared.options.mirrors.places(reference);
        let served = self
            .shared
            .served
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = served.get(&reference.name());
        if let Some(at) = known.and_then(|name| places.iter().position(|p| p.name() == *name)) {
            places[..=at].rotate_right(1);
        }
        places
    }

    /// Remembers that a place has a repository.
    pub(super) fn remember(&self, reference: &Reference, place: &Reference) {
        let mut served = self
            .shared
            .served
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        served.insert(reference.name(), place.name());
    }

    /// Does something at the first place where it succeeds; gives also what the places before it said. With one place its
    /// error is given as it is.
    pub(super) async fn at_first<T>(
        &self,
        reference: &Reference,
        attempt: impl AsyncFn(Reference) -> Result<T, Error>,
    ) -> Result<(T, Vec<Error>), Error> {
        let places = self.places(reference);
        let mut failures: Vec<Error> = Vec::new();
        for place in &places {
            match attempt(place.clone()).await {
                Ok(done) => {
                    if places != [reference.clone()] {
                        self.remember(reference, place);
                    }
                    return Ok((done, failures));
                }
                Err(error) => failures.push(error),
            }
        }
        Err(Error::of_places(failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(mirrors: &Mirrors, image: &str) -> Vec<String> {
        let reference: Reference = image.parse().expect("a reference");
        let places = mirrors.places(&reference);
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn maps_and_mirrors_name_the_places_in_order() {
        let mut mirrors = Mirrors::default();
        mirrors
            .add_map("gcr.io=localhost:5000/google/; index.docker.io=[::1]:5000")
            .expect("a map");
        mirrors
            .add_hub("mirror.io/a_b/docker-hub")
            .expect("a mirror");
        mirrors
            .add_map("docker.io=[::1]:5000")
            .expect("the same again");
        let check = |image: &str, expect: &[&str]| {
            assert_eq!(places(&mirrors, image), expect, "{image}");
        };
        check(
            "alpine:3",
            &[
                "[::1]:5000/library/alpine:3",
                "mirror.io/a_b/docker-hub/library/alpine:3",
                "docker.io/library/alpine:3",
            ],
        );
        check("gcr.io/a/b", &["localhost:5000/google/a/b", "gcr.io/a/b"]);
        check("other.io/a/b", &["other.io/a/b"]);
        check("gcr.io:5000/a/b", &["gcr.io:5000/a/b"]);
        mirrors.is_exclusive = true;
        let check = |image: &str, expect: &[&str]| {
            assert_eq!(places(&mirrors, image), expect, "{image}");
        };
        check("gcr.io/a/b", &["localhost:5000/google/a/b"]);
        check("other.io/a/b", &["other.io/a/b"]);
    }

    #[test]
    fn digests_are_kept() {
        let mut mirrors = Mirrors::default();
        mirrors.add_hub("m.io").expect("a mirror");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            places(&mirrors, &format!("x/y@{digest}"))[0],
            format!("m.io/x/y@{digest}")
        );
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for bad in [
            "https://mirror.io",
            "",
            "mirror.io/UPPER",
            "mirror.io//a",
            "mirror.io:99999",
            "a b",
            "user@mirror.io",
            "mirror.io/a:tag",
        ] {
            assert!(bad.parse::<Mirror>().is_err(), "{bad} parsed");
        }
        for bad in [
            "gcr.io",
            "=x.io",
            "gcr.io/path=x.io",
            "gcr.io=",
            "gcr.io=http://x",
            "name=x.io",
        ] {
            assert!(Mirrors::default().add_map(bad).is_err(), "{bad} parsed");
        }
    }
}
