//! Paths below the root of a tree, as bytes: names of files need not be text.
use crate::plain::hidden;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, ffi::OsStr, fmt, os::unix::ffi::OsStrExt};

/// Temporary names inside a tree. They belong to nobody's version, so no fingerprint sees them and no script names them.
pub const TEMPORARY: &str = ".backout-tmp-";
pub const STAGING: &str = ".backout-staging-";
pub use crate::resource::copies::HOME as BESIDE;

pub fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(TEMPORARY.as_bytes()) || name.starts_with(STAGING.as_bytes())
}

/// Empty: the root itself. In the order in which a walk meets them: a folder, what is in it, its next neighbour.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct RelPath(Vec<u8>);

impl RelPath {
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_owned())
    }
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }
    /// The root has itself as its folder.
    pub fn folder(&self) -> Self {
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Self(self.0[..end].to_owned())
    }
    pub fn name(&self) -> &OsStr {
        let begin = self.0.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        OsStr::from_bytes(&self.0[begin..])
    }
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.0.split(|b| *b == b'/').filter(|name| !name.is_empty()).map(OsStr::from_bytes)
    }
    /// The top-level entry that it is or lies in.
    pub fn top(&self) -> &[u8] {
        self.0.split(|b| *b == b'/').next().unwrap_or_default()
    }
    /// For a message, which must stay short.
    pub fn brief(&self) -> String {
        let text = self.to_string();
        match text.char_indices().nth(120) {
            Some((end, _)) => format!("`{}…`", &text[..end]),
            None => format!("`{text}`"),
        }
    }
}

/// A name in words that cannot deceive a terminal, and that differ for different names.
pub fn shown(bytes: &[u8]) -> String {
    let harmful = |c: char| c == '\\' || hidden(c);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(harmful) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.is_root() { ".".to_owned() } else { shown(&self.0) })
    }
}
impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // No name contains a zero byte, so it can stand for the end of a name.
        let order = |b: &u8| if *b == b'/' { 0 } else { *b };
        // Neighbours have long beginnings in common, which a comparison byte by byte would take its time for.
        let same = |(a, b): &(&[u8], &[u8])| a == b;
        let common = 64 * self.0.chunks_exact(64).zip(other.0.chunks_exact(64)).take_while(same).count();
        self.0[common..].iter().map(order).cmp(other.0[common..].iter().map(order))
    }
}
impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Bytes(Vec<u8>),
}
impl From<Written> for RelPath {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self(text.into_bytes()),
            Written::Bytes(bytes) => Self(bytes),
        }
    }
}
impl From<RelPath> for Written {
    fn from(path: RelPath) -> Self {
        String::from_utf8(path.0).map_or_else(|e| Self::Bytes(e.into_bytes()), Self::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_sort_as_a_walk_meets_them() {
        let mut paths = ["a-b", "a/x", "a", "a/x/y", "", "a.b"].map(|p| RelPath::from_bytes(p.as_bytes())).to_vec();
        paths.sort();
        assert_eq!(paths.iter().map(ToString::to_string).collect::<Vec<_>>(), [".", "a", "a/x", "a/x/y", "a-b", "a.b"]);
    }

    #[test]
    fn names_that_are_no_text_survive_and_are_shown_harmlessly() {
        let path = RelPath::from_bytes(b"a/\xff\n");
        let written = serde_json::to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<RelPath>(&written).unwrap(), path);
        assert_eq!(path.to_string(), "a/\\xff\\n");
        assert_eq!(shown("größe".as_bytes()), "größe");
        assert_ne!(shown(b"a\\n"), shown(b"a\n"));
    }
}
