use crate::{
    gate::{Operation, class},
    resource::{
        CallCtx, Failure, Right, Run,
        run::{Observer, RUN},
    },
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

/// The largest payload that a script may hold in its memory.
const MAX: u64 = 1 << 20;

/// That it was read. The payload itself is part of the package, so the journal keeps only which one it was.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seen {
    pub bytes: usize,
    pub sha256: String,
}

/// A whole payload, checked against the digest with which the package was opened.
pub async fn content(run: &Observer, name: &str) -> Result<Vec<u8>, Failure> {
    let archive = run.facts.payloads.get(name);
    let archive = archive.ok_or_else(|| Failure::not_found(format!("the package has no payload `{name}`")))?;
    let away = |e: std::io::Error| Failure::unavailable(format!("payload `{name}` cannot be read: {e}"));
    let length = tokio::fs::metadata(&archive.path).await.map_err(away)?.len();
    if length > MAX {
        return Err(Failure::invalid(format!("payload `{name}` has {length} bytes, a script may read {MAX}")));
    }
    // It may grow meanwhile, and is not what it was then.
    let mut content = Vec::new();
    let file = tokio::fs::File::open(&archive.path).await.map_err(away)?;
    file.take(MAX + 1).read_to_end(&mut content).await.map_err(away)?;
    if format!("{:x}", Sha256::digest(&content)) != archive.sha256 {
        return Err(Failure::conflict(format!("payload `{name}` has changed since the package was opened")));
    }
    Ok(content)
}

#[derive(Serialize)]
pub struct Read {
    pub name: String,
}
impl Operation for Read {
    const NAME: &'static str = "payload.read";
    const RIGHT: Option<Right> = None;
    type On = Run;
    type Class = class::Observe;
    type Output = Seen;
    fn label(&self) -> &str {
        RUN
    }
    async fn execute(&self, run: &Observer, _: &CallCtx) -> Result<Seen, Failure> {
        let content = content(run, &self.name).await?;
        Ok(Seen { bytes: content.len(), sha256: format!("{:x}", Sha256::digest(&content)) })
    }
}
