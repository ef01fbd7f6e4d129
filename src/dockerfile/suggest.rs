//! "Did you mean": the nearest of a few known words.

/// Words further away than this are no help. A distance of 3 would suggest RUN for anything of three letters.
const MAX_DISTANCE: usize = 2;

/// Returns the known word that is nearest to `word`, in the case of `word`; `None` if none is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        let candidate_lower = candidate.to_lowercase();
        if candidate_lower == lower {
            return None;
        }
        let distance = distance(&lower, &candidate_lower);
        if distance <= MAX_DISTANCE && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    let (_, found) = best?;
    Some(if word == lower {
        found.to_lowercase()
    } else if word == word.to_uppercase() {
        found.to_uppercase()
    } else {
        found.to_owned()
    })
}

/// Counts the insertions, deletions and substitutions between two words; more than `MAX_DISTANCE` is not exact.
fn distance(left: &str, right: &str) -> usize {
    if left.len().abs_diff(right.len()) > MAX_DISTANCE * 4 {
        return usize::MAX;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
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
        check("HEALTCHEK", Some("HEALTHCHECK"));
        check("COPY", None);
        check("FOOBAR", None);
        check(&"x".repeat(60_000), None);
    }
}
