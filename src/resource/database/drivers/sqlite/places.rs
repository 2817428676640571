//! Where everything of one database lies. All of it is on the file system of the live file, because only there one name can
//! be exchanged with another:
//!
//! ```text
//! shop.db                          the live file; while fenced, a folder
//! .backout/NAME/live/shop.db       while fenced, the live file; else nothing, or the folder that a fence would put there
//! .backout/NAME/ID/standby.db      the copy of snapshot ID
//! .backout/NAME/ID/proof.json      what the copy was proven to hold, and how its file looked then
//! .backout/NAME/ID/aside.db        what was live before the copy was exchanged with it
//! .backout/NAME/ID/mark            how its archives are known, where it is archived
//! .backout/NAME/ID/looked.db       an archive, while it is looked at
//! .backout/NAME/ID/base.db         where that differs from what came back: how it was there
//! ```
use super::files::{self, Kind};
use crate::resource::{
    Failure,
    copies::{HOME, Snapshot},
};
use std::{
    ffi::{OsStr, OsString},
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What SQLite keeps beside a database file. It belongs to that file alone: another one that found it would adopt it.
pub const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];
const BEHIND: &str = "live";

pub struct Places {
    folder: PathBuf,
    file: OsString,
    name: String,
}

/// The live file, wherever it is now.
pub struct Live {
    pub path: PathBuf,
    pub fenced: Fenced,
    pub file: Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    No,
    /// A folder stands in its place.
    Yes,
    /// It was moved away, and somebody has removed the folder that stood in its place.
    Uncovered,
}

impl Places {
    pub fn find(name: &str, path: &Path) -> Result<Self, Failure> {
        let file = path.file_name().ok_or_else(|| Failure::invalid("its path in the site names no file"))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found("the folder of the database is not there"),
            _ => files::told("look into the folder of the database", e),
        })?;
        Ok(Self { folder, file: file.to_owned(), name: plain(name)?.to_owned() })
    }

    /// The path by which applications know the database.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }
    fn root(&self) -> PathBuf {
        self.folder.join(HOME).join(&self.name)
    }
    /// Where the live file is while it is fenced.
    pub fn behind(&self) -> PathBuf {
        self.root().join(BEHIND).join(&self.file)
    }
    pub fn make_behind(&self) -> Result<PathBuf, Failure> {
        Ok(self.make(BEHIND)?.join(&self.file))
    }

    /// `not-found` when there is none.
    pub fn live(&self) -> Result<Live, Failure> {
        let (path, behind) = (self.path(), self.behind());
        let told = |e| files::told("look at the database file", e);
        let (here, there) = (Kind::of(&path).map_err(told)?, Kind::of(&behind).map_err(told)?);
        match (here, there) {
            (Kind::File(file), Kind::Nothing | Kind::Folder) => Ok(Live { path, fenced: Fenced::No, file }),
            (Kind::Folder, Kind::File(file)) => Ok(Live { path: behind, fenced: Fenced::Yes, file }),
            (Kind::Nothing, Kind::File(file)) => Ok(Live { path: behind, fenced: Fenced::Uncovered, file }),
            (Kind::File(_), Kind::File(_)) => Err(Failure::conflict(format!(
                "somebody put a file where the fence stood; the database itself is `{HOME}/{}/{BEHIND}/{}` in the same folder: \
                 move the other file away, then lift the fence",
                self.name,
                self.file.to_string_lossy(),
            ))),
            (Kind::Nothing, Kind::Nothing | Kind::Folder) => Err(Failure::not_found("there is no database file")),
            (Kind::Folder, Kind::Nothing | Kind::Folder) => {
                Err(Failure::failed("a folder stands where the database file should be"))
            }
            (Kind::Link, _) | (_, Kind::Link) => {
                Err(Failure::invalid("the database file is a symbolic link; the site has to name the file itself"))
            }
            (Kind::Other, _) | (_, Kind::Other) => Err(Failure::invalid("the database is not a regular file")),
        }
    }

    pub fn copy(&self, id: &str) -> Result<Copy, Failure> {
        let id = plain(id)?;
        if id == BEHIND {
            return Err(Failure::invalid(format!("no snapshot can be called `{id}`")));
        }
        Ok(Copy { folder: self.root().join(id) })
    }
    pub fn make_copy(&self, id: &str) -> Result<Copy, Failure> {
        let copy = self.copy(id)?;
        self.make(id)?;
        Ok(copy)
    }
    /// `conflict` when the database was moved to another folder since, for nothing can be exchanged from there.
    pub fn copy_of(&self, snapshot: &Snapshot) -> Result<Copy, Failure> {
        let copy = self.copy(&snapshot.id)?;
        if !snapshot.is_half_made() && !snapshot.is_archived() && copy.standby().to_string_lossy() != snapshot.place {
            return Err(Failure::conflict("the copy belongs to a database in another folder"));
        }
        Ok(copy)
    }

    fn make(&self, name: &str) -> Result<PathBuf, Failure> {
        let home = self.folder.join(HOME);
        let folders = [&home, &self.root(), &self.root().join(name)];
        files::make_private(&folders).map_err(|e| files::told("make the folder for copies", e))?;
        Ok(self.root().join(name))
    }

    /// Removes what is empty of the folders that `make` made.
    pub fn tidy(&self) {
        let _ = std::fs::remove_dir(self.root().join(BEHIND));
        let _ = std::fs::remove_dir(self.root());
        let _ = std::fs::remove_dir(self.folder.join(HOME));
    }
}

