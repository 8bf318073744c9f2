//! Finds one secret in all its spellings: plain, percent-encoded, or escaped as in JSON, in any mixture.

/// The start and end of a match (bytes).
pub(super) type Span = (usize, usize);

/// A secret, character by character, each in all its spellings.
#[derive(Clone)]
pub(super) struct Needle(Vec<Vec<Spelling>>);

#[derive(Clone)]
struct Spelling {
    text: String,
    /// Hex digits have no case.
    any_case: bool,
}

impl Needle {
    pub(super) fn new(secret: &str) -> Needle {
        Needle(secret.chars().map(spellings).collect())
    }

    /// Adds every occurrence of the secret in `text`.
    pub(super) fn find(&self, text: &str, spans: &mut Vec<Span>) {
        let Some(first) = self.0.first() else { return };
        let begins = |at: usize| {
            text.get(at..)
                .is_some_and(|rest| first.iter().any(|spelling| spelling.begins(rest)))
        };
        for (start, _) in text.char_indices().filter(|(at, _)| begins(*at)) {
            if let Some(end) = self.at(text, start) {
                spans.push((start, end));
            }
        }
    }

    /// The furthest end of the secret if it begins at `start`.
    fn at(&self, text: &str, start: usize) -> Option<usize> {
        // Spellings can begin alike (a backslash, escaped or not), so several ends are followed.
        let mut ends = vec![start];
        for spellings in &self.0 {
            let mut next = Vec::new();
            for end in ends {
                let rest = text.get(end..)?;
                for spelling in spellings.iter().filter(|spelling| spelling.begins(rest)) {
                    let end = end + spelling.text.len();
                    if !next.contains(&end) {
                        next.push(end);
                    }
                }
            }
            if next.is_empty() {
                return None;
            }
            ends = next;
        }
        ends.into_iter().max()
    }
}

impl Spelling {
    fn begins(&self, text: &str) -> bool {
        match text.as_bytes().get(..self.text.len()) {
            Some(head) if self.any_case => head.eq_ignore_ascii_case(self.text.as_bytes()),
            Some(head) => head == self.text.as_bytes(),
            None => false,
        }
    }
}

fn spellings(character: char) -> Vec<Spelling> {
    let exact = |text: &str| Spelling {
        text: text.to_owned(),
        any_case: false,
    };
    let hex = |text: String| Spelling {
        text,
        any_case: true,
    };
    let mut buffer = [0; 4];
    let raw = character.encode_utf8(&mut buffer);
    let mut units = [0; 2];
    let mut all = vec![
        exact(raw),
        hex(raw.bytes().map(|byte| format!("%{byte:02x}")).collect()),
        hex(character
            .encode_utf16(&mut units)
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect()),
        // The form in which control characters are shown here, and by Go.
        hex(character.escape_unicode().to_string()),
    ];
    if u32::from(character) < 0x80 {
        all.push(hex(format!("\\x{:02x}", u32::from(character))));
    }
    let short: &[&str] = match character {
        '"' => &["\\\"", "\\\\\\\""],
        '\'' => &["\\'"],
        '\\' => &["\\\\", "\\\\\\\\"],
        '/' => &["\\/"],
        '\n' => &["\\n", "\\\\n"],
        '\r' => &["\\r", "\\\\r"],
        '\t' => &["\\t", "\\\\t"],
        ' ' => &["+"],
        _ => &[],
    };
    all.extend(short.iter().map(|text| exact(text)));
    all
}
