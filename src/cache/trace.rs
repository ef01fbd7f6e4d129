//! What the steps of a build were made of, so that the next build can say why it finds nothing.
//!
//! A trace has a name and a number for each input of each step: for a file of the context, for a variable. The number is a hash that
//! tells whether it is the same, and not what it is. It believes nothing either: a trace only ever makes a message.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::CacheKey;

/// The form of traces. Those of another form are not read.
const VERSION: u32 = 2;
/// The largest trace that is written, in bytes: it has to fit into a manifest, of which registries take 4 MiB.
const SIZE_MAX: usize = 512 << 10;
/// So many files of a step are told apart at most; of more, only directories are.
const FILES_MAX: usize = 8192;
/// The longest instruction that is kept, in characters.
const TITLE_MAX: usize = 300;

/// What the steps of a build were made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    version: u32,
    steps: Vec<StepTrace>,
}

/// What a step was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTrace {
    /// The stage's name.
    pub stage: String,
    /// The instruction.
    pub title: String,
    /// What its layer is kept as; `None` if that cannot be told.
    pub key: Option<CacheKey>,
    /// All that counts but files.
    pub inputs: Vec<Input>,
    /// The files of the context by path, with two hashes each: of the content in the upper half, of the mode in the lower.
    pub files: BTreeMap<String, u64>,
    /// How many directories deep files are told apart; all the way if absent.
    depth: Option<usize>,
}

/// Something that a step depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// What it is called.
    pub name: String,
    /// What tells it apart.
    pub hash: u64,
}

/// The kinds of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// The command, or what a COPY is called with.
    Instruction,
    /// A variable of the environment: an ARG or ENV.
    Variable,
    /// An image that the stage begins with or that is read, with its digest.
    Image,
    /// A stage that is read.
    Stage,
    /// A flag of the instruction.
    Flag,
    /// A flag of the command line that alters all layers.
    Option,
    /// A file or directory of the context.
    File,
}

/// How something differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    New,
    /// It is another one.
    Changed,
    /// Its mode is another one, and nothing else of it.
    Mode,
    /// It is not there any more.
    Gone,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub kind: InputKind,
    /// What it is called.
    pub name: String,
    /// How it differs.
    pub change: Change,
}

/// Why a step is not in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The cache knows no earlier build.
    Unknown,
    /// The earlier build had no such step.
    NewStep,
    /// What it depends on cannot be told before it is carried out.
    Untold,
    /// Nothing changed: its entry is not there any more, or too old.
    Expired,
    /// Nothing of its own changed, but something below it.
    Below,
    /// This changed.
    Inputs(Vec<Difference>),
}

impl StepTrace {
    /// Makes one.
    pub fn new(stage: &str, title: &str, key: Option<CacheKey>) -> Self {
        Self {
            stage: stage.to_owned(),
            title: title.chars().take(TITLE_MAX).collect(),
            key,
            inputs: Vec::new(),
            files: BTreeMap::new(),
            depth: None,
        }
    }

    /// Adds an input.
    pub fn add(&mut self, kind: InputKind, name: &str, hash: u64) {
        self.inputs.push(Input {
            kind,
            name: name.to_owned(),
            hash,
        });
    }

    /// Adds a file of the context; of several with one name all count.
    pub fn add_file(&mut self, path: String, content: u64, mode: u32) {
        // Which file has which mode counts also where several are taken together.
        let mode = (u64::from(mode) + 1).wrapping_mul(content | 1) & LOWER;
        let sum = self.files.entry(path).or_default();
        *sum = added(*sum, (content & !LOWER) | mode);
    }

    /// The same with the files of deep directories taken together, until there are `most` at most.
    fn within(mut self, most: usize) -> Self {
        let mut depth = self.depth.unwrap_or_else(|| {
            let depths = self.files.keys().map(|path| path.matches('/').count() + 1);
            depths.max().unwrap_or_default()
        });
        while self.files.len() > most && depth > 0 {
            depth -= 1;
            self = self.at_depth(depth);
        }
        self
    }

    /// The same with only so many directories told apart. Sums keep their meaning when they are summed again.
    fn at_depth(mut self, depth: usize) -> Self {
        if self.depth.is_some_and(|now| now <= depth) {
            return self;
        }
        let mut files: BTreeMap<String, u64> = BTreeMap::new();
        for (path, hash) in self.files {
            let end = path.match_indices('/').nth(depth.saturating_sub(1));
            let name = match (depth, end) {
                (0, _) => ".",
                (_, Some((at, _))) => &path[..=at],
                (_, None) => &path,
            };
            let sum = files.entry(name.to_owned()).or_default();
            *sum = added(*sum, hash);
        }
        self.files = files;
        self.depth = Some(depth);
        self
    }

