//! That a stand-by equalled the live tree, durably, entry by entry. There is a proof exactly while the stand-by is untouched: it
//! is taken away before the first change, and written when the comparison has ended.
use super::{
    listing::{Listing, Record, Time},
    path::RelPath,
    place::{Node, Slot},
    scan::{Known, open},
    work::At,
};
use crate::resource::{Failure, copies::Fingerprint, process::boot_id};
use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
};

const NAME: &str = "proof";
const UNFINISHED: &str = "proof.new";
/// Of an archive: what it was found to hold, so that going back can be reckoned without reading all of it. It proves nothing.
const ARCHIVED: &str = "archived";
const FORMAT: u32 = 1;

/// Files that changed less than this before the proof was begun are not known by their times.
const TICK: i64 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub struct Header {
    format: u32,
    /// When the comparison began.
    pub at: Time,
    /// Of this start of the machine. A crash may lose times that are newer than the disk, so after one contents count alone.
    pub boot: String,
    pub exclude: Vec<String>,
    pub root: Node,
    pub fingerprint: Fingerprint,
    entries: usize,
}

pub struct Proof {
    pub header: Header,
    pub listing: Listing,
}

impl Proof {
    pub fn new(at: Time, exclude: &[String], root: Node, listing: Listing) -> Self {
        let header = Header {
            format: FORMAT,
            at,
            boot: boot(),
            exclude: exclude.to_owned(),
            root,
            fingerprint: listing.fingerprint(),
            entries: listing.entries.len(),
        };
        Self { header, listing }
    }

    pub fn write(&self, slot: &Slot) -> Result<(), Failure> {
        self.write_as(slot, NAME)
    }

    pub fn write_archived(&self, slot: &Slot) -> Result<(), Failure> {
        self.write_as(slot, ARCHIVED)
    }

    fn write_as(&self, slot: &Slot, name: &str) -> Result<(), Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&slot.folder, UNFINISHED, flags, Mode::RUSR | Mode::WUSR).beside("write a proof")?;
        let mut writer = BufWriter::new(File::from(file));
        let mut line = |value: serde_json::Result<String>| {
            value.map_err(std::io::Error::from).and_then(|text| writeln!(writer, "{text}")).beside("write a proof")
        };
        line(serde_json::to_string(&self.header))?;
        for entry in &self.listing.entries {
            line(serde_json::to_string(&entry))?;
        }
        let file = writer.into_inner().map_err(|e| e.into_error()).beside("write a proof")?;
        file.sync_all().beside("write a proof")?;
        rustix::fs::renameat(&slot.folder, UNFINISHED, &slot.folder, name).beside("write a proof")?;
        slot.sync()
    }

    /// `None`: there is none, or it is not whole; both mean that nothing is proven.
    pub fn read(slot: &Slot) -> Result<Option<Self>, Failure> {
        Self::read_as(slot, NAME)
    }

    pub fn read_archived(slot: &Slot) -> Result<Option<Self>, Failure> {
        Self::read_as(slot, ARCHIVED)
    }

    fn read_as(slot: &Slot, name: &str) -> Result<Option<Self>, Failure> {
        let file = match open(&slot.folder, name, OFlags::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).beside("read a proof"),
        };
        let mut lines = BufReader::new(file).lines();
        let Some(header) = lines.next() else { return Ok(None) };
        let Ok(header) = serde_json::from_str::<Header>(&header.beside("read a proof")?) else { return Ok(None) };
        let mut listing = Listing::default();
        for line in lines {
            let Ok((path, record)) = serde_json::from_str::<(RelPath, Record)>(&line.beside("read a proof")?) else {
                return Ok(None);
            };
            listing.entries.insert(path, record);
        }
        let whole = header.format == FORMAT
            && header.entries == listing.entries.len()
            && header.fingerprint == listing.fingerprint();
        Ok(whole.then_some(Self { header, listing }))
    }

    pub fn remove(slot: &Slot) -> Result<(), Failure> {
        Self::remove_each(slot, &[NAME, UNFINISHED])
    }

    pub fn remove_archived(slot: &Slot) -> Result<(), Failure> {
        Self::remove_each(slot, &[ARCHIVED])
    }

    fn remove_each(slot: &Slot, names: &[&str]) -> Result<(), Failure> {
        for name in names {
            match rustix::fs::unlinkat(&slot.folder, *name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e).beside("remove a proof"),
            }
        }
        slot.sync()
    }

    /// What need not be read again in the stand-by. Nobody but Backout can reach it, and whoever does cannot set the time of
    /// a file's last change back.
    pub fn known<'a>(&'a self, except: &'a BTreeSet<RelPath>) -> Option<Known<'a>> {
        let before = Time(self.header.at.0 - TICK, self.header.at.1);
        let same_boot = !self.header.boot.is_empty() && self.header.boot == boot();
        same_boot.then_some(Known { listing: &self.listing, before: Some(before), except })
    }
}

fn boot() -> String {
    boot_id().unwrap_or_default()
}
