//! The look ahead: which layers the caches have, asked before anything is unpacked.
//!
//! The last step of the target is asked for first, since its entry has everything. If it is not there, all other steps of all
//! stages are asked for at once, and of each stage the entry that leads furthest counts. An entry is taken only if it agrees
//! with those that were taken before about every step that they share, so that the build has one state of each stage.
//! Whatever is wrong with a cache is told as a warning, and is a miss.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use futures_util::stream::{self, StreamExt as _};

use crate::cache::{Cache, CacheKey, Entry, Error, Record};
use crate::oci::Digest;
use crate::output::{ImageLayer, LayerSource};
use crate::plan::{Plan, StageBase, StepKind};
use crate::registry::BlobSource;

use super::event::{Event, Events};
use super::keys::{Chain, Keys};
use super::need::{Needs, changes_files};
use super::request::CacheOptions;
use super::{BuildError, Services};

/// Questions that are on the way at the same time.
const QUESTIONS_AT_ONCE: usize = 16;

/// A step whose layer a cache has.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    /// What the cache says of it.
    pub(super) record: Record,
    /// The layer.
    pub(super) layer: ImageLayer,
}

/// All steps whose layers the caches have, by key.
#[derive(Debug, Default)]
pub(super) struct Hits(HashMap<CacheKey, Hit>);

impl Hits {
    /// What is known of a step.
    pub(super) fn get(&self, key: &CacheKey) -> Option<&Hit> {
        self.0.get(key)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a layer came out of a cache.
    pub(super) fn has(&self, diff_id: &Digest) -> bool {
        self.0.values().any(|hit| hit.layer.diff_id == *diff_id)
    }

    /// How many steps at the beginning of each stage are done.
    pub(super) fn done(&self, plan: &Plan, keys: &Keys, single: bool) -> Vec<usize> {
        let stages = plan.stages.iter().enumerate();
        stages
            .map(|(index, stage)| {
                let is_based = keys
                    .below(index)
                    .is_some_and(|chain| chain.keys.iter().all(|key| self.0.contains_key(key)));
                if !is_based {
                    return 0;
                }
                let mut done = 0;
                for (number, step) in stage.steps.iter().enumerate() {
                    if !changes_files(&step.kind) {
                        continue;
                    }
                    match keys.step(index, number) {
                        Some(key) if self.0.contains_key(&key) => done = number + 1,
                        None if single => {}
                        Some(_) | None => break,
                    }
                }
                done
            })
            .collect()
    }

    /// Takes an entry, unless it contradicts what was taken before.
    fn take(&mut self, entry: &Entry, sources: Vec<BlobSource>) -> bool {
        let agrees = entry.records().iter().all(|record| {
            let known = self.0.get(&record.key);
            known.is_none_or(|known| {
                known.record.diff_id == record.diff_id && known.record.layer == record.layer
            })
        });
        if !agrees {
            return false;
        }
        for (record, source) in entry.records().iter().zip(sources) {
            let source = match source {
                BlobSource::File(path) => LayerSource::File(path),
                BlobSource::Remote(reference) => LayerSource::Remote(reference),
                BlobSource::Elsewhere(blob) => LayerSource::Elsewhere(blob),
                // No cache has layers in memory, or within other files.
                BlobSource::Bytes(_) | BlobSource::Part { .. } => return false,
            };
            self.0.entry(record.key).or_insert_with(|| Hit {
                record: record.clone(),
                layer: ImageLayer {
                    descriptor: record.layer.clone(),
                    diff_id: record.diff_id.clone(),
                    source,
                },
            });
        }
        true
    }
}

/// What a look ahead needs.
pub(super) struct Look<'a> {
    pub(super) plan: &'a Plan,
    pub(super) keys: &'a Keys,
    pub(super) caches: &'a [Cache],
    pub(super) options: &'a CacheOptions,
    pub(super) services: &'a Services,
    /// How many questions failed, and what the first said.
    pub(super) faults: Faults,
}

/// Faults of caches: each is told once.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<HashSet<String>>);

impl Faults {
    /// Tells of a fault, unless the same was told already.
    pub(super) fn tell(&self, events: &dyn Events, place: &str, error: &Error) {
        let message = format!("cache {place}: {error}: the build goes on without it");
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(message.clone()) {
            events.send(Event::Warning {
                message,
                span: None,
            });
        }
    }
}

/// A question to the caches.
struct Question {
    stage: usize,
    number: usize,
    key: CacheKey,
    chain: Chain,
}

