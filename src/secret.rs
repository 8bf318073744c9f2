//! Secrets that can be used but not shown, and the arithmetic on them; the home of hmac, sha2, subtle, hex, base64 and getrandom.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Text that nobody may see: no `Display`, no `Serialize`, no comparison but the constant-time one.
#[derive(Clone)]
pub(crate) struct Secret(String);

/// Why a text cannot be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotASecret {
    /// Nothing in it: an empty key would verify what anybody signs.
    Empty,
    /// A control character in it, most often the rest of a copied line.
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
    /// The only maker. Refuses what can be no secret; length rules belong to the configuration.
    pub(crate) fn new(text: impl Into<String>) -> Result<Secret, NotASecret> {
        let text = text.into();
        match text.trim().is_empty() {
            true => Err(NotASecret::Empty),
            false if text.chars().any(char::is_control) => Err(NotASecret::Control),
            false => Ok(Secret(text)),
        }
    }

    /// A new secret: `characters` letters and digits from the system's random source.
    pub(crate) fn generate(characters: usize) -> Result<Secret, NoRandomness> {
        const ALPHABET: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        // Six bits a sign; the two values that stand for none are dropped, so that no sign is likelier than another.
        let mut text = String::with_capacity(characters);
        while text.len() < characters {
            let drawn: [u8; 64] = random()?;
            let signs = drawn.iter().map(|byte| usize::from(byte & 63));
            text.extend(
                signs
                    .filter_map(|index| ALPHABET.get(index))
                    .map(|sign| char::from(*sign))
                    .take(characters - text.len()),
            );
        }
        Ok(Secret(text))
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The way out, for what must be sent to the other side that knows it, and for the redactor. Keep it greppable.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// HMAC-SHA256 of the concatenated parts, keyed with the secret's UTF-8 text.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(self.0.as_bytes(), parts).finalize().into_bytes().into()
    }

    /// Whether `given` is that HMAC, in constant time.
    pub(crate) fn signed(&self, parts: &[&[u8]], given: &[u8; 32]) -> bool {
        mac(self.0.as_bytes(), parts).verify_slice(given).is_ok()
    }

    /// The key that a secret of Standard Webhooks stands for: base64, with or without `whsec_` before it. `None`: it
    /// is no base64, or stands for nothing.
    pub(crate) fn decoded(&self) -> Option<Key> {
        let text = self.0.strip_prefix("whsec_").unwrap_or(&self.0);
        from_base64(text).filter(|key| !key.is_empty()).map(Key)
    }

    /// Whether `given` is this secret. Digests are compared, so that not even the length can be measured.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        same(&sha256(&[self.0.as_bytes()]), &sha256(&[given]))
    }
}

/// The bytes that an encoded secret stands for.
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// HMAC-SHA256 of the concatenated parts.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.0, parts).finalize().into_bytes().into()
    }
}

/// A key of any length is made a block of the hash here, as RFC 2104 says, so that nothing is left that could fail.
fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    const BLOCK: usize = 64;
    let digest;
    let key = if key.len() > BLOCK {
        digest = sha256(&[key]);
        &digest
    } else {
        key
    };
    let mut block = [0; BLOCK];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Whether two digests are equal, in constant time.
pub(crate) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

/// The system's random source did not answer.
#[derive(Debug)]
pub(crate) struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system's random source does not answer")
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

/// Lower-case hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Exactly 64 hexadecimal digits, either case.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Standard base64 with padding: the only kind that Portainer reads in `X-Registry-Auth` (contract 6a).
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Strict standard base64 with padding.
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
        assert!(secret.signed(&[front, back], &given), "in parts");
        given[31] ^= 1;
        assert!(!secret.signed(&[data.as_bytes()], &given), "one bit off");
    }

    #[test]
    fn published_macs_are_reproduced() {
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
    fn keys_of_every_length_sign() {
        // RFC 4231 test case 6.
        let data = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            to_hex(&Key(vec![0xaa; 131]).sign(&[data])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        for length in 0..=200 {
            let key = vec![b'k'; length];
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(data);
            let expected: [u8; 32] = mac.finalize().into_bytes().into();
            assert_eq!(Key(key).sign(&[data]), expected, "{length}");
        }
    }

    #[test]
    fn encoded_secrets_stand_for_their_bytes() {
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
    fn only_the_whole_text_is_the_secret() {
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
    fn what_can_be_no_secret_is_refused() {
        assert_eq!(Secret::new("").unwrap_err(), NotASecret::Empty);
        assert_eq!(Secret::new(" \t").unwrap_err(), NotASecret::Empty);
        assert_eq!(Secret::new("abc\u{0}def").unwrap_err(), NotASecret::Control);
        assert_eq!(Secret::new("two\nlines").unwrap_err(), NotASecret::Control);
    }

    #[test]
    fn nothing_is_shown() {
        assert_eq!(
            format!("{:?}", Secret::new("very-secret-text").unwrap()),
            "Secret(***)"
        );
    }

    #[test]
    fn generated_secrets_are_letters_and_digits_and_differ() {
        let (one, two) = (Secret::generate(32).unwrap(), Secret::generate(32).unwrap());
        assert_eq!(one.len(), 32);
        assert!(
            one.expose()
                .chars()
                .all(|sign| sign.is_ascii_alphanumeric())
        );
        assert!(!one.is(two.expose().as_bytes()));
    }

    #[test]
    fn digests_are_read_whole_or_not_at_all() {
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
