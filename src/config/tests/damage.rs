//! Damaged files: each gives a configuration or problems, never a panic.

use super::{FIVE, Place};
use crate::config::ConfigScope;
use crate::random::Random;

const EXAMPLE: &str = include_str!("../../../stackhook.toml.example");

fn damage(text: &[u8], random: &mut Random) -> Vec<u8> {
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"'",
        b"\"\"\"",
        b"[",
        b"[[",
        b"]",
        b"{",
        b"}",
        b"=",
        b"\n",
        b"#",
        b".",
        b",",
        b"\\",
        b"\0",
        b"\xff",
        b"\xc3\xb6",
        b"true",
        b"0",
        b"-1",
        b"[]",
        b"\"\"",
        b"[hook.payload]\n",
        b"[[hook]]\n",
        b"[[stack]]\n",
        b"key = \"a\"\n",
        b"require",
        b"/~",
        b"1e9",
        b"99999999999999999999h",
    ];
    let mut text = text.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(text.len() + 1);
        match random.below(4) {
            0 => {
                let end = (at + random.below(40)).min(text.len());
                text.drain(at..end);
            }
            1 => {
                let piece = PIECES[random.below(PIECES.len())];
                text.splice(at..at, piece.iter().copied());
            }
            2 => {
                let end = (at + random.below(80)).min(text.len());
                let part = text[at..end].to_vec();
                let other = random.below(text.len() + 1);
                text.splice(other..other, part);
            }
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    text
}

#[test]
fn damaged_files_cause_problems_not_panics() {
    let active = EXAMPLE.replace("#= ", "").replace("\n# ", "\n");
    let mut random = Random::new(0x5EED);
    let place = Place::with(FIVE);
    let (mut fine, mut wrong) = (0, 0);
    for round in 0..1500 {
        let text = damage(
            if round % 2 == 0 { EXAMPLE } else { &active }.as_bytes(),
            &mut random,
        );
        place.write("stackhook.toml", &text);
        match place.load(ConfigScope::Sender) {
            Ok(_) => fine += 1,
            Err(problems) => {
                wrong += 1;
                assert_ne!(problems.to_string(), "");
            }
        }
    }
    assert!(wrong > 500, "{fine} fine, {wrong} wrong");
}

#[test]
fn rejects_deep_and_long_files() {
    let place = Place::with(FIVE);
    for text in [
        "[".repeat(100_000),
        format!("log = {}", "[".repeat(100_000)),
        format!("log = {}", "{a=".repeat(100_000)),
        "a.".repeat(100_000),
        "x = 1\n".repeat(100_000),
    ] {
        place.write("stackhook.toml", text);
        place
            .load(ConfigScope::Serve)
            .expect_err("not a configuration");
    }
    place.write("stackhook.toml", "x = 1\n".repeat(1000));
    let problems = place.problems(ConfigScope::Serve);
    assert_eq!(
        problems.lines().count(),
        101,
        "the number of problems is limited"
    );
    assert!(problems.ends_with("\nand 899 more problems"), "{problems}");
    place.write("stackhook.toml", "#".repeat(1024 * 1024 + 1));
    assert_eq!(
        place.problems(ConfigScope::Serve),
        "stackhook.toml: cannot read \"DIR/stackhook.toml\": it is larger than 1024 KiB"
    );
}
