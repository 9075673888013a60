//! The certificate that the API shows, read again when its files change. HTTP/2 is never offered.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hookseal_core::error::{Error, Result};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::private_file;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Largest file that is read, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those that lead to its root, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// The contents of both files.
#[derive(PartialEq, Eq)]
struct Pair {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    fn read(files: &CertificateFiles) -> Result<Self> {
        let chain = read("tls_cert_file", &files.chain, |_, _| Ok(()))?;
        let key = read("tls_key_file", &files.key, private_file::judge)?;
        Ok(Self { chain, key: Zeroizing::new(key) })
    }

    fn certified(&self) -> Result<Arc<CertifiedKey>> {
        let unfit = || Error::invalid("tls_cert_file", "certificates in PEM");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.chain)
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| unfit())?;
        if chain.is_empty() {
            return Err(unfit());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| Error::invalid("tls_key_file", "a private key in PEM"))?;
        CertifiedKey::from_der(chain, key, &default_provider()).map(Arc::new).map_err(|error| {
            let expected = match error {
                rustls::Error::InconsistentKeys(_) => "the key of the certificate in tls_cert_file",
                _ => "the RSA, ECDSA or Ed25519 key of a valid certificate in tls_cert_file",
            };
            Error::invalid("tls_key_file", expected)
        })
    }
}

fn read(
    setting: &str,
    path: &Path,
    judge: impl FnOnce(&str, &File) -> Result<()>,
) -> Result<Vec<u8>> {
    let unreadable = |_| Error::invalid(setting, "a readable file");
    let file = File::open(path).map_err(unreadable)?;
    judge(setting, &file)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What handshakes show at present.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

/// How the API speaks TLS: 1.2 or 1.3, and HTTP/1.1 within. Files that change are taken up within
/// seconds; those that are no certificate with its key are told of in the log, and what was there stays.
/// Must be called within an actix system.
///
/// # Errors
/// [`Error::Invalid`] names the setting of the file that is not as it should be.
pub fn tls_config(files: CertificateFiles) -> Result<ServerConfig> {
    let pair = Pair::read(&files)?;
    let shown = Arc::new(Shown(RwLock::new(pair.certified()?)));
    actix::spawn(follow(files, pair, shown.clone()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Compares contents, not times: a link that is moved to another file may well have an older one.
async fn follow(files: CertificateFiles, first: Pair, shown: Arc<Shown>) {
    let mut last = Ok(first);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let found = Pair::read(&files).map_err(|error| error.to_string());
        if found == last {
            continue;
        }
        let taken = match &found {
            Ok(pair) => pair.certified().map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match taken {
            Ok(certified) => {
                *shown.0.write() = certified;
                tracing::info!("the certificate was replaced");
            }
            Err(error) => tracing::error!(error, "the certificate stays as it was"),
        }
        last = found;
    }
}
