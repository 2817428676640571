//! What the drivers have in common whose copies can be in a repository.
use crate::resource::{
    Failure,
    copies::{ARCHIVE, Fingerprint, Lost, Snapshot},
    process::blocking,
    repository::{
        About, Archive, For, Opened, Repository,
        file::{Bytes, OneFile, Whose},
        fresh_mark, id_of, short,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};
use tokio::task::{JoinError, JoinHandle};

/// How changes are found: the repository keeps what it has.
pub const DETECTOR: &str = "pieces that are new";

/// What is written down with an archive.
#[derive(Clone, Serialize, Deserialize)]
pub struct Note<T> {
    /// Of what it was found to hold.
    pub fingerprint: String,
    /// Of its file, once that was found to hold it.
    pub bytes: Option<Bytes>,
    /// What the file does not have.
    pub of: T,
}

impl<T: Serialize> Note<T> {
    pub fn new(fingerprint: &Fingerprint, of: T) -> Result<Self, Failure> {
        Ok(Self { fingerprint: digest(fingerprint)?, bytes: None, of })
    }

    pub fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|e| Failure::failed(e.to_string()))
    }
}

fn digest(fingerprint: &Fingerprint) -> Result<String, Failure> {
    let bytes = serde_json::to_vec(fingerprint).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(format!("{:x}", Sha256::digest(bytes)))
}

pub fn known<T>(repository: Option<&T>) -> Result<&T, Failure> {
    repository.ok_or_else(|| {
        Failure::conflict("the copy is in a repository, and the site names none for the database any more")
            .hint("say `method = \"archive\"` and the `repository` again that it was archived in")
    })
}

pub fn other_than_proven(archive: &Archive) -> Failure {
    Failure::unproven(format!("archive {} holds something else than when it was proven", short(&archive.id)))
}

/// The archive of a snapshot, which says that it holds what was proven.
pub fn find<T: DeserializeOwned>(opened: &Opened, snapshot: &Snapshot) -> Result<(Archive, Note<T>), Failure> {
    let archive = opened.get(id_of(&snapshot.place))?;
    let proven = digest(&snapshot.fingerprint)?;
    let note: Option<Note<T>> = serde_json::from_str(&archive.note).ok();
    match note.filter(|note| note.fingerprint == proven) {
        Some(note) => Ok((archive, note)),
        None => Err(other_than_proven(&archive)),
    }
}

/// All of it is read: half of a repository may be gone without anybody having noticed.
pub async fn inspect<T>(repository: &Repository, snapshot: &Snapshot, file: String) -> Result<(), Failure>
where
    T: DeserializeOwned + Send + 'static,
{
    let (opened, snapshot) = (open(repository, For::Reading).await?, snapshot.clone());
    with(&opened, move |opened| {
        let (archive, note) = find::<T>(opened, &snapshot)?;
        let (_, bytes) = opened.contents()?.pour(&archive, &file, io::sink())?;
        if note.bytes == Some(bytes) { Ok(()) } else { Err(other_than_proven(&archive)) }
    })
    .await
}

pub async fn open(repository: &Repository, purpose: For) -> Result<Arc<Opened>, Failure> {
    let repository = repository.clone();
    blocking(move || repository.open(purpose)).await?.map(Arc::new)
}

/// To be read.
pub async fn opened<T>(repository: &Repository, snapshot: &Snapshot) -> Result<(Arc<Opened>, Archive, Note<T>), Failure>
where
    T: DeserializeOwned + Send + 'static,
{
    let (opened, snapshot) = (open(repository, For::Reading).await?, snapshot.clone());
    let (archive, note) = with(&opened, move |opened| find(opened, &snapshot)).await?;
    Ok((opened, archive, note))
}

pub async fn with<T: Send + 'static>(
    opened: &Arc<Opened>,
    work: impl FnOnce(&Opened) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let opened = opened.clone();
    blocking(move || work(&opened)).await?
}

