//! A step's changes to a layer of the image: packed, on its way to registries, and remembered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{Entry, Record};
use crate::oci::{Descriptor, Digest, History};
use crate::output::{ImageLayer, LayerSource};
use crate::plan::HISTORY_COMMENT;
use crate::rootfs::Rootfs;
use crate::sandbox::Workspace;
use crate::snapshot::{Change, ChangeKind, Changes};

use super::BuildError;
use super::engine::created_text;
use super::event::{Event, StepResult};
use super::layers::{PackJob, Packed, Packing};
use super::need::changes_files;
use super::stage::Building;
use super::tree::protected;
use super::upload::Keep;

/// The longest part of an instruction that an entry of a cache carries, in characters.
const STEP_MAX: usize = 200;

impl Building<'_> {
    /// Takes over a step whose layer a cache has.
    pub(super) fn replay(&mut self, number: usize) {
        let step = &self.stage.steps[number];
        let key = self
            .engine
            .keys
            .and_then(|keys| keys.step(self.index, number));
        let hit = key.and_then(|key| self.engine.hits.get(&key));
        let Some(hit) = hit else {
            // In a stage of one layer the last step has it.
            self.add_history(step.created_by.clone(), None, true);
            return;
        };
        let created = if self.engine.request.cache.is_created_explicit {
            self.engine.created_text()
        } else {
            created_text(hit.record.created)
        };
        if self.engine.request.layers.single {
            self.add_history(step.created_by.clone(), None, true);
            self.single = Some(created);
        } else {
            self.add_history(step.created_by.clone(), Some(created), false);
        }
        self.engine.events().send(Event::StepCached {
            stage: self.stage.name.clone(),
            number: number + 1,
            of: self.stage.steps.len(),
            display: step.display.clone(),
            digest: hit.record.layer.digest.clone(),
            size: hit.record.layer.size,
        });
        if let Some(records) = &mut self.records {
            records.push(hit.record.clone());
        }
        let keep = self
            .engine
            .keeps_hits
            .then(|| self.keep(hit.layer.clone()))
            .flatten();
        self.append(hit.layer.clone(), keep);
    }

    /// Makes a layer: in the background where the changes stay as they are, else at once.
    pub(super) fn pack(
        &mut self,
        number: usize,
        started: Instant,
        job: PackJob,
    ) -> Result<(), BuildError> {
        let spent = started.elapsed();
        self.join_packing()?;
        let token = self.engine.services.token.child_token();
        let packer = self.engine.packer(token.clone());
        let name = format!("layer-{}-{number}", self.stage.number);
        if job.held.is_some() {
            let work = std::thread::Builder::new()
                .name("pack".to_owned())
                .spawn(move || packer.pack(job, &name))
                .map_err(|source| BuildError::State {
                    action: "start a thread for",
                    path: "a layer".into(),
                    source,
                })?;
            self.packing = Some(Packing {
                number,
                spent,
                work: Some(work),
                token,
            });
            return Ok(());
        }
        let packed = packer.pack(job, &name)?;
        self.add_layer(number, spent, packed);
        Ok(())
    }

    /// Waits for the layer in the background.
    pub(super) fn join_packing(&mut self) -> Result<(), BuildError> {
        if let Some(mut packing) = self.packing.take()
            && let Some(work) = packing.work.take()
        {
            match work.join() {
                Ok(packed) => self.add_layer(packing.number, packing.spent, packed?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }

    /// Adds a layer; the step took `spent` apart from packing.
    pub(super) fn add_layer(&mut self, number: usize, spent: Duration, packed: Packed) {
        let result = StepResult::Layer {
            digest: packed.descriptor.digest.clone(),
            size: packed.descriptor.size,
            entries: packed.entries,
        };
        let took = spent + packed.took;
        self.take_layer(number, packed);
        self.finished(number, result, took);
    }

    /// Makes the one layer of a stage that has only one.
    pub(super) fn end_single(&mut self, workspace: &dyn Workspace) -> Result<(), BuildError> {
        if !self.engine.request.layers.single || self.deferred.is_empty() {
            return Ok(());
        }
        let protected = protected(self.engine, workspace)?;
        let rootfs = Rootfs::open(workspace.root())?;
        let mut changes = Vec::new();
        for (path, first) in std::mem::take(&mut self.deferred) {
            if protected.covers(&path) {
                continue;
            }
            let kind = match (rootfs.lstat(&path)?, first) {
                (
                    Some(_),
                    kind @ (ChangeKind::Added | ChangeKind::Modified | ChangeKind::Parent),
                ) => kind,
                (Some(_), ChangeKind::Deleted) => ChangeKind::Modified,
                // It came and went within the stage.
                (None, ChangeKind::Added) => continue,
                (None, ChangeKind::Modified | ChangeKind::Deleted | ChangeKind::Parent) => {
                    ChangeKind::Deleted
                }
            };
            changes.push(Change { path, kind });
        }
        let job = PackJob {
            display: format!("stage {}", self.stage.name),
            changes: Changes::new(changes),
            rootfs,
            owners: Arc::clone(&self.owners),
            held: None,
        };
        let packed = self
            .engine
            .packer(self.engine.services.token.clone())
            .pack(job, &format!("layer-{}", self.stage.number))?;
        self.single = Some(self.engine.created_text());
        let steps = &self.stage.steps;
        let last = steps.iter().rposition(|step| changes_files(&step.kind));
        self.take_layer(last.unwrap_or_default(), packed);
        Ok(())
    }

    /// Adds the entry of the one layer of a stage that has only one.
    pub(super) fn end_history(&mut self) {
        if let Some(created) = self.single.take() {
            let text = format!("stage {} # single layer", self.stage.name);
            self.add_history(text, Some(created), false);
        }
    }

    pub(super) fn add_history(
        &mut self,
        created_by: String,
        created: Option<String>,
        empty_layer: bool,
    ) {
        let explicit = self.engine.request.cache.is_created_explicit;
        self.history.push(History {
            created: created.or_else(|| explicit.then(|| self.engine.created_text())),
            created_by: Some(created_by),
            author: None,
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer,
        });
    }

    pub(super) fn warn(&self, warnings: Vec<String>) {
        for message in warnings {
            self.engine.events().send(Event::Warning {
                message,
                span: None,
            });
        }
    }

    /// Takes a layer that was made, and remembers it.
    fn take_layer(&mut self, number: usize, packed: Packed) {
        let Packed {
            descriptor,
            diff_id,
            path,
            warnings,
            ..
        } = packed;
        self.warn(warnings);
        self.remember(number, &descriptor, &diff_id);
        let layer = ImageLayer {
            descriptor,
            diff_id,
            source: LayerSource::File(path),
        };
        let kind = &self.stage.steps[number].kind;
        let keep = self
            .engine
            .request
            .cache
            .remembers(kind)
            .then(|| self.keep(layer.clone()))
            .flatten();
        self.append(layer, keep);
    }

    /// Notes what a layer is remembered as.
    fn remember(&mut self, number: usize, layer: &Descriptor, diff_id: &Digest) {
        let keys = self.engine.keys;
        let key = keys.and_then(|keys| keys.step(self.index, number));
        let below = keys.and_then(|keys| keys.below(self.index));
        let (Some(key), Some(below), Some(records)) = (key, below, &mut self.records) else {
            self.records = None;
            return;
        };
        let parent = records.last().map_or(below.base, |record| record.key);
        let text = &self.stage.steps[number].display;
        records.push(Record {
            key,
            parent,
            diff_id: diff_id.clone(),
            layer: layer.clone(),
            created: self.engine.request.cache.now,
            step: text.chars().take(STEP_MAX).collect(),
        });
    }

    /// What is to be kept of the layers so far and `layer` on top of them.
    fn keep(&self, layer: ImageLayer) -> Option<Keep> {
        if !self.engine.uploads.keeps() {
            return None;
        }
        let entry = Entry::new(self.records.clone()?)?;
        let above = self.layers.len() + 1 - entry.records().len();
        let mut layers = self.layers[above..].to_vec();
        layers.push(layer);
        Some(Keep { entry, layers })
    }

    /// Puts a layer on top, and on its way.
    fn append(&mut self, layer: ImageLayer, keep: Option<Keep>) {
        let is_part = self.engine.is_part_of_image(self.index);
        let goes_ahead = is_part && !self.engine.is_all_done;
        self.engine.uploads.begin(layer.clone(), goes_ahead, keep);
        self.config.rootfs.diff_ids.push(layer.diff_id.clone());
        self.layers.push(layer);
    }

    pub(super) fn finished(&self, number: usize, result: StepResult, took: Duration) {
        self.engine.events().send(Event::StepFinished {
            stage: self.stage.name.clone(),
            number: number + 1,
            of: self.stage.steps.len(),
            result,
            took,
        });
    }
}
