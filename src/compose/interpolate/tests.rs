//! Values as tables; what can be filled was also put to compose-go.

use super::*;

fn env() -> Variables {
    let stored = [
        ("TAG", "1.2"),
        ("EMPTY", ""),
        ("_x9", "under"),
        ("Mixed", "case"),
        ("MONEY", "$TAG"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Variables::for_swarm(&stored.into(), &Default::default())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(
        Template::parse(text)
            .and_then(|read| read.fill(&env()))
            .map(|filled| filled.text),
        Ok(expected.to_owned()),
        "{text:?}"
    );
}

#[track_caller]
fn refused(text: &str, expected: InterpolationError) {
    assert_eq!(
        Template::parse(text).and_then(|read| read.fill(&env())),
        Err(expected),
        "{text:?}"
    );
}

fn missing(name: &str) -> InterpolationError {
    InterpolationError::Missing(name.to_owned())
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
fn values_of_variables_are_not_interpolated_again() {
    check("${MONEY}", "$TAG");
}

#[test]
fn defaults_replace_unset_variables() {
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
}

#[test]
fn names_variables_without_a_certain_value() {
    refused("$NONE", missing("NONE"));
    refused("web:${NONE}", missing("NONE"));
    refused("${NONE:-${NEITHER}}", missing("NEITHER"));
    refused("${EMPTY:-$NONE}", missing("NONE"));
}

#[test]
fn required_variables_and_alternatives_follow_compose() {
    check("${TAG:?said}", "1.2");
    check("${TAG?said}", "1.2");
    check("${EMPTY?said}", "");
    check("${TAG:?${EMPTY}}", "1.2");
    check("${TAG:+x}", "x");
    check("${TAG+x}", "x");
    check("${EMPTY:+x}", "");
    check("${EMPTY+x}", "x");
    check("a${NONE+x}b", "ab");
    check("a${NONE:+x}b", "ab");
    check("${TAG:+${_x9}}", "under");
    refused(
        "${NONE:?said}",
        InterpolationError::Required("NONE".to_owned()),
    );
    refused(
        "${NONE?said}",
        InterpolationError::Required("NONE".to_owned()),
    );
    refused(
        "${EMPTY:?said}",
        InterpolationError::Required("EMPTY".to_owned()),
    );
    refused(
        "${NONE:-${NEITHER:?said}}",
        InterpolationError::Required("NEITHER".to_owned()),
    );
    for text in [
        "${TAG:-${NONE:?said}}",
        "${NONE+${NEITHER?said}}",
        "${TAG?${NONE?said}}",
    ] {
        let found = Template::parse(text).and_then(|template| template.fill(&env()));
        assert!(
            matches!(found, Err(InterpolationError::RequiredInUnused(_))),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn marks_values_that_depend_on_an_unset_variable() {
    let check = |text: &str, expected: bool| {
        let filled = Template::parse(text).unwrap().fill(&env()).unwrap();
        assert_eq!(filled.assumes_unset, expected, "{text}");
    };
    check("web:${TAG:-1}", false);
    check("web:${EMPTY:-1}", false);
    check("web:${NONE:-1}", true);
    check("web:${EMPTY:-${NONE:-1}}", true);
    check("web${NONE:+:1}", true);
    check("web:${NONE:-1}${TAG}", true);
}

#[test]
fn values_that_releases_read_differently_are_not_guessed() {
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
        refused(text, InterpolationError::Unreadable);
    }
}

#[test]
fn hostile_values_end_early() {
    let deep = |levels: usize| "${NONE:-".repeat(levels) + "x" + &"}".repeat(levels);
    check(&deep(VARIABLE_NESTING), "x");
    refused(&deep(VARIABLE_NESTING + 1), InterpolationError::Unreadable);
    refused(&"${A:-".repeat(100_000), InterpolationError::Unreadable);
    refused(
        &"$TAG".repeat(limits::COMPOSE_VALUE_MAX),
        InterpolationError::TooLong,
    );
}

#[test]
fn reports_variables_that_compose_would_miss() {
    #[track_caller]
    fn check(text: &str, expected: &[(&str, bool)]) {
        let mut told = Vec::new();
        Template::parse(text)
            .unwrap()
            .visit_variables(&env(), &mut |name, missed| {
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
