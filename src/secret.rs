//! Secrets, HMAC, digests, encodings and random bytes. The only module that uses hmac, sha2, subtle, hex, base64 and getrandom.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::digest::Output;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::text::string_enum;

/// A secret text. Has no `Display` and no `Serialize`, and is compared in constant time only.
#[derive(Clone)]
pub(crate) struct Secret(String);

/// Reason for which a text is not a valid secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotASecret {
    /// Empty or blank: anyone can sign with an empty key.
    Empty,
    /// Contains a control character, usually the end of a copied line.
    Control,
}

impl fmt::Display for NotASecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotASecret::Empty => "is empty",
            NotASecret::Control => "contains a control character",
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// Creates a secret. Rejects blank text and control characters; minimum lengths are up to the configuration.
    pub(crate) fn new(text: impl Into<String>) -> Result<Secret, NotASecret> {
        let text = text.into();
        match text.trim().is_empty() {
            true => Err(NotASecret::Empty),
            false if text.chars().any(char::is_control) => Err(NotASecret::Control),
            false => Ok(Secret(text)),
        }
    }

    /// Generates a secret of `characters` letters and digits from the system's random source.
    pub(crate) fn generate(characters: usize) -> Result<Secret, NoRandomness> {
        const ALPHABET: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        // Six bits a character. The two values without a character are dropped, so that all characters are equally likely.
        let mut text = String::with_capacity(characters);
        while text.len() < characters {
            let drawn: [u8; 64] = random()?;
            let indexes = drawn.iter().map(|byte| usize::from(byte & 63));
            text.extend(
                indexes
                    .filter_map(|index| ALPHABET.get(index))
                    .map(|byte| char::from(*byte))
                    .take(characters - text.len()),
            );
        }
        Ok(Secret(text))
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The text itself, for requests to the system that knows the secret, and for the redactor.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// HMAC-SHA256 of the concatenated parts, keyed with the secret's UTF-8 text.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac::<Hmac<Sha256>>(self.0.as_bytes(), parts).into()
    }

    /// HMAC of the concatenated parts with another hash, keyed with the secret's UTF-8 text.
    pub(crate) fn sign_with(&self, hash: Hash, parts: &[&[u8]]) -> Vec<u8> {
        let key = self.0.as_bytes();
        match hash {
            Hash::Sha256 => mac::<Hmac<Sha256>>(key, parts).to_vec(),
            Hash::Sha512 => mac::<Hmac<Sha512>>(key, parts).to_vec(),
            Hash::Sha1 => mac::<Hmac<Sha1>>(key, parts).to_vec(),
        }
    }

    /// Returns whether `given` is the whole HMAC of the parts, compared in constant time.
    pub(crate) fn has_signed(&self, hash: Hash, parts: &[&[u8]], given: &[u8]) -> bool {
        self.sign_with(hash, parts).ct_eq(given).into()
    }

    /// Decodes a Standard Webhooks secret: base64, with or without the prefix `whsec_`. `None` if it is not base64, or empty.
    pub(crate) fn decoded(&self) -> Option<HmacKey> {
        let text = self.0.strip_prefix("whsec_").unwrap_or(&self.0);
        from_base64(text).filter(|key| !key.is_empty()).map(HmacKey)
    }

    /// Compares in constant time. Compares digests, so that timing does not reveal the length either.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        same(&sha256(&[self.0.as_bytes()]), &sha256(&[given]))
    }
}

string_enum! {
    /// The hash functions that senders use in an HMAC.
    Hash:
    /// SHA-256, used by nearly every sender.
    Sha256 = "sha256",
    /// SHA-512, as strong for this purpose.
    Sha512 = "sha512",
    /// SHA-1: broken for signatures of documents, still unbroken in an HMAC, and only for senders that support nothing better.
    Sha1 = "sha1",
}

impl Hash {
    /// Length of the digest in bytes.
    pub(crate) fn length(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
            Hash::Sha1 => 20,
        }
    }
}

/// The bytes that an encoded secret stands for.
pub(crate) struct HmacKey(Vec<u8>);

impl HmacKey {
    /// HMAC-SHA256 of the concatenated parts.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac::<Hmac<Sha256>>(&self.0, parts).into()
    }
}

