//! Files made to exhaust time or memory, and mutations of ordinary ones.

use super::*;
use crate::random::{Random, rounds};

#[test]
fn hostile_files_are_refused_early() {
    let size = "#".repeat(limits::COMPOSE_FILE_MAX + 1);
    refused(&size, &[], "the compose file is larger than 1048576 bytes");

    let laughs: String = (1..12)
        .map(|n| format!("x-{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(10)))
        .collect();
    refused(
        &format!("x-0: &a0 [a, a]\n{laughs}"),
        &[],
        "the compose file has more than 100000 values by line ",
    );

    let merges: String = (1..20_000)
        .map(|n| format!("x-{n}: {{<<: *a}}\n"))
        .collect();
    let keys: String = (0..1_000).map(|n| format!("k{n}: 1, ")).collect();
    refused(
        &format!("x: &a {{{keys}}}\n{merges}"),
        &[],
        "the compose file has more than 100000 values by line ",
    );

    let flow = limits::COMPOSE_DEPTH + 1;
    refused(
        &("[".repeat(flow) + &"]".repeat(flow)),
        &[],
        "the compose file is nested more than 64 levels deep in line 1",
    );
    refused(
        &"- ".repeat(flow + 1),
        &[],
        "the compose file is nested more than 64 levels deep in line 1",
    );
    let chain: String = (1..2_000)
        .map(|n| format!("x-{n}: &a{n} [*a{}]\n", n - 1))
        .collect();
    refused(
        &format!("x-0: &a0 []\n{chain}"),
        &[],
        "the compose file is nested more than 64 levels deep in line ",
    );

    refused(
        &format!("? {}\n: 1\n", "k".repeat(2_000)),
        &[],
        "the compose file",
    );
    let long = "a".repeat(limits::COMPOSE_VALUE_MAX + 1);
    refused_web(
        &format!("image: {long}"),
        &[],
        "the image of service \"web\" is longer",
    );
    refused_web(
        "image: $L",
        &[("L", &long)],
        "the image of service \"web\" is longer",
    );
}

/// Files that must be read or refused in bounded time.
#[test]
fn long_runs_of_one_character_end() {
    for sign in [
        "[", "{", "]", "}", "- ", "? ", "a: ", "a:\n ", "\"", "'", "&", "&a ", "*", "*a ", "!",
        "!a ", "#", "\n", " ", "\t", "|\n", ">\n", "%", "%a\n", "---\n", "...\n", ",", "[,", "{a",
        "\\", "\u{feff}", "\u{0}", "é", "a", "a\n", "- - a\n", "$", "[]", "? a\n", ":", "''",
        "&a [", "<<: ",
    ] {
        let _ = read(&sign.repeat(200_000 / sign.len()), &variables(&[]));
    }
}

/// `STACKHOOK_ROUNDS=500 cargo test mutated` runs longer.
#[test]
fn mutated_files_never_panic_and_are_read_the_same_twice() {
    let seeds = [
        "services:\n  web:\n    image: web:${TAG:-1}\n    scale: \"0\"\n    deploy: {replicas: '${N:-0}'}\n",
        "x-a: &a\n  image: a\n  profiles: [x]\nservices:\n  web:\n    <<: [*a, {build: .}]\n  b: *a\n",
        "services:\n  web: {image: \"a\\n\", pull_policy: daily}\n  # c\n  api:\n    image: |-\n      a:1\n    environment:\n    - A=$B\n",
        "? a\n: !!str b\n---\nservices: {web: {image: !reset a}}\n...\n",
    ];
    let pieces = [
        "&a ",
        "*a",
        "<<: ",
        "${",
        "}",
        "$",
        "$$",
        ":-",
        ":?",
        "{",
        "[",
        "]",
        ",",
        ": ",
        "- ",
        "? ",
        "\n",
        "\n  ",
        "\t",
        "|\n",
        ">-\n",
        "'",
        "\"",
        "!",
        "!!",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\\x41",
        "\\u",
        "\u{feff}",
        "\u{0}",
        "é",
        "\u{2028}",
        "services:\n",
    ];
    let rounds = rounds(2_000);
    let mut random = Random::new(0x5eed);
    let variables = variables(&[("TAG", "2"), ("B", "")]);
    let mut certain = 0;
    for _ in 0..rounds {
        let mut file: Vec<char> = seeds[random.below(seeds.len())].chars().collect();
        for _ in 0..=random.below(3) {
            let (a, b) = (random.below(file.len() + 1), random.below(file.len() + 1));
            let (from, to) = (a.min(b), a.max(b));
            match random.below(4) {
                0 => drop(file.drain(from..to.min(from + 8))),
                1 => drop(file.splice(from..from, pieces[random.below(pieces.len())].chars())),
                2 => drop(file.splice(from..to, pieces[random.below(pieces.len())].chars())),
                _ => {
                    let copy: Vec<char> = file[from..to].to_vec();
                    file.splice(a..a, copy);
                }
            }
        }
        let file: String = file.into_iter().collect();
        let first = read(&file, &variables);
        assert_eq!(first, read(&file, &variables), "{file}");
        match first {
            Ok(_) => certain += 1,
            Err(why) => assert!(!why.to_string().contains(char::is_control), "{why:?}"),
        }
    }
    assert!(
        certain > rounds / 500,
        "mutations leave something to read: {certain} of {rounds}"
    );
}

#[test]
fn files_that_end_in_the_middle_of_a_construct_are_errors() {
    for end in [
        "|",
        "|\n ",
        "|-\n  a\n  ",
        ">+",
        "\"\\",
        "\"\\x",
        "\"a\\",
        "'a",
        "!<a",
        "!%",
        "! ",
        "&",
        "*",
        "[",
        "{a: ",
        "? ",
        "- ",
        "%",
        "\u{feff}",
        "a\r",
        "!%ff%ff a",
        "!%ed%a0%80 a",
    ] {
        let file = format!("services:\n  web:\n    image: a\n    command: {end}");
        let first = read(&file, &variables(&[]));
        assert_eq!(first, read(&file, &variables(&[])), "{file:?}");
    }
}
