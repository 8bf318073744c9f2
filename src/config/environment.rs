//! Lays variables and systemd's credentials over what the file says; each changes only the value that it stands for.

use super::problem::{Nature, Place, Problem};
use super::surroundings::Surroundings;
use super::values::{Kind, Section, Written};
use super::variables::{
    ENVIRONMENT, PLAIN, SECRET, STACK_NAME, STACK_NAME_OF, WEBHOOK_CREDENTIAL, WEBHOOK_SECRET,
    WEBHOOK_SENDER, is_known, unknown,
};
use crate::hook::HookName;
use crate::stack::StackKey;

/// Lays `listen` alone over the file's.
pub(super) fn lay_over_listen(surroundings: &Surroundings, written: &mut Written) {
    if let Some(text) = surroundings.text("STACKHOOK_LISTEN") {
        let place = Place::Variable("STACKHOOK_LISTEN".to_owned());
        written.top.put("listen", text, place);
    }
}

/// Lays variables and credentials over what the file says; a value changes only what it stands for.
pub(super) fn lay_over(
    surroundings: &Surroundings,
    written: &mut Written,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let mut over = Over {
        surroundings,
        problems,
    };
    over.readable();
    for (section, key, name) in PLAIN {
        if let Some(text) = over.plain(name) {
            section_of(written, section).put(key, &text, Place::Variable((*name).to_owned()));
        }
    }
    for (section, key, name, credential) in SECRET {
        over.secret(section_of(written, section), key, name, *credential);
    }
    over.stacks(written);
    over.hook(written);
    unknown(surroundings, warnings);
}

fn section_of<'w>(written: &'w mut Written, name: &str) -> &'w mut Section {
    match name {
        "portainer" => &mut written.portainer,
        "notify" => &mut written.notify,
        "staff" => &mut written.staff,
        _ => &mut written.top,
    }
}

struct Over<'s> {
    surroundings: &'s Surroundings,
    problems: &'s mut Vec<Problem>,
}

