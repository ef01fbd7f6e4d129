//! What each stage has to do: which stages are looked at at all, which need a tree, and who needs a stage's tree.

use std::collections::BTreeSet;

use crate::plan::{CopyFrom, Plan, RunMount, StageBase, StagePlan, StepKind};

/// What the stages of a plan need of each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// How many steps at the beginning of a stage are done already: their layers are in a cache.
    pub(super) done: Vec<usize>,
    /// Whether anything of a stage is needed. What only feeds steps that are done is not.
    pub(super) stage: Vec<bool>,
    /// Whether a stage needs a tree: a step of its own changes files, or another stage reads or continues its files.
    pub(super) tree: Vec<bool>,
    /// The stages that read or continue a stage's tree.
    pub(super) users: Vec<BTreeSet<usize>>,
}

impl Needs {
    /// Works out the needs of all stages; `done` says how many steps of each are done already.
    ///
    /// `single` is whether a stage makes one layer at its end: then even a `--link` needs the tree.
    pub(super) fn of(plan: &Plan, done: Vec<usize>, single: bool) -> Self {
        let count = plan.stages.len();
        let mut needs = Self {
            done,
            stage: vec![false; count],
            tree: vec![false; count],
            users: vec![BTreeSet::new(); count],
        };
        needs.stage[plan.target] = true;
        for (index, stage) in plan.stages.iter().enumerate().rev() {
            if !needs.stage[index] {
                continue;
            }
            needs.tree[index] |= stage.steps[needs.done[index]..]
                .iter()
                .any(|step| changes_tree(&step.kind, single));
            for step in &stage.steps[needs.done[index]..] {
                for from in read_by(&step.kind) {
                    needs.uses(from, index);
                }
            }
            if let StageBase::Stage(parent) = stage.base {
                needs.stage[parent] = true;
                if needs.tree[index] && needs.branches(plan, index) {
                    needs.uses(parent, index);
                }
            }
        }
        needs
    }

    /// Whether a stage continues on its parent's tree; else it is unpacked, since all of its layers are to be had.
    pub(super) fn branches(&self, plan: &Plan, index: usize) -> bool {
        match plan.stages[index].base {
            StageBase::Stage(parent) => {
                let is_parent_there =
                    self.done[parent] > 0 && !self.has_work(&plan.stages[parent], parent);
                self.done[index] == 0 && !is_parent_there
            }
            StageBase::Scratch | StageBase::Image(_) => false,
        }
    }

    /// Whether a step of any stage has to be carried out that changes files.
    pub(super) fn has_any_work(&self, plan: &Plan) -> bool {
        let mut stages = plan.stages.iter().enumerate();
        stages.any(|(index, stage)| self.stage[index] && self.has_work(stage, index))
    }

    /// Whether a step of a stage has to be carried out that changes files.
    pub(super) fn has_work(&self, stage: &StagePlan, index: usize) -> bool {
        stage.steps[self.done[index]..]
            .iter()
            .any(|step| changes_files(&step.kind))
    }

    fn uses(&mut self, stage: usize, user: usize) {
        self.stage[stage] = true;
        self.tree[stage] = true;
        self.users[stage].insert(user);
    }
}

/// The stages whose files a step reads.
pub(super) fn read_by(step: &StepKind) -> Vec<usize> {
    let froms = match step {
        StepKind::Copy(copy) => vec![copy.from],
        StepKind::Run(run) => run.mounts.iter().filter_map(RunMount::from).collect(),
        StepKind::Workdir(_) | StepKind::Metadata | StepKind::Silent => Vec::new(),
    };
    let stage = |from| match from {
        CopyFrom::Stage(stage) => Some(stage),
        CopyFrom::Context | CopyFrom::Image(_) | CopyFrom::Named(_) => None,
    };
    froms.into_iter().filter_map(stage).collect()
}

/// Whether a step cannot be carried out without its stage's tree.
fn changes_tree(step: &StepKind, single: bool) -> bool {
    match step {
        StepKind::Copy(copy) => single || !copy.link,
        StepKind::Workdir(_) | StepKind::Run(_) => true,
        StepKind::Metadata | StepKind::Silent => false,
    }
}

/// Whether a step makes a layer.
pub(super) fn changes_files(step: &StepKind) -> bool {
    match step {
        StepKind::Workdir(_) | StepKind::Run(_) | StepKind::Copy(_) => true,
        StepKind::Metadata | StepKind::Silent => false,
    }
}
