//! What each stage has to do: which stages need a tree, and when a tree is no longer needed.

use crate::plan::{CopyFrom, Plan, RunMount, StageBase, StagePlan, StepKind};

/// What the stages of a plan need of each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Whether a stage needs a tree: a step of its own changes files, or another stage reads or continues its files.
    pub(super) tree: Vec<bool>,
    /// The last stage that reads or continues a stage's tree.
    last_use: Vec<Option<usize>>,
}

impl Needs {
    /// Works out the needs of all stages.
    ///
    /// `single` is whether a stage makes one layer at its end: then even a `--link` needs the tree.
    pub(super) fn of(plan: &Plan, single: bool) -> Self {
        let count = plan.stages.len();
        let mut tree = vec![false; count];
        let mut last_use = vec![None; count];
        for (index, stage) in plan.stages.iter().enumerate().rev() {
            tree[index] |= changes_files(stage, single);
            for step in &stage.steps {
                for from in read_by(&step.kind) {
                    tree[from] = true;
                    last_use[from] = last_use[from].max(Some(index));
                }
            }
            if let StageBase::Stage(parent) = stage.base
                && tree[index]
            {
                tree[parent] = true;
                last_use[parent] = last_use[parent].max(Some(index));
            }
        }
        Self { tree, last_use }
    }

    /// Whether the tree of `stage` is read or continued after stage `now` has begun from it.
    pub(super) fn is_used_after_branching(&self, plan: &Plan, stage: usize, now: usize) -> bool {
        let mut steps = plan.stages[now].steps.iter();
        let reads_it = steps.any(|step| read_by(&step.kind).contains(&stage));
        reads_it || self.is_used_after(stage, now)
    }

    /// Whether the tree of `stage` is read or continued by a stage after `now`.
    pub(super) fn is_used_after(&self, stage: usize, now: usize) -> bool {
        self.last_use[stage].is_some_and(|last| last > now)
    }
}

/// The stages whose files a step reads.
fn read_by(step: &StepKind) -> Vec<usize> {
    let froms = match step {
        StepKind::Copy(copy) => vec![copy.from],
        StepKind::Run(run) => run.mounts.iter().filter_map(RunMount::from).collect(),
        StepKind::Workdir(_) | StepKind::Metadata | StepKind::Silent => Vec::new(),
    };
    let stage = |from| match from {
        CopyFrom::Stage(stage) => Some(stage),
        CopyFrom::Context | CopyFrom::Image(_) => None,
    };
    froms.into_iter().filter_map(stage).collect()
}

fn changes_files(stage: &StagePlan, single: bool) -> bool {
    stage.steps.iter().any(|step| match &step.kind {
        StepKind::Workdir(_) | StepKind::Run(_) => true,
        StepKind::Copy(copy) => single || !copy.link,
        StepKind::Metadata | StepKind::Silent => false,
    })
}
