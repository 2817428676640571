//! What a tree holds, as data: enough to compare two trees, to say how they differ, and to prove a copy.
use super::{
    content::Digest,
    path::{RelPath, shown},
};
use crate::resource::copies::{Fingerprint, Lost, Part};
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Beyond so many top-level entries they are one part: a journal keeps the parts of every snapshot.
const MAX_PARTS: usize = 1000;

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time(pub i64, pub i64);

impl Time {
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self(now.tv_sec, now.tv_nsec)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Folder,
    File {
        size: u64,
        /// `None`: not read, or not readable; never equal to anything.
        content: Option<Digest>,
        /// Another name of the same file, the first in order.
        first: Option<RelPath>,
    },
    Link {
        target: RelPath,
    },
    /// A pipe, a socket, a device; or a folder of another file system.
    Other {
        file_type: u32,
        device: u64,
    },
}

/// What stays the same for as long as nobody touches a file. `changed` (ctime) is the kernel's alone to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub inode: u64,
    pub changed: Time,
    pub size: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub what: What,
    pub mode: u32,
    pub owner: u32,
    pub group: u32,
    pub attributes: Option<Digest>,
    /// Kept by a copy, but no part of what is compared: a file that was only touched is no other file.
    pub modified: Time,
    pub identity: Identity,
    /// bytes on disk
    pub allocated: u64,
}

impl Record {
    pub fn new(what: What, stat: &Stat) -> Self {
        Self {
            what,
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            group: stat.st_gid,
            attributes: None,
            modified: Time(stat.st_mtime as _, stat.st_mtime_nsec as _),
            identity: Identity::of(stat),
            allocated: (stat.st_blocks as u64) * 512,
        }
    }
    pub fn is_folder(&self) -> bool {
        self.what == What::Folder
    }

    /// Neither could be told from the other by a program that does not look at times.
    pub fn equals(&self, other: &Self) -> bool {
        self.same_thing(other) && self.same_marks(other)
    }
    /// Apart from owner, permissions and attributes.
    pub fn same_thing(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (What::File { content: None, .. }, _) | (_, What::File { content: None, .. }) => false,
            (a, b) => a == b,
        }
    }
    pub fn same_marks(&self, other: &Self) -> bool {
        (self.mode, self.owner, self.group, self.attributes) == (other.mode, other.owner, other.group, other.attributes)
    }

    fn hash(&self, path: &RelPath, hash: &mut Sha256) {
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(path.as_bytes());
        match &self.what {
            What::Folder => field(b"folder"),
            What::File { size, content, first } => {
                field(b"file");
                field(&size.to_le_bytes());
                field(content.as_ref().map_or(&[], |c| c.as_bytes()));
                field(first.as_ref().map_or(&[], |f| f.as_bytes()));
            }
            What::Link { target } => {
                field(b"link");
                field(target.as_bytes());
            }
            What::Other { file_type, device } => {
                field(b"other");
                field(&file_type.to_le_bytes());
                field(&device.to_le_bytes());
            }
        }
        for number in [self.mode, self.owner, self.group] {
            field(&number.to_le_bytes());
        }
        field(self.attributes.as_ref().map_or(&[], |a| a.as_bytes()));
    }
}

impl Identity {
    pub fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            changed: Time(stat.st_ctime as _, stat.st_ctime_nsec as _),
            size: stat.st_size as u64,
        }
    }
}

pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The root is the empty path. Links are not followed.
    pub entries: BTreeMap<RelPath, Record>,
    /// The uppermost excluded paths.
    pub excluded: Vec<RelPath>,
}

impl Listing {
    /// Bytes on disk, a file with several names once.
    pub fn allocated(&self) -> u64 {
        self.entries.values().filter(|r| !is_second_name(r)).map(|r| r.allocated).fold(0, u64::saturating_add)
    }

    /// Bytes that reading all contents takes.
    pub fn to_read(&self) -> u64 {
        let size = |r: &Record| match &r.what {
            What::File { size, first: None, .. } => (*size).min(r.allocated),
            _ => 0,
        };
        self.entries.values().map(size).fold(0, u64::saturating_add)
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let many = has_many_parts([self]);
        let mut parts: BTreeMap<String, (u64, Sha256)> = BTreeMap::new();
        for (path, record) in &self.entries {
            let (count, hash) = parts.entry(part_of(path, many)).or_default();
            *count += u64::from(!record.is_folder());
            record.hash(path, hash);
        }
        let parts =
            parts.into_iter().map(|(name, (count, hash))| Part { name, count, digest: Digest::end(hash).to_string() });
        Fingerprint { schema: String::new(), parts: parts.collect() }
    }

    /// Paths that only one of the two has, or that are not equal.
    pub fn differing(&self, other: &Self) -> BTreeSet<RelPath> {
        let mine = self.entries.iter().filter(|(path, r)| !other.entries.get(*path).is_some_and(|o| r.equals(o)));
        let theirs = other.entries.keys().filter(|path| !self.entries.contains_key(*path));
        mine.map(|(path, _)| path).chain(theirs).cloned().collect()
    }

    /// What is lost of `self` when `copy` takes its place. Folders count only where nothing in them does: an empty one, or
    /// one with other permissions.
    pub fn lost(&self, copy: &Self) -> Vec<Lost> {
        let many = has_many_parts([self, copy]);
        let mut parts: BTreeMap<String, Lost> = BTreeMap::new();
        for path in self.differing(copy) {
            let (live, copied) = (self.entries.get(&path), copy.entries.get(&path));
            let name = part_of(&path, many);
            let part = parts.entry(name.clone()).or_insert(Lost { part: name, rows: 0, changed: 0, missing: 0 });
            match (live, copied) {
                (Some(_), Some(_)) => part.changed += 1,
                (Some(record), None) => part.rows += u64::from(!record.is_folder() || self.is_empty_folder(&path)),
                (None, Some(record)) => part.missing += u64::from(!record.is_folder() || copy.is_empty_folder(&path)),
                (None, None) => {}
            }
        }
        parts.into_values().filter(|part| part.rows + part.changed + part.missing > 0).collect()
    }

    fn is_empty_folder(&self, path: &RelPath) -> bool {
        let next = self.entries.range(path.clone()..).nth(1);
        next.is_none_or(|(next, _)| next.folder() != *path)
    }
}

fn is_second_name(record: &Record) -> bool {
    matches!(record.what, What::File { first: Some(_), .. })
}

fn has_many_parts<const N: usize>(listings: [&Listing; N]) -> bool {
    listings.iter().flat_map(|l| l.entries.keys()).filter(|path| path.folder().is_root()).count() > MAX_PARTS
}

fn part_of(path: &RelPath, many: bool) -> String {
    if path.is_root() || many { ".".to_owned() } else { shown(path.top()) }
}
