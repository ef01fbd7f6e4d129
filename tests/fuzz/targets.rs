//! What is done with an input, what must hold then, and which features it has.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use longshore::build::{self, Known};
use longshore::context::glob::{self, Glob};
use longshore::context::ignore::Ignore;
use longshore::dockerfile::{self, Dockerfile, Instruction, InstructionKind, ParseErrors, word};
use longshore::oci::{Digest, ImageConfig, Platform, Reference};
use longshore::plan::{self, Options, RunNetwork};
use serde_json::Value;

pub(crate) type Features = HashSet<u64>;
pub(crate) type Target = fn(&[u8]) -> Features;

#[rustfmt::skip]
pub(crate) const DOCKERFILE_WORDS: &[&str] = &[
    "FROM a\n", "FROM scratch AS b\n", "FROM b", "RUN x\n", "RUN --mount=type=cache,target=/c ", "--mount=type=bind,from=b,target=x ",
    "--mount=type=secret,id=s,env=E ", "--network=none ", "COPY --from=b ", "COPY --chmod=u+x ", "COPY a b\n", "ADD --checksum=",
    "ADD http://h/x /\n", "ENV A=b c=\"d e\"\n", "ENV A b\n", "ARG A=${B:-c}\n", "LABEL ", "HEALTHCHECK --interval=1s CMD ",
    "ONBUILD ", "CMD [\"a\", \"b\"]\n", "SHELL [\"/s\"]\n", "EXPOSE 80/tcp 1-3\n", "VOLUME /v\n", "USER u:g\n", "WORKDIR w\n",
    "STOPSIGNAL 9\n", "MAINTAINER m\n", "<<EOF\n", "<<-'E'\n", "EOF\n", "\\\n", "# c\n", "# escape=`\n", "# syntax=x\n",
    "# check=skip=all\n", "\r\n", "\u{feff}", "${A}", "$A", "'", "\"", "\\", "`", "[", "]", "--", "=", "\t", "\0", "é", "/./",
    "--exclude=", "--parents ", "--link ", "--platform=$P ", "../", "**",
];

#[rustfmt::skip]
pub(crate) const EXPANSION_WORDS: &[&str] = &[
    "$A", "${A}", "${B}", "${A:-", "${U:-", "${A:+", "${U:?", "${A-", "${A+", "${U?", "${A#", "${A##", "${A%", "${A%%", "${A/", "${A//",
    "${C//", "}", "/", "*", "?", "\\*", "\\}", "\\/", "'", "\"", "\\", "`", "$", "${", "$1", "$@", "{", " ", "\n", "é", "aaaa", "**a", "<<",
];

#[rustfmt::skip]
pub(crate) const IGNORE_WORDS: &[&str] = &[
    "!", "*", "**", "/**", "**/", "?", "[a-z]", "[^a]", "[", "]", "-", "\\", "/", ".", "..", "./", "#", " ", "\t", "\n", "\r\n", "a", "b/c",
    "\n\n", "\u{feff}", ".dockerignore", "é", "\0",
];

#[rustfmt::skip]
pub(crate) const REFERENCE_WORDS: &[&str] = &[
    "docker.io/", "library/", "localhost:5000/", "[::1]:80/", "a.b/", ":", "@", "@sha256:", "/", "__", "--", ".", "_", "-", "A", "latest",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "sha512:", "index.docker.io", "linux/arm64/v8", "é", "\0",
];

pub(crate) fn hash(thing: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// A message without what it quotes and counts: the kind of a mistake.
fn gist(message: &dyn std::fmt::Display) -> String {
    let text = message.to_string();
    let plain = text.split(['"', '`']).step_by(2);
    plain
        .flat_map(str::chars)
        .filter(|one| one.is_ascii_lowercase() || *one == ' ')
        .take(60)
        .collect()
}

/// Checks every span of a printed tree, and returns the tree's shape: which fields have something in them.
fn walk(value: &Value, text: &[u8], around: (usize, usize)) -> String {
    let shapes = |shapes: Vec<String>| shapes.join(",");
    match value {
        Value::Object(fields) => {
            let bound = |name: &str| {
                fields
                    .get(name)
                    .and_then(Value::as_u64)
                    .and_then(|at| usize::try_from(at).ok())
            };
            if let (2, Some(start), Some(end)) = (fields.len(), bound("start"), bound("end")) {
                check_span(text, start, end);
                assert!(
                    around.0 <= start && end <= around.1,
                    "{start}..{end} is not inside of {around:?}"
                );
                return "s".to_owned();
            }
            let fields = fields
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "span" | "trigger" | "text"));
            shapes(
                fields
                    .map(|(name, value)| {
                        // Comments stand above what they are about.
                        let start = if name == "comments" { 0 } else { around.0 };
                        format!("{name}:{}", walk(value, text, (start, around.1)))
                    })
                    .collect(),
            )
        }
        Value::Array(items) => {
            let mut distinct: Vec<String> =
                items.iter().map(|item| walk(item, text, around)).collect();
            distinct.dedup();
            distinct.truncate(3);
            format!("[{}]", shapes(distinct))
        }
        Value::Null => "-".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number(_) => "n".to_owned(),
        Value::String(text) => if text.is_empty() { "e" } else { "t" }.to_owned(),
    }
}

