//! Why a step is not in the cache, in words.

use crate::cache::{Change, Difference, InputKind, Miss};

/// So many files are named; of more, only their number is told.
const NAMED_MAX: usize = 10;

/// Says why, one reason in each text.
pub(super) fn miss(miss: &Miss) -> Vec<String> {
    let text = match miss {
        Miss::Unknown => {
            "the cache knows no earlier build of this image, Dockerfile, target and platform"
        }
        Miss::NewStep => "the step is new",
        Miss::Untold => {
            "what it takes cannot be told before it, or a step below it, is carried out"
        }
        Miss::Expired => "nothing changed, and its entry is gone or too old",
        Miss::Below => "only what is below it changed",
        Miss::Inputs(differences) => return inputs(differences),
    };
    vec![text.to_owned()]
}

fn inputs(differences: &[Difference]) -> Vec<String> {
    let is_file = |one: &&Difference| one.kind == InputKind::File;
    let files = differences.iter().filter(is_file);
    let others = differences.iter().filter(|one| !is_file(one));
    let mut texts: Vec<String> = others.map(difference).collect();
    texts.extend(files.clone().take(NAMED_MAX).map(difference));
    let more = files.count().saturating_sub(NAMED_MAX);
    if more > 0 {
        texts.push(format!("{more} more files changed"));
    }
    texts
}

fn difference(difference: &Difference) -> String {
    let name = difference.name.escape_debug();
    let what = match difference.kind {
        InputKind::Instruction | InputKind::Flag | InputKind::Option => name.to_string(),
        InputKind::File => format!("file {name}"),
        InputKind::Variable => format!("variable {name}"),
        InputKind::Image => format!("image {name}"),
        InputKind::Stage => format!("stage {name}"),
    };
    match difference.change {
        Change::New => format!("{what} is new"),
        Change::Changed => format!("{what} changed"),
        Change::Mode => format!("the mode of {what} changed"),
        Change::Gone => format!("{what} is gone"),
    }
}
