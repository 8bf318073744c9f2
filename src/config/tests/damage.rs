//! Damaged files: each gives a configuration or problems, never a panic.

use super::{FIVE, Place};
use crate::config::ConfigScope;

const EXAMPLE: &str = include_str!("../../../stackhook.toml.example");

/// A small generator of numbers that look random and are the same in every run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit.max(1)
    }
}

fn damage(text: &[u8], numbers: &mut Numbers) -> Vec<u8> {
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
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(text.len() + 1);
        match numbers.below(4) {
            0 => {
                let end = (at + numbers.below(40)).min(text.len());
                text.drain(at..end);
            }
            1 => {
                let piece = PIECES[numbers.below(PIECES.len())];
                text.splice(at..at, piece.iter().copied());
            }
            2 => {
                let end = (at + numbers.below(80)).min(text.len());
                let part = text[at..end].to_vec();
                let other = numbers.below(text.len() + 1);
                text.splice(other..other, part);
            }
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    text
}

#[test]
fn damaged_files_cause_problems_not_panics() {
    let active = EXAMPLE.replace("#= ", "").replace("\n# ", "\n");
    let mut numbers = Numbers(0x5EED);
    let place = Place::with(FIVE);
    let (mut fine, mut wrong) = (0, 0);
    for round in 0..1500 {
        let text = damage(
            if round % 2 == 0 { EXAMPLE } else { &active }.as_bytes(),
            &mut numbers,
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