fn check_span(text: &[u8], start: usize, end: usize) {
    assert!(
        start <= end && end <= text.len(),
        "{start}..{end} of {}",
        text.len()
    );
    // A comment may hold bytes that are no text; a span never begins or ends in one of those.
    let is_bound = |at: usize| at == text.len() || text[at] & 0xc0 != 0x80;
    assert!(
        std::str::from_utf8(text).is_err() || is_bound(start) && is_bound(end),
        "{start}..{end} parts a character"
    );
}

fn check_errors(text: &[u8], errors: &ParseErrors) -> Features {
    assert!(!errors.errors.is_empty());
    let lines = text.split(|byte| *byte == b'\n').count();
    let mut features = Features::new();
    for error in &errors.errors {
        assert!(
            error.line >= 1 && error.line <= lines,
            "line {} of {lines}",
            error.line
        );
        check_span(text, error.span.start, error.span.end);
        let hint = error.hint.as_ref().map(|hint| gist(hint));
        features.insert(hash((gist(error), hint)));
    }
    assert!(errors.errors.is_sorted_by_key(|error| error.span.start));
    features
}

fn check_instruction(text: &[u8], instruction: &Instruction) -> String {
    if let InstructionKind::Onbuild(onbuild) = &instruction.kind {
        let again = dockerfile::parse_instruction(&onbuild.trigger);
        assert!(
            again.is_ok(),
            "a trigger that cannot be read: {}",
            onbuild.trigger
        );
    }
    let span = instruction.span;
    let printed = serde_json::to_value(instruction).expect("JSON");
    assert!(
        !instruction.text.contains('\n'),
        "the text of an instruction is one line"
    );
    walk(&printed, text, (span.start, span.end))
}

/// One instruction, alone and in a file: both read the same.
pub(crate) fn lexer(input: &[u8]) -> Features {
    let Ok(text) = std::str::from_utf8(input) else {
        return Features::new();
    };
    let alone = dockerfile::parse_instruction(text);
    // Directives and a byte order mark mean something only at the top of a file.
    let has_top = text.trim_start().starts_with(['#', '\u{feff}']);
    let first = "FROM a\n";
    let in_file = format!("{first}{text}");
    if let (Ok(one), Ok(file), false) = (&alone, dockerfile::parse(in_file.as_bytes()), has_top) {
        let found = &file.stages[0].instructions;
        assert_eq!(
            (file.stages.len(), found.len()),
            (1, 1),
            "alone it was one instruction"
        );
        assert_eq!(found[0].text, one.text);
        assert_eq!(found[0].span.start, one.span.start + first.len());
    }
    match alone {
        Ok(instruction) => Features::from([hash(check_instruction(input, &instruction))]),
        Err(errors) => check_errors(input, &errors),
    }
}

fn check_file(text: &[u8], file: &Dockerfile) -> Features {
    assert!(!file.stages.is_empty());
    let mut features = Features::new();
    let printed =
        serde_json::to_value((&file.directives, &file.meta_args, &file.empty_continuations))
            .expect("JSON");
    features.insert(hash(walk(&printed, text, (0, text.len()))));
    let mut end = 0;
    for stage in &file.stages {
        assert!(end <= stage.span.start, "stages follow each other");
        end = stage.from.span.end;
        let from = serde_json::to_value((&stage.name, &stage.from)).expect("JSON");
        features.insert(hash(walk(&from, text, (0, stage.span.end))));
        let mut before = "FROM";
        for instruction in &stage.instructions {
            assert!(
                end <= instruction.span.start,
                "instructions follow each other"
            );
            end = instruction.span.end;
            features.insert(hash(check_instruction(text, instruction)));
            features.insert(hash((before, instruction.kind.keyword())));
            before = instruction.kind.keyword();
        }
        assert_eq!(
            stage.span.end, end,
            "a stage ends with its last instruction"
        );
    }
    features
}

