//! The only scheduler: which stage is built when.
//!
//! A stage begins when all that it continues or copies from are done; of those that could begin, the first of the
//! Dockerfile does. Several run side by side where each has a place of its own; in place there is one `/`, so they run one
//! after the other. What is made does not depend on the order: a stage sees nothing of those that it does not name.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;

use crate::plan::StageBase;
use crate::sandbox::Isolation;

use super::BuildError;
use super::engine::Engine;
use super::event::Event;
use super::need::read_by;
use super::stage::{self, StageResult};

/// More stages at once than this do not end sooner: their commands share the machine.
const STAGES_MAX: usize = 8;

/// Builds all stages that are needed; the results are in the engine. The first failure calls the others off.
pub(super) fn run(engine: &Engine<'_>) -> Result<(), BuildError> {
    let at_once = match engine.executor.isolation() {
        Isolation::Namespace => engine.request.threads.clamp(1, STAGES_MAX),
        Isolation::Inplace => 1,
    };
    let mut waiting: Vec<(usize, BTreeSet<usize>)> = (0..engine.plan.stages.len())
        .filter(|index| engine.needs.stage[*index])
        .map(|index| (index, needed_by(engine, index)))
        .collect();
    thread::scope(|scope| {
        let (done, results) = mpsc::channel();
        let mut running = 0;
        let mut failure = None;
        loop {
            while failure.is_none()
                && running < at_once
                && let Some(place) = waiting.iter().position(|(_, needs)| needs.is_empty())
            {
                let (index, _) = waiting.remove(place);
                let done = done.clone();
                running += 1;
                scope.spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| build(engine, index)));
                    // The receiver lives until all stages have told.
                    let _ = done.send((index, result));
                });
            }
            if running == 0 {
                return failure.map_or(Ok(()), Err);
            }
            let Ok((index, result)) = results.recv() else {
                return failure.map_or(Ok(()), Err);
            };
            running -= 1;
            match result {
                Ok(Ok(result)) => {
                    engine.stage_is_done(index, result);
                    for (_, needs) in &mut waiting {
                        needs.remove(&index);
                    }
                }
                Ok(Err(error)) => {
                    // What others say after this is that they were called off.
                    failure.get_or_insert(error);
                    engine.services.token.cancel();
                }
                Err(panic) => resume_unwind(panic),
            }
        }
    })
}

fn build(engine: &Engine<'_>, index: usize) -> Result<StageResult, BuildError> {
    let planned = &engine.plan.stages[index];
    engine.events().send(Event::StageStarted {
        name: planned.name.clone(),
        number: index + 1,
        of: engine.plan.stages.len(),
        span: planned.span,
    });
    let result = stage::build(engine, index);
    engine.events().send(Event::StageFinished {
        name: planned.name.clone(),
    });
    result
}

/// The stages that must be done before this one begins.
fn needed_by(engine: &Engine<'_>, index: usize) -> BTreeSet<usize> {
    let stage = &engine.plan.stages[index];
    let mut needed = BTreeSet::new();
    if let StageBase::Stage(parent) = stage.base {
        needed.insert(parent);
    }
    for step in &stage.steps[engine.needs.done[index]..] {
        needed.extend(read_by(&step.kind));
    }
    needed
}
