//! What changes a key, and what does not.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::dockerfile;
use crate::oci::ImageConfig;
use crate::plan::{self, Options};

/// A context that is its paths' digests.
#[derive(Clone)]
struct Fake {
    layers: Vec<Digest>,
    files: HashMap<String, Digest>,
}

impl Inputs for Fake {
    fn layers_of_image(&self, _image: usize) -> Vec<Digest> {
        self.layers.clone()
    }

    fn contents(
        &mut self,
        _from: CopyFrom,
        sources: &[CopySource],
        chmod: Option<&ChmodSpec>,
    ) -> Option<Digest> {
        let mut hasher = KeyHasher::new("fake");
        for source in sources {
            match source {
                CopySource::Path(path) => {
                    hasher.field(&path.value, self.files.get(&path.value)?.as_str());
                }
                CopySource::Inline { name, content } => {
                    hasher.field(name, content);
                }
                CopySource::Parents { .. } | CopySource::Url(_) | CopySource::Repository(_) => {
                    return None;
                }
            }
        }
        hasher.optional("chmod", chmod.map(ChmodSpec::as_str));
        Some(Digest::of(hasher.finish().as_ref()))
    }
}

fn fake() -> Fake {
    let files = [("a", "1"), ("b", "2"), (".", "3")];
    Fake {
        layers: vec![Digest::of(b"base")],
        files: files
            .map(|(path, content)| (path.to_owned(), Digest::of(content.as_bytes())))
            .into(),
    }
}

struct Case<'a> {
    text: &'a str,
    args: &'a [(&'a str, &'a str)],
    labels: &'a [(&'a str, &'a str)],
    platform: &'a str,
    layers: LayerOptions,
    snapshot: SnapshotOptions,
    inputs: Fake,
}

fn case(text: &str) -> Case<'_> {
    Case {
        text,
        args: &[],
        labels: &[],
        platform: "linux/amd64",
        layers: LayerOptions::default(),
        snapshot: SnapshotOptions::default(),
        inputs: fake(),
    }
}

/// The key of the target as a whole.
fn key(case: &mut Case<'_>) -> Option<CacheKey> {
    let owned = |pairs: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect::<Vec<_>>()
    };
    let platform: Platform = case.platform.parse().unwrap();
    let options = Options {
        target: None,
        build_args: owned(case.args),
        target_platform: platform.clone(),
        is_platform_explicit: false,
        build_platform: platform.clone(),
        labels: owned(case.labels),
        network: RunNetwork::Default,
        contexts: Vec::new(),
    };
    let dockerfile = dockerfile::parse(case.text.as_bytes()).unwrap();
    let mut images: Vec<ImageConfig> = Vec::new();
    let outline = loop {
        let outline = plan::outline(&dockerfile, &options, &images).unwrap();
        if outline.images.len() <= images.len() {
            break outline;
        }
        images.resize(outline.images.len(), ImageConfig::scratch(&platform));
    };
    let plan = plan::plan(&dockerfile, &outline, &images, &options).unwrap();
    let keys = Keys::of(&plan, &case.layers, &case.snapshot, &mut case.inputs);
    Some(keys.stages[plan.target].end.as_ref()?.top())
}

fn of(text: &str) -> CacheKey {
    key(&mut case(text)).unwrap_or_else(|| panic!("no key: {text}"))
}

