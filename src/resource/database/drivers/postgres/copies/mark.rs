//! What Backout's own databases are called, and how they are told from everybody else's.
//!
//! Each carries a mark as its comment. Nothing without the mark of the same live database and the same snapshot is ever
//! written to, renamed or dropped, whatever its name.
use super::super::{Postgres, error::told};
use super::{clone, detector::Since};
use crate::resource::{Failure, copies::Fingerprint};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

/// What the server keeps of a name.
const LONGEST: usize = 63;

/// The databases of one snapshot.
pub struct Names {
    pub live: String,
    pub id: String,
    pub standby: String,
    pub aside: String,
}

impl Names {
    pub fn of(postgres: &Postgres, id: &str) -> Self {
        let live = postgres.server.database.clone();
        let standby = bounded(&format!("backout_{live}_{id}"));
        let aside = bounded(&format!("backout_{live}_{id}_aside"));
        Self { live, id: id.to_owned(), standby, aside }
    }

    /// Of the copy that a rehearsal takes for the live database.
    pub fn for_rehearsal(live: &str) -> Self {
        let standby = super::rehearsal::name(live);
        let aside = bounded(&format!("{standby}_aside"));
        Self { live: live.to_owned(), id: "rehearsal".to_owned(), standby, aside }
    }
}

