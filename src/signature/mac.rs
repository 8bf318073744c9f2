//! HMACs in a header. The schemes of known senders are a table; scheme `hmac` is described by the configuration.

use std::borrow::Cow;

use super::{
    Reason, Rejection, Scheme, SchemeName, SecretMatch, SignedRequest, SignedTimestamp, check_age,
    exactly_one, find_secret, first_match, is_secret, parse_seconds,
};
use crate::secret::{Hash, Secret, from_base64, hex_bytes, to_base64, to_hex};
use crate::text::string_enum;

string_enum! {
    /// Spelling of the bytes of a signature.
    Encoding:
    /// Hexadecimal digits.
    Hex = "hex",
    /// Standard base64 with padding.
    Base64 = "base64",
}

/// The details of scheme `hmac`. The default is the hex HMAC-SHA256 of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HmacForm {
    /// The hash function.
    pub(crate) hash: Hash,
    /// The spelling of the signature.
    pub(crate) encoding: Encoding,
    /// Text before the signature, such as `v1=`. With a label the header may be a list separated by commas, in which only the
    /// entries with this label count.
    pub(crate) label: Cow<'static, str>,
    /// The signed text.
    pub(crate) signed: SignedText,
    /// The header with the signed Unix time, in lower case; the signature's own header if that is a list with `timestamp=` or `t=`.
    pub(crate) timestamp_header: Cow<'static, str>,
}

impl HmacForm {
    /// The usual form.
    pub(crate) const DEFAULT: HmacForm = HmacForm {
        hash: Hash::Sha256,
        encoding: Encoding::Hex,
        label: Cow::Borrowed(""),
        signed: SignedText::BODY,
        timestamp_header: Cow::Borrowed(""),
    };
}

/// A template of the signed text, with `{body}` once and perhaps `{timestamp}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedText(Cow<'static, str>);

impl SignedText {
    const BODY: SignedText = SignedText(Cow::Borrowed("{body}"));
    const TIMESTAMP: &'static str = "{timestamp}";

    /// Parses a template.
    ///
    /// Errors: the part that is missing or not known.
    pub(crate) fn parse(text: &str) -> Result<SignedText, String> {
        let rest = text
            .replacen("{body}", "", 1)
            .replacen(Self::TIMESTAMP, "", 1);
        match text.contains("{body}") {
            true if !rest.contains(['{', '}']) => Ok(SignedText(Cow::Owned(text.to_owned()))),
            _ => Err(
                "expected {body} once and {timestamp} at most once, such as {timestamp}.{body}"
                    .to_owned(),
            ),
        }
    }

    /// Returns whether a time is signed too.
    pub(crate) fn has_timestamp(&self) -> bool {
        self.0.contains(Self::TIMESTAMP)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn fill<'t>(&'t self, timestamp: &'t str, body: &'t [u8]) -> Vec<&'t [u8]> {
        let mut parts = Vec::new();
        for (index, around) in self.0.split("{body}").enumerate() {
            if index > 0 {
                parts.push(body);
            }
            for (index, literal) in around.split(Self::TIMESTAMP).enumerate() {
                if index > 0 {
                    parts.push(timestamp.as_bytes());
                }
                parts.push(literal.as_bytes());
            }
        }
        parts
    }
}

/// The header of a scheme and the form of the signature in it.
struct HeaderFormat<'s> {
    header: &'s str,
    label: Label<'s>,
    /// Upper-case hexadecimal digits are accepted.
    uppercase: bool,
    form: &'s HmacForm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label<'s> {
    /// `sha256=` must be there.
    Required,
    /// `sha256=` may be there.
    Optional,
    Never,
    /// Configured; the header may be a list.
    Listed(&'s str),
}

const SHA256_LABEL: &str = "sha256=";

/// Header and scheme, for hints about a wrong scheme.
pub(super) const HEADERS: &[(&str, &str)] = &[
    ("x-portainer-signature", "generic"),
    // The families send each other's headers as well: the most specific one comes first.
    ("x-forgejo-signature", "forgejo"),
    ("x-gitea-signature", "gitea"),
    ("x-gogs-signature", "gogs"),
    ("x-hub-signature-256", "github"),
    ("x-hub-signature", "bitbucket"),
];

fn header_format(scheme: &Scheme) -> HeaderFormat<'_> {
    const PLAIN: &HmacForm = &HmacForm::DEFAULT;
    let (header, label, uppercase, form) = match scheme.name {
        SchemeName::Github => ("x-hub-signature-256", Label::Required, false, PLAIN),
        SchemeName::Bitbucket => ("x-hub-signature", Label::Required, false, PLAIN),
        SchemeName::Gitea => ("x-gitea-signature", Label::Never, false, PLAIN),
        SchemeName::Forgejo => ("x-forgejo-signature", Label::Never, false, PLAIN),
        SchemeName::Gogs => ("x-gogs-signature", Label::Never, false, PLAIN),
        SchemeName::Hmac if scheme.hmac.label.is_empty() => {
            ("x-signature", Label::Never, true, &scheme.hmac)
        }
        SchemeName::Hmac => (
            "x-signature",
            Label::Listed(&scheme.hmac.label),
            true,
            &scheme.hmac,
        ),
        // .NET and PowerShell write capitals, copies of GitHub's examples the label.
        SchemeName::Generic
        | SchemeName::StandardWebhooks
        | SchemeName::Token
        | SchemeName::UrlToken => ("x-portainer-signature", Label::Optional, true, PLAIN),
    };
    let configurable = matches!(scheme.name, SchemeName::Generic | SchemeName::Hmac);
    let header = match scheme.header.as_str() {
        own if configurable && !own.is_empty() => own,
        _ => header,
    };
    HeaderFormat {
        header,
        label,
        uppercase,
        form,
    }
}

