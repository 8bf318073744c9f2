//! Secrets with a recognizable form: Portainer's API keys, session tokens (JWT), and user names and passwords in URLs.

use super::needle::Span;

/// Finds every such secret in `text`.
pub(super) fn find(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    api_keys(text, &mut spans);
    user_infos(text, &mut spans);
    json_web_tokens(text, &mut spans);
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

/// Base64 of a JSON object, as session tokens and Docker's registry credentials are: it begins with `eyJ`. A log can have split it
/// across lines, or kept only a later part of it.
fn json_web_tokens(text: &str, spans: &mut Vec<Span>) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-.".contains(byte);
    let length = |at: usize| {
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        rest.iter().take_while(|byte| is_part(byte)).count()
    };
    for (found, _) in text.match_indices("eyJ") {
        let before = text.as_bytes().get(..found).unwrap_or_default();
        let word = before.iter().rev().take_while(|byte| is_part(byte)).count();
        let is_later_part = before.ends_with(b".");
        let is_encoded = before.iter().rev().nth(2).is_some_and(|byte| *byte == b'%')
            || before
                .iter()
                .rev()
                .nth(1)
                .is_some_and(|byte| *byte == b'\\');
        if word > 0 && !is_later_part && !is_encoded && !before.ends_with(b"=") {
            continue;
        }
        let mut end = found + length(found);
        if end - found < TOKEN_MIN {
            continue;
        }
        // Continuation lines: long words that no sentence has.
        loop {
            let rest = text.get(end..).unwrap_or_default();
            let breaks = ["\r\n", "\n", "\\r\\n", "\\n", "\\u{a}"];
            let Some(gap) = breaks.iter().find(|gap| rest.starts_with(**gap)) else {
                break;
            };
            let next = end + gap.len();
            let more = length(next);
            let part = text.as_bytes().get(next..next + more).unwrap_or_default();
            let looks_encoded = part.iter().any(u8::is_ascii_digit)
                && part.iter().any(u8::is_ascii_uppercase)
                && part.iter().any(u8::is_ascii_lowercase);
            if more < TOKEN_MIN / 2 || !looks_encoded {
                break;
            }
            end = next + more;
        }
        let start = if is_later_part { found - word } else { found };
        spans.push((start, end));
    }
}

/// A shorter word that begins with `eyJ` is not a token (characters).
const TOKEN_MIN: usize = 16;

/// User names and passwords: the part of a URL's authority before the `@`.
fn user_infos(text: &str, spans: &mut Vec<Span>) {
    for separator in ["://", ":\\/\\/", "%3A%2F%2F", "%3a%2f%2f"] {
        for (at, _) in text.match_indices(separator) {
            let start = at + separator.len();
            let scheme = text.get(..at).is_some_and(|before| {
                before.ends_with(|character: char| character.is_ascii_alphanumeric())
            });
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
        .split(|character: char| {
            character.is_whitespace() || character.is_control() || "\"'<>`,".contains(character)
        })
        .next()?;
    let authority = word.split(['/', '?', '#', '\\']).next()?;
    // `user:pass/word@host` is not a URL, but occurs; a port is digits.
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
