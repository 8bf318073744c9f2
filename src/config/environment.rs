//! What surrounds the process: variables, directories, systemd's credentials; and how they are laid over what the file says.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::problem::{Place, Problem, nearest};
use super::values::{Kind, Section, Value, Written};
use crate::hook::HookName;
use crate::stack::StackKey;

/// Everything outside of the file that configures; tests bring their own.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The variables of the environment. Values may be secrets, hence no `Debug`.
    pub(crate) variables: BTreeMap<String, OsString>,
    /// Where `stackhook.toml` is looked for, and what relative paths in variables start from.
    pub(crate) working_dir: PathBuf,
    /// The file that is read where no other is.
    pub(crate) system_file: PathBuf,
    /// Where credentials are that systemd would hand to the service, for root's own commands.
    pub(crate) credential_store: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Surroundings {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        Surroundings {
            variables: std::env::vars_os().filter_map(text).collect(),
            working_dir: PathBuf::new(),
            system_file: PathBuf::from("/etc/stackhook/stackhook.toml"),
            credential_store: PathBuf::from("/etc/credstore"),
        }
    }

    /// A variable's value; an empty one counts as not set, one that is not UTF-8 too (which [`lay_over`] reports).
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str()
    }

    /// The same for a path, which need not be UTF-8.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    fn value(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// `$CREDENTIALS_DIRECTORY`.
    pub(super) fn credentials(&self) -> Option<PathBuf> {
        self.path("CREDENTIALS_DIRECTORY")
    }

    /// The first directory of `$STATE_DIRECTORY`.
    pub(super) fn state_dir(&self) -> Option<&str> {
        let first = self.text("STATE_DIRECTORY")?.split(':').next()?;
        (!first.is_empty()).then_some(first)
    }
}

/// Variables that stand for a key: section, key, variable.
const PLAIN: &[(&str, &str, &str)] = &[
    ("", "listen", "STACKHOOK_LISTEN"),
    ("", "public_url", "STACKHOOK_PUBLIC_URL"),
    ("", "state_dir", "STACKHOOK_STATE_DIR"),
    ("", "trusted_proxies", "STACKHOOK_TRUSTED_PROXIES"),
    ("", "max_body", "STACKHOOK_MAX_BODY"),
    ("", "log", "STACKHOOK_LOG"),
    ("", "log_format", "STACKHOOK_LOG_FORMAT"),
    ("portainer", "url", "PORTAINER_URL"),
    ("portainer", "user", "PORTAINER_USER"),
    ("portainer", "ca_file", "PORTAINER_CA_FILE"),
    (
        "portainer",
        "certificate_sha256",
        "PORTAINER_CERTIFICATE_SHA256",
    ),
    ("portainer", "insecure", "PORTAINER_INSECURE"),
    ("portainer", "timeout", "PORTAINER_TIMEOUT"),
    ("notify", "format", "STACKHOOK_NOTIFY_FORMAT"),
    ("staff", "user", "STACKHOOK_STAFF_USER"),
];

/// Secrets: section, key, variable (also with `_FILE`), and the file in the credentials directory.
const SECRET: &[(&str, &str, &str, Option<&str>)] = &[
    (
        "portainer",
        "api_key",
        "PORTAINER_API_KEY",
        Some("portainer-api-key"),
    ),
    (
        "portainer",
        "password",
        "PORTAINER_PASSWORD",
        Some("portainer-password"),
    ),
    ("notify", "url", "STACKHOOK_NOTIFY_URL", None),
    ("notify", "secret", "STACKHOOK_NOTIFY_SECRET", None),
    (
        "staff",
        "password",
        "STACKHOOK_STAFF_PASSWORD",
        Some("staff-password"),
    ),
];

const STACK_NAME: &str = "PORTAINER_STACK_NAME";
const STACK_NAME_OF: &str = "PORTAINER_STACK_NAME_";
const ENVIRONMENT: &str = "PORTAINER_ENVIRONMENT";
const WEBHOOK_SECRET: &str = "PORTAINER_WEBHOOK_SECRET";
const WEBHOOK_SENDER: &str = "PORTAINER_WEBHOOK_SENDER";
const WEBHOOK_CREDENTIAL: &str = "webhook-secret";
/// Variables that are no keys.
const OTHERS: &[&str] = &["STACKHOOK_CONFIG", "STACKHOOK_URL"];

