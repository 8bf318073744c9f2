//! Whatever comes, its head is refused, or read as a second parser reads it.

use super::*;
use crate::random::{Random, rounds};

/// Pieces that heads are made of, good and bad.
const PIECES: [&str; 34] = [
    "GET",
    "POST",
    " ",
    "/",
    "/x",
    "?",
    "%2e",
    "%",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2",
    "\r\n",
    "\r",
    "\n",
    "Host",
    ":",
    ": ",
    "a",
    "Content-Length",
    "5",
    "0",
    ", ",
    "Transfer-Encoding",
    "chunked",
    "Expect",
    "100-continue",
    "\t",
    "\0",
    "é",
    "http://",
    "[::1]",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n\r\n",
];

/// A head that is mostly in order.
fn any_head(random: &mut Random) -> Vec<u8> {
    let mut text = b"POST /x HTTP/1.1\r\nHost: a\r\n".to_vec();
    for _ in 0..random.below(3) {
        text.extend(format!("X-{}: {}\r\n", random.below(9), random.next()).bytes());
    }
    if random.below(2) == 0 {
        text.extend(b"Content-Length: 3\r\n");
    }
    text.extend(b"\r\n");
    for _ in 0..random.below(5) {
        let at = random.below(text.len().max(1));
        if text.is_empty() {
            break;
        }
        match random.below(4) {
            0 => text[at] = random.byte(),
            1 => drop(text.remove(at)),
            2 => drop(text.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            _ => text.truncate(at.max(1)),
        }
    }
    text.extend(b"\r\n\r\n");
    text
}

/// Parses an accepted head with an independent parser: it must find the same lines and the same end.
#[test]
fn whatever_is_accepted_a_second_parser_reads_alike() {
    let (mut random, mut accepted) = (Random::new(1), 0);
    for _ in 0..rounds(40_000) {
        let text = any_head(&mut random);
        let mut scan = Scanner::default();
        let Ok(Some(end)) = scan.find_end(&text) else {
            continue;
        };
        let Ok(head) = parse_head(&text[..end]) else {
            continue;
        };
        accepted += 1;
        let mut lines = [EMPTY_HEADER; 100];
        let mut second = httparse::Request::new(&mut lines);
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(second.parse(&text), Ok(Status::Complete(end)), "{shown:?}");
        assert_eq!(second.method, Some(head.method.as_str()));
        let target = second.path.unwrap();
        assert_eq!(
            target.split_once('?').map(|(_, query)| query),
            head.query.as_deref(),
            "{shown:?}"
        );
        let theirs: Vec<(String, String)> = second
            .headers
            .iter()
            .map(|line| {
                let value = String::from_utf8_lossy(line.value);
                (
                    line.name.to_ascii_lowercase(),
                    value.trim_matches([' ', '\t']).to_owned(),
                )
            })
            .collect();
        let ours: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(ours, theirs, "{shown:?}");
        let lengths = theirs
            .iter()
            .filter(|(name, _)| name == "content-length")
            .count();
        let codings = theirs
            .iter()
            .filter(|(name, _)| name == "transfer-encoding")
            .count();
        assert!(lengths + codings <= 1, "{shown:?}");
    }
    assert!(
        accepted > 1000,
        "only {accepted} were accepted: nothing was shown"
    );
}

#[test]
fn no_bytes_break_the_parser() {
    let mut random = Random::new(2);
    for _ in 0..rounds(20_000) {
        let text: Vec<u8> = match random.below(3) {
            0 => (0..random.below(60)).map(|_| random.byte()).collect(),
            1 => (0..random.below(30))
                .flat_map(|_| PIECES[random.below(PIECES.len())].bytes())
                .collect(),
            _ => any_head(&mut random),
        };
        let _ = parse_head(&text);
        // Wherever it is cut, it is judged alike.
        let whole = Scanner::default().find_end(&text);
        let (mut scan, cut) = (Scanner::default(), random.below(text.len() + 1));
        let parts = match scan.find_end(&text[..cut]) {
            Ok(None) => scan.find_end(&text),
            known => known,
        };
        assert_eq!(parts, whole, "{text:?}");
    }
}
