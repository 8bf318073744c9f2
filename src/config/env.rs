//! The environment of the process: which variable sets which key, systemd's credentials, and warnings about unknown variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::parse;
use super::problem::{FileLines, Problem, ValueSource};
use super::schema::{
    ConfigFile, Field, HookSection, List, NotifySection, PortainerSection, Sourced, StackSection,
    StaffSection,
};
use crate::hook::HookName;
use crate::stack::StackKey;
use crate::suggest;

/// Everything outside the file that configures stackhook; tests build their own.
#[derive(Clone)]
pub(crate) struct ProcessEnv {
    /// The variables of the environment. Values may be secrets, hence no `Debug`.
    pub(crate) variables: BTreeMap<String, OsString>,
    /// The directory with `stackhook.toml`, and the base of relative paths in variables.
    pub(crate) working_dir: PathBuf,
    /// The configuration file that is read if no other exists.
    pub(crate) system_file: PathBuf,
    /// The directory from which systemd takes the service's credentials; root's own commands read it directly.
    pub(crate) credential_store: PathBuf,
}

impl ProcessEnv {
    /// The environment of this process.
    pub(crate) fn of_process() -> ProcessEnv {
        let utf8_name =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        ProcessEnv {
            variables: std::env::vars_os().filter_map(utf8_name).collect(),
            working_dir: PathBuf::new(),
            system_file: PathBuf::from("/etc/stackhook/stackhook.toml"),
            credential_store: PathBuf::from("/etc/credstore"),
        }
    }

    /// A variable's value; `None` if it is unset, empty or not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str()
    }

    /// A variable's value as a path, which need not be UTF-8.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    fn value(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// `$CREDENTIALS_DIRECTORY`, which systemd sets for a service with credentials.
    pub(super) fn credentials_dir(&self) -> Option<PathBuf> {
        self.path("CREDENTIALS_DIRECTORY")
    }

    /// The first directory of `$STATE_DIRECTORY`, which systemd sets for a service with a state directory.
    pub(super) fn state_dir(&self) -> Option<&str> {
        let first = self.text("STATE_DIRECTORY")?.split(':').next()?;
        (!first.is_empty()).then_some(first)
    }
}

/// The key that a variable sets. The functions create the section, written at the given source, if the file has none.
enum VariableKey {
    Text(KeyAccess<String>),
    /// Comma-separated in the variable.
    Texts(KeyAccess<List>),
    /// `true`, `false`, `1` or `0`.
    Flag(KeyAccess<bool>),
    /// A secret without a systemd credential.
    Secret(SecretAccess),
    /// A secret that a credential of this name may hold, too.
    Credential(&'static str, SecretAccess),
}

/// Returns a key's place in the file.
type KeyAccess<T> = for<'f> fn(&'f mut ConfigFile, &ValueSource) -> &'f mut Field<T>;

/// Returns the keys `name` and `name_file` of a secret.
type SecretAccess = for<'f> fn(&'f mut ConfigFile, &ValueSource) -> (&'f mut Field, &'f mut Field);

use VariableKey::{Credential, Flag, Secret, Text, Texts};

