//! Authorities and what they issue, made anew for each test.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// One that issues certificates.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Not that of what it issues, which would look self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes its certificate into `directory`; answers the file's path.
    pub fn file_in(&self, directory: &Path) -> String {
        let path = directory.join("authority.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A server with a certificate for `names`, of which something is `changed`.
    pub fn server(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        self.server_with(names, change, ring::default_provider())
    }

    /// The same with other cipher suites.
    pub fn server_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
        provider: CryptoProvider,
    ) -> Arc<ServerConfig> {
        let (params, key) = request(names, change);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server(certificate.der().clone(), &key, provider)
    }
}

/// A server whose certificate is of nobody but itself, of which something is `changed`.
pub fn self_signed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
    let (params, key) = request(&[name], change);
    let certificate = params.self_signed(&key).unwrap();
    server(certificate.der().clone(), &key, ring::default_provider())
}

/// A self-signed certificate for this host and its key, in `directory` under this name, in files that their owner
/// alone can read.
pub fn self_signed_files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (params, key) = request(&["127.0.0.1"], |params| {
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::ExplicitNoCa;
    });
    let certificate = params.self_signed(&key).unwrap().pem();
    let [certificate, key] =
        [("certificate", certificate), ("key", key.serialize_pem())].map(|(part, pem)| {
            let path = directory.join(format!("{name}-{part}.pem"));
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
            std::io::Write::write_all(&mut file.unwrap(), pem.as_bytes()).unwrap();
            path
        });
    (certificate, key)
}

fn request(
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    (params, KeyPair::generate().unwrap())
}

fn server(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    provider: CryptoProvider,
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}
