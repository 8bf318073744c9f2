//! How a hook's deliveries prove themselves: the sender's own scheme or the configured one, and secrets that fit it.

use crate::config::check::standard_webhooks;
use crate::config::parse;
use crate::config::problem::Place;
use crate::config::reading::{Reading, Taken};
use crate::config::values::Section;
use crate::hook::{Scheme, SchemeName, Sender, TokenKind};
use crate::limits;
use crate::secret::Secret;

/// The scheme with its header and kind; where a secret decides about it, that has to be known.
pub(super) fn scheme(
    sender: Sender,
    section: &mut Section,
    secrets: &Taken<Vec<Secret>>,
    label: &impl Fn(&str) -> String,
    reading: &mut Reading<'_>,
) -> Option<Scheme> {
    let named = |text: &str| parse::choice(text, SchemeName::NAMES, SchemeName::parse);
    let kind = |text: &str| parse::choice(text, TokenKind::NAMES, TokenKind::parse);
    let name = reading.text(section, "scheme", named);
    let header = reading.text(section, "header", parse::header);
    let kind = reading.text(section, "kind", kind);
    let (name, place) = match name {
        Taken::Good(name, place) => (name, place),
        Taken::Bad => return None,
        Taken::Absent => match sender.default_scheme(match secrets {
            Taken::Good(secrets, _) => Some(secrets),
            Taken::Absent | Taken::Bad => None,
        }) {
            Ok(name) => (name?, Place::Nowhere),
            Err(text) => {
                let place = secrets.place().cloned().unwrap_or(Place::Nowhere);
                reading.problem(&place, "hook.secret", text);
                return None;
            }
        },
    };
    let (takes_header, takes_kind) = match name {
        SchemeName::Token => (true, true),
        SchemeName::Generic => (true, false),
        _ => (false, false),
    };
    for (given, takes, key, of) in [
        (
            header.place(),
            takes_header,
            "hook.header",
            "schemes token and generic",
        ),
        (kind.place(), takes_kind, "hook.kind", "scheme token"),
    ] {
        if let (Some(place), false) = (given, takes) {
            let text = format!("belongs to {of}, and this hook's scheme is {}", name.name());
            reading.problem(place, key, text);
        }
    }
    let place_of = |given: Option<&Place>| given.cloned().unwrap_or(Place::Nowhere);
    let (header_place, kind_place) = (place_of(header.place()), place_of(kind.place()));
    let default = sender.scheme(name);
    let header = header.good().unwrap_or_else(|| default.header.clone());
    let kind = kind.good().unwrap_or(match header == default.header {
        true => default.kind,
        // Only `Authorization` has words in front of the token.
        false if header != "authorization" => TokenKind::Raw,
        false => TokenKind::Bearer,
    });
    reading.show(label("scheme"), name.name(), place);
    if takes_header {
        reading.show(label("header"), &header, header_place);
    }
    if takes_kind {
        reading.show(label("kind"), kind.name(), kind_place);
    }
    Some(Scheme {
        header,
        kind,
        ..default
    })
}

/// What keeps secrets from being used with a scheme; says which, not what.
pub(super) fn unfit(scheme: &Scheme, secrets: &[Secret]) -> Vec<String> {
    let wrong = |secret: &Secret| {
        let text = secret.expose();
        let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match (scheme.name, scheme.kind) {
            (SchemeName::StandardWebhooks, _) => standard_webhooks(secret),
            (SchemeName::Token, TokenKind::Basic) if !text.contains(':') => {
                Err("kind basic needs user:password as the secret".to_owned())
            }
            _ if secret.len() < limits::WEBHOOK_SECRET_MIN => Err(format!(
                "is shorter than {} bytes; \"stackhook generate-secret\" prints one that cannot be guessed",
                limits::WEBHOOK_SECRET_MIN
            )),
            (SchemeName::Token, TokenKind::Raw | TokenKind::Bearer) if !visible => {
                Err("contains a sign that no header can carry".to_owned())
            }
            _ => Ok(()),
        }
    };
    let number = |index: usize, text: String| match secrets.len() {
        1 => text,
        _ => format!("secret {}: {text}", index + 1),
    };
    let texts = secrets.iter().enumerate();
    texts
        .filter_map(|(index, secret)| Some(number(index, wrong(secret).err()?)))
        .collect()
}
