//! Bodies in every way they can be cut, and malformed ones.

use super::*;
use crate::random::{Random, rounds};

/// Feeds a body in two parts. Returns its bytes and the number of bytes that belonged to it.
fn decode(
    framing: Framing,
    max: usize,
    parts: &[&[u8]],
) -> Result<Option<(Vec<u8>, usize)>, Refusal> {
    let mut body = BodyDecoder::new(framing, max)?;
    let mut before = 0;
    for part in parts {
        if let Some(used) = body.feed(part)? {
            return Ok(Some((body.into_bytes(), before + used)));
        }
        before += part.len();
    }
    Ok(None)
}

/// However it is cut, the result is the same.
#[track_caller]
fn chunked(text: &str, expected: Result<Option<(&str, usize)>, Refusal>) {
    let expected = expected.map(|found| found.map(|(body, used)| (body.as_bytes().to_vec(), used)));
    for cut in 0..=text.len().min(80) {
        let (start, rest) = text.as_bytes().split_at(cut);
        let found = decode(Framing::Chunked, 100, &[start, rest]);
        assert_eq!(found, expected, "{text:?} at {cut}");
    }
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(decode(Framing::Chunked, 100, &bytes), expected, "{text:?}");
}

#[test]
fn joins_chunks() {
    for (text, body) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        (
            "5\r\nhello\r\n1\r\n \r\n00a\r\nworld, all\r\n000\r\n\r\n",
            "hello world, all",
        ),
        ("5;name=\"v;w\"\r\nhello\r\n0;x\r\n\r\n", "hello"),
        (
            "5 \t;x\r\nhello\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n",
            "hello",
        ),
        ("3\r\n\r\n0\r\n0\r\n\r\n", "\r\n0"),
    ] {
        chunked(text, Ok(Some((body, text.len()))));
        let followed = format!("{text}GET / HTTP/1.1\r\n\r\n");
        chunked(&followed, Ok(Some((body, text.len()))));
    }
    for incomplete in ["", "5", "5\r\nhel", "0\r\n", "0\r\n\r", "0\r\nX: y\r\n"] {
        chunked(incomplete, Ok(None));
    }
}

#[test]
fn refuses_chunks_with_two_readings() {
    for text in [
        "\r\n",
        "x\r\n\r\n",
        "-1\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        ";x\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: a\nY: b\r\n\r\n",
        "0\r\nX: a\rb\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "5;1234567890123456789012345678901234567890123456789012345678901234567890\r\nhello\r\n0\r\n\r\n",
        "0000000000000000000000000000000000000000000000000000000000000000000000000\r\n\r\n",
    ] {
        chunked(text, Err(Refusal::Malformed));
    }
}

#[test]
fn adds_up_chunks_before_reading_them() {
    for text in [
        "65\r\n",
        "5\r\nhello\r\n60\r\n",
        "ffffffffffffffff\r\n",
        "fffffffffffffffffffffffff\r\n",
        "5\r\nhello\r\nffffffffffffffff\r\n",
    ] {
        chunked(text, Err(Refusal::BodyTooLarge));
    }
    let trailers = format!("0\r\n{}", "X: y\r\n".repeat(TRAILERS_MAX / 6 + 1));
    chunked(&trailers, Err(Refusal::HeadTooLarge));
}

#[test]
fn reads_exactly_the_announced_length() {
    let read = |length, parts: &[&[u8]]| decode(Framing::Length(length), 100, parts);
    assert_eq!(read(0, &[b""]), Ok(Some((b"".to_vec(), 0))));
    assert_eq!(read(0, &[b"GET /"]), Ok(Some((b"".to_vec(), 0))));
    assert_eq!(read(5, &[b"he", b"llo"]), Ok(Some((b"hello".to_vec(), 5))));
    assert_eq!(read(5, &[b"helloGET /"]), Ok(Some((b"hello".to_vec(), 5))));
    assert_eq!(read(5, &[b"he", b"l"]), Ok(None));
    assert_eq!(read(100, &[b""]), Ok(None));
    assert_eq!(read(101, &[b""]), Err(Refusal::BodyTooLarge));
    assert_eq!(read(usize::MAX, &[b""]), Err(Refusal::BodyTooLarge));
}

#[test]
fn takes_memory_only_for_bytes_that_arrived() {
    let mut body = BodyDecoder::new(Framing::Length(32 << 20), 32 << 20).unwrap();
    assert_eq!(body.capacity(), 0);
    let mut total = 0;
    for _ in 0..200 {
        body.feed(&[b'x'; 1000]).unwrap();
        total += 1000;
        assert!(
            body.capacity() <= total * 3 / 2 + 1000,
            "{}",
            body.capacity()
        );
    }
    let mut last = BodyDecoder::new(Framing::Length(1500), 2000).unwrap();
    last.feed(&[b'x'; 1400]).unwrap();
    last.feed(&[b'x'; 100]).unwrap();
    assert!(last.capacity() <= 1500);
}

#[test]
fn restores_a_body_that_was_cut_into_chunks() {
    let mut random = Random::new(4);
    for _ in 0..rounds(3_000) {
        let body: Vec<u8> = (0..random.below(90)).map(|_| random.byte()).collect();
        let (mut text, mut rest) = (Vec::new(), &body[..]);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
            text.extend(format!("{:x}\r\n", chunk.len()).bytes());
            text.extend(chunk);
            text.extend(b"\r\n");
            rest = after;
        }
        text.extend(b"0\r\n\r\n");
        let (start, rest) = text.split_at(random.below(text.len() + 1));
        let found = decode(Framing::Chunked, 100, &[start, rest]);
        assert_eq!(found, Ok(Some((body, text.len()))));
    }
}

#[test]
fn never_decodes_more_than_the_maximum() {
    let pieces = [
        "0",
        "1",
        "5",
        "f",
        "\r\n",
        "\r",
        "\n",
        ";",
        " ",
        "hello",
        "x",
        "\0",
        "ffffffffffffffff",
        "\r\n\r\n",
    ];
    let mut random = Random::new(5);
    for _ in 0..rounds(30_000) {
        let text: Vec<u8> = match random.below(2) {
            0 => (0..random.below(40)).map(|_| random.byte()).collect(),
            _ => (0..random.below(30))
                .flat_map(|_| pieces[random.below(pieces.len())].bytes())
                .collect(),
        };
        let (start, rest) = text.split_at(random.below(text.len() + 1));
        let whole = decode(Framing::Chunked, 50, &[&text]);
        assert_eq!(
            decode(Framing::Chunked, 50, &[start, rest]),
            whole,
            "{text:?}"
        );
        if let Ok(Some((body, _))) = whole {
            assert!(body.len() <= 50);
        }
    }
}
