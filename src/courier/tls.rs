//! Whom receivers' certificates are to be of, and what went wrong with one. There is no switch that turns
//! verification off.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hookseal_core::error::{Error, Result};
use hookseal_core::outcome::ErrorKind;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, InvalidMessage, OtherError, PeerIncompatible,
    PeerMisbehaved, RootCertStore,
};

use super::verifier::{SelfSigned, Verifier};

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
    let roots = Arc::new(roots);
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider supports these versions")
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    // Without roots there is none, and everything is refused all the same.
    if let Ok(webpki) = WebPkiServerVerifier::builder_with_provider(roots, provider).build() {
        config.dangerous().set_certificate_verifier(Arc::new(Verifier(webpki)));
    }
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// What is recorded of a handshake that ended in `error`.
pub(super) fn kind_of_handshake(error: &io::Error) -> ErrorKind {
    match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(fault) => kind_of_fault(fault),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => ErrorKind::TlsClosed,
            _ => ErrorKind::Tls,
        },
    }
}

fn kind_of_fault(fault: &rustls::Error) -> ErrorKind {
    match fault {
        rustls::Error::InvalidCertificate(fault) => kind_of_certificate(fault),
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => ErrorKind::TlsVersion,
        // Servers say so of anything that both sides would have to share.
        rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon,
        )
        | rustls::Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite) => {
            ErrorKind::TlsCipher
        }
        rustls::Error::AlertReceived(_) => ErrorKind::TlsAlert,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            ErrorKind::TlsNotSpoken
        }
        _ => ErrorKind::Tls,
    }
}

fn kind_of_certificate(fault: &CertificateError) -> ErrorKind {
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
        CertificateError::Other(OtherError(cause)) if cause.is::<SelfSigned>() => {
            ErrorKind::CertificateSelfSigned
        }
        _ => ErrorKind::CertificateUntrusted,
    }
}
