//! "Did you mean": the nearest of a few known words.

/// Words further away than this are no help.
const MAX_DISTANCE: usize = 2;

/// In words up to this length two changes leave nothing of the word.
const SHORT: usize = 3;

/// Returns the known word that is nearest to `word`, in the case of `word`; `None` if none is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_lowercase();
    let (distance, found) = best(&lower, known)?;
    if distance == 0 {
        return None;
    }
    Some(if word == lower {
        found.to_lowercase()
    } else if word == word.to_uppercase() {
        found.to_uppercase()
    } else {
        found.to_owned()
    })
}

/// Returns the known name that is nearest to `name` where case matters: `Foo` is near to `FOO`, and comes as it is.
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let others = known.into_iter().filter(|known| *known != name);
    best(&name.to_lowercase(), others).map(|(_, found)| found.to_owned())
}

/// The nearest word and its distance; of several, the first one by its letters.
fn best<'a>(lower: &str, known: impl IntoIterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    let is_short = lower.chars().count() <= SHORT;
    let limit = if is_short { 1 } else { MAX_DISTANCE };
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let distance = distance(lower, &candidate.to_lowercase());
        if distance <= limit && best.is_none_or(|least| (distance, candidate) < least) {
            best = Some((distance, candidate));
        }
    }
    best
}

/// Counts the insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > MAX_DISTANCE * 4 {
        return usize::MAX;
    }
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows: [Vec<usize>; 3] = [vec![], vec![], (0..=right.len()).collect()];
    for (line, from) in left.iter().enumerate() {
        rows.rotate_left(1);
        let [before, above, row] = &mut rows;
        row.clear();
        row.push(line + 1);
        for (column, to) in right.iter().enumerate() {
            let mut least = above[column] + usize::from(from != to);
            least = least.min(above[column + 1] + 1).min(row[column] + 1);
            if line > 0 && column > 0 && left[line - 1] == *to && right[column - 1] == *from {
                least = least.min(before[column - 1] + 1);
            }
            row.push(least);
        }
    }
    rows[2][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_in_the_case_of_the_input() {
        let known = ["COPY", "CMD", "RUN", "HEALTHCHECK"];
        let check = |word: &str, expect: Option<&str>| {
            assert_eq!(nearest(word, known).as_deref(), expect, "{word}");
        };
        check("COPPY", Some("COPY"));
        check("coppy", Some("copy"));
        check("Coppy", Some("COPY"));
        check("RNU", Some("RUN"));
        check("apt", None);
        check("", None);
        check("HEALTCHEK", Some("HEALTHCHECK"));
        check("COPY", None);
        check("FOOBAR", None);
        check(&"x".repeat(60_000), None);
    }

    #[test]
    fn names_keep_their_case() {
        let known = ["FOO_BAR", "Stage", "PATH"];
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(nearest_name(name, known).as_deref(), expect, "{name}");
        };
        check("foo_bra", Some("FOO_BAR"));
        check("stage", Some("Stage"));
        check("PATH", None);
        check("xyz", None);
    }
}
