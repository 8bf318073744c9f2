//! Glob patterns, with the same meaning for images, branches, repositories and paths. Matching is case-sensitive.

/// Matches the whole `text`: `*` matches any characters except `/`, `**` any characters, every other character itself.
///
/// The time is proportional to the product of both lengths for any pattern.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    // reached[i]: the pattern up to here matches the first i bytes.
    let mut reached = vec![false; text.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    let mut pattern = pattern.as_bytes();
    loop {
        match pattern {
            [] => return reached.last().copied().unwrap_or(false),
            [b'*', b'*', rest @ ..] => {
                spread(&mut reached, text, |_| true);
                pattern = rest;
            }
            [b'*', rest @ ..] => {
                spread(&mut reached, text, |byte| byte != b'/');
                pattern = rest;
            }
            [literal, rest @ ..] => {
                let mut before = false;
                for (here, byte) in reached
                    .iter_mut()
                    .zip(std::iter::once(None).chain(text.iter().map(Some)))
                {
                    let step = before && byte == Some(literal);
                    before = std::mem::replace(here, step);
                }
                pattern = rest;
            }
        }
    }
}

/// Extends every match over the bytes that a star may match.
fn spread(reached: &mut [bool], text: &[u8], covers: impl Fn(u8) -> bool) {
    let mut before = false;
    for (here, byte) in reached
        .iter_mut()
        .zip(std::iter::once(None).chain(text.iter().map(Some)))
    {
        *here |= before && byte.is_some_and(|byte| covers(*byte));
        before = *here;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
    }

    #[test]
    fn one_star_stops_at_a_slash() {
        check("release/*", "release/1.2", true);
        check("release/*", "release/", true);
        check("release/*", "release/1/2", false);
        check("*", "main", true);
        check("*", "", true);
        check("*", "a/b", false);
        check("v*.*-rc*", "v1.2-rc3", true);
        check("v*.*-rc*", "v1-rc3", false);
        check("*a*b*c", "xxaxxbxxbxxc", true);
        check("*/web", "acme/web", true);
        check("*/web", "web", false);
    }

    #[test]
    fn two_stars_match_slashes() {
        check("deploy/**", "deploy/a/b/c", true);
        check("deploy/**", "deploy/", true);
        check("deploy/**", "deplo", false);
        check("**/web", "ghcr.io/acme/web", true);
        check("**.yml", "a/b.yml", true);
        check("**", "", true);
        check("***", "a/b", true);
    }

    #[test]
    fn other_characters_match_themselves() {
        check("main", "main", true);
        check("main", "Main", false);
        check("main", "main2", false);
        check("ma.n", "main", false);
        check("ma?n", "main", false);
        check("[a-z]", "b", false);
        check("", "", true);
        check("", "a", false);
        check("grün/*", "grün/x", true);
    }

    #[test]
    fn many_stars_take_polynomial_time() {
        let pattern = "*a".repeat(300) + "b";
        check(&pattern, &"a".repeat(3000), false);
    }
}
