//! The revision of a database's schema: what a package declares of it, and what stands there.
use super::Observer;
use crate::resource::{CallCtx, Failure};

/// Between which revisions a package goes back and forth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revisions {
    /// The read-only query that tells the revision; `None`: it is the fingerprint of what is declared in the database.
    pub query: Option<String>,
    /// Those from which it upgrades.
    pub from: Vec<String>,
    pub to: String,
}

/// Characters of a revision.
pub const LONGEST: usize = 200;

/// What stands in the database now: the one value that the query answers, or `sha256:…`.
pub async fn live(observer: &Observer, query: Option<&str>, call: &CallCtx) -> Result<String, Failure> {
    let Some(query) = query else {
        return Ok(format!("sha256:{}", observer.schema().await?));
    };
    let rows = observer.query(query, call).await?;
    let revision = match rows.as_slice() {
        [row] if row.len() == 1 => row.first().cloned().unwrap_or_default(),
        [row] => return Err(not_one(&format!("a row of {} columns", row.len()))),
        [] => return Err(not_one("no row")),
        rows => return Err(not_one(&format!("{} rows", rows.len()))),
    };
    match revision.chars().count() {
        0 => Err(not_one("nothing")),
        1..=LONGEST => Ok(revision),
        _ => Err(not_one(&format!("more than {LONGEST} characters"))),
    }
}

fn not_one(answer: &str) -> Failure {
    Failure::inconclusive(format!("the query answers {answer}; a revision is one row of one column"))
}