/// The folder of one snapshot.
pub struct Copy {
    pub folder: PathBuf,
}

impl Copy {
    pub fn standby(&self) -> PathBuf {
        self.folder.join("standby.db")
    }
    pub fn aside(&self) -> PathBuf {
        self.folder.join("aside.db")
    }
    pub fn base(&self) -> PathBuf {
        self.folder.join("base.db")
    }
    /// Before it is whole.
    pub fn new_base(&self) -> PathBuf {
        self.folder.join("base.new")
    }
    pub fn mark(&self) -> PathBuf {
        self.folder.join("mark")
    }
    pub fn looked(&self) -> PathBuf {
        self.folder.join("looked.db")
    }
    pub fn proof(&self) -> PathBuf {
        self.folder.join("proof.json")
    }
    /// Two files of no meaning, to try an exchange on.
    pub fn trial(&self) -> [PathBuf; 2] {
        [self.folder.join("one"), self.folder.join("other")]
    }
    /// What all of it takes on the disk.
    pub fn bytes(&self) -> u64 {
        let blocks = self.all().into_iter().filter_map(|path| path.symlink_metadata().ok()).map(|file| file.blocks());
        blocks.fold(0, |sum, blocks| sum.saturating_add(blocks.saturating_mul(512)))
    }
    /// Everything that Backout ever puts there, but for the mark, which goes last.
    pub fn all(&self) -> Vec<PathBuf> {
        let databases = [self.standby(), self.aside(), self.base(), self.new_base(), self.looked()];
        let sides = databases.iter().flat_map(|path| SIDES.map(|side| beside(path, side)));
        let mut all: Vec<PathBuf> = sides.collect();
        all.extend([self.proof(), self.proof().with_extension("new")]);
        all.extend(self.trial());
        all.extend(databases);
        all
    }
}

pub fn beside(path: &Path, side: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push(side);
    path.with_file_name(name)
}

/// Becomes the name of a folder, so it is one: no separator, nothing hidden.
fn plain(name: &str) -> Result<&str, Failure> {
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if first && rest && name.len() <= 200 {
        Ok(name)
    } else {
        Err(Failure::invalid("a name of a snapshot or database has letters, digits, `.`, `_` and `-`, at most 200"))
    }
}
