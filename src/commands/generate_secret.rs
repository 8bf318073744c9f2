//! `stackhook generate-secret`

use super::{CommandError, Exit, print};
use crate::cli::SecretFormat;
use crate::secret::{NoRandomness, Secret, random, to_base64};

/// Prints a new secret.
pub(super) fn run(format: SecretFormat) -> Result<Exit, CommandError> {
    let secret = generate(format)
        .map_err(|why| CommandError::Failed(format!("cannot generate a secret: {why}")))?;
    print(&format!("{secret}\n"))
}

fn generate(format: SecretFormat) -> Result<String, NoRandomness> {
    match format {
        SecretFormat::Plain => Ok(Secret::generate(32)?.expose().to_owned()),
        // 24 to 64 bytes, says the specification of Standard Webhooks.
        SecretFormat::StandardWebhooks => Ok(format!("whsec_{}", to_base64(&random::<32>()?))),
    }
}
