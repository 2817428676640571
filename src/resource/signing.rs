//! How what goes over the network is signed, in both directions: as [Standard Webhooks](https://www.standardwebhooks.com) 1.0 has
//! it, HMAC-SHA256 over `id.timestamp.body`, in Base64 behind `v1,`.
use super::Failure;
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

/// A shorter secret could be guessed.
const SHORTEST: usize = 16;
/// More than anybody has while keys change; each costs a computation.
const MOST: usize = 8;

#[derive(Clone)]
pub struct Signing(hmac::Key);

impl Signing {
    /// Behind `whsec_` the bytes of the secret are written in Base64, as the scheme has it.
    pub fn new(secret: &str) -> Result<Self, Failure> {
        let bytes = match secret.strip_prefix("whsec_") {
            Some(encoded) => BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| Failure::invalid("behind `whsec_`, the secret of the webhook is not in Base64"))?,
            None => secret.as_bytes().to_vec(),
        };
        if bytes.len() < SHORTEST {
            return Err(Failure::invalid(format!("the secret of the webhook has fewer than {SHORTEST} bytes")));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// `at`: seconds since 1970-01-01 UTC.
    pub fn sign(&self, id: &str, at: u64, body: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.0);
        signing.update(format!("{id}.{at}.").as_bytes());
        signing.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(signing.sign()))
    }

    /// `signatures`: one, or several with spaces between them.
    pub fn holds(&self, id: &str, at: &str, body: &[u8], signatures: &str) -> bool {
        let signed = [format!("{id}.{at}.").as_bytes(), body].concat();
        let ours = signatures.split(' ').take(MOST).filter_map(|one| one.strip_prefix("v1,"));
        let mut decoded = ours.filter_map(|one| BASE64_STANDARD.decode(one).ok());
        // In a time that says nothing of how much of it was right.
        decoded.any(|one| hmac::verify(&self.0, &signed, &one).is_ok())
    }
}
