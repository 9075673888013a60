//! Whom receivers' certificates are to be of, and what went wrong with one. There is no switch that turns
//! verification off.

use std::path::Path;
use std::sync::Arc;

use hookseal_core::error::{Error, Result};
use hookseal_core::outcome::ErrorKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// Verifies by the roots of the system, over TLS 1.2 or 1.3.
pub fn tls_config() -> Arc<ClientConfig> {
    config(system_roots())
}

/// As [`tls_config`], and by the certificates of the PEM file `extra`, too.
///
/// # Errors
/// [`Error::Invalid`] names the setting when the file holds no certificate, or one that can't be read.
pub fn tls_config_with(extra: &Path) -> Result<Arc<ClientConfig>> {
    let refused = || Error::invalid("extra_ca_file", "a PEM file with certificates");
    let mut roots = system_roots();
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(extra).map_err(|_| refused())? {
        roots.add(certificate.map_err(|_| refused())?).map_err(|_| refused())?;
    }
    if roots.len() == before { Err(refused()) } else { Ok(config(roots)) }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        tracing::warn!(ignored, "no root certificates on this system: https deliveries will fail");
    }
    roots
}

fn config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider supports these versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// What is recorded of a handshake that ended in `error`.
pub(super) fn kind_of_handshake(error: &std::io::Error) -> ErrorKind {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(fault)) = cause else { return ErrorKind::Tls };
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ErrorKind::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ErrorKind::CertificateNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ErrorKind::CertificateWrongHost
        }
        _ => ErrorKind::CertificateUntrusted,
    }
}
