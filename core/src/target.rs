//! Which URLs and addresses may be called (contract 8.1, hardened).
//!
//! The URL is judged in raw text before parsing, since the parser silently repairs what an
//! attacker sends; the address is judged again at every connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::limits::URL_CHARS;

/// Host endings that never leave a local network.
const RESERVED_SUFFIXES: [&str; 6] =
    [".home.arpa", ".internal", ".lan", ".local", ".localdomain", ".localhost"];

/// Why a URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// More than 2048 characters.
    TooLong,
    /// Not a URL, or one with control characters or backslashes.
    Malformed,
    /// A user name or password.
    Credentials,
    /// A fragment.
    Fragment,
    /// Another scheme than `https` (in development mode also `http` to loopback).
    Scheme,
    /// A loopback host outside development mode.
    Loopback,
    /// A literal IPv4 address, in whatever notation.
    Ipv4Literal,
    /// A literal IPv6 address.
    Ipv6Literal,
    /// A host without a dot, or with an ending that is reserved for local networks.
    ReservedHostname,
}

impl UrlFault {
    /// The reason as a stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "url_too_long",
            Self::Malformed => "invalid_url",
            Self::Credentials => "credentials_in_url",
            Self::Fragment => "fragment_in_url",
            Self::Scheme => "invalid_scheme",
            Self::Loopback => "loopback_not_allowed",
            Self::Ipv4Literal => "ipv4_literal_disallowed",
            Self::Ipv6Literal => "ipv6_literal_disallowed",
            Self::ReservedHostname => "reserved_hostname_disallowed",
        }
    }
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What this installation lets be called.
#[derive(Clone, Debug, Default)]
pub struct TargetRules {
    /// Allows `http:` and loopback: a setting for development.
    pub development: bool,
    /// Networks that names may resolve into though they are not public.
    pub allowed: Vec<Network>,
}

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

impl TargetRules {
    /// Judges a URL as it was received; answers the URL to call.
    pub fn judge_url(&self, raw: &str) -> Result<Url, UrlFault> {
        if raw.chars().count() > URL_CHARS {
            return Err(UrlFault::TooLong);
        }
        let raw = raw.trim_matches(' ');
        if raw.chars().any(|c| c.is_control() || c == '\\' || c.is_whitespace()) {
            return Err(UrlFault::Malformed);
        }
        if raw.contains('#') {
            return Err(UrlFault::Fragment);
        }
        let (scheme, rest) = raw.split_once("://").ok_or(UrlFault::Malformed)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.is_empty() {
            // The parser would skip further slashes and find an authority after all.
            return Err(UrlFault::Malformed);
        }
        let url = Url::parse(raw).map_err(|_| UrlFault::Malformed)?;
        if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
            return Err(UrlFault::Credentials);
        }
        let secure = scheme.eq_ignore_ascii_case("https");
        let plain = self.development && scheme.eq_ignore_ascii_case("http");
        if !(secure || plain) {
            return Err(UrlFault::Scheme);
        }
        match url.host().ok_or(UrlFault::Malformed)? {
            Host::Ipv4(address) if address == Ipv4Addr::LOCALHOST => {
                if self.development {
                    Ok(url)
                } else {
                    Err(UrlFault::Loopback)
                }
            }
            Host::Ipv4(_) => Err(UrlFault::Ipv4Literal),
            Host::Ipv6(_) => Err(UrlFault::Ipv6Literal),
            Host::Domain(host) => {
                let host = host.strip_suffix('.').unwrap_or(host);
                if host == "localhost" {
                    return if self.development { Ok(url) } else { Err(UrlFault::Loopback) };
                }
                // The parser lets more through than any name has or any request can carry.
                let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                if !host.bytes().all(named) {
                    return Err(UrlFault::Malformed);
                }
                if !host.contains('.') || RESERVED_SUFFIXES.iter().any(|s| host.ends_with(s)) {
                    return Err(UrlFault::ReservedHostname);
                }
                if secure { Ok(url) } else { Err(UrlFault::Scheme) }
            }
        }
    }

    /// Whether a connection to `address` may be made.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        if self.allowed.iter().any(|network| network.contains(address)) {
            return true;
        }
        if address.is_loopback() {
            return self.development;
        }
        match address {
            IpAddr::V4(v4) => public_v4(v4),
            IpAddr::V6(v6) => public_v6(v6),
        }
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

/// Within 2000::/3, less its special blocks; translated and tunnelled forms are refused.
fn public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global_unicast = a & 0xe000 == 0x2000;
    let special = match (a, b) {
        (0x2001, 0x0db8) | (0x2002, _) | (0x2620, 0x004f) => true,
        (0x2001, b) => b < 0x0200,
        (0x3fff, b) => b < 0x1000,
        (_, _) => false,
    };
    global_unicast && !special
}

