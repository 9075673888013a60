//! `hookseal demo` as a stranger runs it.

use crate::support::daemon::{Home, ended};

#[test]
fn the_demo_ends_well_and_says_so() {
    let home = Home::new(&[]);
    let demo = ended(home.command().args(["demo", "--events", "200"]));
    let text = demo.stdout;
    assert!(demo.success, "{text}{}", demo.stderr);
    assert!(text.contains("verified and decrypted: 400 of 400"), "{text}");
    for line in ["healthy", "flaky", "never answers", "without a key"] {
        assert!(text.lines().any(|l| l.starts_with(line) && l.ends_with("yes")), "{line}: {text}");
    }
    assert!(!home.data_dir().exists(), "it works on a directory of its own");
}
