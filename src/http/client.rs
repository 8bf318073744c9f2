//! The client's identity: its address behind trusted proxies, and the prefix that counts as one client when something is scarce.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::hook::Network;
use crate::message::Headers;

/// Entries of `X-Forwarded-For` that are evaluated; real chains have two or three.
const FORWARDED_MAX: usize = 32;

/// The client of a connection from `peer`. Only a trusted proxy is believed: the client is the rightmost address of
/// `X-Forwarded-For` that is not itself a trusted proxy. An unreadable entry ends the evaluation at the last certain address.
pub(super) fn address(peer: IpAddr, headers: &Headers, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if trusted.is_empty() {
        return client;
    }
    let lines: Vec<&str> = headers.all("x-forwarded-for").collect();
    let entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
    for entry in entries.take(FORWARDED_MAX) {
        if !is_trusted(client) {
            break;
        }
        match parse_entry(entry.trim_matches([' ', '\t'])) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// The prefix that counts as one client: an IPv4 address, or an IPv6 /64, which costs its owner as much as one address.
pub(crate) fn prefix(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

/// Parses an address with or without a port.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let bare = || entry.parse::<IpAddr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|both| both.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, lines: &[&str], expected: &str) {
        let trusted = ["10.0.0.5", "10.0.1.0/24", "2001:db8:1::/48"];
        let trusted: Vec<Network> = trusted
            .iter()
            .filter_map(|text| Network::parse(text))
            .collect();
        let mut headers = Headers::default();
        for line in lines {
            headers.push("X-Forwarded-For", line);
        }
        let found = address(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(
            found,
            expected.parse::<IpAddr>().unwrap(),
            "{peer} {lines:?}"
        );
    }

    #[test]
    fn ignores_the_header_of_an_untrusted_peer() {
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["10.0.0.5"], "192.0.2.1");
        check("192.0.2.1", &["203.0.113.9, 10.0.0.5"], "192.0.2.1");
        check("::ffff:192.0.2.1", &["10.0.0.5"], "192.0.2.1");
    }

    #[test]
    fn takes_the_rightmost_untrusted_address_behind_proxies() {
        check("10.0.0.5", &[], "10.0.0.5");
        check("10.0.0.5", &["203.0.113.9"], "203.0.113.9");
        check("::ffff:10.0.0.5", &["203.0.113.9"], "203.0.113.9");
        check("10.0.0.5", &["1.1.1.1, 203.0.113.9"], "203.0.113.9");
        check(
            "10.0.0.5",
            &["1.1.1.1,203.0.113.9 ,10.0.1.7"],
            "203.0.113.9",
        );
        check(
            "10.0.0.5",
            &["1.1.1.1", "203.0.113.9", "10.0.1.7"],
            "203.0.113.9",
        );
        check("10.0.0.5", &["10.0.1.9, 10.0.1.7"], "10.0.1.9");
        check("2001:db8:1::1", &["2001:db8:2::9"], "2001:db8:2::9");
    }

    #[test]
    fn an_unreadable_entry_ends_the_evaluation() {
        for unreadable in ["unknown", "", "_hidden", "1.2.3", "1.2.3.4.5", "a, ,"] {
            check("10.0.0.5", &[unreadable], "10.0.0.5");
            check(
                "10.0.0.5",
                &[&format!("1.1.1.1, {unreadable}, 10.0.1.7")],
                "10.0.1.7",
            );
        }
    }

    #[test]
    fn ports_and_brackets_are_taken_off() {
        check("10.0.0.5", &["203.0.113.9:4711"], "203.0.113.9");
        check("10.0.0.5", &["[2001:db8:2::9]:4711"], "2001:db8:2::9");
        check("10.0.0.5", &["[2001:db8:2::9]"], "2001:db8:2::9");
    }

    #[test]
    fn a_long_chain_is_not_followed_to_its_end() {
        let chain = vec!["10.0.1.7"; FORWARDED_MAX].join(",");
        check("10.0.0.5", &[&format!("203.0.113.9,{chain}")], "10.0.1.7");
    }

    #[test]
    fn a_prefix_is_an_ipv4_address_or_an_ipv6_network() {
        for (peer, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(
                prefix(peer.parse().unwrap()),
                expected.parse::<IpAddr>().unwrap()
            );
        }
    }

    #[test]
    fn survives_arbitrary_bytes() {
        let mut random = crate::random::Random::new(3);
        let trusted = [Network::parse("0.0.0.0/0").unwrap()];
        for _ in 0..crate::random::rounds(5_000) {
            let mut headers = Headers::default();
            for _ in 0..random.below(4) {
                let words = [
                    "1.2.3.4",
                    ",",
                    "::1",
                    "[",
                    "]",
                    ":",
                    "é",
                    " ",
                    "999",
                    "%",
                    "10.0.0.1:1",
                ];
                let line: String = (0..random.below(20))
                    .map(|_| words[random.below(words.len())])
                    .collect();
                headers.push("x-forwarded-for", &line);
            }
            address("10.0.0.1".parse().unwrap(), &headers, &trusted);
        }
    }
}
