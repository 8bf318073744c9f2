//! Values as tables; what can be filled was also put to compose-go.

use super::*;

fn env() -> BTreeMap<String, String> {
    [
        ("TAG", "1.2"),
        ("EMPTY", ""),
        ("_x9", "under"),
        ("Mixed", "case"),
        ("MONEY", "$TAG"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(
        Template::parse(text).and_then(|read| read.fill(&env())),
        Ok(expected.to_owned()),
        "{text:?}"
    );
}

#[track_caller]
fn refused(text: &str, expected: Unfilled) {
    assert_eq!(
        Template::parse(text).and_then(|read| read.fill(&env())),
        Err(expected),
        "{text:?}"
    );
}

fn missing(name: &str) -> Unfilled {
    Unfilled::Missing(name.to_owned())
}

#[test]
fn variables_are_filled_as_compose_does_it() {
    check("web", "web");
    check("", "");
    check("web:$TAG", "web:1.2");
    check("web:$TAG-alpine", "web:1.2-alpine");
    check("web:${TAG}", "web:1.2");
    check("${TAG}${TAG}$TAG", "1.21.21.2");
    check("$_x9 ${Mixed}", "under case");
    check("a${EMPTY}b", "ab");
    check("$$TAG $${TAG} $$$TAG", "$TAG ${TAG} $1.2");
    check("grün:${TAG}ü", "grün:1.2ü");
}

#[test]
fn a_value_is_not_read_again() {
    check("${MONEY}", "$TAG");
}

#[test]
fn defaults_stand_in_for_what_is_not_set() {
    check("${NONE:-x}", "x");
    check("${NONE-x}", "x");
    check("${NONE:-}", "");
    check("${EMPTY:-x}", "x");
    check("${EMPTY-x}", "");
    check("${TAG:-x}", "1.2");
    check("${TAG-x}", "1.2");
    check("${NONE:-a:b-c?d+e}", "a:b-c?d+e");
    check("${NONE:--}", "-");
    check("${NONE:-x}:${TAG:-y}-${NONE-z}", "x:1.2-z");
    check("${NONE:-x}}", "x}");
}

#[test]
fn defaults_may_hold_variables() {
    check("${NONE:-${TAG}}", "1.2");
    check("${NONE:-$TAG}", "1.2");
    check("${NONE:-${NEITHER:-c}}", "c");
    check("${NONE:-a${NEITHER-b}c}d", "abcd");
    check("${EMPTY:-${NONE:-${TAG:-x}}-y}", "1.2-y");
    check("${NONE:-$${TAG}}", "${TAG}");
    check("${TAG:-${NONE}}", "1.2");
    check("${TAG:-${NONE:?said}}", "1.2");
}

#[test]
fn what_has_no_certain_value_is_named() {
    refused("$NONE", missing("NONE"));
    refused("web:${NONE}", missing("NONE"));
    refused("${NONE:-${NEITHER}}", missing("NEITHER"));
    refused("${EMPTY:-$NONE}", missing("NONE"));
    refused(
        "${TAG:?said}",
        Unfilled::Operator("TAG".to_owned(), Operator::RequiredFull),
    );
    refused(
        "${TAG?said}",
        Unfilled::Operator("TAG".to_owned(), Operator::Required),
    );
    refused(
        "${TAG:+x}",
        Unfilled::Operator("TAG".to_owned(), Operator::AlternativeFull),
    );
    refused(
        "${TAG+x}",
        Unfilled::Operator("TAG".to_owned(), Operator::Alternative),
    );
}

#[test]
fn what_composes_read_differently_is_not_guessed() {
    for text in [
        "$",
        "a$",
        "$1",
        "$-",
        "$ TAG",
        "${",
        "${TAG",
        "${}",
        "${1}",
        "${TAG:}",
        "${TAG:x}",
        "${TAG/a/b}",
        "${ TAG}",
        "${TAG }",
        "${NONE:-{}",
        "${NONE:-{a}}",
        "${NONE:-${}}",
        "${NONE:-a\nb}",
        "${NONE:-${TAG}",
        "${grün}",
        "$ü",
    ] {
        refused(text, Unfilled::Unreadable);
    }
}

#[test]
fn hostile_values_end_early() {
    let deep = |levels: usize| "${NONE:-".repeat(levels) + "x" + &"}".repeat(levels);
    check(&deep(limits::VARIABLE_NESTING), "x");
    refused(&deep(limits::VARIABLE_NESTING + 1), Unfilled::Unreadable);
    refused(&"${A:-".repeat(100_000), Unfilled::Unreadable);
    refused(&"$TAG".repeat(limits::COMPOSE_VALUE_MAX), Unfilled::TooLong);
}

#[test]
fn variables_are_told_with_what_compose_would_miss() {
    #[track_caller]
    fn check(text: &str, expected: &[(&str, bool)]) {
        let mut told = Vec::new();
        Template::parse(text)
            .unwrap()
            .variables(&env(), &mut |name, missed| {
                told.push((name.to_owned(), missed))
            });
        let told: Vec<_> = told
            .iter()
            .map(|(name, missed)| (name.as_str(), *missed))
            .collect();
        assert_eq!(told, expected, "{text:?}");
    }
    check("$TAG $NONE", &[("TAG", false), ("NONE", true)]);
    check("${EMPTY}", &[("EMPTY", false)]);
    check("${NONE:-x}", &[("NONE", false)]);
    check("${NONE:-$NEITHER}", &[("NONE", false), ("NEITHER", true)]);
    check("${TAG:-$NEITHER}", &[("TAG", false), ("NEITHER", false)]);
    check("${EMPTY-$NEITHER}", &[("EMPTY", false), ("NEITHER", false)]);
    check(
        "${NONE?m}${EMPTY:?m}${EMPTY?m}",
        &[("NONE", true), ("EMPTY", true), ("EMPTY", false)],
    );
    check(
        "${NONE+x}${TAG:+$NEITHER}",
        &[("NONE", false), ("TAG", false), ("NEITHER", true)],
    );
    check("$1 $$NONE", &[]);
}
