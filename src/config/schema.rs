//! The configuration file as written: one struct per section, each value with the position it comes from.
//!
//! Steps to add a key:
//! 1. Add a field to its section below: `Field` for text (durations, sizes and choices are text too), `Field<bool>`, `Field<List>`,
//!    or for a secret the pair `name` and `name_file`.
//! 2. If a variable may set it, add a row to `VARIABLES` in `env.rs`.
//! 3. Read it in the section's function in `validate.rs` or `validate/hook.rs` with one of the methods of `Checker`
//!    (`setting`, `optional`, `given`, `list`, `flag`, `secret`), which also adds its row to `show-config`, and put it into the
//!    domain type in `config.rs`. A secret also belongs into [`super::Config::secrets`], so that it is redacted.
//! 4. Explain it in `stackhook.toml.example`; a test fails until it is there.
//! 5. Add a row for each mistake one can make with it to the table in `tests/mistakes.rs`.
//!
//! To add a section, also add a row to [`SECTIONS`].

use std::collections::BTreeMap;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::problem::ValueSource;

/// Everything that the file and the environment say, unchecked. Any text may be a secret, hence no `Debug`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Field,
    pub(super) public_url: Field,
    pub(super) state_dir: Field,
    pub(super) trusted_proxies: Field<List>,
    pub(super) max_body: Field,
    pub(super) log: Field,
    pub(super) log_format: Field,
    pub(super) portainer: Option<Sourced<PortainerSection>>,
    pub(super) notify: Vec<Sourced<NotifySection>>,
    pub(super) stack: Vec<Sourced<StackSection>>,
    pub(super) hook: Vec<Sourced<HookSection>>,
    pub(super) staff: Option<Sourced<StaffSection>>,
    /// The index of the stack that `PORTAINER_STACK_NAME` names.
    #[serde(skip)]
    pub(super) default_stack: Option<usize>,
}

/// The section `[portainer]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PortainerSection {
    pub(super) url: Field,
    pub(super) api_key: Field,
    pub(super) api_key_file: Field,
    pub(super) user: Field,
    pub(super) password: Field,
    pub(super) password_file: Field,
    pub(super) ca_file: Field,
    pub(super) certificate_sha256: Field,
    pub(super) insecure: Field<bool>,
    pub(super) timeout: Field,
    /// Header names and their values.
    pub(super) headers: BTreeMap<String, Sourced<String>>,
    pub(super) headers_file: Field,
}

/// `[notify]`, or one of several `[[notify]]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NotifySection {
    pub(super) url: Field,
    pub(super) url_file: Field,
    pub(super) format: Field,
    pub(super) on: Field<List>,
    pub(super) secret: Field,
    pub(super) secret_file: Field,
}

/// A section `[[stack]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StackSection {
    pub(super) key: Field,
    pub(super) name: Field,
    pub(super) environment: Field,
    pub(super) pull: Field,
    pub(super) except: Field<List>,
    pub(super) env: Field<List>,
    pub(super) healthy_within: Field,
    pub(super) rollback: Field,
    pub(super) cleanup: Field<bool>,
}

/// A section `[[hook]]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HookSection {
    pub(super) name: Field,
    pub(super) sender: Field,
    pub(super) scheme: Field,
    pub(super) header: Field,
    pub(super) kind: Field,
    pub(super) hash: Field,
    pub(super) encoding: Field,
    pub(super) label: Field,
    pub(super) signed: Field,
    pub(super) timestamp_header: Field,
    pub(super) secret: Field,
    pub(super) secret_file: Field,
    pub(super) stacks: Field<List>,
    pub(super) events: Field<List>,
    pub(super) branches: Field<List>,
    pub(super) tags: Field<List>,
    pub(super) repositories: Field<List>,
    pub(super) images: Field<List>,
    pub(super) paths: Field<List>,
    pub(super) workflows: Field<List>,
    pub(super) deployment_environments: Field<List>,
    pub(super) prereleases: Field<bool>,
    /// Names of registries in deliveries, and the names that stacks use.
    pub(super) registry: BTreeMap<String, Sourced<String>>,
    pub(super) wait: Field,
    pub(super) allow_from: Field<List>,
    pub(super) payload: Option<Sourced<PayloadSection>>,
}

/// `[hook.payload]`
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PayloadSection {
    pub(super) each: Field,
    pub(super) event: Field,
    pub(super) branch: Field,
    pub(super) tag: Field,
    pub(super) repository: Field,
    pub(super) image: Field,
    pub(super) image_prefix: Field,
    pub(super) commit: Field,
    pub(super) id: Field,
    /// JSON pointers and the accepted values.
    pub(super) require: BTreeMap<String, Sourced<Vec<String>>>,
}

/// The section `[staff]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StaffSection {
    pub(super) user: Field,
    pub(super) password: Field,
    pub(super) password_file: Field,
}

/// Returns the keys of a section.
type KeysOf = fn() -> &'static [&'static str];

/// The keys of each section, by the section's name; "" is the top of the file. The order is that of the documentation.
pub(super) const SECTIONS: &[(&str, KeysOf)] = &[
    ("", keys_of::<ConfigFile>),
    ("portainer", keys_of::<PortainerSection>),
    ("notify", keys_of::<NotifySection>),
    ("stack", keys_of::<StackSection>),
    ("hook", keys_of::<HookSection>),
    ("hook.payload", keys_of::<PayloadSection>),
    ("staff", keys_of::<StaffSection>),
];

/// A value that may be missing.
pub(super) type Field<T = String> = Option<Sourced<T>>;

/// A list of texts.
pub(super) type List = Vec<Sourced<String>>;

/// A value and where it was written.
#[derive(Clone, Default)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) source: ValueSource,
}

impl<T> Sourced<T> {
    pub(super) fn new(value: T, source: ValueSource) -> Sourced<T> {
        Sourced { value, source }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sourced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let source = ValueSource::File(spanned.span().start);
        Ok(Sourced::new(spanned.into_inner(), source))
    }
}

/// The keys of a section, by its name in [`SECTIONS`].
pub(super) fn keys(section: &str) -> &'static [&'static str] {
    let found = SECTIONS.iter().find(|(name, _)| *name == section);
    found.map_or(&[], |(_, keys)| keys())
}

/// `portainer.url`; at the top of the file the key alone.
pub(super) fn join(section: &str, key: &str) -> String {
    match section {
        "" => key.to_owned(),
        _ => format!("{section}.{key}"),
    }
}

/// The field names of a struct, as its derived `Deserialize` states them.
fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct FieldNames<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for FieldNames<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only structs have field names"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    // The error is certain: the names are known before any value is asked for.
    let _ = T::deserialize(FieldNames(&mut fields));
    fields
}
