//! What scripts read and write inside a tree. Their paths are resolved by cap-std, which lets nothing lead out, links included;
//! what is then changed is one name in a folder that is already open.
use super::{
    Configured, content,
    copy::{Marks, write_all_at},
    listing::{Time, file_type},
    path::{BESIDE, RelPath, TEMPORARY, shown},
    place::Live,
    scan::open,
    work::{Locks, Work, failure_in},
};
use crate::resource::{
    Failure, room,
    tree::{Entry, EntryKind, MAX_ENTRIES, MAX_FILE},
};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path},
};

const MAX_PATH: usize = 4096;

/// A path as scripts may write it: relative, plain, not one of Backout's own.
pub struct Inside<'a> {
    pub path: &'a Path,
    pub named: String,
}

impl<'a> Inside<'a> {
    pub fn parse(path: &'a str) -> Result<Self, Failure> {
        let named = RelPath::from_bytes(path.as_bytes()).brief();
        if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
            return Err(Failure::invalid(format!("{named} is no path: 1 to {MAX_PATH} bytes without a zero byte")));
        }
        if path.starts_with('/') {
            return Err(Failure::denied(format!("{named} leads out of the tree: paths are relative to it")));
        }
        for name in path.split('/') {
            match name {
                ".." => return Err(Failure::denied(format!("{named} leads out of the tree"))),
                "" | "." => {
                    return Err(Failure::invalid(format!("{named} is no plain path: `a/b`, or `.` for the tree")));
                }
                own if own.starts_with(BESIDE) => {
                    return Err(Failure::denied(format!("{named} is a name that Backout keeps for itself")));
                }
                long if long.len() > 255 => {
                    return Err(Failure::invalid(format!("{named} has a name of over 255 bytes")));
                }
                _ => {}
            }
        }
        Ok(Self { path: Path::new(path), named })
    }

    /// Also the tree itself.
    fn parse_folder(path: &'a str) -> Result<Self, Failure> {
        if path == "." { Ok(Self { path: Path::new(path), named: "`.`".into() }) } else { Self::parse(path) }
    }
}

/// Nothing of the host is told: a path that leads out is denied whether or not something is there.
pub fn told(error: impl Into<io::Error>, named: &str) -> Failure {
    let error = error.into();
    match (error.kind(), error.raw_os_error().map(Errno::from_raw_os_error)) {
        // What cap-std itself refuses has no number.
        (io::ErrorKind::PermissionDenied, None) => Failure::denied(format!("{named} leads out of the tree")),
        (io::ErrorKind::PermissionDenied, _) => {
            Failure::unavailable(format!("{named}: the user that Backout runs as has no permission"))
        }
        (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => {
            Failure::not_found(format!("{named} is not there"))
        }
        (io::ErrorKind::IsADirectory, _) => Failure::invalid(format!("{named} is a folder")),
        (_, Some(Errno::LOOP)) => Failure::invalid(format!("{named} goes through links in a circle")),
        (_, Some(Errno::NAMETOOLONG)) => Failure::invalid(format!("{named} is too long")),
        _ if room::is_none(&error) => room::none(format!("{named}: there is no room left")),
        _ => failure_in(&error).unwrap_or_else(|| Failure::failed(format!("{named}: {error}"))),
    }
}

/// A tree that is open for one call.
pub struct Opened {
    pub live: Live,
    pub root: OwnedFd,
    dir: Dir,
}

impl Opened {
    pub fn new(tree: &Configured) -> Result<Self, Failure> {
        let live = Live::find(&tree.section.path)?;
        let root = live.root()?;
        let file = root.try_clone().map_err(|e| told(e, "the tree"))?;
        Ok(Self { live, root, dir: Dir::from_std_file(File::from(file)) })
    }

    pub fn locks(&self) -> std::sync::Arc<Locks> {
        Locks::of(&self.live.path)
    }

    /// The folder in which a path is, opened, and its name there.
    pub fn folder_of<'a>(&self, at: &Inside<'a>) -> Result<(OwnedFd, &'a std::ffi::OsStr), Failure> {
        let name = at.path.file_name().ok_or_else(|| Failure::invalid(format!("{} is no file", at.named)))?;
        let parent = at.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = self.dir.open_dir(parent).map_err(|e| told(e, &at.named))?;
        // The descriptor may be one that only stands for the folder; this one can be synced.
        let folder = open(&folder, ".", OFlags::DIRECTORY).map_err(|e| told(e, &at.named))?;
        Ok((folder, name))
    }
}

