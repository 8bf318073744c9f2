//! Secrets known by their looks: Portainer's API keys, and user names and passwords in URLs.

use super::needle::Span;

/// Every place in `text` that has such looks.
pub(super) fn find(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    api_keys(text, &mut spans);
    user_infos(text, &mut spans);
    spans
}

/// `ptr_` and base64, percent-encoded or not.
fn api_keys(text: &str, spans: &mut Vec<Span>) {
    for (start, head) in text.match_indices("ptr_") {
        let rest = text.get(start + head.len()..).unwrap_or_default();
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=_-%".contains(byte))
            .count();
        if length > 0 {
            spans.push((start, start + head.len() + length));
        }
    }
}

/// What stands before the `@` of a URL's authority.
fn user_infos(text: &str, spans: &mut Vec<Span>) {
    for separator in ["://", ":\\/\\/", "%3A%2F%2F", "%3a%2f%2f"] {
        for (at, _) in text.match_indices(separator) {
            let start = at + separator.len();
            let scheme = text
                .get(..at)
                .is_some_and(|before| before.ends_with(|sign: char| sign.is_ascii_alphanumeric()));
            if let (true, Some(length)) = (scheme, user_info(text.get(start..).unwrap_or_default()))
            {
                spans.push((start, start + length));
            }
        }
    }
}

/// The length of the user info at the start of `text`, which follows a scheme.
fn user_info(text: &str) -> Option<usize> {
    let word = text
        .split(|sign: char| sign.is_whitespace() || sign.is_control() || "\"'<>`,".contains(sign))
        .next()?;
    let authority = word.split(['/', '?', '#', '\\']).next()?;
    // `user:pass/word@host` is no URL, but people write it; a port is digits.
    let cut = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()));
    let place = if authority.contains('@') || !cut {
        authority
    } else {
        word
    };
    place.rfind('@').or_else(|| place.find("%40"))
}
