//! Takes secrets out of sections: from the text itself or from the file that it names; shown is only how long they are.

use super::{Reading, Taken};
use crate::config::credentials;
use crate::config::problem::Place;
use crate::config::values::{Kind, Section};
use crate::secret::Secret;

impl Reading<'_> {
    /// One secret, under `key` or in the file under `key` + `_file`.
    pub(in crate::config) fn secret(
        &mut self,
        section: &mut Section,
        key: &str,
        label: &str,
    ) -> Taken<Secret> {
        match self.secrets(section, (key, label), false) {
            Taken::Good(secrets, place) => match secrets.into_iter().next() {
                Some(secret) => Taken::Good(secret, place),
                None => Taken::Absent,
            },
            Taken::Absent => Taken::Absent,
            Taken::Bad => Taken::Bad,
        }
    }

    /// Secrets, one a line, newest first.
    pub(in crate::config) fn secrets(
        &mut self,
        section: &mut Section,
        (key, label): (&str, &str),
        several: bool,
    ) -> Taken<Vec<Secret>> {
        let of_file = format!("{key}_file");
        let (key, value, in_file) = match (section.take(key), section.take(&of_file)) {
            (None, None) => return Taken::Absent,
            (Some(_), Some(second)) => {
                let text = format!("\"{key}\" is given too; only one of them can count");
                self.problem(&second.place, section.path(&of_file), text);
                return Taken::Bad;
            }
            (Some(value), None) => (key, value, false),
            (None, Some(value)) => (of_file.as_str(), value, true),
        };
        let (path, place) = (section.path(key), value.place);
        let read = match value.kind {
            Kind::Bad => return Taken::Bad,
            Kind::Text(text) if in_file => self.secrets_in_file(&text, &place, several),
            Kind::Text(text) => self.secrets_in_text(&text, &place, &path, several),
            other => Err(format!("expected a text in quotes, found {}", other.name())),
        };
        match read {
            Ok((secrets, source)) => {
                let padded = |secret: &Secret| secret.expose().trim() != secret.expose();
                if secrets.iter().any(padded) {
                    let text = "begins or ends with a space, which counts as part of the secret";
                    self.warn(&place, path, text);
                }
                self.show(label, told(&secrets), source);
                Taken::Good(secrets, place)
            }
            Err(text) => {
                self.problem(&place, path, text);
                Taken::Bad
            }
        }
    }

    /// The secrets, and their source as it is shown.
    fn secrets_in_file(
        &mut self,
        text: &str,
        place: &Place,
        several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let path = self.path(text, place)?;
        let found = credentials::read(text, &path, several, self.surroundings)?;
        self.warnings.extend(found.warnings);
        Ok((found.secrets, format!("{place} -> {}", path.display())))
    }

    fn secrets_in_text(
        &mut self,
        text: &str,
        place: &Place,
        path: &str,
        several: bool,
    ) -> Result<(Vec<Secret>, String), String> {
        let secrets = credentials::parse(text, several)?;
        let mut signs = text.chars();
        let quotes = (signs.next(), signs.next_back());
        match place {
            Place::Variable(_)
                if matches!(quotes, (Some('"'), Some('"')) | (Some('\''), Some('\''))) =>
            {
                let text = "begins and ends with a quote, which counts as part of the secret (Docker's env \
                            files keep quotes)";
                self.warn(place, path, text);
            }
            Place::Line(file, _) if self.open_to_others => {
                let text = format!(
                    "any user of this host can read this secret; mend it with: chmod o-r {file}"
                );
                self.warn(place, path, text);
            }
            _ => {}
        }
        Ok((secrets, place.to_string()))
    }
}

/// What may be told about secrets.
fn told(secrets: &[Secret]) -> String {
    let count = |secret: &Secret| secret.expose().chars().count().to_string();
    let lengths: Vec<String> = secrets.iter().map(count).collect();
    match lengths.as_slice() {
        [length] => format!("set, {length} characters"),
        lengths => format!(
            "{} secrets of {} characters",
            lengths.len(),
            lengths.join(", ")
        ),
    }
}
