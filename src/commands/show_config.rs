//! `stackhook show-config`

use std::path::Path;

use super::{Exit, Stop, Voice, load, print};
use crate::config::{ConfigScope, show};

/// Prints what is in force and where it comes from.
pub(super) fn run(file: Option<&Path>) -> Result<Exit, Stop> {
    let loaded = load(ConfigScope::Show, file, Voice::Command)?;
    print(&show::render(&loaded.shown))
}