impl Over<'_> {
    fn problem(&mut self, name: &str, text: &str) {
        self.problems.push(Problem {
            nature: Nature::Wrong,
            place: Place::Variable(name.to_owned()),
            key: String::new(),
            text: text.to_owned(),
        });
    }

    /// Reports known variables that are not UTF-8.
    fn readable(&mut self) {
        for (name, value) in &self.surroundings.variables {
            if value.to_str().is_none() && is_known(name) {
                self.problem(name, "is not UTF-8");
            }
        }
    }

    /// What a variable says; env files of Docker keep quotes, which nobody means.
    fn plain(&mut self, name: &str) -> Option<String> {
        let text = self.surroundings.text(name)?;
        let mut inner = text.chars();
        let quotes = (inner.next(), inner.next_back());
        if matches!(quotes, (Some('"'), Some('"')) | (Some('\''), Some('\''))) {
            self.problem(
                name,
                "is wrapped in quotes, which count as part of the value (Docker's env files keep them); \
                 leave them out",
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// Replaces what the file says about the secret by variable, file named by variable, or credential.
    fn secret(
        &mut self,
        section: &mut Section,
        key: &str,
        name: &str,
        credential: Option<&'static str>,
    ) {
        let of_file = format!("{key}_file");
        if section.has(key) && section.has(&of_file) {
            // Stays as it is: both are reported when they are taken.
            return;
        }
        let name_of_file = format!("{name}_FILE");
        let here = credential.and_then(|name| {
            let path = self.surroundings.credentials()?.join(name);
            path.try_exists()
                .unwrap_or(true)
                .then(|| (name, path.display().to_string()))
        });
        let (inline, file) = (
            self.surroundings.text(name),
            self.surroundings.text(&name_of_file),
        );
        let (slot, kind, place) = match (inline, file) {
            (Some(_), Some(_)) => {
                let text = format!("is set, and {name_of_file} too; only one of them can count");
                self.problem(name, &text);
                (key, Kind::Bad, Place::Variable(name.to_owned()))
            }
            (Some(text), None) => {
                let kind = Kind::Text(text.to_owned());
                (key, kind, Place::Variable(name.to_owned()))
            }
            (None, Some(path)) => {
                let kind = Kind::Text(path.to_owned());
                (of_file.as_str(), kind, Place::Variable(name_of_file))
            }
            (None, None) => match here {
                Some((name, path)) => (of_file.as_str(), Kind::Text(path), Place::Credential(name)),
                None => return,
            },
        };
        section.take(key);
        section.take(&of_file);
        section.put_kind(slot, kind, place);
    }

    fn stacks(&mut self, written: &mut Written) {
        let names: Vec<&str> = (self.surroundings.variables.keys().map(String::as_str))
            .filter(|name| name.starts_with(STACK_NAME_OF))
            .collect();
        for name in names {
            let suffix = name.get(STACK_NAME_OF.len()..).unwrap_or_default();
            let key = suffix.to_ascii_lowercase().replace('_', "-");
            let Some(text) = self.plain(name) else {
                continue;
            };
            if StackKey::parse(&key).is_none() {
                self.problem(
                    name,
                    "what follows PORTAINER_STACK_NAME_ becomes the stack's key: letters, digits and _",
                );
                continue;
            }
            let place = Place::Variable(name.to_owned());
            let is_it = |stack: &&mut Section| key_of(stack).as_ref() == Some(&key);
            let mut new = Section::new("stack", place.clone());
            let existing = written.stacks.iter_mut().find(is_it);
            let is_new = existing.is_none();
            let stack = existing.unwrap_or(&mut new);
            if !stack.has("key") {
                stack.put("key", &key, place.clone());
            }
            stack.put("name", &text, place);
            if is_new {
                written.stacks.push(new);
            }
        }
        self.default_stack(written);
        if let Some(text) = self.plain(ENVIRONMENT) {
            for stack in &mut written.stacks {
                if !stack.has("environment") {
                    stack.put(
                        "environment",
                        &text,
                        Place::Variable(ENVIRONMENT.to_owned()),
                    );
                }
            }
        }
    }

    fn default_stack(&mut self, written: &mut Written) {
        let Some(text) = self.plain(STACK_NAME) else {
            return;
        };
        let named = |stack: &Section| {
            (stack.text("name")).is_some_and(|name| name.eq_ignore_ascii_case(&text))
        };
        let place = Place::Variable(STACK_NAME.to_owned());
        match written.stacks.iter().filter(|stack| named(stack)).count() {
            0 => {
                let mut stack = Section::new("stack", place.clone());
                stack.put("name", &text, place);
                written.stacks.push(stack);
                written.default_stack = Some(written.stacks.len() - 1);
            }
            1 => written.default_stack = written.stacks.iter().position(named),
            count => self.problem(
                STACK_NAME,
                &format!("{count} stacks have that name, so it cannot tell which is the default"),
            ),
        }
    }

    fn hook(&mut self, written: &mut Written) {
        let default =
            |hook: &Section| !hook.has("name") || hook.text("name") == Some(HookName::DEFAULT);
        let existing = written.hooks.iter_mut().find(|hook| default(hook));
        let mut new = Section::new("hook", Place::Nowhere);
        let is_new = existing.is_none();
        let hook = existing.unwrap_or(&mut new);
        self.secret(hook, "secret", WEBHOOK_SECRET, Some(WEBHOOK_CREDENTIAL));
        if let Some(text) = self.plain(WEBHOOK_SENDER) {
            hook.put("sender", &text, Place::Variable(WEBHOOK_SENDER.to_owned()));
        }
        if is_new && let Some(place) = new.written() {
            new.place = place;
            written.hooks.push(new);
        }
    }
}

/// The key that a stack will have, where it can be known so early.
fn key_of(stack: &Section) -> Option<String> {
    match stack.text("key") {
        Some(key) => Some(key.to_owned()),
        None if stack.has("key") => None,
        None => stack.text("name").map(key_from_name),
    }
}

/// A stack's name as a key: what a key may not contain becomes a hyphen.
pub(super) fn key_from_name(name: &str) -> String {
    let key: String = name
        .chars()
        .map(|sign| match sign {
            sign if sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.') => sign,
            _ => '-',
        })
        .collect();
    key.trim_start_matches('.').to_owned()
}
