//! A target URL that is accepted can be called, stays accepted as it is called, and names no address.

#![no_main]

use hookseal_core::target::TargetRules;
use libfuzzer_sys::fuzz_target;
use url::Host;

fuzz_target!(|given: (bool, &str)| {
    let (development, raw) = given;
    let rules = TargetRules { development, ..Default::default() };
    let Ok(url) = rules.judge_url(raw) else { return };
    assert_eq!(rules.judge_url(url.as_str()).as_ref(), Ok(&url), "judged again");
    assert!(url.username().is_empty() && url.password().is_none(), "no credentials: {url}");
    assert!(url.fragment().is_none(), "no fragment: {url}");
    let local = match url.host().expect("a host") {
        Host::Domain(name) => name.trim_end_matches('.') == "localhost",
        Host::Ipv4(address) => {
            assert!(address.is_loopback(), "no literal address: {url}");
            true
        }
        Host::Ipv6(_) => panic!("no literal address: {url}"),
    };
    assert!(!local || development, "loopback is for development: {url}");
    assert!(
        url.scheme() == "https" || (local && url.scheme() == "http"),
        "sealed on the way: {url}"
    );
    let called: http::Uri = url.as_str().parse().expect("it can be called");
    assert_eq!(called.host(), url.host_str(), "it is this host that is called");
    assert_eq!(called.port_u16(), url.port(), "at this port");
});
