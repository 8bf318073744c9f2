//! Hooks: what a configured entry is, and which stacks an event is for.

mod rules;
pub(crate) mod select;
mod snippets;
pub(crate) mod setup;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{self, Reading, Unreadable};
pub(crate) use crate::event::{Payload, Sender};
use crate::image::Pattern;
use crate::limits;
use crate::secret::Secret;
use crate::signature::Verified;
pub(crate) use crate::signature::{Scheme, SchemeName, TokenKind};
use crate::stack::StackKey;

/// The name of a hook; part of its URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HookName(String);

impl HookName {
    /// The hook that answers `POST /webhook/update/`.
    pub(crate) const DEFAULT: &'static str = "update";

    /// The same signs as a stack's key: it stands in a URL.
    pub(crate) fn parse(text: &str) -> Option<HookName> {
        StackKey::parse(text).map(|key| HookName(key.as_str().to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A configured hook.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    /// Part of its URL.
    pub(crate) name: HookName,
    /// Who posts, and so how the payload is read.
    pub(crate) sender: Sender,
    /// How a delivery proves that its sender knows a secret.
    pub(crate) scheme: Scheme,
    /// All are accepted, newest first; never empty.
    pub(crate) secrets: Vec<Secret>,
    /// The stacks it may update; never empty.
    pub(crate) stacks: Vec<StackKey>,
    /// The stack that a delivery means that names none, where several could be meant.
    pub(crate) default_stack: Option<StackKey>,
    /// Which events it acts on.
    pub(crate) rules: Rules,
    /// How long a delivery waits for its outcome, unless it prefers otherwise.
    pub(crate) wait: Duration,
    /// Who may post; empty: anybody.
    pub(crate) allow_from: Vec<Network>,
    /// Sender `custom`: where its payload says what.
    pub(crate) payload: Option<Payload>,
}

impl Hook {
    /// What a delivery that was verified for this hook says.
    ///
    /// # Errors
    /// What is wrong with the body, or its time.
    pub(crate) fn read(&self, verified: &Verified<'_>, unix: u64) -> Result<Reading, Unreadable> {
        event::read(self.sender, self.payload.as_ref(), verified, unix)
    }
}

/// Which events a hook acts on; an empty list is no rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// The sender's event names.
    pub(crate) events: Vec<String>,
    /// Globs.
    pub(crate) branches: Vec<String>,
    /// Globs.
    pub(crate) tags: Vec<String>,
    /// Globs, compared without case.
    pub(crate) repositories: Vec<String>,
    /// Filters events that name images; selects what is pulled for events that name none.
    pub(crate) images: Vec<Pattern>,
    /// Globs over changed files.
    pub(crate) paths: Vec<String>,
}

/// An address or a block of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`, or one address.
    pub(crate) fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = match bits {
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|digit| digit.is_ascii_digit()) => {
                bits.parse().ok()?
            }
            Some(_) => return None,
            None => most,
        };
        match (address, address.to_canonical()) {
            _ if bits > most => None,
            // An IPv4 address in the spelling of IPv6; 96 bits of it say just that.
            (IpAddr::V6(_), address @ IpAddr::V4(_)) => Some(Network {
                address,
                bits: bits.checked_sub(96)?,
            }),
            (address, _) => Some(Network { address, bits }),
        }
    }

    /// An IPv4 address that a dual-stack socket shows as IPv6 counts as the IPv4 address.
    pub(crate) fn contains(&self, peer: IpAddr) -> bool {
        let bits = u32::from(self.bits);
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let differ = own.to_bits() ^ peer.to_bits();
                differ.leading_zeros() >= bits
            }
            (IpAddr::V6(own), IpAddr::V6(peer)) => {
                let differ = own.to_bits() ^ peer.to_bits();
                differ.leading_zeros() >= bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The wait of a sender when nothing is configured: pipelines wait, everybody else is answered at once.
pub(crate) fn default_wait(sender: Sender) -> Duration {
    match sender {
        Sender::Generic => limits::WAIT_GENERIC,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network = Network::parse(network).unwrap();
        for (peers, expected) in [(inside, true), (outside, false)] {
            for peer in peers {
                let contained = network.contains(peer.parse().unwrap());
                assert_eq!(contained, expected, "{peer} in {network}");
            }
        }
    }

    #[test]
    fn networks_contain_their_addresses_only() {
        check(
            "10.0.0.0/8",
            &["10.0.0.1", "10.255.255.255", "::ffff:10.1.2.3"],
            &["11.0.0.1", "::1", "a00::1"],
        );
        check("192.168.1.7", &["192.168.1.7"], &["192.168.1.8"]);
        check(
            "2001:db8::/32",
            &["2001:db8:1::1"],
            &["2001:db9::1", "32.1.13.184"],
        );
        check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
        check("::/0", &["2001:db8::1"], &["1.2.3.4"]);
        check("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.1", "::1"]);
        check("::ffff:10.0.0.1", &["10.0.0.1"], &["10.0.0.2"]);
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "::/129",
            "::ffff:10.0.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
