//! Hooks: the configured entries, and their rules about events and stacks.

mod rules;
pub(crate) mod select;
mod snippets;
pub(crate) mod setup;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{ParseError, ParseOutcome};
use crate::image::Pattern;
use crate::secret::Secret;
use crate::sender::{EventKind, Fact, ParseSettings};
pub(crate) use crate::sender::{Payload, RegistryAliases, Sender};
use crate::signature::Verified;
pub(crate) use crate::signature::{Scheme, SchemeName, TokenKind};
use crate::stack::StackKey;

/// The name of a hook; part of its URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HookName(String);

impl HookName {
    /// The hook that answers `POST /webhook/update/`.
    pub(crate) const DEFAULT: &'static str = "update";

    /// Parses a name of the same characters as a stack's key, because it is a part of a URL.
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
    /// The kind of system that posts; it decides how the body is parsed.
    pub(crate) sender: Sender,
    /// The proof that a delivery needs.
    pub(crate) scheme: Scheme,
    /// All are accepted, newest first; never empty.
    pub(crate) secrets: Vec<Secret>,
    /// The stacks it may update; never empty.
    pub(crate) stacks: Vec<StackKey>,
    /// The stack of a delivery that names none, if the hook has several.
    pub(crate) default_stack: Option<StackKey>,
    /// The events that it acts on.
    pub(crate) rules: Rules,
    /// Time that a delivery waits for its outcome, unless it prefers otherwise.
    pub(crate) wait: Duration,
    /// Peers that may post; empty: all.
    pub(crate) allow_from: Vec<Network>,
    /// Sender `custom`: the pointers into its body.
    pub(crate) payload: Option<Payload>,
    /// Names of registries in deliveries, and the names that stacks use.
    pub(crate) registry: RegistryAliases,
}

impl Hook {
    /// Parses a delivery that was verified for this hook.
    ///
    /// Errors: the mistake in the body, its time or its address.
    pub(crate) fn parse_delivery(
        &self,
        verified: &Verified<'_>,
        unix: u64,
    ) -> Result<ParseOutcome, ParseError> {
        let settings = ParseSettings {
            payload: self.payload.as_ref(),
            registry: &self.registry,
            unix,
        };
        self.sender.parse_delivery(verified, &settings)
    }
}

/// The events that a hook acts on; an empty list does not limit anything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// The sender's event names.
    pub(crate) events: Vec<String>,
    /// Globs over branch names.
    pub(crate) branches: Vec<String>,
    /// Globs over tags of repositories and images.
    pub(crate) tags: Vec<String>,
    /// Globs, compared without case.
    pub(crate) repositories: Vec<String>,
    /// Filters events that name images; selects what is pulled for events that name none.
    pub(crate) images: Vec<Pattern>,
    /// Globs over changed files.
    pub(crate) paths: Vec<String>,
    /// Globs over the name or file of the workflow or pipeline that ran.
    pub(crate) workflows: Vec<String>,
    /// Globs over the environment that was deployed to.
    pub(crate) deployment_environments: Vec<String>,
    /// Prereleases are ignored.
    pub(crate) ignore_prereleases: bool,
}

impl Rules {
    /// Rules that no delivery of this sender can meet, and rules that limit nothing: the key, and the explanation for the operator.
    pub(crate) fn impossible(&self, sender: Sender) -> Vec<(&'static str, String)> {
        let known = sender.events();
        // Any event and any fact: the sender `custom`.
        if known.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for name in self
            .events
            .iter()
            .filter(|name| sender.event(name).is_none())
        {
            let sender = sender.name();
            let names = joined(known.iter());
            let why = format!(
                "sender {sender} never yields the event \"{name}\"; its events are {names}"
            );
            found.push(("events", why));
        }
        let active: Vec<&EventKind> = known.iter().filter(|kind| self.acts_on(kind)).collect();
        let mut refusing = Vec::new();
        for (rule, is_set, fact, noun) in [
            (
                "branches",
                !self.branches.is_empty(),
                Fact::Branch,
                "a branch",
            ),
            ("tags", !self.tags.is_empty(), Fact::Tag, "a tag"),
            (
                "repositories",
                !self.repositories.is_empty(),
                Fact::Repository,
                "a repository",
            ),
            (
                "paths",
                !self.paths.is_empty(),
                Fact::Paths,
                "the changed files",
            ),
            (
                "workflows",
                !self.workflows.is_empty(),
                Fact::Workflow,
                "a workflow",
            ),
            (
                "deployment_environments",
                !self.deployment_environments.is_empty(),
                Fact::Environment,
                "a deployment environment",
            ),
            (
                "prereleases",
                self.ignore_prereleases,
                Fact::Prerelease,
                "prereleases",
            ),
        ] {
            if !is_set {
                continue;
            }
            let stating: Vec<&EventKind> = known
                .iter()
                .filter(|kind| kind.facts.contains(&fact))
                .collect();
            if stating.is_empty() {
                found.push((
                    rule,
                    format!(
                        "sender {} never states {noun}; leave \"{rule}\" out",
                        sender.name()
                    ),
                ));
            } else if !active.is_empty() && !active.iter().any(|kind| self.can_meet(fact, kind)) {
                let why = match self.events.is_empty() {
                    true => "none of them acts by default; name one in rule \"events\"",
                    false => "rule \"events\" allows none of them",
                };
                found.push((
                    rule,
                    format!(
                        "only the events {} state {noun}, and {why}",
                        joined(stating.into_iter())
                    ),
                ));
            }
            // An event without a workflow, an environment or a prerelease is not limited by the rule about it.
            if matches!(
                fact,
                Fact::Branch | Fact::Tag | Fact::Repository | Fact::Paths
            ) {
                refusing.push((rule, fact));
            }
        }
        let meets_all =
            |kind: &&EventKind| refusing.iter().all(|(_, fact)| self.can_meet(*fact, kind));
        if let (true, [.., (last, _)]) = (found.is_empty(), refusing.as_slice())
            && !active.iter().any(meets_all)
        {
            let rules: Vec<&str> = refusing.iter().map(|(rule, _)| *rule).collect();
            found.push((
                *last,
                format!(
                    "no event of this hook can meet the rules {} together",
                    rules.join(", ")
                ),
            ));
        }
        found
    }

    fn acts_on(&self, kind: &EventKind) -> bool {
        match self.events.is_empty() {
            true => kind.is_default,
            false => self.events.iter().any(|name| name == kind.name),
        }
    }

    /// Returns whether an event of this kind can meet the rule about a fact. `branches` and `tags` are one rule, which limits publications
    /// only by their tags.
    fn can_meet(&self, fact: Fact, kind: &EventKind) -> bool {
        let states = |fact| kind.facts.contains(&fact);
        match fact {
            Fact::Branch | Fact::Tag => {
                (!self.branches.is_empty() && states(Fact::Branch))
                    || (!self.tags.is_empty() && states(Fact::Tag))
                    || (self.tags.is_empty() && kind.is_publication)
            }
            fact => states(fact),
        }
    }
}

fn joined<'k>(kinds: impl Iterator<Item = &'k EventKind>) -> String {
    kinds.map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// An address or a block of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses `10.0.0.0/8`, `2001:db8::/32`, or one address.
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
            // An IPv4 address written as IPv6, which takes the first 96 bits.
            (IpAddr::V6(_), address @ IpAddr::V4(_)) => Some(Network {
                address,
                bits: bits.checked_sub(96)?,
            }),
            (address, _) => Some(Network { address, bits }),
        }
    }

    /// Returns whether a peer is inside. An IPv4 address that a dual-stack socket shows as IPv6 counts as IPv4.
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
