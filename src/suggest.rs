//! "Did you mean …?": the known word closest to an unknown one, for messages only.

/// `; did you mean "url"?`, or an empty string if no known word is close.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, known).map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"))
}

/// `expected json, slack or ntfy; did you mean "ntfy"?`
pub(crate) fn expected(names: &[&str], word: &str) -> String {
    let near = did_you_mean(word, names.iter().copied());
    match names {
        [] | [_] => format!("expected {}{near}", names.concat()),
        [first @ .., last] => format!("expected {} or {last}{near}", first.join(", ")),
    }
}

/// The known word within one edit for every three characters, at most three, or else the first one that continues the word or begins it:
/// `STACK_NAME` for `STACK`. Case and the kind of hyphen do not count.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A long word is not a typo of a key, and comparing it takes quadratic time.
    const MAX_CHARS: usize = 64;
    let normalize = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = normalize(word);
    let length = word.chars().count();
    if length > MAX_CHARS {
        return None;
    }
    let max_distance = (length / 3).clamp(1, 3);
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|known| (strsim::osa_distance(&word, &normalize(known)), *known))
        .filter(|(distance, _)| *distance <= max_distance)
        .min_by_key(|(distance, _)| *distance);
    let is_begun = |known: &&&str| {
        let known = normalize(known);
        let continues = |long: &str, short: &str| {
            short.len() > 2
                && long
                    .strip_prefix(short)
                    .is_some_and(|rest| rest.starts_with('_'))
        };
        continues(&known, &word) || continues(&word, &known)
    };
    near.map(|(_, known)| known)
        .or_else(|| known.iter().find(is_begun).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, known: &[&str], expected: Option<&str>) {
        assert_eq!(closest(word, known.iter().copied()), expected, "{word}");
    }

    #[test]
    fn finds_close_words_only() {
        let keys = ["url", "user", "api_key", "api_key_file", "timeout"];
        check("urll", &keys, Some("url"));
        check("ulr", &keys, Some("url"));
        check("API-KEY", &keys, Some("api_key"));
        check("apikey", &keys, Some("api_key"));
        check("api_key_flie", &keys, Some("api_key_file"));
        check("time-out", &keys, Some("timeout"));
        check("uri", &keys, Some("url"));
        check("shpo", &["shop"], Some("shop"));
        check("api", &keys, Some("api_key"));
        check("url_of_portainer", &keys, Some("url"));
        check("urls_of_portainer", &keys, None);
        check("ap", &keys, None);
        check("proxy", &keys, None);
        check("", &keys, None);
        check("x", &[], None);
        check(&"u".repeat(100_000), &keys, None);
    }
}
