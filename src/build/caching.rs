//! The caches of one build: opened, keys made for them, and what comes out of them made sure of.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::cache::{Cache, DirectoryPlace, RegistryPlace};
use crate::context::Context;
use crate::http::Http;
use crate::oci::Digest;
use crate::output::{ImageLayer, LayerSource};
use crate::plan::{ChmodSpec, CopyFrom, CopySource, Plan};
use crate::registry::{Action, Client};

use super::ahead::{Hits, diff_ids};
use super::contents::{self, Seen};
use super::engine::{Engine, Stack};
use super::explain::{Facts, Traced};
use super::fetch::Image;
use super::keys::{Inputs, Keys};
use super::named::NamedFiles;
use super::need::Needs;
use super::request::CachePlace;
use super::sources::SourceTree;
use super::stage::StageResult;
use super::{BuildError, Request, Services, block_on, publish};

/// Where layers are kept.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The cache.
    pub(super) cache: Cache,
    /// Whether the build has failed if it cannot be written.
    pub(super) is_required: bool,
}

/// The caches of a build.
pub(super) struct Caches {
    /// Where layers are looked up, in this order.
    pub(super) from: Vec<Cache>,
    /// Where they are kept.
    pub(super) to: Vec<Target>,
}

impl Caches {
    /// Opens the caches, each once; `scratch` is a directory of this build for what they bring.
    pub(super) fn open(request: &Request, http: &Http, client: &Client, scratch: &Path) -> Self {
        let options = &request.cache;
        let mut opened: Vec<(&CachePlace, Cache)> = Vec::new();
        for place in options.from.iter().chain(&options.to) {
            if opened.iter().any(|(known, _)| *known == place) {
                continue;
            }
            opened.push((place, open_one(place, request, (http, client), scratch)));
        }
        let caches = |places: &'_ [CachePlace]| {
            let of = |place: &CachePlace| {
                let mut opened = opened.iter();
                opened.find_map(|(known, cache)| (*known == place).then(|| cache.clone()))
            };
            places.iter().filter_map(of).collect::<Vec<_>>()
        };
        Self {
            from: caches(&options.from),
            to: caches(&options.to)
                .into_iter()
                .zip(&options.to)
                .map(|(cache, place)| Target {
                    cache,
                    is_required: options.required.contains(place),
                })
                .collect(),
        }
    }
}

/// Opens caches one by one: for what is not looked up and kept with the layers.
pub(super) fn open(
    places: &[CachePlace],
    request: &Request,
    through: (&Http, &Client),
    scratch: &Path,
) -> Vec<Cache> {
    let open = |place| open_one(place, request, through, scratch);
    places.iter().map(open).collect()
}

fn open_one(
    place: &CachePlace,
    request: &Request,
    (http, client): (&Http, &Client),
    scratch: &Path,
) -> Cache {
    let client = client.clone();
    Cache::new(match place {
        CachePlace::Registry(reference) => Arc::new(RegistryPlace::new(client, reference)),
        CachePlace::Image(reference) => {
            let platform = request.platform.clone();
            Arc::new(RegistryPlace::with_image(client, reference, platform))
        }
        CachePlace::Directory(path) => Arc::new(DirectoryPlace::new(path.clone(), client)),
        CachePlace::Bucket(options) => options.open(client, scratch),
        CachePlace::Gha(options) => options.open(http.clone(), client, scratch),
    })
}

/// Makes the keys of a plan, if anything is remembered.
pub(super) fn keys(
    request: &Request,
    plan: &Plan,
    images: &[Image],
    context: &Context,
    named: &[Option<NamedFiles>],
) -> Option<Known> {
    let mut inputs = Files {
        images,
        context,
        named,
        step: (0, 0),
        seen: HashMap::new(),
    };
    let (layers, snapshot) = (&request.layers, &request.snapshot);
    if !request.cache.is_on() {
        return None;
    }
    let keys = Keys::of(plan, layers, snapshot, &mut inputs);
    let facts = Facts {
        request,
        plan,
        images,
        keys: &keys,
        files: inputs.seen,
    };
    let traced = facts.trace();
    Some(Known { keys, traced })
}

/// The keys of a plan, and what they are made of.
pub(super) struct Known {
    pub(super) keys: Keys,
    pub(super) traced: Traced,
}