impl Look<'_> {
    /// Asks the caches.
    ///
    /// # Errors
    /// Only when the build is called off.
    pub(super) fn run(&self, single: bool) -> Result<Hits, BuildError> {
        let mut hits = Hits::default();
        if self.caches.is_empty() {
            return Ok(hits);
        }
        let target = self.plan.target;
        let top = self.questions(target).into_iter().next();
        let asked = top.as_ref().map(|question| question.key);
        if let Some(question) = top
            && let Some(found) = super::block_on(self.services, self.ask(&question))?
        {
            self.adopt(&mut hits, vec![(question, found)])?;
        }
        if self.is_all(&hits, single) {
            return Ok(hits);
        }
        let rest: Vec<Question> = (0..self.plan.stages.len())
            .flat_map(|stage| self.questions(stage))
            .filter(|question| Some(question.key) != asked)
            .collect();
        let answers = stream::iter(rest)
            .map(|question| async move {
                let found = self.ask(&question).await?;
                Some((question, found))
            })
            .buffer_unordered(QUESTIONS_AT_ONCE)
            .collect::<Vec<_>>();
        let answers = super::block_on(self.services, answers)?;
        self.adopt(&mut hits, answers.into_iter().flatten().collect())?;
        Ok(hits)
    }

    /// Takes what was found: of the target first, of each stage the entry that leads furthest first.
    fn adopt(
        &self,
        hits: &mut Hits,
        mut found: Vec<(Question, (usize, Entry))>,
    ) -> Result<(), BuildError> {
        let target = self.plan.target;
        found.sort_by_key(|(question, _)| {
            let order = usize::MAX - question.stage;
            (
                question.stage != target,
                order,
                usize::MAX - question.number,
            )
        });
        let mut furthest = HashSet::new();
        for (question, (place, entry)) in found {
            if furthest.contains(&question.stage) {
                continue;
            }
            let cache = &self.caches[place];
            match super::block_on(self.services, cache.layers(&entry))? {
                Ok(sources) => {
                    if hits.take(&entry, sources) {
                        furthest.insert(question.stage);
                    }
                }
                Err(error) => self.faults.tell(self.events(), &cache.name(), &error),
            }
        }
        Ok(())
    }

    /// The questions that a stage has, its last step first.
    fn questions(&self, stage: usize) -> Vec<Question> {
        let steps = &self.plan.stages[stage].steps;
        let questions = self.keys.steps(stage).filter_map(|(number, key)| {
            if !self.options.remembers(&steps[number].kind) {
                return None;
            }
            let chain = self.keys.chain(stage, number)?;
            Some(Question {
                stage,
                number,
                key,
                chain,
            })
        });
        questions.collect()
    }

    /// Asks one cache after the other, until one has an entry that can be used.
    async fn ask(&self, question: &Question) -> Option<(usize, Entry)> {
        let Question { key, chain, .. } = question;
        for (place, cache) in self.caches.iter().enumerate() {
            let found = match cache.find(key).await {
                Ok(Some(entry)) => {
                    let (now, ttl) = (self.options.now, self.options.ttl_secs);
                    entry
                        .check(&chain.base, &chain.keys, now, ttl)
                        .map(|()| entry)
                        .map_err(|reason| (reason.is_fault(), Error::Unfit { key: *key, reason }))
                }
                Ok(None) => continue,
                Err(error) => Err((true, error)),
            };
            match found {
                Ok(entry) => return Some((place, entry)),
                Err((true, error)) => self.faults.tell(self.events(), &cache.name(), &error),
                Err((false, _)) => {}
            }
        }
        None
    }

    /// Whether nothing is left to be asked: all that the target needs is there.
    fn is_all(&self, hits: &Hits, single: bool) -> bool {
        let done = hits.done(self.plan, self.keys, single);
        let needs = Needs::of(self.plan, done, single);
        !needs.has_any_work(self.plan)
    }

    fn events(&self) -> &dyn Events {
        &*self.services.events
    }
}

impl CacheOptions {
    /// Whether layers of this kind of step are looked up and kept.
    pub(super) fn remembers(&self, step: &StepKind) -> bool {
        match step {
            StepKind::Run(_) | StepKind::Workdir(_) => self.runs,
            StepKind::Copy(_) => self.copies,
            StepKind::Metadata | StepKind::Silent => false,
        }
    }
}

/// The image at the bottom of a stage.
pub(super) fn bottom(plan: &Plan, mut stage: usize) -> Option<usize> {
    loop {
        match plan.stages[stage].base {
            StageBase::Scratch => return None,
            StageBase::Image(image) => return Some(image),
            StageBase::Stage(parent) => stage = parent,
        }
    }
}

/// The uncompressed digests of layers.
pub(super) fn diff_ids(layers: &[ImageLayer]) -> Vec<Digest> {
    layers.iter().map(|layer| layer.diff_id.clone()).collect()
}
