//! The line format of the journal: one entry per line, with a checksum. No file access.

use serde::Deserialize;

use crate::delivery::ledger::Entry;
use crate::secret;

/// The first line.
pub(super) const HEADER: &str = "{\"journal\":\"stackhook\",\"version\":1}";

const FRONT: &[u8] = b"{\"sum\":\"";
const MIDDLE: &[u8] = b"\",\"entry\":";
const SUM: usize = 8;

/// The content of a journal file.
#[derive(Debug, Default)]
pub(super) struct JournalContent {
    /// The first line is present and complete.
    pub(super) begun: bool,
    /// Entries in the order of the file.
    pub(super) entries: Vec<Entry>,
    /// Complete lines, without their ends, of kinds that this version does not know.
    pub(super) unknown_entries: Vec<String>,
    /// Number of unreadable lines.
    pub(super) damaged: usize,
    /// Length of the file without a torn last line (bytes).
    pub(super) whole: usize,
}

/// Formats an entry as a line, including the line end.
pub(super) fn line(entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
    let entry = serde_json::to_vec(entry)?;
    let sum = sum(&entry);
    Ok([FRONT, sum.as_bytes(), MIDDLE, &entry, b"}\n"].concat())
}

/// Parses the bytes of a journal, skipping unreadable lines.
pub(super) fn read(bytes: &[u8]) -> JournalContent {
    let mut content = JournalContent::default();
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
                    .unknown_entries
                    .push(String::from_utf8_lossy(line).into_owned()),
            },
            (_, None) => content.damaged += 1,
        }
    }
    content
}

/// Accepts any version, because unknown entries are skipped one by one.
fn is_header(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Header {
        journal: String,
        #[serde(rename = "version")]
        _version: u64,
    }
    serde_json::from_slice(line).is_ok_and(|header: Header| header.journal == "stackhook")
}

/// Returns the text of the entry if its checksum is right.
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