/// The whole name decides, also where only its beginning has room.
pub fn bounded(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let digest = hex(&Sha256::digest(name));
    let end = name.floor_char_boundary(LONGEST - 17);
    format!("{}_{}", name.get(..end).unwrap_or_default(), digest.get(..16).unwrap_or_default())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Is {
    Making,
    StandBy,
    Aside,
    /// The live one of a rehearsal.
    Rehearsal,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    pub is: Is,
    pub id: String,
    /// The name of the live database.
    pub of: String,
    pub proof: Option<Proof>,
    /// What the live database had for a comment when the copy was made.
    pub comment: Option<String>,
    /// It was exchanged, and what stands around it does not follow yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
    /// From where on changes are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// A stand-by counts as proven while it is closed to everybody and its row in `pg_database` is the one that closed it. Who
/// wants to get in, superuser or not, has to write that row first, and each write gives it another transaction id. Only
/// databases that are open can be connected to, so nobody has changed a byte since; and Backout closes it before it reads it
/// for the proof. After a restart of the server everything is read again: a power failure may have taken what was only
/// thought to be on the disk. So a rollback does not have to read all the data, however much it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `xmin` of the row
    pub row: String,
    /// when the server started
    pub started: String,
    /// of the fingerprint
    pub digest: String,
}

pub fn digest(fingerprint: &Fingerprint) -> Result<String, Failure> {
    let bytes = serde_json::to_vec(fingerprint).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

const BEGIN: &str = "Kept by Backout, which drops it. ";

impl Mark {
    pub fn text(&self) -> Result<String, Failure> {
        let json = serde_json::to_string(self).map_err(|e| Failure::failed(e.to_string()))?;
        Ok(format!("{BEGIN}{json}"))
    }

    fn read(comment: &str) -> Option<Self> {
        serde_json::from_str(comment.strip_prefix(BEGIN)?).ok()
    }
}

/// A database as the server's list of databases has it.
pub struct Found {
    pub oid: u32,
    pub name: String,
    pub open: bool,
    pub row: String,
    pub comment: Option<String>,
    pub mark: Option<Mark>,
    /// Made by an operation that was killed before it could mark it: nobody has ever been in it.
    pub unborn: bool,
    /// Closed, and without a mark.
    bare: bool,
}

const FIND: &str = "SELECT d.oid, d.datname::text, d.datallowconn, d.xmin::text, shobj_description(d.oid, 'pg_database'), \
        CASE WHEN NOT d.datallowconn AND d.datconnlimit = 0 THEN pg_database_size(d.oid) <= pg_database_size(t.oid) + 65536 END \
     FROM pg_database d, pg_database t WHERE t.datname = 'template0' AND d.datname = $1";

pub async fn find(admin: &Client, name: &str) -> Result<Option<Found>, Failure> {
    let row = admin.query_opt(FIND, &[&name]).await.map_err(told)?;
    Ok(row.map(|row| {
        let comment: Option<String> = row.get(4);
        let mark = comment.as_deref().and_then(Mark::read);
        let empty: Option<bool> = row.get(5);
        let (unborn, bare) = (comment.is_none() && empty == Some(true), comment.is_none() && empty.is_some());
        Found { oid: row.get(0), name: row.get(1), open: row.get(2), row: row.get(3), comment, mark, unborn, bare }
    }))
}

impl Found {
    /// The mark, when it is of this snapshot.
    fn ours(&self, names: &Names) -> Option<&Mark> {
        self.mark.as_ref().filter(|mark| mark.id == names.id && mark.of == names.live)
    }

    fn is(&self, names: &Names, what: &[Is]) -> bool {
        self.ours(names).is_some_and(|mark| what.contains(&mark.is))
    }
}

/// Where the copy of a snapshot stands.
pub enum Stand {
    By(Found),
    /// It is live; what was live is aside, unless it was thrown away or there was nothing.
    Live {
        aside: Option<Found>,
    },
    /// Begun, and not finished.
    Half(Found),
    Gone,
}

/// `place`: what the snapshot says of where it is.
pub async fn stand(admin: &Client, names: &Names, place: &str) -> Result<Stand, Failure> {
    let standby = find(admin, &names.standby).await?;
    let aside = find(admin, &names.aside).await?.filter(|found| found.is(names, &[Is::Aside]));
    Ok(match (standby, aside) {
        (_, Some(aside)) => Stand::Live { aside: Some(aside) },
        (Some(found), _) if found.is(names, &[Is::StandBy]) => Stand::By(found),
        (Some(found), _) if found.unborn || found.is(names, &[Is::Making]) => Stand::Half(found),
        (Some(found), _) if found.bare && clone::announced(admin, names).await? => Stand::Half(found),
        (Some(_), _) => {
            return Err(Failure::conflict(format!("a database {} is there that is not Backout's", names.standby)));
        }
        (None, None) => match find(admin, &names.live).await? {
            Some(live) if place_of(names, live.oid) == place => Stand::Live { aside: None },
            _ => Stand::Gone,
        },
    })
}

/// By its number it is known again under another name.
pub fn place_of(names: &Names, oid: u32) -> String {
    format!("{} ({oid})", names.standby)
}

pub async fn write(admin: &Client, name: &str, mark: &Mark) -> Result<(), Failure> {
    admin.batch_execute(&comment(name, Some(&mark.text()?))).await.map_err(told)
}

pub fn comment(name: &str, text: Option<&str>) -> String {
    let text = text.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON DATABASE {} IS {text}", quoted(name))
}

/// Drops a database of this snapshot, with everybody who is in it. Bytes that became free.
pub async fn drop(admin: &Client, found: &Found) -> Result<u64, Failure> {
    let size = "SELECT coalesce(pg_database_size(oid), 0) FROM pg_database WHERE oid = $1";
    let bytes = admin.query_opt(size, &[&found.oid]).await.map_err(told)?.map_or(0, |row| row.get::<_, i64>(0));
    // By its name, which is the only way: the number is asked for again right before.
    match find(admin, &found.name).await? {
        Some(now) if now.oid == found.oid => {}
        _ => return Ok(0),
    }
    admin
        .batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&found.name)))
        .await
        .map_err(told)?;
    Ok(bytes.unsigned_abs())
}

pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// For statements that take no parameters; connections have `standard_conforming_strings` on.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_different() {
        assert_eq!(bounded("backout_shop_7-shop"), "backout_shop_7-shop");
        let long = |end: &str| bounded(&format!("backout_{}_{end}", "ñ".repeat(40)));
        assert!(long("7-shop").len() <= LONGEST);
        assert_ne!(long("7-shop"), long("7-shop_aside"));
    }

    #[test]
    fn only_a_whole_mark_is_one() {
        let (id, of, comment) = ("7".into(), "a'b\"".into(), Some("x".into()));
        let mark = Mark { is: Is::StandBy, id, of, proof: None, comment, pending: false, since: None };
        let text = mark.text().unwrap();
        assert_eq!(Mark::read(&text).unwrap().of, "a'b\"");
        assert!(Mark::read(&text[..text.len() - 1]).is_none());
        assert!(Mark::read("Kept by Backout, which drops it.").is_none());
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
