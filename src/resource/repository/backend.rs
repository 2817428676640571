//! The files of a repository. Written durably, names and all, and read from the disk, not from what memory still has of the writing.
use bytes::Bytes;
use rustic_backend::LocalBackend;
use rustic_core::{ALL_FILE_TYPES, BytesList, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use std::{
    error::Error,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub struct Backend {
    inner: LocalBackend,
    path: PathBuf,
    /// The first write that failed. `rustic_core` only logs what fails for one file of many.
    trouble: Mutex<Option<Arc<io::Error>>>,
}

impl Backend {
    pub fn new(path: &Path) -> RusticResult<Self> {
        let inner = LocalBackend::new(path.to_string_lossy(), std::iter::empty())?;
        Ok(Self { inner, path: path.to_owned(), trouble: Mutex::default() })
    }

    pub fn trouble(&self) -> Option<Arc<io::Error>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forget_trouble(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, error: &RusticError) {
        let mut next: Option<&(dyn Error + 'static)> = error.source();
        while let Some(source) = next {
            if let Some(source) = source.downcast_ref::<io::Error>() {
                let again = match source.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(source.kind(), source.to_string()),
                };
                let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                trouble.get_or_insert_with(|| Arc::new(again));
                return;
            }
            next = source.source();
        }
    }

    fn folder(&self, kind: FileType, id: &Id) -> PathBuf {
        match kind {
            FileType::Config => self.path.clone(),
            FileType::Pack => self.path.join("data").join(&id.to_hex()[..2]),
            kind => self.path.join(kind.dirname()),
        }
    }

    fn settle(&self, kind: FileType, id: &Id) -> io::Result<()> {
        let folder = self.folder(kind, id);
        if kind == FileType::Pack {
            let file = File::open(folder.join(&*id.to_hex()))?;
            // Only advice: where it is not taken, what is read back comes from memory.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
        File::open(folder)?.sync_all()
    }

    /// After they were made.
    pub fn settle_folders(&self) -> io::Result<()> {
        for kind in ALL_FILE_TYPES {
            File::open(self.path.join(kind.dirname()))?.sync_all()?;
        }
        // restic looks for its locks there.
        match std::fs::create_dir(self.path.join("locks")) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        File::open(&self.path)?.sync_all()
    }
}

impl ReadBackend for Backend {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.inner.list_with_size(kind)
    }
    fn list(&self, kind: FileType) -> RusticResult<Vec<Id>> {
        self.inner.list(kind)
    }
    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.inner.read_full(kind, id)
    }
    fn read_partial(&self, kind: FileType, id: &Id, cacheable: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        self.inner.read_partial(kind, id, cacheable, offset, length)
    }
    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.inner.warmup_path(kind, id)
    }
}

impl WriteBackend for Backend {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }
    fn write_bytes(&self, kind: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        let written = self.inner.write_bytes(kind, id, cacheable, content);
        let durable = written.and_then(|()| self.settle(kind, id).map_err(super::unreadable));
        durable.inspect_err(|e| self.failed(e))
    }
    fn remove(&self, kind: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.inner.remove(kind, id, cacheable)
    }
}
