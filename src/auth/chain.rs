//! Sources of credentials in their order, and what each of them said.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::{Credential, Error, Keychain};

/// One place where a credential may come from.
pub trait Source: Debug + Send + Sync {
    /// What to call it in messages.
    fn name(&self) -> &str;

    /// Looks for the credential of a repository of a registry.
    ///
    /// # Errors
    /// When a source that should know cannot be read or run. The error names the source, never a secret.
    fn find<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Found, Error>>;

    /// Drops what is kept for a registry that refused it.
    fn forget(&self, _registry: &str) {}
}

/// What a source said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It knows.
    Credential(Credential),
    /// It is not there, or not for this registry: the reason.
    NotApplicable(String),
    /// It is for this registry and has nothing all the same: the reason.
    Nothing(String),
}

/// What a source said of a registry, for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The source.
    pub source: String,
    /// What it said.
    pub kind: VerdictKind,
    /// In words.
    pub text: String,
}

/// The kinds of a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictKind {
    /// Its credential is used.
    Used,
    /// An earlier source answered.
    NotAsked,
    /// It is not there, or not for this registry.
    NotApplicable,
    /// It is for this registry and has nothing.
    Nothing,
    /// It should know and cannot be asked; a build would end.
    Failed,
}

impl VerdictKind {
    /// The kind as data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::NotAsked => "not asked",
            Self::NotApplicable => "not applicable",
            Self::Nothing => "nothing",
            Self::Failed => "failed",
        }
    }
}

/// Asks sources in order; the first that knows answers.
#[derive(Debug, Default)]
pub struct Chain {
    sources: Vec<Arc<dyn Source>>,
    misses: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Chain {
    /// Makes a chain of sources, the first to be asked first.
    pub fn new(sources: Vec<Arc<dyn Source>>) -> Self {
        Self {
            sources,
            misses: Mutex::default(),
        }
    }

    /// The names of the sources in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.name())
    }

    /// Asks as a build would, and says what every source said.
    pub async fn explain(&self, registry: &str, repository: &str) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut is_settled = false;
        for source in &self.sources {
            let (kind, text) = if is_settled {
                (
                    VerdictKind::NotAsked,
                    "an earlier source answers".to_owned(),
                )
            } else {
                match source.find(registry, repository).await {
                    Ok(Found::Credential(credential)) => (
                        VerdictKind::Used,
                        if credential.source == source.name() {
                            credential.kind.name().to_owned()
                        } else {
                            format!("{} of {}", credential.kind.name(), credential.source)
                        },
                    ),
                    Ok(Found::NotApplicable(reason)) => (VerdictKind::NotApplicable, reason),
                    Ok(Found::Nothing(reason)) => (VerdictKind::Nothing, reason),
                    Err(error) => (VerdictKind::Failed, error.to_string()),
                }
            };
            is_settled |= matches!(kind, VerdictKind::Used | VerdictKind::Failed);
            verdicts.push(Verdict {
                source: source.name().to_owned(),
                kind,
                text,
            });
        }
        verdicts
    }

    async fn ask(&self, registry: &str, repository: &str) -> Result<Option<Credential>, Error> {
        let mut misses = Vec::new();
        for source in &self.sources {
            match source.find(registry, repository).await? {
                Found::Credential(credential) => return Ok(Some(credential)),
                Found::NotApplicable(_) => {}
                Found::Nothing(reason) => misses.push(format!("{}: {reason}", source.name())),
            }
        }
        let mut kept = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(registry.to_owned(), misses);
        Ok(None)
    }
}

impl Keychain for Chain {
    fn resolve<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(self.ask(registry, repository))
    }

    fn forget(&self, registry: &str) {
        for source in &self.sources {
            source.forget(registry);
        }
    }

    fn misses(&self, registry: &str) -> Vec<String> {
        let kept = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(registry).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::CredentialKind;
    use crate::http::Secret;

    #[derive(Debug)]
    struct Says(&'static str, Found);

    impl Source for Says {
        fn name(&self) -> &str {
            self.0
        }

        fn find<'a>(
            &'a self,
            _registry: &'a str,
            _repository: &'a str,
        ) -> BoxFuture<'a, Result<Found, Error>> {
            Box::pin(std::future::ready(Ok(self.1.clone())))
        }
    }

    #[tokio::test]
    async fn the_first_that_knows_answers_and_the_others_say_why_not() {
        let credential = Credential {
            kind: CredentialKind::RegistryToken(Secret::new("hunter2")),
            source: "b".to_owned(),
        };
        let absent: Arc<dyn Source> = Arc::new(Says("a", Found::NotApplicable("absent".into())));
        let empty: Arc<dyn Source> = Arc::new(Says("e", Found::Nothing("no identity".into())));
        let knows: Arc<dyn Source> = Arc::new(Says("b", Found::Credential(credential.clone())));
        let chain = Chain::new(vec![absent.clone(), empty.clone(), knows, absent.clone()]);
        assert_eq!(chain.resolve("r", "x").await.unwrap(), Some(credential));
        let kinds: Vec<_> = chain.explain("r", "x").await;
        assert!(!format!("{kinds:?}").contains("hunter2"));
        let kinds: Vec<_> = kinds.iter().map(|verdict| verdict.kind).collect();
        assert_eq!(
            kinds,
            [
                VerdictKind::NotApplicable,
                VerdictKind::Nothing,
                VerdictKind::Used,
                VerdictKind::NotAsked
            ]
        );
        let chain = Chain::new(vec![absent, empty]);
        assert_eq!(chain.resolve("r", "x").await.unwrap(), None);
        assert_eq!(chain.misses("r"), ["e: no identity"]);
        assert!(chain.misses("other").is_empty());
    }
}