/// An HMAC of the parts; its key may have any length (RFC 2104).
#[expect(clippy::expect_used, reason = "an HMAC accepts keys of every length")]
fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Output<M> {
    let mut mac =
        <M as KeyInit>::new_from_slice(key).expect("an HMAC accepts keys of every length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes()
}

/// Compares two digests in constant time.
pub(crate) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

/// The system's random source failed.
#[derive(Debug)]
pub(crate) struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's random source failed")
    }
}

/// Bytes from the system's random source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// SHA-256 of the concatenated parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

/// Encodes bytes in lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Bytes written as hexadecimal digits of either case.
pub(crate) fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    hex::decode(digits).ok()
}

/// Exactly 64 hexadecimal digits, either case.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Encodes standard base64 with padding, the only kind that Portainer accepts in `X-Registry-Auth`.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes strict standard base64 with padding.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, data: &str, mac: &str) {
        let secret = Secret::new(key).unwrap();
        assert_eq!(to_hex(&secret.sign(&[data.as_bytes()])), mac);
        let (front, back) = data.as_bytes().split_at(data.len() / 2);
        let mut given = from_hex(mac).unwrap();
        assert!(
            secret.has_signed(Hash::Sha256, &[front, back], &given),
            "in parts"
        );
        given[31] ^= 1;
        assert!(
            !secret.has_signed(Hash::Sha256, &[data.as_bytes()], &given),
            "one bit off"
        );
    }

    #[test]
    fn matches_published_macs() {
        // RFC 4231 test case 2, and the example of the HMAC article in Wikipedia.
        check(
            "Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            "key",
            "The quick brown fox jumps over the lazy dog",
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
        );
    }

    #[test]
    fn signs_with_keys_of_any_length() {
        // RFC 4231 test case 6.
        let data = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            to_hex(&HmacKey(vec![0xaa; 131]).sign(&[data])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        for length in 0..=200 {
            let key = vec![b'k'; length];
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(data);
            let expected: [u8; 32] = mac.finalize().into_bytes().into();
            assert_eq!(HmacKey(key).sign(&[data]), expected, "{length}");
        }
    }

    #[test]
    fn decodes_standard_webhooks_secrets() {
        // The first example of the Standard Webhooks specification.
        let key = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let message = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        assert_eq!(
            to_base64(&key.decoded().unwrap().sign(&[message])),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        for wrong in [
            "whsec_",
            "whsec_not base64!",
            "whsec_YWJj\u{e9}",
            "whsec_YQ",
        ] {
            assert!(Secret::new(wrong).unwrap().decoded().is_none(), "{wrong}");
        }
    }

    #[test]
    fn compares_the_whole_text() {
        let secret = Secret::new("correct horse battery").unwrap();
        assert!(secret.is(b"correct horse battery"));
        for wrong in [
            "",
            "correct",
            "correct horse battery ",
            "correct horse batterY",
        ] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn rejects_blank_text_and_control_characters() {
        assert_eq!(Secret::new("").unwrap_err(), NotASecret::Empty);
        assert_eq!(Secret::new(" \t").unwrap_err(), NotASecret::Empty);
        assert_eq!(Secret::new("abc\u{0}def").unwrap_err(), NotASecret::Control);
        assert_eq!(Secret::new("two\nlines").unwrap_err(), NotASecret::Control);
    }

    #[test]
    fn debug_output_hides_the_text() {
        assert_eq!(
            format!("{:?}", Secret::new("very-secret-text").unwrap()),
            "Secret(***)"
        );
    }

    #[test]
    fn generates_different_secrets_of_letters_and_digits() {
        let (one, two) = (Secret::generate(32).unwrap(), Secret::generate(32).unwrap());
        assert_eq!(one.len(), 32);
        assert!(
            one.expose()
                .chars()
                .all(|character| character.is_ascii_alphanumeric())
        );
        assert!(!one.is(two.expose().as_bytes()));
    }

    #[test]
    fn parses_only_whole_digests() {
        let digits = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(from_hex(digits), from_hex(&digits.to_uppercase()));
        for wrong in [
            "",
            &digits[..62],
            &digits[..63],
            &format!("{digits}00"),
            &digits.replace('5', "g"),
        ] {
            assert_eq!(from_hex(wrong), None, "{wrong:?}");
        }
    }
}
