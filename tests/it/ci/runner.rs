//! The grammars of runners, by what they are documented to read out of a log: written apart from what keeps them from
//! reading it. Where a runner's own rule is narrow (known names, places in a line), these are wider: what they find nothing
//! in, no runner does.

/// A command that a runner would follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Command {
    fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// The names of commands, for comparing.
pub(crate) fn names(commands: &[Command]) -> Vec<&str> {
    commands.iter().map(|command| &*command.name).collect()
}

/// The lines of a log as .NET's reader gives them: a line ends at CR, LF or both.
fn lines(log: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = log;
    while let Some(end) = rest.find(['\r', '\n']) {
        lines.push(&rest[..end]);
        let both = rest[end..].starts_with("\r\n");
        rest = &rest[end + if both { 2 } else { 1 }..];
    }
    lines.push(rest);
    lines
}

/// A line without the characters that .NET's comparison of texts by culture passes over: GitHub's runner compares so.
fn compared(line: &str) -> String {
    let is_passed_over = |c: &char| {
        matches!(
            *c,
            '\0'..='\u{8}'
                | '\u{e}'..='\u{1b}'
                | '\u{7f}'..='\u{84}'
                | '\u{86}'..='\u{9f}'
                | '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
    };
    line.chars().filter(|c| !is_passed_over(c)).collect()
}

/// What GitHub's runner follows: `::name key=value::text` after blanks, `##[name key=value]text` anywhere; nothing but the
/// token while commands are stopped. `obeys_stop` false pretends that it never stops.
pub(crate) fn github(log: &str, obeys_stop: bool) -> Vec<Command> {
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    for line in lines(log) {
        let line = compared(line);
        let Some(command) = workflow(&line).or_else(|| bracketed(&line, "##[")) else {
            continue;
        };
        if let Some(wanted) = &token {
            if command.name == *wanted {
                token = None;
                continue;
            }
            if obeys_stop {
                continue;
            }
        }
        if command.name == "stop-commands" && token.is_none() {
            token = Some(command.text.clone());
        }
        found.push(command);
    }
    assert_eq!(token, None, "commands are read again in the end");
    found
}

fn workflow(line: &str) -> Option<Command> {
    // .NET trims every character that Unicode calls white space.
    let rest = line
        .trim_start_matches(char::is_whitespace)
        .strip_prefix("::")?;
    let (head, text) = rest.split_once("::")?;
    Some(Command::new(
        head.split(' ').next().unwrap_or_default(),
        text,
    ))
}

/// `OPEN` anywhere in a line, in any case, a name and properties up to `]`, and a text.
fn bracketed(line: &str, open: &str) -> Option<Command> {
    let at = line.to_ascii_lowercase().find(open)?;
    let (head, text) = line[at + open.len()..].split_once(']')?;
    Some(Command::new(
        head.split(' ').next().unwrap_or_default(),
        text,
    ))
}

/// What Azure's agent and TeamCity's follow: `##vso[area.action key=value;]text`, `##[format]text` and
/// `##teamcity[name key='value']`.
pub(crate) fn azure_and_teamcity(log: &str) -> Vec<Command> {
    let mut found = Vec::new();
    for line in lines(log) {
        let line = compared(line);
        for open in ["##vso[", "##teamcity[", "##["] {
            found.extend(bracketed(&line, open));
        }
    }
    found
}

/// What GitLab folds: `section_start:TIME:NAME` and `section_end:TIME:NAME`, to the carriage return.
pub(crate) fn gitlab(log: &str) -> Vec<Command> {
    let mut found = Vec::new();
    for what in ["section_start:", "section_end:"] {
        for (at, _) in log.to_ascii_lowercase().match_indices(what) {
            let rest = &log[at + what.len()..];
            let name: String = rest
                .chars()
                .skip_while(char::is_ascii_digit)
                .skip(1)
                .take_while(|c| !matches!(c, '\r' | '\n' | '['))
                .collect();
            found.push(Command::new(what.trim_end_matches(':'), &name));
        }
    }
    found
}

/// What Buildkite and Travis fold: headings at the beginning of a line, colours or not; `travis_fold:` and `travis_time:`.
pub(crate) fn folds(log: &str) -> Vec<Command> {
    let mut found = Vec::new();
    for line in lines(log) {
        let mut rest = line;
        while let Some((_, after)) = rest
            .strip_prefix("\u{1b}[")
            .and_then(|rest| rest.split_once('m'))
        {
            rest = after;
        }
        for mark in ["--- ", "+++ ", "~~~ ", "^^^ "] {
            let text = rest.strip_prefix(mark);
            found.extend(text.map(|text| Command::new(mark.trim(), text)));
        }
        for mark in ["travis_fold:", "travis_time:"] {
            found.extend(rest.contains(mark).then(|| Command::new(mark, rest)));
        }
    }
    found
}

/// Jenkins' lines of a pipeline, and its hidden notes: `ha:`, four slashes, a serialized object in base 64. A hidden piece of text
/// begins them, which [`terminal`] finds.
pub(crate) fn jenkins(log: &str) -> Vec<Command> {
    let marks = ["ha:////", "[Pipeline]"];
    let found = |mark: &&str| log.contains(*mark).then(|| Command::new(mark, ""));
    marks.iter().filter_map(found).collect()
}

/// What a terminal would do besides writing text and choosing colours: every control character but tab and the end of a line, every
/// sequence but colours, and the colour that hides.
pub(crate) fn terminal(log: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = log;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\u{1b}' {
            let body: String = rest
                .chars()
                .skip(1)
                .take_while(|c| c.is_ascii_digit() || matches!(c, ';' | ':'))
                .collect();
            let ends = rest
                .get(1 + body.len()..)
                .is_some_and(|rest| rest.starts_with('m'));
            let hides = body.split([';', ':']).any(|number| number.parse() == Ok(8));
            if !rest.starts_with('[') || !ends || hides {
                found.push(format!("{:?}", rest.chars().take(12).collect::<String>()));
            }
        } else if c.is_control() && !matches!(c, '\t' | '\n') {
            found.push(format!("{c:?}"));
        }
    }
    found
}

/// Reads a file of `key=value` and `key<<delimiter` as the runner does.
pub(crate) fn file_command(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.split('\n');
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        if heredoc.is_some_and(|heredoc| equals.is_none_or(|equals| heredoc < equals)) {
            let (key, delimiter) = line.split_once("<<").expect("just found");
            assert!(!key.is_empty() && !delimiter.is_empty(), "{line}");
            let mut value = Vec::new();
            loop {
                let line = lines.next().expect("the delimiter ends the value");
                if line == delimiter {
                    break;
                }
                value.push(line);
            }
            found.push((key.to_owned(), value.join("\n")));
        } else {
            let (key, value) = line.split_once('=').expect("a value");
            found.push((key.to_owned(), value.to_owned()));
        }
    }
    found
}