/// The mark of a copy. `before`: that of an earlier attempt, of which what was proven stays until all is freed: the journal may name it.
pub async fn marked(opened: &Arc<Opened>, before: Option<String>) -> Result<String, Failure> {
    let Some(before) = before else { return Ok(fresh_mark()) };
    let mark = before.clone();
    with(opened, move |opened| opened.forget(&opened.unproven(&before)?)).await?;
    Ok(mark)
}

pub async fn none_left(opened: &Arc<Opened>, mark: &str) -> bool {
    let mark = mark.to_owned();
    with(opened, move |opened| opened.all_of(&mark)).await.is_ok_and(|archives| archives.is_empty())
}

/// Nobody will ever ask for it.
pub async fn forget(opened: &Arc<Opened>, archive: &Archive) -> Result<(), Failure> {
    let archive = archive.clone();
    with(opened, move |opened| opened.forget(&[archive])).await
}

/// Work on an archive that goes on beside what it is fed by, or feeds.
pub type Working<T> = JoinHandle<Result<Result<T, Failure>, Failure>>;

/// Writes what comes, to its end.
pub fn writing(
    opened: &Arc<Opened>,
    file: &str,
    (live, id, mark, note): (&str, &str, &str, String),
    content: impl Read + Send + 'static,
) -> Working<Archive> {
    let (opened, file, live) = (opened.clone(), file.to_owned(), live.to_owned());
    let (id, mark) = (id.to_owned(), mark.to_owned());
    tokio::spawn(blocking(move || {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let source = OneFile::new(&file, 0, Whose { user, group, mode: 0o600 }, content);
        let (resource, path) = (format!("database.{live}"), PathBuf::from(&live));
        opened.write(&source, &About { resource: &resource, id: &id, mark: &mark, path: &path, note })
    }))
}

/// What became of it. What feeds it has failed, or has not, on its own.
pub async fn written(
    opened: &Arc<Opened>,
    writing: Working<Archive>,
    fed: Result<(), Failure>,
) -> Result<Archive, Failure> {
    // The repository's words come first: the other would only say that nobody takes more.
    let archive = joined(writing.await)?;
    match fed {
        Ok(()) => Ok(archive),
        Err(failure) => {
            forget(opened, &archive).await?;
            Err(failure)
        }
    }
}

pub fn joined<T>(ended: Result<Result<Result<T, Failure>, Failure>, JoinError>) -> Result<T, Failure> {
    ended.map_err(|e| Failure::failed(format!("the work on the archive broke off: {e}")))??
}

/// It was found to hold what the note says.
pub async fn proven<T>(
    opened: &Arc<Opened>,
    archive: &Archive,
    note: Note<T>,
    found: Result<Bytes, Failure>,
) -> Result<Archive, Failure>
where
    T: Serialize,
{
    match found {
        Ok(bytes) => {
            let text = Note { bytes: Some(bytes), ..note }.text()?;
            let archive = archive.clone();
            with(opened, move |opened| opened.proven_with(&archive, text)).await
        }
        Err(failure) => {
            forget(opened, archive).await?;
            Err(failure)
        }
    }
}

/// `taken`: of the stand-by that it was made of. `again`: not the first one.
pub fn snapshot(taken: Snapshot, archive: &Archive, repository: &Repository, again: bool) -> Snapshot {
    let place = repository.place(archive);
    let taken = Snapshot { place, method: ARCHIVE.to_owned(), ..taken };
    match again {
        true => Snapshot { copied: archive.added(), detector: DETECTOR.to_owned(), ..taken },
        false => taken,
    }
}

/// What an exchange would set aside: row by row only once the archive was brought back.
pub fn loss(live: &Fingerprint, then: &Fingerprint) -> Vec<Lost> {
    let gone = then.parts.iter().filter(|then| !live.parts.iter().any(|part| part.name == then.name));
    let other = live.parts.iter().filter(|part| !then.parts.contains(part));
    match other.chain(gone).count() {
        0 => Vec::new(),
        count => {
            let tables = if count == 1 { "1 table differs".to_owned() } else { format!("{count} tables differ") };
            vec![Lost::uncounted(&format!("{tables}, and the copy is in a repository"))]
        }
    }
}