    fn differences(&self, old: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut tell = |kind, name: &str, change| {
            found.push(Difference {
                kind,
                name: name.to_owned(),
                change,
            });
        };
        let get = |inputs: &[Input], wanted: &Input| {
            let mut same = inputs.iter();
            let found = same.find(|input| (input.kind, &input.name) == (wanted.kind, &wanted.name));
            found.map(|input| input.hash)
        };
        for input in &self.inputs {
            match get(&old.inputs, input) {
                Some(hash) if hash == input.hash => {}
                Some(_) => tell(input.kind, &input.name, Change::Changed),
                None => tell(input.kind, &input.name, Change::New),
            }
        }
        for input in &old.inputs {
            if get(&self.inputs, input).is_none() {
                tell(input.kind, &input.name, Change::Gone);
            }
        }
        // Another --chmod gives all files other modes, which was told with it.
        let chmod = |step: &Self| {
            let mut inputs = step.inputs.iter();
            let found = inputs.find(|input| input.name == "--chmod");
            found.map(|input| input.hash)
        };
        let has_same_chmod = chmod(self) == chmod(old);
        let depth = [self.depth, old.depth].into_iter().flatten().min();
        let at = |step: &Self| match depth {
            Some(depth) => step.clone().at_depth(depth).files,
            None => step.files.clone(),
        };
        let (new, old) = (at(self), at(old));
        for (path, hash) in &new {
            match old.get(path) {
                Some(before) if before == hash => {}
                Some(before) if before & !LOWER == hash & !LOWER => {
                    if has_same_chmod {
                        tell(InputKind::File, path, Change::Mode);
                    }
                }
                Some(_) => tell(InputKind::File, path, Change::Changed),
                None => tell(InputKind::File, path, Change::New),
            }
        }
        for path in old.keys().filter(|path| !new.contains_key(*path)) {
            tell(InputKind::File, path, Change::Gone);
        }
        found
    }
}

/// The half of a file's number that is about its mode.
const LOWER: u64 = 0xffff_ffff;

/// Adds the halves of two numbers, each for itself.
fn added(one: u64, other: u64) -> u64 {
    let upper = (one >> 32).wrapping_add(other >> 32) << 32;
    upper | ((one & LOWER) + (other & LOWER)) & LOWER
}

impl Trace {
    /// Makes one, of the steps of all stages in order.
    pub fn new(steps: Vec<StepTrace>) -> Self {
        Self {
            version: VERSION,
            steps,
        }
    }

    /// Its steps.
    pub fn steps(&self) -> &[StepTrace] {
        &self.steps
    }

    /// Writes it as JSON, as exact as its size allows. Empty if even its steps are too many.
    ///
    /// # Errors
    /// Never in practice: a trace is maps of texts.
    pub fn to_json(&self) -> Result<String, super::Error> {
        let mut most = FILES_MAX;
        loop {
            let steps = self.steps.iter().cloned();
            let trace = Self::new(steps.map(|step| step.within(most)).collect());
            let text = serde_json::to_string(&trace).map_err(super::Error::Json)?;
            if text.len() <= SIZE_MAX || most == 0 {
                return Ok(if text.len() <= SIZE_MAX {
                    text
                } else {
                    String::new()
                });
            }
            most /= 2;
        }
    }

