//! The `filters` query of Docker's lists.

use std::collections::BTreeMap;

use serde_json::Value;

use super::http::{Answer, Request};

/// Docker's `filters` query: `{"label":["a=b"]}` or `{"label":{"a=b":true}}`.
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    pub(super) fn of(request: &Request) -> Result<Filters, Answer> {
        let Some(text) = request.query("filters").filter(|text| !text.is_empty()) else {
            return Ok(Filters(BTreeMap::new()));
        };
        let parsed: Value =
            serde_json::from_str(text).map_err(|_| Answer::docker_error(400, "invalid filter"))?;
        let object = parsed
            .as_object()
            .ok_or_else(|| Answer::docker_error(400, "invalid filter"))?;
        let values = |value: &Value| match value {
            Value::Array(items) => items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        Ok(Filters(
            object
                .iter()
                .map(|(name, value)| (name.clone(), values(value)))
                .collect(),
        ))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Tells whether a value of a filter matches; without such a filter everything matches.
    pub(super) fn matches(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.iter().any(|value| fits(value)))
    }

    /// Tells whether all labels of the filter are present.
    pub(super) fn labels_match(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.get("label").is_none_or(|wanted| {
            wanted.iter().all(|label| match label.split_once('=') {
                Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
                None => labels.contains_key(label),
            })
        })
    }
}
