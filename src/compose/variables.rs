//! The variables that compose sees when Portainer deploys a stack: those of the stack, written to an env file and read
//! back, and those that compose sets itself.

use std::collections::{BTreeMap, BTreeSet};

/// The variables of one stack as compose reads them.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, EnvValue>,
    changed: BTreeSet<String>,
    project: Option<String>,
    problem: Option<(String, &'static str)>,
}

#[derive(Debug)]
enum EnvValue {
    Text(String),
    /// The env file gives it a value that is not predicted here, for this reason.
    Unclear(&'static str),
}

/// The value of a variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup<'v> {
    Set(&'v str),
    Unset,
    /// It is not known whether or to what it is set, for this reason.
    Unclear(&'static str),
}

impl Variables {
    /// The variables of a compose stack: those that Portainer stores, overridden by the delivered ones. `project` is the stack's name.
    pub(crate) fn for_compose(
        project: &str,
        stored: &BTreeMap<String, String>,
        delivered: &BTreeMap<String, String>,
    ) -> Variables {
        let mut variables = Variables {
            project: Some(project.to_lowercase()),
            ..Variables::for_swarm(stored, delivered)
        };
        for (name, value) in &mut variables.values {
            if !is_env_file_name(name) {
                variables.problem = Some((name.clone(), "has a name that an env file cannot hold"));
            }
            let EnvValue::Text(text) = value else {
                continue;
            };
            match read_back(text) {
                Ok(read) => *value = read,
                Err(why) => variables.problem = Some((name.clone(), why)),
            }
        }
        variables
    }

    /// The variables of a Swarm stack, which are passed without an env file.
    pub(crate) fn for_swarm(
        stored: &BTreeMap<String, String>,
        delivered: &BTreeMap<String, String>,
    ) -> Variables {
        let changed = delivered
            .iter()
            .filter(|(name, value)| stored.get(*name) != Some(value));
        let all = stored.iter().chain(delivered);
        Variables {
            values: all
                .map(|(name, value)| (name.clone(), EnvValue::Text(value.clone())))
                .collect(),
            changed: changed.map(|(name, _)| name.clone()).collect(),
            project: None,
            problem: None,
        }
    }

    /// A variable, and the reason for which the env file as a whole cannot be predicted.
    pub(super) fn problem(&self) -> Option<(&str, &'static str)> {
        let (name, why) = self.problem.as_ref()?;
        Some((name, why))
    }

    /// Returns whether a delivery gives this variable a value that was never deployed.
    pub(super) fn is_changed(&self, name: &str) -> bool {
        self.changed.contains(name)
    }

    pub(super) fn get(&self, name: &str) -> Lookup<'_> {
        if let ("COMPOSE_PROJECT_NAME", Some(project)) = (name, &self.project) {
            return match self.values.contains_key(name) || !is_project_name(project) {
                true => {
                    Lookup::Unclear("is set by compose itself, by some releases to another value")
                }
                false => Lookup::Set(project),
            };
        }
        match self.values.get(name) {
            Some(EnvValue::Text(text)) => Lookup::Set(text),
            Some(EnvValue::Unclear(why)) => Lookup::Unclear(why),
            None if is_process_variable(name) => {
                Lookup::Unclear("may be set in the environment of Portainer or compose")
            }
            None => Lookup::Unset,
        }
    }
}

/// Returns whether every release of compose takes this project name as it is. Portainer itself creates only such stacks.
pub(super) fn is_project_name(name: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    name.bytes().all(is_part) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Names that containers, Docker and compose set in the environment of their processes.
fn is_process_variable(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "HOME", "HOSTNAME", "LANG", "PATH", "PWD", "SHLVL", "TERM", "TZ", "USER", "_",
    ];
    const PREFIXES: [&str; 4] = ["COMPOSE_", "DOCKER_", "KUBERNETES_", "PORTAINER_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_env_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('#')
        && name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'[' | b']')
        })
}

/// Reads a value that was written to an env file as it is. The rules are those of compose-go's `dotenv` package.
///
/// Errors: the reason for which the value changes how the rest of the file is read.
fn read_back(value: &str) -> Result<EnvValue, &'static str> {
    const SPACES: [char; 7] = ['\t', '\u{b}', '\u{c}', '\r', ' ', '\u{85}', '\u{a0}'];
    if value.contains('\n') {
        return Err("has a line break, which may set another variable");
    }
    let value = value.trim_start_matches(SPACES);
    let Some(quote) = value
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))
    else {
        let value = value.split_once(" #").map_or(value, |(before, _)| before);
        return Ok(match value.contains('$') {
            true => EnvValue::Unclear("has a \"$\", which compose replaces"),
            false => EnvValue::Text(value.trim_end().to_owned()),
        });
    };
    let rest = value.get(1..).unwrap_or_default();
    if rest.contains('\\') {
        return Err("has quotes and a backslash");
    }
    let Some((inner, after)) = rest.split_once(quote) else {
        return Err("begins with a quote that is not closed");
    };
    let after = after.trim();
    if !after.is_empty() && !after.starts_with('#') {
        return Err("has text behind its closing quote");
    }
    Ok(match quote == '"' && inner.contains('$') {
        true => EnvValue::Unclear("has a \"$\", which compose replaces"),
        false => EnvValue::Text(inner.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_from_the_env_file() {
        let check = |value: &str, expected: Result<Result<&str, ()>, ()>| {
            let read = match read_back(value) {
                Ok(EnvValue::Text(text)) => Ok(Ok(text)),
                Ok(EnvValue::Unclear(_)) => Ok(Err(())),
                Err(_) => Err(()),
            };
            assert_eq!(
                read,
                expected.map(|inner| inner.map(str::to_owned)),
                "{value:?}"
            );
        };
        check("1.2", Ok(Ok("1.2")));
        check("", Ok(Ok("")));
        check("  1 ", Ok(Ok("1")));
        check("1 # the first", Ok(Ok("1")));
        check("1#2", Ok(Ok("1#2")));
        check("#1", Ok(Ok("#1")));
        check("\"1\"", Ok(Ok("1")));
        check("' 1 '", Ok(Ok(" 1 ")));
        check("'a$b'", Ok(Ok("a$b")));
        check("\"1\" # the first", Ok(Ok("1")));
        check("it's", Ok(Ok("it's")));
        check("a$b", Ok(Err(())));
        check("\"a$b\"", Ok(Err(())));
        check("1\nB=2", Err(()));
        check("\"1", Err(()));
        check("'1", Err(()));
        check("\"1\" 2", Err(()));
        check("\"a\\\"b\"", Err(()));
    }

    #[test]
    fn the_project_is_known_only_if_every_release_takes_its_name() {
        let check = |project: &str, expected: bool| {
            let variables = Variables::for_compose(project, &BTreeMap::new(), &BTreeMap::new());
            let project = project.to_lowercase();
            let is_known = variables.get("COMPOSE_PROJECT_NAME") == Lookup::Set(&project);
            assert_eq!(is_known, expected, "{project:?}");
        };
        check("shop", true);
        check("shop-2_b", true);
        check("Shop", true);
        check("my.shop", false);
        check("_shop", false);
        check("", false);
    }

    #[test]
    fn names_that_an_env_file_cannot_hold_are_a_problem() {
        let check = |name: &str, expected: bool| {
            let stored = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
            let variables = Variables::for_compose("shop", &stored, &BTreeMap::new());
            assert_eq!(variables.problem().is_some(), expected, "{name:?}");
        };
        check("TAG", false);
        check("tag.of-web", false);
        check("A B", true);
        check("A/B", true);
        check("#A", true);
        check("", true);
    }
}
