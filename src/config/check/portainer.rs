//! `[portainer]`: exactly one kind of credential, at most one kind of trust.

use std::time::Duration;

use super::{leave, within_a_day};
use crate::config::problem::Place;
use crate::config::reading::{Reading, Taken};
use crate::config::values::Section;
use crate::config::{Credentials, Need, Portainer, Trust, disk, parse};
use crate::limits;
use crate::secret;

/// Portainer and who we are there, where everything for it is given.
pub(super) fn portainer(
    need: Need,
    read: bool,
    section: &mut Section,
    reading: &mut Reading<'_>,
) -> Option<Portainer> {
    let required = matches!(need, Need::Portainer | Need::Serve);
    let url = reading.optional(
        section,
        ("url", "portainer.url"),
        "none",
        parse::portainer_url,
    );
    if url.is_absent() && required {
        reading.lost(
            &Place::Nowhere,
            "portainer.url",
            "is missing; set PORTAINER_URL, or url in [portainer], such as \"http://portainer:9000\"",
        );
    }
    let credentials = credentials(required, read, section, reading);
    let trust = trust(read, url_is_plain(&url), section, reading);
    let timeout = reading.setting_unless_odd(
        section,
        ("timeout", "portainer.timeout"),
        (Duration::from_secs(30 * 60), "30m"),
        |text| within_a_day(text, true),
        |timeout| {
            (*timeout < limits::REDEPLOY_LITTLE).then(|| {
                format!(
                    "hardly a redeploy, from its pull to the end of its health check, ends well within {} s; set 5m or more, or \
                     leave it out (30m)",
                    timeout.as_secs_f64()
                )
            })
        },
    );
    Some(Portainer {
        url: url.good()?,
        credentials: credentials?,
        trust,
        timeout,
    })
}

fn url_is_plain(url: &Taken<String>) -> bool {
    matches!(url, Taken::Good(url, _) if url.starts_with("http://"))
}

fn credentials(
    required: bool,
    read: bool,
    section: &mut Section,
    reading: &mut Reading<'_>,
) -> Option<Credentials> {
    let start = section.place.clone();
    let (api_key, password) = match read {
        true => (
            reading.secret(section, "api_key", "portainer.api_key"),
            reading.secret(section, "password", "portainer.password"),
        ),
        false => (leave(section, "api_key"), leave(section, "password")),
    };
    let user = reading.text(section, "user", parse::word);
    if let Taken::Good(user, place) = &user {
        reading.show("portainer.user", user, place);
    }
    if !read {
        return None;
    }
    if let Taken::Good(key, place) = &api_key {
        // It is a header's value.
        if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = "contains a sign that no API key has";
            reading.problem(place, "portainer.api_key", text);
        }
    }
    match (api_key, user, password) {
        (Taken::Absent, Taken::Absent, Taken::Absent) => {
            reading.show("portainer.api_key", "none", Place::Nowhere);
            if required {
                reading.lost(
                    &start,
                    "portainer",
                    "has no credentials; set PORTAINER_API_KEY or PORTAINER_API_KEY_FILE (api_key or \
                     api_key_file), or PORTAINER_USER and PORTAINER_PASSWORD",
                );
            }
            None
        }
        (Taken::Absent, user, Taken::Absent) => {
            let place = user.place().cloned().unwrap_or(start);
            reading.lost(
                &place,
                "portainer.user",
                "has no password; set PORTAINER_PASSWORD or PORTAINER_PASSWORD_FILE (password or \
                 password_file), or an API key instead of the user",
            );
            None
        }
        (Taken::Absent, Taken::Absent, password) => {
            let place = password.place().cloned().unwrap_or(start);
            reading.lost(
                &place,
                "portainer.password",
                "has no user; set PORTAINER_USER (user)",
            );
            None
        }
        (Taken::Absent, user, password) => Some(Credentials::Login {
            user: user.good()?,
            password: password.good()?,
        }),
        (api_key, user, password) => {
            let second = [user.place(), password.place()]
                .into_iter()
                .flatten()
                .next();
            if let Some(place) = second.cloned() {
                let first = api_key
                    .place()
                    .map_or_else(String::new, |place| format!(" ({place})"));
                reading.problem(
                    &place,
                    "portainer",
                    format!(
                        "an API key is given{first} and a user or password too; only one of them can \
                         count: PORTAINER_API_KEY, or PORTAINER_USER and PORTAINER_PASSWORD"
                    ),
                );
            }
            api_key.good().map(Credentials::ApiKey)
        }
    }
}

fn trust(read: bool, plain: bool, section: &mut Section, reading: &mut Reading<'_>) -> Trust {
    let insecure_place = section.get("insecure").map(|value| value.place.clone());
    let file = reading.text(section, "ca_file", |text| Ok(text.to_owned()));
    let roots = match &file {
        Taken::Good(text, place) if read => roots(text, place, reading),
        Taken::Absent => {
            reading.show("portainer.ca_file", "none", Place::Nowhere);
            None
        }
        Taken::Good(..) | Taken::Bad => None,
    };
    let pin = reading.text(section, "certificate_sha256", parse::fingerprint);
    match &pin {
        Taken::Good(pin, place) => {
            reading.show("portainer.certificate_sha256", secret::to_hex(pin), place);
        }
        Taken::Absent => reading.show("portainer.certificate_sha256", "none", Place::Nowhere),
        Taken::Bad => {}
    }
    let insecure = reading.flag(section, ("insecure", "portainer.insecure"));
    let insecure_place = insecure_place.filter(|_| insecure);
    let places: Vec<&Place> = [file.place(), pin.place(), insecure_place.as_ref()]
        .into_iter()
        .flatten()
        .collect();
    if let [first, others @ ..] = places.as_slice() {
        if let [second, ..] = others {
            reading.problem(
                second,
                "portainer",
                format!(
                    "only one of ca_file, certificate_sha256 and insecure can count, and {first} gives \
                     another"
                ),
            );
        } else if plain {
            reading.warnings.push(format!(
                "{first}: ca_file, certificate_sha256 and insecure mean nothing with an http:// URL"
            ));
        }
    }
    if let Some(pin) = pin.good() {
        return Trust::Certificate(pin);
    }
    if let Some(roots) = roots {
        return roots;
    }
    if insecure {
        if !plain {
            reading.warnings.push(
                "portainer.insecure: anybody between stackhook and Portainer can read the credentials and \
                 change every answer; certificate_sha256 is as easy and safe"
                    .to_owned(),
            );
        }
        return Trust::Insecure;
    }
    Trust::PublicRoots
}

fn roots(text: &str, place: &Place, reading: &mut Reading<'_>) -> Option<Trust> {
    let read = reading.path(text, place).and_then(|file| {
        // Bundles of all public roots are larger than a secret, and smaller than this.
        let pem = disk::read(&file, limits::CONFIG_FILE_MAX)?.content;
        match pem.contains("-----BEGIN CERTIFICATE-----") {
            true => Ok((file, pem)),
            false => Err(format!("{file:?} holds no certificate in PEM format")),
        }
    });
    match read {
        Ok((file, pem)) => {
            reading.show("portainer.ca_file", file.display(), place);
            Some(Trust::Roots { file, pem })
        }
        Err(text) => {
            reading.problem(place, "portainer.ca_file", text);
            None
        }
    }
}
