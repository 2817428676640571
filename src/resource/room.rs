//! Room on the file system of a resource: reckoned before a copy begins, and said where it is missing when it ran out all the
//! same. Guests hear how much is missing; where, and what to do, is for the operator.
use super::Failure;
use std::{io, os::fd::AsFd, path::Path};

/// Left to the product, which goes on writing to the same disk while a copy is made of it.
const SPARE: u64 = 4 << 20;

/// What something takes that is not there yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub bytes: u64,
    /// files, folders and links: file systems can run out of these as well
    pub files: u64,
}

/// Whether there is room for it, when `given_back` is free by then.
pub fn check(what: &str, need: Need, given_back: Need, folder: impl AsFd) -> Result<(), Failure> {
    let disk = rustix::fs::fstatvfs(folder).map_err(|e| Failure::failed(format!("cannot ask for free space: {e}")))?;
    let (bytes, files) = (need.bytes.saturating_sub(given_back.bytes), need.files.saturating_sub(given_back.files));
    let (needed, free) = (bytes.saturating_add(SPARE), disk.f_bavail.saturating_mul(disk.f_frsize));
    if bytes > 0 && free < needed {
        return Err(none(format!("{what} needs {}, {} are free", size(needed), size(free))));
    }
    // Some file systems make them as they need them, and count none.
    if disk.f_files > 0 && disk.f_favail < files {
        let left = disk.f_favail;
        return Err(none(format!("{what} needs {files} more files and folders, the disk takes {left}")));
    }
    Ok(())
}

/// In the units in which people read it elsewhere: 741 kB, 2.1 GB.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64 / 1e3, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    if value < 9.95 && unit > 0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

const SOMEWHERE: &str = "make room there";

/// There is none left, and the message says so.
pub fn none(message: impl Into<String>) -> Failure {
    Failure::failed(message).hint(SOMEWHERE)
}

/// It may be that, and nobody says.
pub fn perhaps_none(message: impl Into<String>) -> Failure {
    Failure::failed(message).hint(PERHAPS)
}
const PERHAPS: &str = "look whether there is room left";

/// On the file system of a path; 0 where nobody can say.
pub fn left(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

pub fn is_none(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Says on which disk, to a failure that says that one is full.
pub fn place(failure: Failure, at: &Path) -> Failure {
    const LITTLE: u64 = 64 << 10;
    match failure.hint.as_deref() {
        Some(SOMEWHERE) => {}
        Some(PERHAPS) if left(at) < LITTLE => {}
        Some(PERHAPS) => return Failure { hint: None, ..failure },
        _ => return failure,
    }
    failure.hint(format!(
        "make room on the file system of {}; `backout commit` frees copies that nobody needs any more",
        at.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 741_000, 1_000_000, 40_000_000, 2_140_000_000, 999_600_000].map(size);
        assert_eq!(sizes, ["0 kB", "741 kB", "1.0 MB", "40 MB", "2.1 GB", "1.0 GB"]);
    }
}
