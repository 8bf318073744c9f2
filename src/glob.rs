//! Globs: the one meaning that `*` has in the configuration, for image names as for branches and paths.
//! What the text is, and whether case counts, is the caller's to say.

/// Whether `pattern` describes all of `text`: `*` stands for anything without a `/`, `**` for anything at all,
/// every other sign for itself.
///
/// Takes time in proportion to the product of both lengths, whatever the pattern is.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    // reached[i]: the part of the pattern read so far can describe the first i bytes.
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
            [sign, rest @ ..] => {
                let mut before = false;
                for (here, byte) in reached
                    .iter_mut()
                    .zip(std::iter::once(None).chain(text.iter().map(Some)))
                {
                    let step = before && byte == Some(sign);
                    before = std::mem::replace(here, step);
                }
                pattern = rest;
            }
        }
    }
}

/// Lets every reached place reach further, over bytes that a star may stand for.
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
    fn two_stars_do_not() {
        check("deploy/**", "deploy/a/b/c", true);
        check("deploy/**", "deploy/", true);
        check("deploy/**", "deplo", false);
        check("**/web", "ghcr.io/acme/web", true);
        check("**.yml", "a/b.yml", true);
        check("**", "", true);
        check("***", "a/b", true);
    }

    #[test]
    fn every_other_sign_stands_for_itself() {
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
    fn many_stars_take_no_longer() {
        let pattern = "*a".repeat(300) + "b";
        check(&pattern, &"a".repeat(3000), false);
    }
}
