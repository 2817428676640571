//! What people have signed: that a plan may be carried out.
use crate::{
    diagnostic::reader,
    key::{self, Key, from_hex, hex},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One person's word for one plan, in one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    pub by: String,
    pub role: String,
    /// milliseconds since 1970-01-01 UTC, by the clock of the one who approved
    pub at: i64,
    /// public key, in hexadecimal digits
    pub key: String,
    pub signature: String,
}

impl Approval {
    /// `plan`: the digest of what is approved.
    pub fn sign(plan: &str, by: &str, role: &str, at: i64, key: &Key) -> Self {
        let approval =
            Self { by: by.to_owned(), role: role.to_owned(), at, key: hex(&key.public()), signature: String::new() };
        let signature = hex(&key.sign(approval.signed(plan).as_bytes()));
        Self { signature, ..approval }
    }

    /// The key that has signed exactly this, of exactly this plan.
    pub fn signer(&self, plan: &str) -> Option<[u8; 32]> {
        // Names have no spaces, so no two approvals have the same text.
        reader::name(&self.by).and(reader::name(&self.role)).ok()?;
        let (public, signature) = (from_hex(&self.key)?, from_hex(&self.signature)?);
        key::holds(&public, self.signed(plan).as_bytes(), &signature).then_some(public)
    }

    fn signed(&self, plan: &str) -> String {
        format!("backout-approval 1 {plan} {} {} {} {}", self.at, self.key, self.role, self.by)
    }
}
