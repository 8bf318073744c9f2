//! `stackhook show-config`

use std::path::Path;

use serde_json::json;

use super::{CommandError, Exit, Verbosity, load, print};
use crate::config::{ConfigScope, Setting};

/// Prints the effective configuration and the source of each value.
pub(super) fn run(file: Option<&Path>, json: bool) -> Result<Exit, CommandError> {
    let loaded = load(ConfigScope::Show, file, Verbosity::Command)?;
    match json {
        true => print(&format!(
            "{}\n",
            json!({"settings": loaded.shown, "warnings": loaded.warnings})
        )),
        false => print(&table(&loaded.shown)),
    }
}

/// One line per setting: key, value and source, in columns.
fn table(settings: &[Setting]) -> String {
    // A single long value must not push every source off the screen.
    const MAX_WIDTH: usize = 48;
    let width = |cell: fn(&Setting) -> &str| {
        let widths = settings.iter().map(|row| cell(row).chars().count());
        widths.max().unwrap_or(0).min(MAX_WIDTH)
    };
    let (keys, values) = (width(|row| &row.key), width(|row| &row.value));
    let line = |Setting { key, value, source }: &Setting| {
        format!("{key:keys$}  {value:values$}  {source}\n")
    };
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_beside_a_long_value() {
        let long = "x".repeat(50);
        let row = |key: &str, value: &str, source: &str| Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            source: source.to_owned(),
        };
        let rows = [
            row("listen", "127.0.0.1:8484", "default"),
            row("portainer.url", &long, "PORTAINER_URL"),
        ];
        let pad = " ".repeat(48 - 14);
        let expected = format!(
            "listen         127.0.0.1:8484{pad}  default\nportainer.url  {long}  PORTAINER_URL\n"
        );
        assert_eq!(table(&rows), expected);
        assert_eq!(table(&[]), "");
    }
}
