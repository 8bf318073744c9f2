//! `stackhook generate-secret`

use super::Stop;
use crate::cli::SecretFormat;
use crate::secret::{NoRandomness, Secret, random, to_base64};
use crate::terminal;

/// Prints a new secret.
pub(super) fn run(format: SecretFormat) -> Result<(), Stop> {
    let secret =
        make(format).map_err(|why| Stop::Failed(format!("cannot make a secret: {why}")))?;
    Ok(terminal::print(&format!("{secret}\n"))?)
}

fn make(format: SecretFormat) -> Result<String, NoRandomness> {
    match format {
        SecretFormat::Plain => Ok(Secret::generate(32)?.expose().to_owned()),
        // 24 to 64 bytes, says the specification of Standard Webhooks.
        SecretFormat::StandardWebhooks => Ok(format!("whsec_{}", to_base64(&random::<32>()?))),
    }
}