/// The variable that a key can be set by.
pub(super) fn variable_of(section: &str, key: &str) -> Option<&'static str> {
    let plain = PLAIN.iter().map(|(of, key, name)| (*of, *key, *name));
    let secret = SECRET.iter().map(|(of, key, name, _)| (*of, *key, *name));
    plain
        .chain(secret)
        .find(|(of, its, _)| *of == section && *its == key)
        .map(|(_, _, name)| name)
}

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
        if section.entries.contains_key(key) && section.entries.contains_key(&of_file) {
            // Stays as it is: both are reported when they are taken.
            return;
        }
        let name_of_file = format!("{name}_FILE");
        let here = credential.and_then(|name| {
            let path = self.surroundings.credentials()?.join(name);
            path.exists().then(|| (name, path.display().to_string()))
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
        section
            .entries
            .insert(slot.to_owned(), Value { kind, place });
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
            let stack = match index_of(&written.stacks, |stack| key_of(stack) == Some(key.clone()))
            {
                Some(index) => written.stacks.get_mut(index),
                None => {
                    written.stacks.push(Section::new("stack", place.clone()));
                    written.stacks.last_mut()
                }
            };
            if let Some(stack) = stack {
                if !stack.entries.contains_key("key") {
                    stack.put("key", &key, place.clone());
                }
                stack.put("name", &text, place);
            }
        }
        self.default_stack(written);
        if let Some(text) = self.plain(ENVIRONMENT) {
            for stack in &mut written.stacks {
                if !stack.entries.contains_key("environment") {
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
            1 => written.default_stack = index_of(&written.stacks, named),
            count => self.problem(
                STACK_NAME,
                &format!("{count} stacks have that name, so it cannot tell which is the default"),
            ),
        }
    }

    fn hook(&mut self, written: &mut Written) {
        let default = |hook: &Section| {
            !hook.entries.contains_key("name") || hook.text("name") == Some(HookName::DEFAULT)
        };
        let existing = index_of(&written.hooks, default);
        let mut hook = match existing.and_then(|index| written.hooks.get_mut(index)) {
            Some(hook) => std::mem::replace(hook, Section::new("hook", Place::Nowhere)),
            None => Section::new("hook", Place::Nowhere),
        };
        self.secret(
            &mut hook,
            "secret",
            WEBHOOK_SECRET,
            Some(WEBHOOK_CREDENTIAL),
        );
        if let Some(text) = self.plain(WEBHOOK_SENDER) {
            hook.put("sender", &text, Place::Variable(WEBHOOK_SENDER.to_owned()));
        }
        match existing.and_then(|index| written.hooks.get_mut(index)) {
            Some(place) => *place = hook,
            None => {
                let first = hook
                    .entries
                    .values()
                    .map(|value| value.place.clone())
                    .next();
                if let Some(place) = first {
                    hook.place = place;
                    written.hooks.push(hook);
                }
            }
        }
    }
}

fn index_of(sections: &[Section], fits: impl Fn(&Section) -> bool) -> Option<usize> {
    sections.iter().position(fits)
}

/// The key that a stack will have, where it can be known so early.
fn key_of(stack: &Section) -> Option<String> {
    match stack.text("key") {
        Some(key) => Some(key.to_owned()),
        None if stack.entries.contains_key("key") => None,
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

fn is_known(name: &str) -> bool {
    known().any(|known| known == name) || name.starts_with(STACK_NAME_OF)
}

fn known() -> impl Iterator<Item = String> {
    let with_file = |name: &'static str| [name.to_owned(), format!("{name}_FILE")];
    let plain = PLAIN.iter().map(|(_, _, name)| *name);
    let others = [STACK_NAME, ENVIRONMENT, WEBHOOK_SENDER];
    plain
        .chain(others)
        .chain(OTHERS.iter().copied())
        .map(str::to_owned)
        .chain(
            SECRET
                .iter()
                .flat_map(move |(_, _, name, _)| with_file(name)),
        )
        .chain(with_file(WEBHOOK_SECRET))
}

/// Warns about variables that look like ours and mean nothing.
fn unknown(surroundings: &Surroundings, warnings: &mut Vec<String>) {
    let rest_of = |name: &str| name.split_once('_').map(|(_, rest)| rest.to_owned());
    let known: Vec<(String, String)> = known()
        .filter_map(|name| Some((rest_of(&name)?, name)))
        .collect();
    let mut injected = Vec::new();
    for (name, value) in &surroundings.variables {
        let ours = ["PORTAINER_", "STACKHOOK_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        match ours {
            Some(_) if value.is_empty() || is_known(name) => {}
            Some(rest) if is_injected(rest) => injected.push(name.as_str()),
            Some(rest) => {
                let near = nearest(rest, known.iter().map(|(rest, _)| rest.as_str()))
                    .and_then(|near| known.iter().find(|(rest, _)| rest == near))
                    .map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"));
                warnings.push(format!("{name}: unknown variable, ignored{near}"));
            }
            None => {}
        }
    }
    if let Some(first) = injected.first() {
        warnings.push(format!(
            "{} variables such as {first} are ignored: Docker or Kubernetes sets them for a container or \
             service of that name",
            injected.len()
        ));
    }
}

/// Names that Kubernetes' services and Docker's links make, after the service's name.
fn is_injected(rest: &str) -> bool {
    let has_number = |text: &str| text.starts_with(|sign: char| sign.is_ascii_digit());
    let port = rest.split("PORT_").nth(1).is_some_and(has_number);
    let word = |word: &str| rest == word || rest.ends_with(&format!("_{word}"));
    port || rest.contains("SERVICE_PORT")
        || rest.starts_with("ENV_")
        || rest == "NAME"
        || ["PORT", "SERVICE_HOST"].into_iter().any(word)
}

/// Paths in the file start from the file's folder, paths in variables from the working directory.
pub(super) fn resolve(
    text: &str,
    place: &Place,
    folder: &Path,
    surroundings: &Surroundings,
) -> PathBuf {
    match place {
        Place::File(_) | Place::Line(..) => folder.join(text),
        Place::Variable(_) | Place::Credential(_) | Place::Nowhere => {
            surroundings.working_dir.join(text)
        }
    }
}
