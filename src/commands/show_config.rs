//! `stackhook show-config`

use std::path::Path;

use serde_json::json;

use super::{Exit, Stop, Voice, load, print};
use crate::config::{ConfigScope, show};

/// Prints the effective configuration and the source of each value.
pub(super) fn run(file: Option<&Path>, json: bool) -> Result<Exit, Stop> {
    let loaded = load(ConfigScope::Show, file, Voice::Command)?;
    match json {
        true => print(&format!(
            "{}\n",
            json!({"settings": loaded.shown, "warnings": loaded.warnings})
        )),
        false => print(&show::render(&loaded.shown)),
    }
}
