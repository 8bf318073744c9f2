//! Clean-up: removes exactly the images that the update before this one had replaced. One generation stays for a rollback, and
//! no removal is forced.

use std::collections::BTreeSet;

use crate::redeploy::record::{StackRecord, moved};
use crate::redeploy::{Run, Submission};

impl Run<'_> {
    /// Cleans up after a verified update.
    pub(super) fn clean_up(&mut self, submission: &Submission, record: &mut StackRecord) {
        let replaced = moved(submission).into_values().collect::<BTreeSet<_>>();
        if replaced.is_empty() {
            return;
        }
        let in_use: Vec<&String> = submission.images.values().chain(&replaced).collect();
        let old: Vec<String> = record
            .replaced
            .iter()
            .filter(|id| !in_use.contains(id))
            .cloned()
            .collect();
        record.replaced = replaced.clone();
        for id in old {
            // It was given a tag since, by a person or another stack.
            let untagged = match self.cx.portainer.image(submission.environment, &id) {
                Ok(Some(image)) => image.repo_tags.is_empty(),
                Ok(None) => continue,
                Err(_) => false,
            };
            let refused = match untagged {
                true => self
                    .cx
                    .portainer
                    .remove_image(submission.environment, &id)
                    .err()
                    .map(|error| error.to_string()),
                false => Some("it carries a tag".to_owned()),
            };
            let short = id.trim_start_matches("sha256:").get(..12).unwrap_or(&id);
            self.notes.push(match refused {
                None => format!("removed the image {short} of the update before"),
                Some(why) => format!("the image {short} of the update before stays: {why}"),
            });
        }
    }
}
