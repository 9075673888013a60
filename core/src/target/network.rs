//! Networks: which an operator opened, and which are public by the registries of special-purpose addresses
//! (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `10.0.0.0/8` or `fd00::/8`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.trim().split_once('/')?;
        let (address, prefix): (IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= most).then_some(Self { address, prefix })
    }

    const fn v6(segments: [u16; 8], prefix: u32) -> Self {
        let [a, b, c, d, e, f, g, h] = segments;
        Self { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// Whether an operator who named this network meant `address`. One that stands for an IPv4 address is
    /// meant by a network of such addresses only, not by a wide one that happens to contain them.
    pub(super) fn opens(self, address: IpAddr) -> bool {
        let translation = TRANSLATIONS.into_iter().find(|network| network.contains(address));
        let least = match translation {
            Some(translation) => translation.prefix,
            None if is_isatap(address) => ISATAP_PREFIX,
            None => 0,
        };
        self.contains(address) && self.prefix >= least
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let beyond = 32 - self.prefix;
                (u64::from(network.to_bits()) >> beyond) == (u64::from(address.to_bits()) >> beyond)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = |bits: u128| bits.checked_shr(128 - self.prefix).unwrap_or(0);
                shift(network.to_bits()) == shift(address.to_bits())
            }
            (_, _) => false,
        }
    }
}

/// Networks in which an address stands for an IPv4 address (NAT64, local NAT64, 6to4, Teredo, IPv4-compatible).
const TRANSLATIONS: [Network; 5] = [
    Network::v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
    Network::v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    Network::v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    Network::v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    Network::v6([0; 8], 96),
];
/// The one of them that is used for public addresses: resolvers of networks without IPv4 answer with it.
const NAT64: Network = TRANSLATIONS[0];

/// Bits of an ISATAP address before the IPv4 address in it.
const ISATAP_PREFIX: u32 = 96;

/// Whether the interface identifier of `address` holds an IPv4 address (RFC 5214 §6.1), in whatever network.
fn is_isatap(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => {
            let [.., e, f, _, _] = v6.segments();
            e & !0x0200 == 0 && f == 0x5efe
        }
    }
}

/// Whether `address` is one of the public Internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => public_v4(v4),
        IpAddr::V6(v6) => public_v6(v6),
    }
}

/// Globally reachable unicast by the IANA IPv4 special-purpose registry.
fn public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., _, _)
    )
}