/// Every variable that sets a key of a fixed section. The variables that name stacks are read by `apply_stack_names`.
#[rustfmt::skip]
const VARIABLES: &[(&str, VariableKey)] = &[
    ("STACKHOOK_LISTEN", Text(|file, _| &mut file.listen)),
    ("STACKHOOK_PUBLIC_URL", Text(|file, _| &mut file.public_url)),
    ("STACKHOOK_STATE_DIR", Text(|file, _| &mut file.state_dir)),
    ("STACKHOOK_TRUSTED_PROXIES", Texts(|file, _| &mut file.trusted_proxies)),
    ("STACKHOOK_MAX_BODY", Text(|file, _| &mut file.max_body)),
    ("STACKHOOK_LOG", Text(|file, _| &mut file.log)),
    ("STACKHOOK_LOG_FORMAT", Text(|file, _| &mut file.log_format)),
    ("PORTAINER_URL", Text(|file, at| &mut portainer(file, at).url)),
    ("PORTAINER_USER", Text(|file, at| &mut portainer(file, at).user)),
    ("PORTAINER_CA_FILE", Text(|file, at| &mut portainer(file, at).ca_file)),
    ("PORTAINER_CERTIFICATE_SHA256", Text(|file, at| &mut portainer(file, at).certificate_sha256)),
    ("PORTAINER_INSECURE", Flag(|file, at| &mut portainer(file, at).insecure)),
    ("PORTAINER_TIMEOUT", Text(|file, at| &mut portainer(file, at).timeout)),
    ("PORTAINER_API_KEY", Credential("portainer-api-key", |file, at| {
        let portainer = portainer(file, at);
        (&mut portainer.api_key, &mut portainer.api_key_file)
    })),
    ("PORTAINER_PASSWORD", Credential("portainer-password", |file, at| {
        let portainer = portainer(file, at);
        (&mut portainer.password, &mut portainer.password_file)
    })),
    ("STACKHOOK_NOTIFY_FORMAT", Text(|file, at| &mut first_notify(file, at).format)),
    ("STACKHOOK_NOTIFY_URL", Secret(|file, at| {
        let notify = first_notify(file, at);
        (&mut notify.url, &mut notify.url_file)
    })),
    ("STACKHOOK_NOTIFY_SECRET", Secret(|file, at| {
        let notify = first_notify(file, at);
        (&mut notify.secret, &mut notify.secret_file)
    })),
    ("STACKHOOK_STAFF_USER", Text(|file, at| &mut staff(file, at).user)),
    ("STACKHOOK_STAFF_PASSWORD", Credential("staff-password", |file, at| {
        let staff = staff(file, at);
        (&mut staff.password, &mut staff.password_file)
    })),
    ("PORTAINER_WEBHOOK_SENDER", Text(|file, at| &mut default_hook(file, at).sender)),
    ("PORTAINER_WEBHOOK_SECRET", Credential("webhook-secret", |file, at| {
        let hook = default_hook(file, at);
        (&mut hook.secret, &mut hook.secret_file)
    })),
];

const STACK_NAME: &str = "PORTAINER_STACK_NAME";
const STACK_NAME_PREFIX: &str = "PORTAINER_STACK_NAME_";
const STACK_ENVIRONMENT: &str = "PORTAINER_ENVIRONMENT";
/// Known variables that set no key of the file, or one key of every stack.
const OTHER_VARIABLES: &[&str] = &[
    STACK_NAME,
    STACK_ENVIRONMENT,
    "STACKHOOK_CONFIG",
    "STACKHOOK_URL",
];

fn portainer<'f>(file: &'f mut ConfigFile, at: &ValueSource) -> &'f mut PortainerSection {
    let open = || Sourced::new(PortainerSection::default(), at.clone());
    &mut file.portainer.get_or_insert_with(open).value
}

fn staff<'f>(file: &'f mut ConfigFile, at: &ValueSource) -> &'f mut StaffSection {
    let open = || Sourced::new(StaffSection::default(), at.clone());
    &mut file.staff.get_or_insert_with(open).value
}

/// The variables are for a single receiver: of several, they set the first.
fn first_notify<'f>(file: &'f mut ConfigFile, at: &ValueSource) -> &'f mut NotifySection {
    find_or_push(&mut file.notify, at, |_| true)
}

/// The hook named "update", or without a name.
fn default_hook<'f>(file: &'f mut ConfigFile, at: &ValueSource) -> &'f mut HookSection {
    let is_default = |name: &Sourced<String>| name.value == HookName::DEFAULT;
    find_or_push(&mut file.hook, at, |hook| {
        hook.name.as_ref().is_none_or(is_default)
    })
}

/// The first section that matches; a new one, written at `at`, if none does.
#[allow(
    clippy::indexing_slicing,
    reason = "the index was found or pushed in the line above"
)]
fn find_or_push<'s, T: Default>(
    sections: &'s mut Vec<Sourced<T>>,
    at: &ValueSource,
    matches: impl Fn(&T) -> bool,
) -> &'s mut T {
    let found = sections.iter().position(|section| matches(&section.value));
    if found.is_none() {
        sections.push(Sourced::new(T::default(), at.clone()));
    }
    let index = found.unwrap_or(sections.len() - 1);
    &mut sections[index].value
}

/// Overrides what the file says with variables and credentials, each only its own value.
pub(super) fn apply(env: &ProcessEnv, file: &mut ConfigFile) -> Vec<Problem> {
    let mut overrides = Overrides {
        env,
        problems: Vec::new(),
    };
    for (name, value) in &env.variables {
        if value.to_str().is_none() && is_known(name) {
            overrides.problem(name, "is not UTF-8");
        }
    }
    for (name, key) in VARIABLES {
        overrides.apply(name, key, file);
    }
    overrides.apply_stack_names(file);
    overrides.problems
}