/// A file, with what all of its places are.
pub(crate) fn parser(input: &[u8]) -> Features {
    match dockerfile::parse(input) {
        Ok(file) => check_file(input, &file),
        Err(errors) => check_errors(input, &errors),
    }
}

/// A file to its checks and its plan, as far as that goes without images.
pub(crate) fn plan(input: &[u8]) -> Features {
    let Ok(file) = dockerfile::parse(input) else {
        return Features::new();
    };
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    let options = Options {
        target: None,
        build_args: vec![("A".to_owned(), "given".to_owned())],
        target_platform: platform.clone(),
        is_platform_explicit: false,
        build_platform: platform.clone(),
        labels: Vec::new(),
        network: RunNetwork::Default,
        contexts: Vec::new(),
    };
    let mut features = Features::new();
    if let Ok(report) = build::check(&file, input, &options, Known::default()) {
        for finding in report.findings {
            check_span(input, finding.span.start, finding.span.end);
            features.insert(hash(finding.rule.name));
        }
    }
    let planned = plan::outline(&file, &options, &[]).and_then(|outline| {
        let images: Vec<ImageConfig> = outline
            .images
            .iter()
            .map(|_| ImageConfig::scratch(&platform))
            .collect();
        plan::plan(&file, &outline, &images, &options)
    });
    match planned {
        Ok(plan) => {
            assert!(plan.target < plan.stages.len());
            for stage in &plan.stages {
                let kinds = stage
                    .steps
                    .iter()
                    .map(|step| step.created_by.split(' ').next().map(str::to_owned));
                features.insert(hash(kinds.take(3).collect::<Vec<_>>()));
            }
        }
        Err(error) => {
            check_span(input, error.span().start, error.span().end);
            features.insert(hash(gist(&error)));
        }
    }
    features
}

fn lookup(name: &str) -> Option<String> {
    match name {
        "A" => Some("path/to/é.tar.gz".to_owned()),
        "B" => Some(String::new()),
        "C" => Some("$A 'q' \"d\" \\".to_owned()),
        _ => None,
    }
}

/// The operators of a text: the shape of an expansion.
fn operators(text: &str) -> String {
    let special = |one: &char| "${}:-+?#%/*'\"\\".contains(*one);
    text.chars().filter(special).take(4).collect()
}

/// A word with variables, in all the ways that words are expanded.
pub(crate) fn expansion(input: &[u8]) -> Features {
    let Ok(text) = std::str::from_utf8(input) else {
        return Features::new();
    };
    let mut features = Features::new();
    for escape in ['\\', '`'] {
        let whole = word::expand(text, escape, &lookup);
        let words = word::expand_words(text, escape, &lookup);
        assert_eq!(
            whole.as_ref().err(),
            words.as_ref().err(),
            "one way reads it and the other does not"
        );
        if let (Ok(whole), Ok(words)) = (&whole, &words) {
            assert!(whole.value.len() <= 2 * word::MAX_LENGTH);
            assert_eq!(whole.undefined, words.undefined);
            assert!(words.words.iter().all(|word| !word.is_empty()));
            let distinct: HashSet<&String> = whole.undefined.iter().collect();
            assert_eq!(distinct.len(), whole.undefined.len(), "named once");
            assert!(whole.undefined.iter().all(|name| lookup(name).is_none()));
        }
        let shown = word::expand_for_display(text, escape, &lookup);
        let what = match &whole {
            Ok(whole) if whole.value == text => "as written".to_owned(),
            Ok(whole) if whole.value.is_empty() => "nothing".to_owned(),
            Ok(_) => format!("something {}", shown == text),
            Err(error) => gist(error),
        };
        features.insert(hash((escape, operators(text), what)));
        // What is quoted or escaped stands for itself.
        if !text.contains('\'') {
            assert_eq!(
                word::expand(&format!("'{text}'"), escape, &lookup)
                    .expect("a quoted text")
                    .value,
                text
            );
        }
        let escaped: String = text.chars().flat_map(|one| [escape, one]).collect();
        assert_eq!(
            word::expand(&escaped, escape, &lookup)
                .expect("an escaped text")
                .value,
            text
        );
    }
    let body = word::expand_heredoc(text, &lookup);
    features.insert(hash(
        body.map_or_else(|error| gist(&error), |body| operators(&body.value)),
    ));
    features
}