#[cfg(test)]
mod tests {
    use super::UrlFault::*;
    use super::*;

    const STRICT: TargetRules = TargetRules { development: false, allowed: Vec::new() };
    const DEVELOPMENT: TargetRules = TargetRules { development: true, allowed: Vec::new() };

    #[test]
    fn named_networks_are_opened_and_no_others() {
        let allowed = ["10.0.0.0/8", "192.168.7.0/24", "fd00::/8", "172.16.0.1/32"];
        let allowed = allowed.map(|text| Network::parse(text).expect("a network")).to_vec();
        let rules = TargetRules { development: false, allowed };
        for (address, opened) in [
            ("10.200.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("192.168.7.9", true),
            ("192.168.8.9", false),
            ("172.16.0.1", true),
            ("172.16.0.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(
                rules.allows_address(address.parse().expect("a literal")),
                opened,
                "{address}"
            );
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", ""] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
        assert!(
            Network::parse("0.0.0.0/0")
                .is_some_and(|all| all.contains(IpAddr::V4(Ipv4Addr::LOCALHOST)))
        );
        assert!(
            Network::parse("::/0").is_some_and(|all| all.contains(IpAddr::V6(Ipv6Addr::LOCALHOST)))
        );
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn urls_are_judged_by_the_table() {
        let check = |raw: &str, strict: Option<UrlFault>, development: Option<UrlFault>| {
            assert_eq!(STRICT.judge_url(raw).err(), strict, "strict: {raw:?}");
            assert_eq!(DEVELOPMENT.judge_url(raw).err(), development, "development: {raw:?}");
        };
        //    url                               outside development      in development
        check("https://example.com/hook",       None,                    None);
        check("https://example.com:8443/a?b=c", None,                    None);
        check(" https://example.com ",          None,                    None);
        check("HTTPS://EXAMPLE.com",            None,                    None);
        check("https://example.com./",          None,                    None);
        check("http://example.com",             Some(Scheme),            Some(Scheme));
        check("ftp://example.com",              Some(Scheme),            Some(Scheme));
        check("http://localhost:1/",            Some(Scheme),            None);
        check("http://127.0.0.1:1/",            Some(Scheme),            None);
        check("https://localhost/",             Some(Loopback),          None);
        check("https://127.0.0.1/",             Some(Loopback),          None);
        check("https://0x7f.1/",                Some(Loopback),          None);
        check("https://10.0.0.1/",              Some(Ipv4Literal),       Some(Ipv4Literal));
        check("https://2130706434/",            Some(Ipv4Literal),       Some(Ipv4Literal));
        check("https://[::1]/",                 Some(Ipv6Literal),       Some(Ipv6Literal));
        check("https://intranet/",              Some(ReservedHostname),  Some(ReservedHostname));
        check("https://db.internal/",           Some(ReservedHostname),  Some(ReservedHostname));
        check("https://DB.Local./",             Some(ReservedHostname),  Some(ReservedHostname));
        check("https://a@example.com/",         Some(Credentials),       Some(Credentials));
        check("https://@example.com/",          Some(Credentials),       Some(Credentials));
        check("https://example.com/#x",         Some(Fragment),          Some(Fragment));
        check("https:example.com",              Some(Malformed),         Some(Malformed));
        check("https:///a:b@example.com/",      Some(Malformed),         Some(Malformed));
        check("https://?x@example.com/",        Some(Malformed),         Some(Malformed));
        check("https://exa\tmple.com/",         Some(Malformed),         Some(Malformed));
        check("https:\\\\example.com/",         Some(Malformed),         Some(Malformed));
        check("https://exa\"mple.com/",         Some(Malformed),         Some(Malformed));
        check("https://exa{mple}.com/",         Some(Malformed),         Some(Malformed));
        check("https://exa_mple.b\u{fc}cher.com", None,                   None);
        check("",                               Some(Malformed),         Some(Malformed));
        check(&format!("https://e.com/{}", "a".repeat(2048)), Some(TooLong), Some(TooLong));
    }

    #[test]
    fn only_public_addresses_may_be_called() {
        for refused in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:0:1::",
            "2001:db8::1",
            "3fff::1",
        ] {
            let address: IpAddr = refused.parse().expect("a literal");
            assert!(!STRICT.allows_address(address), "{refused}");
        }
        for allowed in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            let address: IpAddr = allowed.parse().expect("a literal");
            assert!(STRICT.allows_address(address), "{allowed}");
        }
        assert!(DEVELOPMENT.allows_address(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(!DEVELOPMENT.allows_address("10.0.0.1".parse().expect("a literal")));
    }
}