/// Within 2000::/3, less its special blocks. What stands for an IPv4 address is judged by it where it is
/// in common use, and refused where it is not.
fn public_v6(address: Ipv6Addr) -> bool {
    if NAT64.contains(IpAddr::V6(address)) {
        let [.., high, low] = address.segments();
        return public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    let [a, b, c, ..] = address.segments();
    let global_unicast = a & 0xe000 == 0x2000;
    let special = match (a, b) {
        (0x2001, 0x0db8) | (0x2002, _) => true,
        (0x2001, b) => b < 0x0200,
        (0x2620, 0x004f) => c == 0x8000,
        (0x3fff, b) => b < 0x1000,
        (_, _) => false,
    };
    global_unicast && !special && !is_isatap(address.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetRules;

    const STRICT: TargetRules = TargetRules { development: false, allowed: Vec::new() };
    const DEVELOPMENT: TargetRules = TargetRules { development: true, allowed: Vec::new() };

    /// What IANA's registries say of special-purpose addresses: whether they are globally reachable. Of those
    /// that contain an address the longest prefix counts. `na`: the registry does not say.
    #[rustfmt::skip] // the columns carry the meaning
    const REGISTRY: &[(&str, &str, &str)] = &[
        ("0.0.0.0/8",          "no",  "this network"),
        ("0.0.0.0/32",         "no",  "this host on this network"),
        ("10.0.0.0/8",         "no",  "private use"),
        ("100.64.0.0/10",      "no",  "shared address space"),
        ("127.0.0.0/8",        "no",  "loopback"),
        ("169.254.0.0/16",     "no",  "link-local"),
        ("172.16.0.0/12",      "no",  "private use"),
        ("192.0.0.0/24",       "no",  "protocol assignments"),
        ("192.0.0.0/29",       "no",  "service continuity prefix"),
        ("192.0.0.8/32",       "no",  "dummy address"),
        ("192.0.0.9/32",       "yes", "port control, anycast"),
        ("192.0.0.10/32",      "yes", "traversal by relays, anycast"),
        ("192.0.0.170/32",     "no",  "discovery of NAT64"),
        ("192.0.0.171/32",     "no",  "discovery of NAT64"),
        ("192.0.2.0/24",       "no",  "documentation 1"),
        ("192.31.196.0/24",    "yes", "AS112"),
        ("192.52.193.0/24",    "yes", "AMT"),
        ("192.88.99.0/24",     "na",  "6to4 relays, withdrawn"),
        ("192.168.0.0/16",     "no",  "private use"),
        ("192.175.48.0/24",    "yes", "AS112, direct delegation"),
        ("198.18.0.0/15",      "no",  "benchmarks"),
        ("198.51.100.0/24",    "no",  "documentation 2"),
        ("203.0.113.0/24",     "no",  "documentation 3"),
        ("240.0.0.0/4",        "no",  "reserved"),
        ("255.255.255.255/32", "no",  "limited broadcast"),
        ("::1/128",            "no",  "loopback"),
        ("::/128",             "no",  "unspecified"),
        ("64:ff9b::/96",       "yes", "translation of IPv4"),
        ("64:ff9b:1::/48",     "no",  "local translation of IPv4"),
        ("100::/64",           "no",  "discard only"),
        ("100:0:0:1::/64",     "no",  "dummy prefix"),
        ("2001::/23",          "no",  "protocol assignments"),
        ("2001::/32",          "na",  "Teredo"),
        ("2001:1::1/128",      "yes", "port control, anycast"),
        ("2001:1::2/128",      "yes", "traversal by relays, anycast"),
        ("2001:1::3/128",      "yes", "service registration, anycast"),
        ("2001:2::/48",        "no",  "benchmarks"),
        ("2001:3::/32",        "yes", "AMT"),
        ("2001:4:112::/48",    "yes", "AS112"),
        ("2001:10::/28",       "na",  "ORCHID, withdrawn"),
        ("2001:20::/28",       "yes", "ORCHIDv2"),
        ("2001:30::/28",       "yes", "drone identifiers"),
        ("2001:db8::/32",      "no",  "documentation"),
        ("2002::/16",          "na",  "6to4"),
        ("2620:4f:8000::/48",  "yes", "AS112, direct delegation"),
        ("3fff::/20",          "no",  "documentation"),
        ("5f00::/16",          "no",  "segment routing"),
        ("fc00::/7",           "no",  "unique local"),
        ("fe80::/10",          "no",  "link-local unicast"),
    ];

    /// First and last address of a network, in bits of a 128-bit number, and how long its prefix is.
    struct Row {
        first: IpAddr,
        prefix: u32,
        reachable: &'static str,
    }

    impl Row {
        fn read((network, reachable, _): &(&str, &'static str, &str)) -> Self {
            let (first, prefix) = network.split_once('/').expect("a prefix");
            let (first, prefix) =
                (first.parse().expect("a literal"), prefix.parse().expect("bits"));
            Self { first, prefix, reachable }
        }

        /// Bits behind the prefix, all set.
        fn rest(&self) -> u128 {
            let width = if self.first.is_ipv4() { 32 } else { 128 };
            u128::MAX.checked_shr(128 - (width - self.prefix)).unwrap_or(0)
        }

        fn has(&self, address: IpAddr) -> bool {
            self.first.is_ipv4() == address.is_ipv4()
                && bits(self.first) == bits(address) & !self.rest()
        }
    }

    fn bits(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn v4(bits: u128) -> IpAddr {
        Ipv4Addr::from_bits(bits as u32).into()
    }

    fn v6(bits: u128) -> IpAddr {
        Ipv6Addr::from_bits(bits).into()
    }

    fn number(hex: &str) -> u128 {
        bits(hex.parse().expect("a literal"))
    }

    /// What the registry makes of an address: special or not, and within the blocks that unicast is given from.
    fn judged_by_registry(registry: &[Row], address: IpAddr) -> bool {
        let embedded = v4(bits(address));
        if address.is_ipv6() && bits(address) >> 32 == number("::ffff:0:0") >> 32 {
            return judged_by_registry(registry, embedded);
        }
        if address.is_ipv6() && bits(address) >> 32 & 0xfdff_ffff == 0x0000_5efe {
            // ISATAP: in no registry, since it is in every network.
            return false;
        }
        let special = registry.iter().filter(|row| row.has(address)).max_by_key(|row| row.prefix);
        let unicast = match address {
            IpAddr::V4(v4) => v4.octets()[0] < 224,
            IpAddr::V6(v6) => v6.segments()[0] >> 13 == 1,
        };
        match special.map(|row| row.reachable) {
            None => unicast,
            Some("yes") if bits(address) >> 32 == number("64:ff9b::") >> 32 => {
                judged_by_registry(registry, embedded)
            }
            // What else is reachable serves the network itself. No receiver lives there.
            Some(_) => false,
        }
    }

    /// Numbers that look like chance and are the same in every run.
    fn numbers() -> impl FnMut() -> u128 {
        let mut state = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834_u128;
        move || {
            state =
                state.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(0x5851);
            state ^ state >> 64
        }
    }

    #[test]
    fn addresses_are_judged_as_the_registries_have_them() {
        let registry: Vec<Row> = REGISTRY.iter().map(Row::read).collect();
        let mut addresses = Vec::new();
        let mut random = numbers();
        for row in &registry {
            let (first, rest) = (bits(row.first), row.rest());
            let within = (0..400).map(|_| first | random() & rest).collect::<Vec<_>>();
            let edges =
                [first.wrapping_sub(1), first, first | rest, (first | rest).wrapping_add(1)];
            let make = if row.first.is_ipv4() { v4 } else { v6 };
            addresses.extend(edges.into_iter().chain(within).map(make));
        }
        // Each IPv4 address so far, in every form that carries one.
        for address in addresses.clone().into_iter().filter(IpAddr::is_ipv4) {
            let low = bits(address);
            addresses.extend([
                v6(number("::ffff:0:0") | low),
                v6(low),
                v6(number("64:ff9b::") | low),
                v6(number("64:ff9b:1::") | low),
                v6(number("2002::") | low << 80),
                v6(number("2001::") | low ^ 0xffff_ffff),
                v6(number("2600:1:2:3:0:5efe::") | low),
                v6(number("2600:1:2:3:200:5efe::") | low),
            ]);
        }
        while addresses.len() < 150_000 {
            let any = random();
            addresses.extend([v4(any), v6(any), v6(number("2000::") | any >> 3)]);
        }
        let mut tally = [0; 2];
        for address in addresses {
            let expected = judged_by_registry(&registry, address);
            assert_eq!(STRICT.allows_address(address), expected, "{address}");
            tally[usize::from(expected)] += 1;
        }
        assert!(tally.iter().all(|count| *count > 20_000), "both are tried: {tally:?}");
    }

    #[test]
    fn development_opens_loopback_and_nothing_else() {
        for (address, opened) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::127.0.0.1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
            ("169.254.169.254", false),
        ] {
            let address: IpAddr = address.parse().expect("a literal");
            assert_eq!(DEVELOPMENT.allows_address(address), opened, "{address}");
        }
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn named_networks_are_opened_and_nothing_wrapped_in_them() {
        let check = |networks: &str, address: &str, opened: bool| {
            let allowed = networks.split(',').map(|text| Network::parse(text).expect("a network"));
            let rules = TargetRules { development: false, allowed: allowed.collect() };
            let address = address.parse().expect("a literal");
            assert_eq!(rules.allows_address(address), opened, "{address} of {networks}");
        };
        check("10.0.0.0/8",           "10.200.0.1",           true);
        check("10.0.0.0/8",           "11.0.0.1",             true);
        check("10.0.0.0/8",           "192.168.0.1",          false);
        check("192.168.7.0/24",       "192.168.7.9",          true);
        check("192.168.7.0/24",       "192.168.8.9",          false);
        check("172.16.0.1/32",        "172.16.0.1",           true);
        check("172.16.0.1/32",        "172.16.0.2",           false);
        check("fd00::/8,fec0::/10",   "fd12::1",              true);
        check("fd00::/8,fec0::/10",   "fe80::1",              false);
        check("fd00::/8",             "127.0.0.1",            false);
        // The same packets as to the address that is mapped: opened with it, and by nothing else.
        check("10.0.0.0/8",           "::ffff:10.0.0.1",      true);
        check("::/0",                 "::ffff:10.0.0.1",      false);
        check("::ffff:0:0/96",        "::ffff:10.0.0.1",      false);
        // Carried to the same place by somebody else: not opened with it.
        check("10.0.0.0/8",           "::10.0.0.1",           false);
        check("10.0.0.0/8",           "64:ff9b::10.0.0.1",    false);
        check("10.0.0.0/8",           "64:ff9b:1::10.0.0.1",  false);
        check("10.0.0.0/8",           "2002:a00:1::",         false);
        check("10.0.0.0/8",           "2001:0:a00:1::",       false);
        // Nor by a network that is wider than the translation …
        check("::/0",                 "fd12::1",              true);
        check("::/0",                 "64:ff9b::10.0.0.1",    false);
        check("::/0",                 "2002:a00:1::",         false);
        check("2000::/3",             "2001:0:a00:1::",       false);
        check("::/0",                 "::10.0.0.1",           false);
        check("fd00::/8",             "fd00::5efe:10.0.0.1",  false);
        // … but by one that is within it.
        check("64:ff9b:1::/48",       "64:ff9b:1::10.0.0.1",  true);
        check("64:ff9b::10.0.0.0/104", "64:ff9b::10.0.0.1",   true);
        check("64:ff9b::10.0.0.0/104", "64:ff9b::11.0.0.1",   true);
        check("64:ff9b::10.0.0.0/104", "64:ff9b::127.0.0.1",  false);
        check("fd00::5efe:0:0/96",    "fd00::5efe:10.0.0.1",  true);
        check("2002:a00::/24",        "2002:a00:1::",         true);
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "/8", ""] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
        check("0.0.0.0/0,::/0",       "127.0.0.1",            true);
        check("0.0.0.0/0,::/0",       "::1",                  false);
    }
}