/// Each of these Dockerfiles can make other layers than each other one: no two have the same key.
#[test]
fn what_can_alter_a_layer_alters_the_key() {
    let texts = [
        "FROM scratch",
        "FROM x",
        "FROM x\nRUN a",
        "FROM x\nRUN a b",
        "FROM x\nRUN a  b",
        "FROM x\nRUN [\"a\", \"b\"]",
        "FROM x\nRUN [\"a b\"]",
        "FROM x\nRUN [\"a\", \"b\", \"\"]",
        "FROM scratch\nRUN a",
        "FROM x\nRUN a\nRUN a",
        "FROM x\nENV A=1\nRUN a",
        "FROM x\nENV A=2\nRUN a",
        "FROM x\nENV A=\nRUN a",
        "FROM x\nENV A=1 B=2\nRUN a",
        "FROM x\nENV A=1B=2\nRUN a",
        "FROM x\nUSER 1\nRUN a",
        "FROM x\nWORKDIR /w\nRUN a",
        "FROM x\nWORKDIR /w\nUSER 1\nRUN a",
        "FROM x\nSHELL [\"/s\"]\nRUN a",
        "FROM x\nRUN <<E\na\nE\n",
        "FROM x\nRUN <<E\n#!/bin/a\na\nE\n",
        "FROM x\nRUN <<E\n#!/bin/a\nb\nE\n",
        "FROM x\nRUN --network=none a",
        "FROM x\nRUN --mount=type=tmpfs,target=/t a",
        "FROM x\nRUN --mount=type=tmpfs,target=/u a",
        "FROM x\nRUN --mount=type=cache,target=/t a",
        "FROM x\nRUN --mount=type=cache,target=/t,uid=1 a",
        "FROM x\nRUN --mount=type=secret,id=s a",
        "FROM x\nRUN --mount=type=secret,id=t a",
        "FROM x\nRUN --mount=type=secret,id=s,target=/t a",
        "FROM x\nRUN --mount=type=secret,id=s,env=S a",
        "FROM x\nRUN --mount=type=bind,source=a,target=/t a",
        "FROM x\nRUN --mount=type=bind,source=b,target=/t a",
        "FROM x\nRUN --mount=type=bind,source=a,target=/t,rw a",
        "FROM x\nCOPY a /a",
        "FROM x\nCOPY b /a",
        "FROM x\nCOPY a /b",
        "FROM x\nCOPY a /a/",
        "FROM x\nCOPY a b /a/",
        "FROM x\nCOPY b a /a/",
        "FROM x\nCOPY --chown=1 a /a",
        "FROM x\nCOPY --chown=1:1 a /a",
        "FROM x\nCOPY --chmod=600 a /a",
        "FROM x\nADD a /a",
        "FROM x\nCOPY <<a /a\n1\na\n",
        "FROM x\nCOPY <<a /a\n2\na\n",
        "FROM x\nCOPY <<b /a\n1\nb\n",
        "FROM x\nCOPY --from=y a /a",
        "FROM x\nCOPY --from=y /b /a",
        "FROM y AS s\nRUN s\nFROM x\nCOPY --from=s a /a",
        "FROM y AS s\nRUN t\nFROM x\nCOPY --from=s a /a",
        "FROM x\nWORKDIR /a",
        "FROM x\nWORKDIR /b",
        "FROM x\nUSER 1\nWORKDIR /a",
    ];
    let mut known: HashMap<CacheKey, &str> = HashMap::new();
    for text in texts {
        if let Some(other) = known.insert(of(text), text) {
            panic!("{other:?} and {text:?} have the same key");
        }
    }
    assert_eq!(known.len(), texts.len());
}

/// A build as choices, each of which its last layer depends on: two that differ in one can make different layers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Choices {
    base: usize,
    steps: Vec<[usize; 5]>,
}

/// What a RUN can see and do, and what a COPY is called with: one line of each at a time.
const OF_RUN: [&[&str]; 5] = [
    &["ENV A=", "ENV A=1", "ENV A=2", "ENV A=1 B=2", "ENV A=1B=2"],
    &["USER 0", "USER 1", "USER 1:0", "USER a"],
    &[
        "SHELL [\"/s\"]",
        "SHELL [\"/s\", \"-c\"]",
        "SHELL [\"/s -c\"]",
    ],
    &[
        "RUN ",
        "RUN --network=none ",
        "RUN --mount=type=tmpfs,target=/t ",
        "RUN --mount=type=cache,target=/t ",
        "RUN --mount=type=bind,source=a,target=/t ",
        "RUN --mount=type=bind,source=b,target=/t ",
    ],
    &[
        "a",
        "a b",
        "a  b",
        "ab",
        "b",
        "<<E\na\nE",
        "<<E\na\nb\nE",
        "<<E\n#!/a\nb\nE",
        "<<E\n#!/a\nc\nE",
    ],
];
const OF_COPY: [&[&str]; 5] = [
    &["COPY ", "ADD "],
    &["", "--chown=1 ", "--chown=1:1 ", "--chown=2 "],
    &["", "--chmod=600 ", "--chmod=644 "],
    &["a ", "b ", "a b ", "b a "],
    &["/a/", "/b/", "/a/b/"],
];

impl Choices {
    fn parts(step: &[usize; 5]) -> (bool, [&'static str; 5]) {
        let is_run = step[0] < OF_RUN[0].len();
        let (lists, first) = if is_run {
            (&OF_RUN, step[0])
        } else {
            (&OF_COPY, step[0] - OF_RUN[0].len())
        };
        let at = |number: usize| if number == 0 { first } else { step[number] };
        (
            is_run,
            std::array::from_fn(|number| lists[number][at(number)]),
        )
    }

    /// How many choices there are for one of a step's parts.
    fn count(step: &[usize; 5], part: usize) -> usize {
        match part {
            0 => OF_RUN[0].len() + OF_COPY[0].len(),
            _ if step[0] < OF_RUN[0].len() => OF_RUN[part].len(),
            _ => OF_COPY[part].len(),
        }
    }

    fn text(&self) -> String {
        let lines = self.steps.iter().map(|step| match Self::parts(step) {
            // The whole environment each time, so that none is left of the step before.
            (true, [env, user, shell, run, command]) => {
                format!("ENV B=\n{env}\n{user}\n{shell}\n{run}{command}\n")
            }
            (false, words) => format!("{}\n", words.concat()),
        });
        let base = format!("FROM {}\n", ["scratch", "x"][self.base]);
        std::iter::once(base).chain(lines).collect()
    }
}

/// 1,500 builds, each with all those that are one choice away from it: of the million pairs of them none shares a key.
#[test]
fn a_million_pairs_of_builds_share_no_key() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut any = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % 1_000_003).unwrap() % below
    };
    let mut inputs = HashSet::new();
    while inputs.len() < 1500 {
        let mut steps = vec![[0; 5]; 1 + any(4)];
        for step in &mut steps {
            for part in 0..5 {
                step[part] = any(Choices::count(step, part));
            }
        }
        let base = any(2);
        for (at, part) in (0..steps.len()).flat_map(|at| (0..5).map(move |part| (at, part))) {
            for choice in 0..Choices::count(&steps[at], part) {
                let mut steps = steps.clone();
                steps[at][part] = choice;
                if part == 0 {
                    // The other parts may mean something else now.
                    steps[at][1..].fill(0);
                }
                inputs.insert(Choices { base, steps });
            }
        }
        inputs.insert(Choices {
            base: 1 - base,
            steps,
        });
    }
    let mut known = HashMap::new();
    for text in inputs.iter().map(Choices::text) {
        if let Some(other) = known.insert(of(&text), text.clone()) {
            panic!("{other}and\n{text}have the same key");
        }
    }
    assert!(known.len() * (known.len() - 1) / 2 > 1_000_000);
}

