//! The head of the chain, signed: how far it went, and with which hash. Whoever cuts the journal off, or writes it anew from some
//! entry on, cannot make the head fit without the key.
use super::{chain::Hash, error::Error};
use crate::key::{self, Key, from_hex, hex};
use rusqlite::{Connection, OptionalExtension};
use rustix::fs::{FlockOperation, flock};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// number of the entry
    pub entry: i64,
    pub hash: Hash,
    /// when it was signed, in milliseconds since 1970-01-01 UTC
    pub at: i64,
    pub key: [u8; 32],
    signature: [u8; 64],
}

impl Head {
    fn sign(entry: i64, hash: Hash, key: &Key) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let mut head = Self { entry, hash, at, key: key.public(), signature: [0; 64] };
        head.signature = key.sign(head.signed().as_bytes());
        head
    }

    /// The head in a file; `None`: there is none.
    pub fn at(path: &Path) -> Result<Option<Self>, Error> {
        read(path)
    }

    /// What the signature is over.
    fn signed(&self) -> String {
        format!("backout-head 1 {} {} {} {}", self.entry, hex(&self.hash), self.at, hex(&self.key))
    }
}

/// As it is kept, in one line.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.signed(), hex(&self.signature))
    }
}

/// Only one that is signed is read.
impl FromStr for Head {
    type Err = &'static str;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut words = line.trim_end_matches('\n').split(' ');
            let (name, format) = (words.next()?, words.next()?);
            let head = Self {
                entry: words.next()?.parse().ok()?,
                hash: from_hex(words.next()?)?,
                at: words.next()?.parse().ok()?,
                key: from_hex(words.next()?)?,
                signature: from_hex(words.next()?)?,
            };
            ((name, format) == ("backout-head", "1") && words.next().is_none()).then_some(head)
        };
        let head = read().ok_or("is no signed head")?;
        // As it would be written, so that one head is never two lines.
        let signed = head.signed();
        match line.starts_with(&signed) && key::holds(&head.key, signed.as_bytes(), &head.signature) {
            true => Ok(head),
            false => Err("does not bear the signature of its key"),
        }
    }
}

pub fn head_path(journal: &Path) -> PathBuf {
    journal.with_extension("head")
}

pub fn key_path(journal: &Path) -> PathBuf {
    journal.with_extension("key")
}

/// The head that lies at a path; `None`: nothing does.
pub fn read(path: &Path) -> Result<Option<Head>, Error> {
    let unreadable = |reason: String| Error::Unreadable { path: path.display().to_string(), reason };
    match key::small_file(path) {
        Ok(bytes) => {
            let line = String::from_utf8(bytes).map_err(|_| unreadable("is no signed head".into()))?;
            line.parse().map(Some).map_err(|reason: &str| unreadable(reason.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// The public key of a journal that was ever signed here.
pub fn public_key(journal: &Path) -> Result<Option<[u8; 32]>, Error> {
    let path = key_path(journal);
    if let Err(error) = path.symlink_metadata()
        && error.kind() == io::ErrorKind::NotFound
    {
        return Ok(None);
    }
    Ok(Some(own(journal)?.public()))
}

/// Signs that the chain goes as far as this entry, and keeps that beside the journal; what was signed before has to stand in it
/// still. Two processes that end at once leave the later head.
pub fn advance(db: &Connection, journal: &Path, entry: i64) -> Result<(), Error> {
    let path = head_path(journal);
    let unwritten =
        |error: io::Error| Error::Unreadable { path: path.display().to_string(), reason: error.to_string() };
    let hash = |entry: i64| {
        let found = db.query_row("SELECT hash FROM entry WHERE id = ?1", [entry], |row| row.get::<_, Hash>(0));
        found.optional().map_err(|cause| Error::Sqlite { path: journal.display().to_string(), cause })
    };
    let key = own(journal)?;
    flock(key.file(), FlockOperation::LockExclusive).map_err(|error| unwritten(error.into()))?;
    if let Some(before) = read(&path)? {
        let own = key.public() == before.key;
        if !own || hash(before.entry)? != Some(before.hash) {
            return Err(Error::Rewritten { path: journal.display().to_string(), entry: before.entry });
        }
        if before.entry >= entry {
            return Ok(());
        }
    }
    let Some(hash) = hash(entry)? else { return Err(Error::Damaged { id: entry, reason: "it is gone".into() }) };
    let head = Head::sign(entry, hash, &key);
    key::write(&path, format!("{head}\n").as_bytes(), true).map_err(unwritten)
}

/// Signs a head that is not kept beside the journal.
pub fn sign(journal: &Path, entry: i64, hash: Hash) -> Result<Head, Error> {
    Ok(Head::sign(entry, hash, &own(journal)?))
}

/// Made when it is first needed. Who has it can sign another past.
fn own(journal: &Path) -> Result<Key, Error> {
    let path = key_path(journal);
    Key::own(&path).map_err(|reason| Error::Unreadable { path: path.display().to_string(), reason })
}