/// Checks the signature, and its time if one is signed.
pub(super) fn verify(
    scheme: &Scheme,
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    unix: u64,
) -> Result<SecretMatch, Rejection> {
    let format = header_format(scheme);
    let values = || request.headers.all(format.header);
    // Before the format is checked: a secret of 64 hex digits looks like a signature.
    if values().any(|value| is_raw_secret(secrets, value)) {
        return Err(Reason::RawSecretSent.into());
    }
    let missing = match scheme.name {
        SchemeName::Github if request.headers.get("x-hub-signature").is_some() => Reason::Sha1Only,
        _ => Reason::MissingSignature,
    };
    let value = exactly_one(values(), missing)?;
    let (mut timestamp, mut time) = ("", None);
    if format.form.signed.has_timestamp() {
        timestamp = find_timestamp(&format, request, value)?;
        let seconds = parse_seconds(timestamp).ok_or(Reason::TimestampMalformed)?;
        check_age(seconds, unix)?;
        time = Some(seconds);
    }
    let signatures = parse(&format, value)?;
    // The header's own text is signed, not the number that was read from it.
    let signed = format.form.signed.fill(timestamp, &request.body.0);
    let found = first_match(secrets, |secret| {
        let matches =
            |any, given: &Vec<u8>| any | secret.has_signed(format.form.hash, &signed, given);
        signatures.iter().fold(false, matches)
    });
    Ok(SecretMatch {
        timestamp: time.map(|time| SignedTimestamp { id: None, time }),
        ..found.ok_or(Reason::Mismatch)?
    })
}

/// Makes the headers that [`verify`] accepts.
pub(super) fn sign(
    scheme: &Scheme,
    secret: &Secret,
    body: &[u8],
    unix: u64,
) -> Vec<(String, String)> {
    let format = header_format(scheme);
    let time = unix.to_string();
    let mac = secret.sign_with(format.form.hash, &format.form.signed.fill(&time, body));
    let text = match format.form.encoding {
        Encoding::Hex => to_hex(&mac),
        Encoding::Base64 => to_base64(&mac),
    };
    let value = match format.label {
        Label::Required => format!("{SHA256_LABEL}{text}"),
        Label::Listed(label) => format!("{label}{text}"),
        Label::Optional | Label::Never => text,
    };
    let header = format.header.to_owned();
    match (
        format.form.signed.has_timestamp(),
        &format.form.timestamp_header,
    ) {
        (false, _) => vec![(header, value)],
        (true, own) if own == format.header => vec![(header, format!("timestamp={time},{value}"))],
        (true, own) => vec![(own.clone().into_owned(), time), (header, value)],
    }
}

/// The header and the value that a scheme expects.
pub(super) fn expected(scheme: &Scheme) -> String {
    let format = header_format(scheme);
    let label = match format.label {
        Label::Required => format!("\"{SHA256_LABEL}\" and "),
        Label::Listed(label) => format!("\"{label}\" and "),
        Label::Optional | Label::Never => String::new(),
    };
    let signed = match format.form.signed.as_str() {
        "{body}" => "the raw body".to_owned(),
        template => format!("\"{template}\""),
    };
    format!(
        "header \"{}\" with {label}the {} HMAC-{} of {signed}, keyed with the hook's secret",
        format.header,
        format.form.encoding.name(),
        format
            .form
            .hash
            .name()
            .to_uppercase()
            .replace("SHA", "SHA-")
            .replace("SHA-256", "SHA256"),
    )
}