struct Overrides<'e> {
    env: &'e ProcessEnv,
    problems: Vec<Problem>,
}

impl Overrides<'_> {
    fn problem(&mut self, name: &str, text: &str) {
        let source = ValueSource::Variable(name.to_owned());
        self.problems
            .push(Problem::new(source, &FileLines::default(), "", text));
    }

    fn apply(&mut self, name: &'static str, key: &VariableKey, file: &mut ConfigFile) {
        match key {
            Secret(keys) => return self.apply_secret(name, None, *keys, file),
            Credential(credential, keys) => {
                return self.apply_secret(name, Some(credential), *keys, file);
            }
            Text(_) | Texts(_) | Flag(_) => {}
        }
        let source = ValueSource::Variable(name.to_owned());
        let Some(text) = self.plain_text(name) else {
            return;
        };
        match key {
            Text(key) => *key(file, &source) = Some(Sourced::new(text, source.clone())),
            Texts(key) => {
                let element = |part: &str| Sourced::new(part.trim().to_owned(), source.clone());
                let list = text.split(',').map(element).collect();
                *key(file, &source) = Some(Sourced::new(list, source.clone()));
            }
            Flag(key) => match parse::flag(&text) {
                Ok(flag) => *key(file, &source) = Some(Sourced::new(flag, source.clone())),
                Err(why) => self.problem(name, &why),
            },
            Secret(_) | Credential(..) => {}
        }
    }

    /// A variable's text without the quotes that Docker's env files keep, which are reported.
    fn plain_text(&mut self, name: &str) -> Option<String> {
        let text = self.env.text(name)?;
        let unquoted = parse::unquoted(text);
        if unquoted.is_some() {
            let text = "is wrapped in quotes, which count as part of the value (Docker's env files keep them); leave them out";
            self.problem(name, text);
        }
        Some(unquoted.unwrap_or(text).to_owned())
    }

    /// Replaces a secret by the variable, the file that the `_FILE` variable names, or the credential.
    fn apply_secret(
        &mut self,
        name: &'static str,
        credential: Option<&'static str>,
        keys: SecretAccess,
        file: &mut ConfigFile,
    ) {
        let file_name = format!("{name}_FILE");
        let credential = credential.and_then(|credential| {
            let path = self.env.credentials_dir()?.join(credential);
            // A credential that cannot be inspected is there, too.
            let exists = path.try_exists().unwrap_or(true);
            exists.then(|| {
                (
                    path.display().to_string(),
                    ValueSource::Credential(credential),
                )
            })
        });
        let (value, is_path) = match (self.env.text(name), self.env.text(&file_name)) {
            (Some(text), path) => {
                if path.is_some() {
                    let text = format!("is set, and {file_name} too; set only one of them");
                    self.problem(name, &text);
                }
                let source = ValueSource::Variable(name.to_owned());
                (Sourced::new(text.to_owned(), source), false)
            }
            (None, Some(path)) => {
                let source = ValueSource::Variable(file_name);
                (Sourced::new(path.to_owned(), source), true)
            }
            (None, None) => match credential {
                Some((path, source)) => (Sourced::new(path, source), true),
                None => return,
            },
        };
        let (key, key_file) = keys(file, &value.source);
        // Both keys in the file are a mistake that stays visible.
        if key.is_none() || key_file.is_none() {
            (*key, *key_file) = match is_path {
                true => (None, Some(value)),
                false => (Some(value), None),
            };
        }
    }

    /// `PORTAINER_STACK_NAME_` and a key names that stack, `PORTAINER_STACK_NAME` the default stack, and `PORTAINER_ENVIRONMENT`
    /// is for stacks without an environment of their own.
    fn apply_stack_names(&mut self, file: &mut ConfigFile) {
        let env = self.env;
        for name in env.variables.keys() {
            let Some(suffix) = name.strip_prefix(STACK_NAME_PREFIX) else {
                continue;
            };
            let Some(text) = self.plain_text(name) else {
                continue;
            };
            let key = suffix.to_ascii_lowercase().replace('_', "-");
            if StackKey::parse(&key).is_none() {
                let text = "the part after PORTAINER_STACK_NAME_ becomes the stack's key: letters, digits and _";
                self.problem(name, text);
                continue;
            }
            let source = ValueSource::Variable(name.clone());
            let has_key = |stack: &StackSection| key_of(stack).as_ref() == Some(&key);
            let stack = find_or_push(&mut file.stack, &source, has_key);
            stack
                .key
                .get_or_insert_with(|| Sourced::new(key, source.clone()));
            stack.name = Some(Sourced::new(text, source));
        }
        self.apply_default_stack(file);
        if let Some(text) = self.plain_text(STACK_ENVIRONMENT) {
            let environment =
                Sourced::new(text, ValueSource::Variable(STACK_ENVIRONMENT.to_owned()));
            for stack in &mut file.stack {
                stack
                    .value
                    .environment
                    .get_or_insert_with(|| environment.clone());
            }
        }
    }

    fn apply_default_stack(&mut self, file: &mut ConfigFile) {
        let Some(text) = self.plain_text(STACK_NAME) else {
            return;
        };
        let has_name = |stack: &&Sourced<StackSection>| {
            let name = stack.value.name.as_ref();
            name.is_some_and(|name| name.value.eq_ignore_ascii_case(&text))
        };
        let source = ValueSource::Variable(STACK_NAME.to_owned());
        match file.stack.iter().filter(has_name).count() {
            0 => {
                file.default_stack = Some(file.stack.len());
                let stack = StackSection {
                    name: Some(Sourced::new(text, source.clone())),
                    ..StackSection::default()
                };
                file.stack.push(Sourced::new(stack, source));
            }
            1 => file.default_stack = file.stack.iter().position(|stack| has_name(&stack)),
            count => {
                let text = format!(
                    "{count} stacks have that name, so it cannot tell which is the default"
                );
                self.problem(STACK_NAME, &text);
            }
        }
    }
}

