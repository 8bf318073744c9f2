//! The lines of the journal: how an entry becomes one, and what a file of them says. No files here.

use serde::Deserialize;

use crate::delivery::ledger::Entry;
use crate::secret;

/// The first line.
pub(super) const HEADER: &str = "{\"journal\":\"stackhook\",\"version\":1}";

const FRONT: &[u8] = b"{\"sum\":\"";
const MIDDLE: &[u8] = b"\",\"entry\":";
const SUM: usize = 8;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The first line is there, whole.
    pub(super) begun: bool,
    /// In order.
    pub(super) entries: Vec<Entry>,
    /// Whole lines, without their ends, that this version does not understand.
    pub(super) strangers: Vec<String>,
    /// How many lines cannot be read.
    pub(super) damaged: usize,
    /// The file without what a crash cut off (bytes).
    pub(super) whole: usize,
}

/// An entry as a line, with its end.
pub(super) fn line(entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
    let entry = serde_json::to_vec(entry)?;
    let sum = sum(&entry);
    Ok([FRONT, sum.as_bytes(), MIDDLE, &entry, b"}\n"].concat())
}

/// Reads a file as far as it can be read.
pub(super) fn read(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        content.whole += line.len() + 1;
        match (number, inner(line)) {
            (0, _) if is_header(line) => content.begun = true,
            (_, Some(entry)) => match serde_json::from_slice(entry) {
                Ok(entry) => content.entries.push(entry),
                Err(_) => content
                    .strangers
                    .push(String::from_utf8_lossy(line).into_owned()),
            },
            (_, None) => content.damaged += 1,
        }
    }
    content
}

/// Any version: what is not known is skipped line by line.
fn is_header(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Header {
        journal: String,
        #[serde(rename = "version")]
        _version: u64,
    }
    serde_json::from_slice(line).is_ok_and(|header: Header| header.journal == "stackhook")
}

/// The entry's text, if the line is as it was written.
fn inner(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(FRONT)?;
    let (given, rest) = rest.split_at_checked(SUM)?;
    let entry = rest.strip_prefix(MIDDLE)?.strip_suffix(b"}")?;
    (sum(entry).as_bytes() == given).then_some(entry)
}

fn sum(entry: &[u8]) -> String {
    let mut sum = secret::to_hex(&secret::sha256(&[entry]));
    sum.truncate(SUM);
    sum
}