/// Rules, an empty line, and paths.
pub(crate) fn ignore(input: &[u8]) -> Features {
    let split = input
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .unwrap_or(input.len());
    let (text, paths) = input.split_at(split);
    let rules = match Ignore::parse(text, ".dockerignore") {
        Ok(rules) => rules,
        Err(error) => return Features::from([hash(gist(&error))]),
    };
    let parse = |parts: [&[u8]; 2]| {
        Ignore::parse(&parts.concat(), ".dockerignore").expect("rules that were read before")
    };
    // A comment changes nothing, and the last rule decides. A byte order mark is one only in front.
    let commented = parse([
        b"# all\n\n",
        text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
    ]);
    let (none, all) = (parse([text, b"\n**"]), parse([text, b"\n!**"]));
    let mut features = Features::from([hash(rules.rules().len().min(4))]);
    for path in paths.split(|byte| *byte == b'\n').take(12) {
        let parts = path.split(|byte| *byte == b'/');
        if parts.clone().any(|part| matches!(part, b"" | b"." | b"..")) {
            continue;
        }
        let excluded = rules.excludes(path);
        let line = excluded.map(|rule| rule.line + 2);
        assert_eq!(
            commented.excludes(path).map(|rule| rule.line),
            line,
            "a comment in front"
        );
        assert!(
            none.excludes(path).is_some() && all.excludes(path).is_none(),
            "the last rule decides"
        );
        // A walk that does not look below an excluded directory misses nothing.
        let parents = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| &path[..at]);
        for parent in parents {
            if rules.excludes(parent).is_some() && excluded.is_none() {
                assert!(rules.has_reincludes());
                assert!(
                    rules.may_have_reincluded_below(parent),
                    "a walk would not look there"
                );
            }
        }
        features.insert(hash((
            excluded.map(|rule| operators(&rule.text)),
            parts.count().min(4),
            rules.has_reincludes(),
        )));
    }
    features
}

/// A pattern and paths, one a line: the same as a regular expression says.
pub(crate) fn glob(input: &[u8]) -> Features {
    let Ok(text) = std::str::from_utf8(input) else {
        return Features::new();
    };
    let (pattern, paths) = text.split_once('\n').unwrap_or((text, ""));
    let glob = match Glob::parse(pattern.as_bytes()) {
        Ok(glob) => glob,
        Err(error) => return Features::from([hash(gist(&error))]),
    };
    let expression = expression_of(pattern);
    let mut features = Features::new();
    for path in paths.split('\n').take(12) {
        let matches = glob.matches(path.as_bytes());
        if let Some(expression) = &expression {
            assert_eq!(
                matches,
                expression.is_match(path),
                "{pattern:?} on {path:?}"
            );
        }
        let is_wild = glob::has_wildcard(pattern.as_bytes());
        features.insert(hash((
            operators(pattern),
            pattern.matches('[').count().min(3),
            is_wild,
            matches,
        )));
    }
    features
}

/// A glob as a regular expression; none for what has classes, or is too long to be one.
fn expression_of(pattern: &str) -> Option<regex::Regex> {
    let mut expression = String::from("(?s)^");
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '[' => return None,
            '*' => {
                expression.push_str("[^/]*");
                continue;
            }
            '?' => {
                expression.push_str("[^/]");
                continue;
            }
            '\\' => characters.next()?,
            other => other,
        };
        expression.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }
    regex::Regex::new(&format!("{expression}$")).ok()
}

/// Names of images, digests, platforms: what is printed is read as the same.
pub(crate) fn reference(input: &[u8]) -> Features {
    let Ok(text) = std::str::from_utf8(input) else {
        return Features::new();
    };
    let image = match text.parse::<Reference>() {
        Ok(reference) => {
            let printed = reference.to_string();
            let again = printed.parse::<Reference>().expect("a printed name");
            assert_eq!(again, reference, "{printed}");
            format!(
                "{}{}",
                reference.tag().is_some(),
                reference.digest().is_some()
            )
        }
        Err(error) => gist(&error),
    };
    let digest = match text.parse::<Digest>() {
        Ok(digest) => {
            assert_eq!(digest.to_string(), text);
            digest.algorithm().to_owned()
        }
        Err(error) => gist(&error),
    };
    let platform = match text.parse::<Platform>() {
        Ok(platform) => {
            let printed = platform.to_string();
            let again: Platform = printed.parse().expect("a printed platform");
            assert_eq!(again.to_string(), printed);
            format!("{}", printed.matches('/').count())
        }
        Err(error) => gist(&error),
    };
    let shape: String = text
        .chars()
        .filter(|one| ":/@".contains(*one))
        .take(5)
        .collect();
    Features::from([hash((shape, image)), hash(digest), hash(platform)])
}