pub fn read(tree: &Configured, path: &str) -> Result<Vec<u8>, Failure> {
    let at = Inside::parse(path)?;
    let opened = Opened::new(tree)?;
    opened.locks().settled();
    let no_file = || Failure::invalid(format!("{} is no file", at.named));
    // Opening a pipe or a device could wait, or do something.
    if !opened.dir.metadata(at.path).map_err(|e| told(e, &at.named))?.is_file() {
        return Err(no_file());
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = opened.dir.open_with(at.path, &options).map_err(|e| told(e, &at.named))?;
    if !file.metadata().map_err(|e| told(e, &at.named))?.is_file() {
        return Err(no_file());
    }
    let mut content = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut content).map_err(|e| told(e, &at.named))?;
    if content.len() > MAX_FILE {
        return Err(Failure::invalid(format!("{} has more than {MAX_FILE} bytes", at.named)));
    }
    Ok(content)
}

pub fn list(tree: &Configured, path: &str) -> Result<Vec<Entry>, Failure> {
    let at = Inside::parse_folder(path)?;
    let opened = Opened::new(tree)?;
    opened.locks().settled();
    let mut entries = Vec::new();
    let folder = opened.dir.open_dir(at.path).map_err(|e| told(e, &at.named))?;
    let folder = open(&folder, ".", OFlags::DIRECTORY).map_err(|e| told(e, &at.named))?;
    for entry in rustix::fs::Dir::read_from(&folder).map_err(|e| told(e, &at.named))? {
        let entry = entry.map_err(|e| told(e, &at.named))?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || name.starts_with(BESIDE.as_bytes()) {
            continue;
        }
        if entries.len() == MAX_ENTRIES {
            return Err(Failure::invalid(format!("{} has more than {MAX_ENTRIES} entries", at.named)));
        }
        let stat = match rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(told(e, &at.named)),
        };
        let kind = match file_type(&stat) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Folder,
            FileType::Symlink => EntryKind::Link,
            _ => EntryKind::Other,
        };
        let target = match kind {
            EntryKind::Link => link_text(folder.as_fd(), entry.file_name()).unwrap_or_default(),
            _ => String::new(),
        };
        let bytes = if kind == EntryKind::File { stat.st_size as u64 } else { 0 };
        entries.push(Entry { name: shown(name), kind, bytes, target });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn link_text(folder: BorrowedFd, name: impl rustix::path::Arg) -> Result<String, Errno> {
    Ok(shown(rustix::fs::readlinkat(folder, name, Vec::new())?.as_bytes()))
}

pub fn linked(tree: &Configured, path: &str, target: &str) -> Result<bool, Failure> {
    let at = Inside::parse(path)?;
    let opened = Opened::new(tree)?;
    opened.locks().settled();
    let (folder, name) = opened.folder_of(&at)?;
    let text = match rustix::fs::readlinkat(&folder, name, Vec::new()) {
        Ok(text) => text,
        Err(Errno::INVAL | Errno::NOENT) => return Ok(false),
        Err(e) => return Err(told(e, &at.named)),
    };
    Ok(text.as_bytes() == target.as_bytes() && !begun(folder.as_fd(), path).map_err(|e| told(e, &at.named))?)
}

pub fn written(tree: &Configured, path: &str, content: &[u8]) -> Result<bool, Failure> {
    if read(tree, path)? != content {
        return Ok(false);
    }
    let at = Inside::parse(path)?;
    let (folder, _) = Opened::new(tree)?.folder_of(&at)?;
    Ok(!begun(folder.as_fd(), path).map_err(|e| told(e, &at.named))?)
}

