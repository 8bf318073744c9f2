//! `[[stack]]` and the variables that name stacks.

use std::time::Duration;

use super::{key, listed, pattern, within_a_day};
use crate::config::environment::key_from_name;
use crate::config::parse;
use crate::config::problem::Place;
use crate::config::reading::{Reading, Taken};
use crate::config::values::Section;
use crate::config::{Config, Need};
use crate::limits;
use crate::stack::{PullMode, RollBack, Stack, StackKey};

/// Where the key of a checked stack was written.
struct Keyed {
    key: StackKey,
    place: Place,
}

/// Checks all, and puts them into `config`; yields the keys of those with problems, too.
pub(super) fn stacks(
    need: Need,
    sections: Vec<Section>,
    default: Option<usize>,
    config: &mut Config,
    reading: &mut Reading<'_>,
) -> Vec<StackKey> {
    let none = sections.is_empty();
    let mut all: Vec<Keyed> = Vec::new();
    for (index, section) in sections.into_iter().enumerate() {
        let (Some(keyed), stack) = stack(section, reading) else {
            continue;
        };
        if let Some(other) = all.iter().find(|other| other.key == keyed.key) {
            let text = format!(
                "\"{}\" is the key of another stack ({}) already; give one of them another key",
                keyed.key, other.place
            );
            reading.problem(&keyed.place, "stack.key", text);
            continue;
        }
        if default == Some(index) {
            config.default_stack = Some(keyed.key.clone());
        }
        config.stacks.extend(stack);
        all.push(keyed);
    }
    if none && need == Need::Serve {
        reading.lost(
            &Place::Nowhere,
            "stack",
            "there is none; set PORTAINER_STACK_NAME to the stack's name in Portainer, or write a [[stack]] \
             with its name",
        );
    }
    all.into_iter().map(|keyed| keyed.key).collect()
}

fn stack(mut section: Section, reading: &mut Reading<'_>) -> (Option<Keyed>, Option<Stack>) {
    let name = reading.text(&mut section, "name", name);
    if name.is_absent() {
        let place = section.place.clone();
        reading.lost(
            &place,
            "stack.name",
            "is missing: the stack's name in Portainer",
        );
    }
    let key = match reading.text(&mut section, "key", |text| key(text, StackKey::parse)) {
        Taken::Absent => match &name {
            Taken::Good(name, place) => key_of(name, place, reading),
            Taken::Absent | Taken::Bad => None,
        },
        Taken::Good(key, place) => Some((key, place)),
        Taken::Bad => None,
    };
    // The other keys are checked all the same, so that all problems come at once.
    let label = key.as_ref().map_or("?", |(key, _)| key.as_str()).to_owned();
    let label = |key: &str| format!("stack.{label}.{key}");
    if let Taken::Good(name, place) = &name {
        reading.show(label("name"), name, place);
    }
    let environment = reading.optional(
        &mut section,
        ("environment", &label("environment")),
        "any",
        self::name,
    );
    let pull = reading.setting(
        &mut section,
        ("pull", &label("pull")),
        (PullMode::First, "first"),
        |text| parse::choice(text, PullMode::NAMES, PullMode::parse),
    );
    let except = reading.list(&mut section, "except", pattern);
    if let (PullMode::Portainer, Taken::Good(patterns, place)) = (pull, &except)
        && !patterns.is_empty()
    {
        reading.problem(
            place,
            "stack.except",
            "with pull = \"portainer\" Portainer pulls every image; leave \"except\" out or use \
                 pull = \"first\"",
        );
    }
    let except = listed(reading, label("except"), except);
    let env = reading.list(&mut section, "env", parse::variable);
    let env = listed(reading, label("env"), env);
    let healthy_within = reading.setting(
        &mut section,
        ("healthy_within", &label("healthy_within")),
        (Duration::from_secs(2 * 60), "2m"),
        |text| within_a_day(text, false),
    );
    let rollback = reading.setting(
        &mut section,
        ("rollback", &label("rollback")),
        (RollBack::WhenDown, "when-down"),
        |text| parse::choice(text, RollBack::NAMES, RollBack::parse),
    );
    let cleanup = reading.flag(&mut section, ("cleanup", &label("cleanup")));
    reading.finish(section);
    let Some((key, place)) = key else {
        return (None, None);
    };
    let stack = name.good().map(|name| Stack {
        key: key.clone(),
        name,
        environment: environment.good(),
        pull,
        except,
        env,
        healthy_within,
        rollback,
        cleanup,
    });
    (Some(Keyed { key, place }), stack)
}

fn name(text: &str) -> Result<String, String> {
    match text.len() > limits::NAME_MAX {
        true => Err(format!("is longer than {} bytes", limits::NAME_MAX)),
        false => parse::word(text),
    }
}

/// The key of a stack that has none of its own.
fn key_of(name: &str, place: &Place, reading: &mut Reading<'_>) -> Option<(StackKey, Place)> {
    let key = StackKey::parse(&key_from_name(name));
    if key.is_none() {
        let text = "no key can be made of this name; give the stack a key";
        reading.problem(place, "stack.name", text);
    }
    Some((key?, place.clone()))
}
