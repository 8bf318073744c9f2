//! `[notify]`.

use super::{leave, standard_webhooks};
use crate::config::problem::Place;
use crate::config::reading::{Reading, Taken};
use crate::config::values::Section;
use crate::config::{Notify, NotifyFormat, parse};

/// Who is told, if anything about it is given.
pub(super) fn notify(
    read: bool,
    section: &mut Section,
    reading: &mut Reading<'_>,
) -> Option<Notify> {
    let Some(given) = section.written() else {
        reading.show("notify", "none", Place::Nowhere);
        return None;
    };
    let (url, secret) = match read {
        true => (
            reading.secret(section, "url", "notify.url"),
            reading.secret(section, "secret", "notify.secret"),
        ),
        false => (leave(section, "url"), leave(section, "secret")),
    };
    let format = reading.setting(
        section,
        ("format", "notify.format"),
        (NotifyFormat::Json, "json"),
        |text| parse::choice(text, NotifyFormat::NAMES, NotifyFormat::parse),
    );
    if url.is_absent() {
        reading.lost(
            &given,
            "notify",
            "has no URL; set STACKHOOK_NOTIFY_URL or STACKHOOK_NOTIFY_URL_FILE (url or url_file)",
        );
        return None;
    }
    if let Taken::Good(url, place) = &url
        && let Err(text) = parse::url(url.expose())
    {
        reading.problem(place, "notify.url", text);
    }
    if let Taken::Good(secret, place) = &secret {
        if format != NotifyFormat::Json {
            let text = format!(
                "format {} cannot be signed; leave the secret out",
                format.name()
            );
            reading.problem(place, "notify.secret", text);
        } else if let Err(text) = standard_webhooks(secret) {
            reading.problem(place, "notify.secret", text);
        }
    }
    Some(Notify {
        url: url.good()?,
        format,
        secret: secret.good(),
    })
}
