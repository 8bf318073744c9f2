//! What is in force and where it comes from, as a table for people. Secrets are rows that tell their length.

use std::fmt::Write as _;

/// One setting that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Such as `portainer.url` or `stack.app.pull`.
    pub(crate) key: String,
    /// As one would write it; of a secret only its length.
    pub(crate) value: String,
    /// File and line, variable, credential, or `default`.
    pub(crate) source: String,
}

/// A line a row: key, value, source, in columns.
pub(crate) fn render(rows: &[Shown]) -> String {
    // A single long value must not push every source out of sight.
    const WIDEST: usize = 48;
    let widest = |of: fn(&Shown) -> &str| {
        let widths = rows.iter().map(|row| of(row).chars().count());
        widths.max().unwrap_or(0).min(WIDEST)
    };
    let (keys, values) = (widest(|row| &row.key), widest(|row| &row.value));
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
    fn columns_are_aligned_and_a_long_value_stands_out_alone() {
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