/// Whether anything is left to do beyond what the caches have. Says which steps are there and why the others are not, where that is asked for.
pub(super) fn has_work(
    request: &Request,
    plan: &Plan,
    known: &Known,
    hits: &Hits,
    caches: &[Cache],
    services: &Services,
) -> Result<bool, BuildError> {
    let single = request.layers.single;
    let done = hits.done(plan, &known.keys, single);
    let needs = Needs::of(plan, done, single);
    let has_work = needs.has_any_work(plan);
    if request.cache.explains {
        let earlier = if has_work {
            known.traced.earlier(caches, services)?
        } else {
            None
        };
        let events = &*services.events;
        known.traced.tell(plan, &needs, earlier.as_ref(), events);
    }
    Ok(has_work)
}

/// What the keys are made of: images and the context.
struct Files<'a> {
    images: &'a [Image],
    context: &'a Context,
    named: &'a [Option<NamedFiles>],
    /// The stage and number of the step that is looked at.
    step: (usize, usize),
    /// What each step takes out of the context.
    seen: HashMap<(usize, usize), Seen>,
}

impl Inputs for Files<'_> {
    fn begin(&mut self, stage: usize, number: usize) {
        self.step = (stage, number);
    }

    fn layers_of_image(&self, image: usize) -> Vec<Digest> {
        diff_ids(&self.images[image].layers)
    }

    /// What goes wrong here goes wrong again, and is told, when the step is carried out.
    fn contents(
        &mut self,
        from: CopyFrom,
        sources: &[CopySource],
        chmod: Option<&ChmodSpec>,
    ) -> Option<Digest> {
        let tree = match from {
            CopyFrom::Named(number) => self.named[number].as_ref()?.tree(),
            CopyFrom::Context | CopyFrom::Stage(_) | CopyFrom::Image(_) => {
                SourceTree::of_context(self.context)
            }
        };
        contents::digest(
            sources,
            chmod,
            &tree,
            self.seen.entry(self.step).or_default(),
        )
        .ok()
    }
}

impl Engine<'_> {
    /// Makes sure of the layers of the image that came out of caches, while the build can still be done without: they are
    /// where the image is pushed to, and here if it is written to a file.
    ///
    /// # Errors
    /// [`BuildError::is_cache_fault`], if a layer is not to be had.
    pub(super) fn secure(&self, result: &StageResult) -> Result<(), BuildError> {
        let is_cached = |layer: &&ImageLayer| self.hits.has(&layer.diff_id);
        let cached: Vec<ImageLayer> = result.layers.iter().filter(is_cached).cloned().collect();
        if cached.is_empty() {
            return Ok(());
        }
        let outputs = &self.request.outputs;
        if outputs.tar_path.is_some() || outputs.oci_layout_path.is_some() {
            let stack = Stack {
                image: None,
                layers: &cached,
            };
            for (number, layer) in cached.iter().enumerate() {
                if !matches!(layer.source, LayerSource::File(_)) {
                    self.blob(stack, number)?;
                }
            }
        }
        if outputs.pushes {
            if self.is_all_done && !self.is_pushed(result)? {
                for layer in &result.layers {
                    self.uploads.begin(layer.clone(), true, None);
                }
            }
            block_on(self.services, self.uploads.settle())?;
            for (digest, source) in self.uploads.failures() {
                if cached.iter().any(|layer| layer.descriptor.digest == digest) {
                    return Err(BuildError::CachedPush {
                        digest: digest.short().to_owned(),
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the very image is in all repositories that it goes to already: then so are its layers.
    fn is_pushed(&self, result: &StageResult) -> Result<bool, BuildError> {
        let image = publish::assemble(result.config.clone(), result.layers.clone(), self.request)?;
        for destination in &self.request.outputs.destinations {
            let there = destination.with_digest(image.descriptor.digest.clone());
            let found = self.client.manifest_digest(&there, Action::Push);
            // What is wrong with the registry, the push tells.
            if !matches!(block_on(self.services, found)?, Ok(Some(_))) {
                return Ok(false);
            }
        }
        for destination in &self.request.outputs.destinations {
            let layers = image.layers.iter().map(|layer| &layer.descriptor.digest);
            for digest in layers.chain([&image.config_descriptor.digest]) {
                self.client.remember_blob(destination, digest);
            }
        }
        Ok(true)
    }
}
