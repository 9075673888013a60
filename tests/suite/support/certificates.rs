//! Certificates of the tests' own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A self-signed certificate for this host and its key, in `directory` under this name.
pub fn self_signed(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let [certificate, key] =
        ["certificate", "key"].map(|part| directory.join(format!("{name}-{part}.pem")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .stderr(Stdio::null())
        .status()
        .expect("openssl is installed: run the tests by tests/run.sh");
    assert!(made.success());
    (certificate, key)
}
