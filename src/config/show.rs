//! The effective configuration and its sources, as a table or as JSON. Of secrets it only says that they are set.

use std::fmt::Write as _;

use serde::Serialize;

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Such as `portainer.url` or `stack.app.pull`.
    pub(crate) key: String,
    /// As one would write it; for a secret only that it is set.
    pub(crate) value: String,
    /// File and line, variable, credential, or `default`.
    pub(crate) source: String,
}

/// One line per row: key, value and source, in columns.
pub(crate) fn render(rows: &[Shown]) -> String {
    // A single long value must not push every source off the screen.
    const MAX_WIDTH: usize = 48;
    let max_width = |cell: fn(&Shown) -> &str| {
        let widths = rows.iter().map(|row| cell(row).chars().count());
        widths.max().unwrap_or(0).min(MAX_WIDTH)
    };
    let (keys, values) = (max_width(|row| &row.key), max_width(|row| &row.value));
    let mut text = String::new();
    for Shown { key, value, source } in rows {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{key:keys$}  {value:values$}  {source}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: &str, source: &str) -> Shown {
        Shown {
            key: key.to_owned(),
            value: value.to_owned(),
            source: source.to_owned(),
        }
    }

    #[test]
    fn columns_are_aligned_beside_a_long_value() {
        let long = "x".repeat(50);
        let rows = [
            row("listen", "127.0.0.1:8484", "default"),
            row("portainer.url", &long, "PORTAINER_URL"),
        ];
        let pad = " ".repeat(48 - 14);
        assert_eq!(
            render(&rows),
            format!(
                "listen         127.0.0.1:8484{pad}  default\nportainer.url  {long}  PORTAINER_URL\n"
            )
        );
        assert_eq!(render(&[]), "");
    }
}
