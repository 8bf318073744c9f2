//! Which known word was probably meant: for suggestions in errors, never for a decision.

/// `; did you mean "url"?`, or nothing.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"))
}

/// The known word that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let most = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|known| (distance(&word, &plain(known)), known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Signs to add, drop, change, or swap with their neighbour, to turn one text into the other; at most about 64 are looked at.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(64).collect();
    let other: Vec<char> = other.chars().take(64).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    for (i, sign) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, another) in other.iter().enumerate() {
            let changed = at(&last, j) + usize::from(sign != another);
            let mut least = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && other.get(j - 1) == Some(sign) && one.get(i - 1) == Some(another);
            if swapped {
                least = least.min(at(&before_last, j - 1) + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, known: &[&str], meant: Option<&str>) {
        assert_eq!(nearest(word, known.iter().copied()), meant, "{word}");
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["url", "user", "api_key", "api_key_file", "timeout"];
        check("urll", &keys, Some("url"));
        check("ulr", &keys, Some("url"));
        check("API-KEY", &keys, Some("api_key"));
        check("apikey", &keys, Some("api_key"));
        check("api_key_flie", &keys, Some("api_key_file"));
        check("time-out", &keys, Some("timeout"));
        check("uri", &keys, Some("url"));
        check("proxy", &keys, None);
        check("", &keys, None);
        check("x", &[], None);
    }
}
