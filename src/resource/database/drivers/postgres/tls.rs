//! Encryption of a connection, by the words of libpq.
use super::stream::Stream;
use crate::resource::{
    Failure,
    database::{Host, Server, Tls},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;
use tokio_postgres::{config::SslMode, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

pub type Connector = <MakeRustlsConnect as MakeTlsConnect<Stream>>::TlsConnect;

/// What the server is asked for, and how it is done if it agrees. A socket of this host needs none.
pub fn wanted(server: &Server) -> Result<(SslMode, Option<Connector>), Failure> {
    let (Host::Name(name), tls) = (&server.host, server.tls) else { return Ok((SslMode::Disable, None)) };
    let mode = match tls {
        Tls::Disable => return Ok((SslMode::Disable, None)),
        Tls::Prefer => SslMode::Prefer,
        Tls::Require | Tls::VerifyFull => SslMode::Require,
    };
    let impossible = |_| Failure::unavailable("no secure connection can be made from this host");
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(impossible)?;
    let config = match tls {
        Tls::VerifyFull => builder.with_platform_verifier().map_err(impossible)?,
        _ => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    };
    let mut maker = MakeRustlsConnect::new(config.with_no_client_auth());
    let connector = MakeTlsConnect::<Stream>::make_tls_connect(&mut maker, name);
    Ok((mode, Some(connector.map_err(|_| Failure::invalid("the host's name cannot stand in a certificate"))?)))
}

/// Does not ask who the server is, as libpq does not unless `verify-full` is said: then whoever sits on the way may be the
/// server. That it holds the key of the certificate that it shows is checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