pub fn write(tree: &Configured, path: &str, content: &[u8], work: &Work) -> Result<(), Failure> {
    let at = Inside::parse(path)?;
    if content.len() > MAX_FILE {
        return Err(Failure::invalid(format!("{}: more than {MAX_FILE} bytes", at.named)));
    }
    let opened = Opened::new(tree)?;
    let locks = opened.locks();
    let _inside = locks.inside();
    let (folder, name) = opened.folder_of(&at)?;
    let before = existing(folder.as_fd(), name).map_err(|e| told(e, &at.named))?;
    let refuse = |what| Err(Failure::invalid(format!("{} is {what}, not a file", at.named)));
    match before.as_ref().map(file_type) {
        None | Some(FileType::RegularFile) => {}
        Some(FileType::Directory) => return refuse("a folder"),
        Some(FileType::Symlink) => return refuse("a link"),
        Some(_) => return refuse("something else"),
    }
    let put = || -> io::Result<String> {
        let marks = marks(folder.as_fd(), name, before.as_ref())?;
        let temporary = fresh_name(folder.as_fd(), path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        write_all_at(file.as_fd(), content, 0)?;
        marks.set(file.as_fd())?;
        rustix::fs::fsync(&file)?;
        Ok(temporary)
    };
    put_in_place(work, &locks, (folder.as_fd(), name), &at, put)
}

/// What a file that is written gets: the marks of the one before it, or those of its folder.
fn marks(folder: BorrowedFd, name: &std::ffi::OsStr, before: Option<&Stat>) -> io::Result<Marks> {
    let mut marks = match before {
        Some(stat) => {
            let file = open(folder, name, OFlags::NONBLOCK)?;
            Marks { attributes: content::attributes(file.as_fd())?, ..Marks::of(stat) }
        }
        None => Marks { mode: 0o644, ..Marks::of(&rustix::fs::fstat(folder)?) },
    };
    if !rustix::process::geteuid().is_root() {
        marks.owner = rustix::process::geteuid().as_raw();
        marks.group = rustix::process::getegid().as_raw();
    }
    marks.modified = Time::now();
    Ok(marks)
}

fn existing(folder: BorrowedFd, name: &std::ffi::OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

pub fn link(tree: &Configured, path: &str, target: &str, work: &Work) -> Result<(), Failure> {
    let at = Inside::parse(path)?;
    let goal = RelPath::from_bytes(target.as_bytes()).brief();
    if target.is_empty() || target.len() >= MAX_PATH || target.contains('\0') {
        return Err(Failure::invalid(format!("{goal} is no target of a link")));
    }
    if target.starts_with('/') {
        return Err(Failure::denied(format!(
            "{goal} leads out of the tree: targets are relative to the link's folder"
        )));
    }
    if target.split('/').any(|name| name.starts_with(BESIDE)) {
        return Err(Failure::denied(format!("{goal} is a name that Backout keeps for itself")));
    }
    let opened = Opened::new(tree)?;
    let locks = opened.locks();
    let _inside = locks.inside();
    let (folder, name) = opened.folder_of(&at)?;
    if Path::new(target).starts_with(name) {
        return Err(Failure::invalid(format!("{} cannot point at itself", at.named)));
    }
    let parent = at.path.parent().unwrap_or(Path::new(""));
    opened.dir.metadata(parent.join(target)).map_err(|e| told(e, &goal))?;
    if turns_back(&opened.dir, parent, Path::new(target)) {
        return Err(Failure::denied(format!("{goal} leads back behind a link, which can be pointed out of the tree")));
    }
    match existing(folder.as_fd(), name).map_err(|e| told(e, &at.named))?.as_ref().map(file_type) {
        None | Some(FileType::Symlink) => {}
        Some(_) => return Err(Failure::conflict(format!("{} is there and is no link", at.named))),
    }
    let put = || -> io::Result<String> {
        let temporary = fresh_name(folder.as_fd(), path)?;
        rustix::fs::symlinkat(target, &folder, &temporary)?;
        if rustix::process::geteuid().is_root() {
            let stat = rustix::fs::fstat(&folder)?;
            let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            rustix::fs::chownat(&folder, &temporary, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(temporary)
    };
    put_in_place(work, &locks, (folder.as_fd(), name), &at, put)
}

/// Whether `..` stands behind a name that is no folder. Such a link stays inside as long as that name leads where it does now;
/// whoever points it elsewhere, or makes it, would make this one lead out.
pub fn turns_back(dir: &Dir, folder: &Path, target: &Path) -> bool {
    let (mut path, mut folders) = (folder.to_owned(), true);
    target.components().any(|name| {
        path.push(name);
        match name {
            Component::ParentDir => return !folders,
            Component::Normal(_) => folders = folders && dir.symlink_metadata(&path).is_ok_and(|there| there.is_dir()),
            _ => {}
        }
        false
    })
}

/// The same for the same path, so that what a crash left is found by the next attempt, and removed.
fn temporary(path: &str) -> String {
    format!("{TEMPORARY}{}", &format!("{:x}", Sha256::digest(path))[..16])
}

/// An attempt has left something.
fn begun(folder: BorrowedFd, path: &str) -> Result<bool, Errno> {
    Ok(existing(folder, std::ffi::OsStr::new(&temporary(path)))?.is_some())
}

fn fresh_name(folder: BorrowedFd, path: &str) -> io::Result<String> {
    let temporary = temporary(path);
    match rustix::fs::unlinkat(folder, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(temporary),
        Err(e) => Err(e.into()),
    }
}

/// One move, durable when it returns.
fn put_in_place(
    work: &Work,
    locks: &Locks,
    (folder, name): (BorrowedFd, &std::ffi::OsStr),
    at: &Inside,
    put: impl FnOnce() -> io::Result<String>,
) -> Result<(), Failure> {
    let path = at.path.as_os_str().as_bytes();
    let placed = put().map_err(|e| told(e, &at.named)).and_then(|temporary| {
        work.deed(locks, || {
            rustix::fs::renameat(folder, &temporary, folder, name).map_err(|e| told(e, &at.named))?;
            rustix::fs::fsync(folder).map_err(|e| told(e, &at.named))
        })
    });
    if placed.is_err() {
        let _ = std::str::from_utf8(path).map(|path| fresh_name(folder, path));
    }
    placed
}
