//! Bodies however they come, and what is none.

use super::*;
use crate::gate::chance::{Chance, rounds};

/// Gives one byte at a time, then says how it ends.
struct Slow<'b>(&'b [u8], Option<ErrorKind>);

impl Read for Slow<'_> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        match (self.0.split_first(), self.1) {
            (Some((byte, rest)), _) => {
                part[0] = *byte;
                self.0 = rest;
                Ok(1)
            }
            (None, None) => Ok(0),
            (None, Some(kind)) => Err(kind.into()),
        }
    }
}

fn room() -> Arc<Room> {
    Arc::new(Room::new(limits::LARGE_BODIES, Memory::own()))
}

/// However it is cut, it is the same body.
#[track_caller]
fn chunked(text: &str, expected: Result<(&str, bool), Broken>) {
    for cut in 0..=text.len().min(40) {
        let (start, rest) = text.as_bytes().split_at(cut);
        let coming = Coming::new(Framing::Chunked, 100, &room()).unwrap();
        let found = coming.read(start, &mut Slow(rest, None));
        match (found, expected) {
            (Ok(whole), Ok((body, more))) => {
                assert_eq!(
                    String::from_utf8(whole.bytes).unwrap(),
                    body,
                    "{text:?} at {cut}"
                );
                // Only what came with the body can be known.
                assert!(!whole.more || more, "{text:?} at {cut}");
            }
            (Err(found), Err(expected)) => assert_eq!(found, expected, "{text:?} at {cut}"),
            (found, expected) => panic!("{text:?} at {cut}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn chunks_are_put_together() {
    chunked("0\r\n\r\n", Ok(("", false)));
    chunked("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", false)));
    chunked(
        "5\r\nhello\r\n1\r\n \r\n00a\r\nworld, all\r\n000\r\n\r\n",
        Ok(("hello world, all", false)),
    );
    chunked(
        "5;name=\"v;w\"\r\nhello\r\n0;x\r\n\r\n",
        Ok(("hello", false)),
    );
    chunked(
        "5 \t;x\r\nhello\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n",
        Ok(("hello", false)),
    );
    chunked("3\r\n\r\n0\r\n0\r\n\r\n", Ok(("\r\n0", false)));
    chunked("0\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(("", true)));
}

#[test]
fn chunks_have_one_reading() {
    let bad = Err(Broken::Refused(Refusal::BadHead));
    for text in [
        "",
        "5\r\nhel",
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
        chunked(text, bad);
    }
}

#[test]
fn chunks_are_added_up_before_they_are_read() {
    let large = Err(Broken::Refused(Refusal::TooLarge));
    chunked("65\r\n", large);
    chunked("5\r\nhello\r\n60\r\n", large);
    chunked("ffffffffffffffff\r\n", large);
    chunked("fffffffffffffffffffffffff\r\n", large);
    chunked("5\r\nhello\r\nffffffffffffffff\r\n", large);
    let trailers = format!("0\r\n{}", "X: y\r\n".repeat(limits::TRAILERS / 6 + 1));
    chunked(&trailers, Err(Broken::Refused(Refusal::HeadTooLarge)));
}

#[test]
fn a_counted_body_is_exactly_as_long_as_stated() {
    let read = |length, start: &[u8], rest: &[u8], end| {
        let coming = Coming::new(Framing::Length(length), 100, &room()).unwrap();
        coming
            .read(start, &mut Slow(rest, end))
            .map(|whole| (whole.bytes, whole.more))
    };
    assert_eq!(read(0, b"", b"", None), Ok((b"".to_vec(), false)));
    assert_eq!(
        read(5, b"hello", b"GET /", None),
        Ok((b"hello".to_vec(), false))
    );
    assert_eq!(
        read(5, b"he", b"llo, more", None),
        Ok((b"hello".to_vec(), false))
    );
    assert_eq!(
        read(5, b"helloGET / HTTP/1.1", b"", None),
        Ok((b"hello".to_vec(), true))
    );
    assert_eq!(
        read(5, b"he", b"", None),
        Err(Broken::Refused(Refusal::BadHead))
    );
    assert_eq!(
        read(5, b"he", b"l", Some(ErrorKind::WouldBlock)),
        Err(Broken::Refused(Refusal::TooSlow))
    );
    assert_eq!(
        read(5, b"he", b"l", Some(ErrorKind::ConnectionReset)),
        Err(Broken::Gone)
    );
}

#[test]
fn a_body_is_refused_before_anything_is_reserved_for_it() {
    let room = room();
    let refused = |length| Coming::new(Framing::Length(length), 1000, &room).err();
    assert_eq!(refused(1000), None);
    assert_eq!(refused(1001), Some(Refusal::TooLarge));
    assert_eq!(refused(usize::MAX), Some(Refusal::TooLarge));
}

#[test]
fn large_bodies_share_a_room_and_small_ones_need_none() {
    let mib = 1024 * 1024;
    let room = Arc::new(Room::new(3 * mib, Memory::own()));
    let coming = |length| Coming::new(Framing::Length(length), 4 * mib, &room);
    let (one, two) = (coming(mib).unwrap(), coming(2 * mib).unwrap());
    assert_eq!(coming(limits::SMALL_BODY + 1).err(), Some(Refusal::Busy));
    assert!(coming(limits::SMALL_BODY).is_ok());
    // A chunked one needs room as it grows.
    let large = format!("{:x}\r\n{}\r\n0\r\n\r\n", 2 * mib, "x".repeat(2 * mib));
    let chunked = || {
        let coming = Coming::new(Framing::Chunked, 4 * mib, &room).unwrap();
        coming.read(b"", &mut large.as_bytes())
    };
    assert_eq!(chunked().err(), Some(Broken::Refused(Refusal::Busy)));
    drop(two);
    assert_eq!(chunked().unwrap().bytes.len(), 2 * mib);
    drop(one);
    assert!(coming(3 * mib).is_ok());
    assert_eq!(room.taken.load(Ordering::SeqCst), 0);
}

/// Encoded in any way, a body comes back as it was.
#[test]
fn what_was_cut_into_chunks_is_whole_again() {
    let mut chance = Chance::new(4);
    for _ in 0..rounds(3_000) {
        let body: Vec<u8> = (0..chance.below(90)).map(|_| chance.byte()).collect();
        let (mut text, mut rest) = (Vec::new(), &body[..]);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + chance.below(rest.len()));
            text.extend(format!("{:x}\r\n", chunk.len()).bytes());
            text.extend(chunk);
            text.extend(b"\r\n");
            rest = after;
        }
        text.extend(b"0\r\n\r\n");
        let (start, rest) = text.split_at(chance.below(text.len() + 1));
        let coming = Coming::new(Framing::Chunked, 100, &room()).unwrap();
        assert_eq!(
            coming.read(start, &mut Slow(rest, None)).unwrap().bytes,
            body
        );
    }
}

#[test]
fn no_bytes_break_the_decoder_or_make_it_give_more_than_allowed() {
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
    let mut chance = Chance::new(5);
    for _ in 0..rounds(30_000) {
        let text: Vec<u8> = match chance.below(2) {
            0 => (0..chance.below(40)).map(|_| chance.byte()).collect(),
            _ => (0..chance.below(30))
                .flat_map(|_| pieces[chance.below(pieces.len())].bytes())
                .collect(),
        };
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        let once = Chunks::new(50).decode(&text, &mut whole);
        let mut chunks = Chunks::new(50);
        let cut = chance.below(text.len() + 1);
        let twice = match chunks.decode(&text[..cut], &mut parts) {
            Ok(None) => chunks
                .decode(&text[cut..], &mut parts)
                .map(|used| used.map(|used| used + cut)),
            known => known,
        };
        assert_eq!((&once, &whole), (&twice, &parts), "{text:?} at {cut}");
        assert!(whole.len() <= 50);
    }
}
