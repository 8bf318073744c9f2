//! The configuration as it was written: sections of keys, each value with the place it comes from. Nothing here is
//! checked, and nothing here can be shown: any text may be a secret.

use super::problem::Place;

/// Every key, by section; the order is the one of the documentation.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "listen",
            "public_url",
            "state_dir",
            "trusted_proxies",
            "max_body",
            "log",
            "log_format",
            "portainer",
            "notify",
            "stack",
            "hook",
            "staff",
        ],
    ),
    (
        "portainer",
        &[
            "url",
            "api_key",
            "api_key_file",
            "user",
            "password",
            "password_file",
            "ca_file",
            "certificate_sha256",
            "insecure",
            "timeout",
        ],
    ),
    (
        "notify",
        &["url", "url_file", "format", "secret", "secret_file"],
    ),
    (
        "stack",
        &[
            "key",
            "name",
            "environment",
            "pull",
            "except",
            "env",
            "healthy_within",
            "rollback",
            "cleanup",
        ],
    ),
    (
        "hook",
        &[
            "name",
            "sender",
            "scheme",
            "header",
            "kind",
            "secret",
            "secret_file",
            "stacks",
            "events",
            "branches",
            "tags",
            "repositories",
            "images",
            "paths",
            "wait",
            "allow_from",
            "payload",
        ],
    ),
    (
        "hook.payload",
        &[
            "each",
            "event",
            "branch",
            "tag",
            "repository",
            "image",
            "commit",
            "id",
            "require",
        ],
    ),
    ("staff", &["user", "password", "password_file"]),
];

/// The keys of one kind of section.
pub(super) fn keys(kind: &str) -> &'static [&'static str] {
    KEYS.iter()
        .find(|(section, _)| *section == kind)
        .map_or(&[], |(_, keys)| keys)
}

/// A value and where it stands.
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// Its byte in the file, for the order in a line; 0 for what is not from there.
    pub(super) position: usize,
}

/// What kinds of values there are.
pub(super) enum Kind {
    /// From the file, or a whole variable.
    Text(String),
    /// As it was written, without `_`.
    Integer(String),
    Boolean(bool),
    List(Vec<Value>),
    Table(Section),
    /// Kinds that no key wants: dates and fractions.
    Other(&'static str),
    /// Already reported.
    Bad,
}

impl Kind {
    /// With its article.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Text(_) | Kind::Bad => "a text",
            Kind::Integer(_) => "a number",
            Kind::Boolean(_) => "true or false",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a section",
            Kind::Other(name) => name,
        }
    }
}

/// A table of the file, with what the environment laid over it.
pub(super) struct Section {
    /// Its name in [`KEYS`].
    pub(super) kind: &'static str,
    /// Where it begins.
    pub(super) place: Place,
    /// In the order of their keys, each of which is there once.
    pub(super) entries: Vec<(String, Value)>,
}

impl Section {
    pub(super) fn new(kind: &'static str, place: Place) -> Section {
        Section {
            kind,
            place,
            entries: Vec::new(),
        }
    }

    /// Where the first of its keys was written, or else it itself; `None`: there is nothing.
    pub(super) fn written(&self) -> Option<Place> {
        let first = self.entries.first().map(|(_, value)| &value.place);
        let here = Some(&self.place).filter(|place| **place != Place::Nowhere);
        first.or(here).cloned()
    }

    /// What nobody takes is an unknown key.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let place = self.entries.iter().position(|(one, _)| one == key)?;
        Some(self.entries.remove(place).1)
    }

    /// What stands under `key`, and stays there.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let mut entries = self.entries.iter();
        entries.find_map(|(one, value)| (one == key).then_some(value))
    }

    /// Whether something stands under `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A text from outside the file, instead of what stands under `key`.
    pub(super) fn put(&mut self, key: &str, text: &str, place: Place) {
        self.put_kind(key, Kind::Text(text.to_owned()), place);
    }

    /// The same with what may be no text.
    pub(super) fn put_kind(&mut self, key: &str, kind: Kind, place: Place) {
        let value = Value {
            kind,
            place,
            position: 0,
        };
        self.take(key);
        let before = self.entries.partition_point(|(one, _)| one.as_str() < key);
        self.entries.insert(before, (key.to_owned(), value));
    }

    /// The text under `key`, where it is one.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `portainer.url`.
    pub(super) fn path(&self, key: &str) -> String {
        if self.kind.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.kind)
        }
    }
}

/// Everything that was written.
pub(super) struct Written {
    pub(super) top: Section,
    pub(super) portainer: Section,
    pub(super) notify: Section,
    pub(super) stacks: Vec<Section>,
    /// The stack of `PORTAINER_STACK_NAME`: its index.
    pub(super) default_stack: Option<usize>,
    pub(super) hooks: Vec<Section>,
    pub(super) staff: Section,
}

impl Written {
    /// Nothing.
    pub(super) fn new() -> Written {
        Written {
            top: Section::new("", Place::Nowhere),
            portainer: Section::new("portainer", Place::Nowhere),
            notify: Section::new("notify", Place::Nowhere),
            stacks: Vec::new(),
            default_stack: None,
            hooks: Vec::new(),
            staff: Section::new("staff", Place::Nowhere),
        }
    }
}
