//! `[hook.payload]`: where the JSON of sender `custom` says what.

use crate::config::parse;
use crate::config::reading::{Reading, Taken};
use crate::config::values::{Kind, Section, Value};
use crate::hook::{Payload, Sender};

/// The pointers, where there are any.
pub(super) fn payload(
    sender: Sender,
    section: &mut Section,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Option<Payload> {
    let value = section.take("payload")?;
    let Kind::Table(mut section) = value.kind else {
        let text = format!(
            "expected a section [hook.payload], found {}",
            value.kind.name()
        );
        reading.problem(&value.place, "hook.payload", text);
        return None;
    };
    if !sender.has_payload() {
        let text = format!(
            "belongs to sender custom, and this hook's sender is {}, whose payload is known",
            sender.name()
        );
        reading.problem(&value.place, "hook.payload", text);
    }
    let mut payload = Payload::default();
    for (key, pointer) in [
        ("each", &mut payload.each),
        ("event", &mut payload.event),
        ("branch", &mut payload.branch),
        ("tag", &mut payload.tag),
        ("repository", &mut payload.repository),
        ("image", &mut payload.image),
        ("commit", &mut payload.commit),
        ("id", &mut payload.id),
    ] {
        if let Taken::Good(text, place) = reading.text(&mut section, key, parse::pointer) {
            reading.show(label(&format!("payload.{key}")), &text, place);
            *pointer = Some(text);
        }
    }
    payload.require = require(section.take("require"), label, reading);
    reading.finish(section);
    Some(payload)
}

/// Pointers and the values of which one must stand there, in the order of the file.
fn require(
    value: Option<Value>,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Vec<(String, Vec<String>)> {
    const PATH: &str = "hook.payload.require";
    let Some(value) = value else {
        return Vec::new();
    };
    let Kind::Table(section) = value.kind else {
        let text = format!(
            "expected pointers and values, such as {{ \"/status\" = \"success\" }}, found {}",
            value.kind.name()
        );
        reading.problem(&value.place, PATH, text);
        return Vec::new();
    };
    let mut entries = section.entries;
    entries.sort_unstable_by_key(|(_, value)| value.position);
    let mut required = Vec::new();
    for (pointer, value) in entries {
        let pointer = match parse::pointer(&pointer) {
            Ok(pointer) => pointer,
            Err(text) => {
                reading.problem(&value.place, PATH, text);
                continue;
            }
        };
        let values = match value.kind {
            Kind::List(values) => values,
            kind => vec![Value {
                kind,
                place: value.place.clone(),
                position: value.position,
            }],
        };
        let mut texts = Vec::new();
        for one in &values {
            match &one.kind {
                Kind::Text(text) | Kind::Integer(text) => texts.push(text.clone()),
                Kind::Boolean(flag) => texts.push(flag.to_string()),
                other => {
                    let text =
                        format!("expected a text or a list of texts, found {}", other.name());
                    reading.problem(&one.place, PATH, text);
                }
            }
        }
        if values.is_empty() {
            reading.problem(&value.place, PATH, "an empty list can never be met");
        }
        reading.show(
            label(&format!("payload.require {pointer}")),
            texts.join(", "),
            value.place,
        );
        required.push((pointer, texts));
    }
    required
}
