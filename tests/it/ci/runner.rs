//! The grammars of runners, by what they are documented to read out of a log: written apart from what keeps them from
//! reading it.

/// A command that a runner would follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The lines of a log as .NET's reader gives them: a line ends at CR, LF or both.
pub(crate) fn lines(log: &str) -> Vec<&str> {
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

/// What GitHub's runner follows: `::name key=value::text` after blanks, `##[name key=value]text` anywhere; nothing but the
/// token while commands are stopped. `obeys_stop` false pretends that it never stops.
pub(crate) fn github(log: &str, obeys_stop: bool) -> Vec<Command> {
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    for line in lines(log) {
        let Some(command) = workflow(line).or_else(|| bracketed(line)) else {
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
    let name = head.split(' ').next().unwrap_or_default();
    Some(Command {
        name: name.to_owned(),
        text: text.to_owned(),
    })
}

fn bracketed(line: &str) -> Option<Command> {
    let (_, rest) = line.split_once("##[")?;
    let (head, text) = rest.split_once(']')?;
    let name = head.split(' ').next().unwrap_or_default();
    Some(Command {
        name: name.to_owned(),
        text: text.to_owned(),
    })
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
            found.push(Command {
                name: what.trim_end_matches(':').to_owned(),
                text: name,
            });
        }
    }
    found
}

/// What other systems follow wherever it stands: Azure, TeamCity, Travis, hidden notes of Jenkins, sequences of a terminal.
pub(crate) fn others(log: &str) -> Vec<String> {
    let lower = log.to_ascii_lowercase();
    let words = [
        "##vso[",
        "##teamcity[",
        "##[",
        "travis_fold:",
        "travis_time:",
        "ha:////",
        "\u{1b}[8m",
        "\u{7}",
        "\u{8}",
        "\0",
    ];
    let mut found: Vec<String> = words
        .iter()
        .filter(|word| lower.contains(**word))
        .map(|word| (*word).to_owned())
        .collect();
    // Escape begins nothing but a colour.
    for (at, _) in log.match_indices('\u{1b}') {
        let rest = &log[at + 1..];
        let body: String = rest
            .chars()
            .skip(1)
            .take_while(|c| c.is_ascii_digit() || matches!(c, ';' | ':'))
            .collect();
        let ends = rest
            .get(1 + body.len()..)
            .is_some_and(|rest| rest.starts_with('m'));
        let hides = body.split([';', ':']).any(|number| number == "8");
        if !rest.starts_with('[') || !ends || hides {
            found.push(format!("{:?}", rest.chars().take(12).collect::<String>()));
        }
    }
    found.extend(
        log.chars()
            .filter(|c| ('\u{80}'..='\u{9f}').contains(c))
            .map(|c| format!("{c:?}")),
    );
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