    /// Reads what [`Trace::to_json`] wrote; `None` if it is anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let trace: Self = serde_json::from_slice(text).ok()?;
        (trace.version == VERSION).then_some(trace)
    }

    /// Whether it is a trace that tells of none of these entries, so that nothing is explained with it any more.
    pub(super) fn is_stale(text: &[u8], entries: &HashSet<CacheKey>) -> bool {
        Self::parse(text).is_some_and(|trace| {
            let keys = trace.steps.iter().filter_map(|step| step.key);
            !keys.into_iter().any(|key| entries.contains(&key))
        })
    }

    /// Says why a step of this build is not in the cache, out of what the earlier build's steps were made of.
    pub fn miss(&self, number: usize, old: Option<&Self>) -> Miss {
        let step = &self.steps[number];
        let Some(key) = step.key else {
            return Miss::Untold;
        };
        let Some(old) = old else {
            return Miss::Unknown;
        };
        if old.steps.iter().any(|other| other.key == Some(key)) {
            return Miss::Expired;
        }
        let Some(other) = self.counterpart(number, old) else {
            return Miss::NewStep;
        };
        let differences = step.differences(other);
        if differences.is_empty() {
            Miss::Below
        } else {
            Miss::Inputs(differences)
        }
    }

    /// The step of an earlier build that a step is most likely another edition of: that with the same instruction, else with the
    /// same kind of instruction at the same place among those of its kind.
    fn counterpart<'a>(&self, number: usize, old: &'a Self) -> Option<&'a StepTrace> {
        let step = &self.steps[number];
        let count = |steps: &[StepTrace], is_like: &dyn Fn(&StepTrace) -> bool| {
            let like = steps.iter().filter(|other| other.stage == step.stage);
            like.filter(|other| is_like(other)).count()
        };
        let nth = |is_like: &dyn Fn(&StepTrace) -> bool| {
            let before = count(&self.steps[..number], is_like);
            let mut like = old.steps.iter().filter(|other| other.stage == step.stage);
            like.by_ref().filter(|other| is_like(other)).nth(before)
        };
        let word = |title: &str| {
            title
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase()
        };
        let own = word(&step.title);
        nth(&|other| other.title == step.title).or_else(|| nth(&|other| word(&other.title) == own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> CacheKey {
        String::from(digit).repeat(64).parse().expect("a key")
    }

    fn step(title: &str, digit: char, inputs: &[(&str, u64)], files: &[(&str, u64)]) -> StepTrace {
        let mut step = StepTrace::new("stage-0", title, Some(key(digit)));
        for (name, hash) in inputs {
            step.add(InputKind::Variable, name, *hash);
        }
        step.files = files
            .iter()
            .map(|(path, hash)| ((*path).to_owned(), *hash << 32))
            .collect();
        step
    }

    fn told(differences: &Miss) -> Vec<String> {
        let Miss::Inputs(differences) = differences else {
            panic!("{differences:?}");
        };
        differences
            .iter()
            .map(|one| format!("{} {:?}", one.name, one.change))
            .collect()
    }

    #[test]
    fn what_differs_is_named() {
        let old = Trace::new(vec![
            step("RUN a", '1', &[("A", 1), ("B", 1)], &[]),
            step("COPY src .", '2', &[], &[("a", 1), ("b/c", 2), ("d", 4)]),
            step("RUN b", '3', &[], &[]),
        ]);
        let new = Trace::new(vec![
            step("RUN a", '4', &[("A", 2), ("C", 1)], &[]),
            step("COPY src .", '5', &[], &[("a", 1), ("b/c", 3), ("e", 4)]),
            step("RUN b", '6', &[], &[]),
            step("RUN c", '7', &[], &[]),
            step("ADD x /", '3', &[], &[]),
        ]);
        let miss = |number| new.miss(number, Some(&old));
        assert_eq!(told(&miss(0)), ["A Changed", "C New", "B Gone"]);
        assert_eq!(told(&miss(1)), ["b/c Changed", "e New", "d Gone"]);
        assert_eq!(miss(2), Miss::Below);
        assert_eq!(miss(3), Miss::NewStep);
        assert_eq!(miss(4), Miss::Expired, "the same key");
        assert_eq!(new.miss(0, None), Miss::Unknown);
        let untold = Trace::new(vec![StepTrace::new("x", "COPY y /", None)]);
        assert_eq!(untold.miss(0, Some(&old)), Miss::Untold);
        let text = old.to_json().unwrap();
        assert_eq!(Trace::parse(text.as_bytes()), Some(old));
        assert_eq!(Trace::parse(b"{}"), None);
    }

    #[test]
    fn a_trace_of_many_files_is_small_and_still_tells() {
        let many = |changed: Option<usize>| {
            let files = (0..60_000_usize).map(|number| {
                let hash = number as u64 * 7_919 + u64::from(changed == Some(number));
                let path = format!(
                    "d{}/e{}/file-with-a-name-{number}",
                    number % 50,
                    number % 1000
                );
                (path, hash << 32)
            });
            let mut step = step(
                "COPY . .",
                if changed.is_some() { '1' } else { '2' },
                &[],
                &[],
            );
            step.files = files.collect();
            Trace::new(vec![step])
        };
        let text = many(None).to_json().unwrap();
        assert!(text.len() <= SIZE_MAX, "{}", text.len());
        let old = Trace::parse(text.as_bytes()).expect("a trace");
        let new = many(Some(1007));
        assert_eq!(told(&new.miss(0, Some(&old))), ["d7/e7/ Changed"]);
        // And the other way round.
        let small = Trace::parse(new.to_json().unwrap().as_bytes()).expect("a trace");
        assert_eq!(told(&many(None).miss(0, Some(&small))), ["d7/e7/ Changed"]);
    }
}
