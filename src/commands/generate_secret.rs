//! `stackhook generate-secret`

use super::{Exit, Stop, print};
use crate::cli::SecretFormat;
use crate::secret::{NoRandomness, Secret, random, to_base64};

/// Prints a new secret.
pub(super) fn run(format: SecretFormat) -> Result<Exit, Stop> {
    let secret =
        make(format).map_err(|why| Stop::Failed(format!("cannot make a secret: {why}")))?;
    print(&format!("{secret}\n"))
}

fn make(format: SecretFormat) -> Result<String, NoRandomness> {
    match format {
        SecretFormat::Plain => Ok(Secret::generate(32)?.expose().to_owned()),
        // 24 to 64 bytes, says the specification of Standard Webhooks.
        SecretFormat::StandardWebhooks => Ok(format!("whsec_{}", to_base64(&random::<32>()?))),
    }
}
