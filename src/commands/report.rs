//! Text for the report of a stack.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::table::columns;
use crate::stack::outcome::{ServiceReport, StackReport};

/// `shop on local: updated, 1 of 2 services updated, all healthy (8.2 s)`, and a line per service. The message of a failure is left
/// out, because stderr has it.
pub(super) fn describe(report: &StackReport, has_failed: bool) -> String {
    let mut text = report.name.clone();
    if let Some(environment) = &report.environment {
        let _ = write!(text, " on {environment}");
    }
    let _ = write!(text, ": {}", report.outcome.name());
    if !has_failed {
        let _ = write!(text, ", {}", report.message);
    }
    let _ = writeln!(text, " ({} s)", report.seconds);
    let rows: Vec<Vec<String>> = report.services.iter().map(row).collect();
    text.push_str(&columns(2, &rows));
    text
}

fn row(service: &ServiceReport) -> Vec<String> {
    let state = match json!(service.state) {
        Value::String(state) => state,
        other => other.to_string(),
    };
    let mut more = Vec::new();
    if service.new_image {
        more.push("new image".to_owned());
    }
    if service.recreated {
        more.push("recreated".to_owned());
    }
    more.extend(service.exit_code.map(|code| format!("exit code {code}")));
    more.extend(service.restarts.map(|count| format!("{count} restarts")));
    vec![
        service.service.clone(),
        service.image.clone(),
        state,
        more.join(", "),
    ]
}