/// The mistake behind a rejection, if the request shows it.
pub(super) fn explain(
    scheme: &Scheme,
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    reason: Reason,
) -> Option<String> {
    let format = header_format(scheme);
    let form_body = request
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("x-www-form-urlencoded"));
    let gitea_family = matches!(
        scheme.name,
        SchemeName::Gitea | SchemeName::Forgejo | SchemeName::Gogs
    );
    let value = request.headers.get(format.header).unwrap_or_default();
    let blank = value.is_empty() || value == SHA256_LABEL;
    let body = &request.body.0;
    Some(match reason {
        Reason::MissingSignature => {
            let place = find_secret(secrets, request)?;
            format!(
                "{place} carries the secret itself; send its signature, {}, and rotate the secret, it has been exposed",
                expected(scheme)
            )
        }
        Reason::BadLength | Reason::BadPrefix if blank => {
            "the signature is empty: the sender has no secret set".to_owned()
        }
        Reason::BadLength | Reason::BadPrefix | Reason::NotHex | Reason::NotBase64
            if scheme.name == SchemeName::Hmac =>
        {
            format!("the value is not as this hook expects: {}", expected(scheme))
        }
        Reason::TimestampMissing => format!(
            "the signed time is missing; this hook reads it from header \"{}\"",
            format.form.timestamp_header
        ),
        Reason::Mismatch if gitea_family && form_body => {
            "this sender signs the JSON and not the form; choose content type application/json there".to_owned()
        }
        Reason::Mismatch if body.is_empty() => "the body arrived empty; was it lost on the way?".to_owned(),
        Reason::Mismatch if body.ends_with(b"\n") => {
            "the body ends in a line end; was it signed without? use printf '%s' and --data-binary".to_owned()
        }
        Reason::Mismatch if scheme.name == SchemeName::Generic => format!(
            "{}; sign exactly the bytes that are sent, with printf '%s' and not echo",
            reason.text()
        ),
        Reason::Mismatch if scheme.name == SchemeName::Hmac => {
            format!("{}; this hook expects {}", reason.text(), expected(scheme))
        }
        _ => return None,
    })
}

fn find_timestamp<'r>(
    format: &HeaderFormat<'_>,
    request: &SignedRequest<'r>,
    value: &'r str,
) -> Result<&'r str, Rejection> {
    if format.form.timestamp_header != format.header {
        let values = request.headers.all(&format.form.timestamp_header);
        return exactly_one(values, Reason::TimestampMissing);
    }
    let time = |entry: &'r str| {
        entry
            .strip_prefix("timestamp=")
            .or(entry.strip_prefix("t="))
    };
    let times = value.split(',').map(str::trim).filter_map(time);
    exactly_one(times, Reason::TimestampMissing)
}

/// The signatures in a header: exactly one, or those with the configured label.
fn parse(format: &HeaderFormat<'_>, value: &str) -> Result<Vec<Vec<u8>>, Rejection> {
    // More than any sender lists while it rotates its secrets.
    const LISTED_MAX: usize = 8;
    let texts: Vec<&str> = match (value.strip_prefix(SHA256_LABEL), format.label) {
        (_, Label::Listed(label)) => {
            let entries = value.split(',').map(str::trim);
            entries
                .filter_map(|entry| entry.strip_prefix(label))
                .take(LISTED_MAX)
                .collect()
        }
        (Some(text), Label::Required | Label::Optional) => vec![text],
        (None, Label::Never | Label::Optional) => vec![value],
        (Some(_), Label::Never) | (None, Label::Required) => Vec::new(),
    };
    if texts.is_empty() {
        return Err(Reason::BadPrefix.into());
    }
    texts.into_iter().map(|text| decode(format, text)).collect()
}

fn decode(format: &HeaderFormat<'_>, text: &str) -> Result<Vec<u8>, Rejection> {
    if has_hash_name(text) {
        return Err(Reason::BadPrefix.into());
    }
    let length = format.form.hash.length();
    let bytes = match format.form.encoding {
        Encoding::Base64 => from_base64(text).ok_or(Reason::NotBase64)?,
        Encoding::Hex => {
            if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(Reason::NotHex.into());
            }
            if !format.uppercase && text.bytes().any(|digit| digit.is_ascii_uppercase()) {
                return Err(Reason::UppercaseHex.into());
            }
            hex_bytes(text).ok_or(Reason::BadLength)?
        }
    };
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(Reason::BadLength.into()),
    }
}

/// Returns whether the text begins with the name of a hash and `=`: another hash, another spelling, or a second label.
fn has_hash_name(text: &str) -> bool {
    let label = text.split_once('=').map(|(label, _)| label);
    label
        .and_then(|label| label.split_at_checked(3))
        .is_some_and(|(name, number)| {
            name.eq_ignore_ascii_case("sha")
                && !number.is_empty()
                && number.bytes().all(|digit| digit.is_ascii_digit())
        })
}

/// Returns whether the value is a secret instead of a signature: bare, with a label, or as a bearer token.
fn is_raw_secret(secrets: &[Secret], value: &str) -> bool {
    let bearer = value
        .split_once(' ')
        .filter(|(word, _)| word.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    let spellings = [Some(value), value.strip_prefix(SHA256_LABEL), bearer];
    let mut found = false;
    for text in spellings.into_iter().flatten() {
        found |= is_secret(secrets, text.trim().as_bytes());
    }
    found
}