/// The key that a stack will have, if it is already certain.
fn key_of(stack: &StackSection) -> Option<String> {
    match (&stack.key, &stack.name) {
        (Some(key), _) => Some(key.value.clone()),
        (None, name) => name.as_ref().map(|name| key_from_name(&name.value)),
    }
}

/// The default key of a stack: its name, with a hyphen for every character that a key may not contain.
pub(super) fn key_from_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let key: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    key.trim_start_matches('.').to_owned()
}

fn is_known(name: &str) -> bool {
    name.starts_with(STACK_NAME_PREFIX) || known_names().any(|known| known == name)
}

fn known_names() -> impl Iterator<Item = String> {
    let with_file = VARIABLES.iter().flat_map(|(name, key)| {
        let has_file = matches!(key, Secret(_) | Credential(..));
        let file = has_file.then(|| format!("{name}_FILE"));
        [Some((*name).to_owned()), file].into_iter().flatten()
    });
    with_file.chain(OTHER_VARIABLES.iter().map(|name| (*name).to_owned()))
}

/// Warnings about variables that look like stackhook's but are unknown.
pub(super) fn unknown_variables(env: &ProcessEnv) -> Vec<String> {
    let without_prefix = |name: &str| name.split_once('_').map(|(_, rest)| rest.to_owned());
    let known: Vec<(String, String)> = known_names()
        .filter_map(|name| Some((without_prefix(&name)?, name)))
        .collect();
    let (mut warnings, mut injected) = (Vec::new(), Vec::new());
    for (name, value) in &env.variables {
        let prefixes = ["PORTAINER_", "STACKHOOK_"];
        let Some(rest) = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) else {
            continue;
        };
        if value.is_empty() || is_known(name) {
            continue;
        }
        if is_injected(rest) {
            injected.push(name.as_str());
            continue;
        }
        let near = suggest::closest(rest, known.iter().map(|(rest, _)| rest.as_str()))
            .and_then(|near| known.iter().find(|(rest, _)| rest == near))
            .map_or_else(String::new, |(_, name)| format!("; did you mean {name}?"));
        warnings.push(format!("{name}: unknown variable, ignored{near}"));
    }
    if let Some(first) = injected.first() {
        warnings.push(format!(
            "{} variables such as {first} are ignored: Docker or Kubernetes sets them for a container or service of that name",
            injected.len()
        ));
    }
    warnings
}

/// Returns true for names that Kubernetes (for services) or Docker (for links) generates; `rest` follows the service's name.
fn is_injected(rest: &str) -> bool {
    let begins_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let has_port_number = rest.split("PORT_").nth(1).is_some_and(begins_with_digit);
    let is_or_ends_with = |word: &str| rest == word || rest.ends_with(&format!("_{word}"));
    has_port_number
        || rest.contains("SERVICE_PORT")
        || rest.starts_with("ENV_")
        || rest == "NAME"
        || is_or_ends_with("PORT")
        || is_or_ends_with("SERVICE_HOST")
}