#[test]
fn what_is_below_and_around_counts() {
    let text = "FROM x\nARG A\nRUN a\nCOPY a /a";
    let plain = of(text);
    let mut others: Vec<Case<'_>> = Vec::new();
    let mut other = |change: &dyn Fn(&mut Case<'_>)| {
        let mut changed = case(text);
        change(&mut changed);
        others.push(changed);
    };
    other(&|case| case.args = &[("A", "1")]);
    other(&|case| case.args = &[("A", "2")]);
    other(&|case| case.platform = "linux/arm64");
    other(&|case| case.platform = "linux/arm/v7");
    other(&|case| case.inputs.layers = vec![Digest::of(b"other")]);
    other(&|case| case.inputs.layers.push(Digest::of(b"more")));
    other(&|case| drop(case.inputs.files.insert("a".into(), Digest::of(b"new"))));
    other(&|case| case.layers.compression = Compression::Zstd);
    other(&|case| case.layers.level = Some(9));
    other(&|case| case.layers.newest_secs = Some(0));
    other(&|case| case.layers.single = true);
    other(&|case| case.snapshot.by_time_only = true);
    other(&|case| case.snapshot.ignored = vec!["/x".into()]);
    let mut keys = vec![plain];
    for other in &mut others {
        keys.push(key(other).expect("a key"));
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn what_cannot_alter_a_layer_does_not_count() {
    let text = "FROM x\nENV A=1\nRUN a\nCOPY a /a\n";
    let plain = of(text);
    for same in [
        "FROM x AS name\nENV A=1\nRUN a\nCOPY a /a\n",
        "# comment\nFROM x\n\nENV A=1\nRUN a\nCOPY a /a\n",
        "FROM x\nENV A 1\nrun a\ncopy a /a\n",
        "FROM x\nLABEL l=1\nENV A=1\nEXPOSE 80\nRUN a\nCMD c\nCOPY a /a\nENTRYPOINT e\n",
        "FROM x\nENV A=1\nRUN a\nCOPY ./a /a\n",
        "FROM x AS s\nENV A=1\nRUN a\nFROM s\nCOPY a /a\n",
    ] {
        assert_eq!(of(same), plain, "{same}");
    }
    let mut changed = case(text);
    changed.args = &[
        ("HTTP_PROXY", "http://p:1"),
        ("no_proxy", "x"),
        ("UNUSED", "1"),
    ];
    changed.labels = &[("l", "1")];
    assert_eq!(key(&mut changed), Some(plain));
    let mut ordered = case(text);
    ordered.snapshot.ignored = vec!["/x".into(), "/y".into(), "/x".into()];
    let mut reordered = case(text);
    reordered.snapshot.ignored = vec!["/y".into(), "/x".into()];
    assert_eq!(key(&mut ordered), key(&mut reordered));
    let cache = "FROM x\nRUN --mount=type=cache,target=/t,id=one,sharing=locked a";
    assert_eq!(
        of(cache),
        of(&cache.replace("one", "two").replace("locked", "shared"))
    );
    let secret = "FROM x\nRUN --mount=type=secret,id=one,target=/t a";
    assert_eq!(of(secret), of(&secret.replace("one", "two")));
    // A proxy that the Dockerfile declares is an argument as any other.
    let declared = "FROM x\nARG HTTP_PROXY\nRUN a";
    let mut with = case(declared);
    with.args = &[("HTTP_PROXY", "http://p:1")];
    assert_ne!(key(&mut with), Some(of(declared)));
}

#[test]
fn what_cannot_be_told_has_no_key() {
    let text = "FROM x\nRUN a\nCOPY missing /\nRUN b";
    assert_eq!(key(&mut case(text)), None);
    let fed = "FROM x AS s\nCOPY missing /\nFROM x\nCOPY --from=s a /a";
    assert_eq!(key(&mut case(fed)), None);
}
