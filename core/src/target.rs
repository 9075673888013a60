//! Which URLs and addresses may be called (contract 8.1, hardened).
//!
//! The URL is judged in raw text before parsing, since the parser silently repairs what an
//! attacker sends; the address is judged again at every connection.

mod network;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use crate::limits::URL_CHARS;

pub use self::network::Network;

use self::network::is_public;

/// Names that never leave a local network, with all under them.
const RESERVED_SUFFIXES: [&str; 11] = [
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
];
/// Characters of a host name and of each of its labels at most (RFC 1035 §2.3.4).
const HOST_CHARS: usize = 253;
const LABEL_CHARS: usize = 63;

/// Why a URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// More than 2048 characters.
    TooLong,
    /// Not a URL, one with control characters, white space or backslashes, or one whose host is no DNS name.
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
        // Without an authority the parser would skip further slashes and find one after all; an escaped or
        // unusual host is mended by it into one that nobody wrote.
        if authority.is_empty() || authority.contains(['%', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
            return Err(UrlFault::Malformed);
        }
        if authority.contains('@') {
            return Err(UrlFault::Credentials);
        }
        let url = Url::parse(raw).map_err(|_| UrlFault::Malformed)?;
        if authority.ends_with(':') || url.port() == Some(0) {
            return Err(UrlFault::Malformed);
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
                if !is_dns_name(host) {
                    return Err(UrlFault::Malformed);
                }
                if !host.contains('.') || RESERVED_SUFFIXES.iter().any(|zone| is_within(host, zone))
                {
                    return Err(UrlFault::ReservedHostname);
                }
                if secure { Ok(url) } else { Err(UrlFault::Scheme) }
            }
        }
    }

    /// Whether a name with these addresses may be called: all of them must be allowed. No receiver has a public
    /// and a private address under one name; one who mixes them wants to be called at the private one.
    pub fn allows_all(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().all(|address| self.allows_address(*address))
    }

    /// Whether a connection to `address` may be made. An IPv4-mapped address is the IPv4 address that it
    /// maps: the same packets leave for both.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        if self.allowed.iter().any(|network| network.opens(address)) {
            return true;
        }
        if address.is_loopback() {
            return self.development;
        }
        is_public(address)
    }
}

/// Letters, digits, hyphens and underscores, in labels as DNS has them.
fn is_dns_name(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| {
        (1..=LABEL_CHARS).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= HOST_CHARS && host.split('.').all(is_label)
}

/// Whether `host` is `zone` or a name under it.
fn is_within(host: &str, zone: &str) -> bool {
    host.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::UrlFault::*;
    use super::*;

    const STRICT: TargetRules = TargetRules { development: false, allowed: Vec::new() };
    const DEVELOPMENT: TargetRules = TargetRules { development: true, allowed: Vec::new() };

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
        check("",                               Some(Malformed),         Some(Malformed));
        check(&format!("https://e.com/{}", "a".repeat(2048)), Some(TooLong), Some(TooLong));
    }

    /// The same URLs are registered end to end.
    #[test]
    fn hostile_urls_are_refused_for_their_reasons() {
        let list = include_str!("../../tests/fixtures/hostile_urls.json");
        let list: BTreeMap<String, Vec<String>> = serde_json::from_str(list).expect("a list");
        let mut refused = 0;
        let mut wrong = Vec::new();
        for (expected, raw) in list.iter().flat_map(|(k, urls)| urls.iter().map(move |u| (k, u))) {
            let found = STRICT.judge_url(raw).map_or_else(UrlFault::as_str, |_| "taken");
            refused += usize::from(found != "taken");
            if found != expected {
                wrong.push(format!("{raw:?}: {found} instead of {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(refused >= 150, "{refused}");
    }
}
