//! Tells a certificate that nobody but itself has issued from one of an authority that is not trusted. Whether a
//! certificate holds is webpki's to judge: here a refusal gets a name, and stays one.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::EndEntityCert;

/// The refusal of a certificate that nobody but itself has issued.
#[derive(Debug, thiserror::Error)]
#[error("self-signed")]
pub(super) struct SelfSigned;

/// What webpki judges, with that one refusal by its name.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|refusal| named(refusal, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.0.root_hint_subjects()
    }
}

/// A self-signed certificate is often one of an authority, too: webpki refuses that before it looks for its issuer.
fn named(refusal: Error, end_entity: &CertificateDer<'_>) -> Error {
    match refusal {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
            if is_self_signed(end_entity) =>
        {
            CertificateError::Other(OtherError(Arc::new(SelfSigned))).into()
        }
        _ => refusal,
    }
}

/// By its names alone: the certificate is refused, whatever it says.
fn is_self_signed(end_entity: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(end_entity).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}
