//! Compiled scripts, in a folder that belongs to this user alone. A foreign precompiled artifact is never loaded: wasmtime
//! trusts what it deserialises.
use super::{Error, compile::Compiler};
use crate::resource::room;
use sha2::{Digest, Sha256};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use wasmtime::component::Component;

pub struct Cache {
    folder: PathBuf,
    engine: wasmtime::Engine,
    /// What compiled code depends on besides the script.
    key: Vec<u8>,
}

impl Cache {
    /// Makes the folder, or makes sure that nobody else can write into it.
    pub fn open(folder: &Path, engine: &wasmtime::Engine) -> Result<Self, Error> {
        let error = |reason: String| Error::Cache { path: folder.display().to_string(), reason };
        if fs::symlink_metadata(folder).is_err() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| error(e.to_string()))?;
        }
        let meta = fs::symlink_metadata(folder).map_err(|e| error(e.to_string()))?;
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() || meta.permissions().mode() & 0o077 != 0
        {
            return Err(error("it must be a folder of this user with mode 0700; remove it, it is made anew".into()));
        }
        Ok(Self { folder: folder.to_owned(), engine: engine.clone(), key: engine_key(engine) })
    }

    /// Without a compiler of its own it is compiled here.
    pub fn load(&self, compiler: Option<&Compiler>, bytes: &[u8]) -> Result<Component, Error> {
        let engine = &self.engine;
        let mut hash = Sha256::new();
        hash.update(bytes);
        hash.update(&self.key);
        let path = self.folder.join(format!("{:x}.cwasm", hash.finalize()));
        // What cannot be used (cut short, altered, of another wasmtime) is compiled again. wasmtime checks little of what it loads.
        if is_own(&path)
            && is_whole(&path)
            && let Ok(component) = deserialize(engine, &path)
        {
            return Ok(component);
        }
        let compiled = match compiler {
            Some(compiler) => compiler.compile(bytes)?,
            None => engine.precompile_component(bytes).map_err(|e| Error::Compile(format!("{e:#}")))?,
        };
        match self.keep(&path, &compiled) {
            Ok(()) => deserialize(engine, &path),
            // A full disk costs the next start its speed, and nothing else.
            Err(error) if room::is_none(&error) => deserialize_bytes(engine, &compiled),
            Err(error) => {
                return Err(Error::Cache { path: path.display().to_string(), reason: error.to_string() });
            }
        }
        .map_err(|e| Error::Compile(format!("{e:#}")))
    }

    fn keep(&self, path: &Path, compiled: &[u8]) -> io::Result<()> {
        let sum = format!("{:x}", Sha256::digest(compiled));
        for (path, content) in [(path, compiled), (&sum_of(path), sum.as_bytes())] {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(content).and_then(|()| file.as_file().sync_all())?;
            file.persist(path).map_err(|e| e.error)?;
        }
        Ok(())
    }
}

/// Where the checksum of a compiled script stands.
fn sum_of(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

/// Whether it is what was written, to the letter.
fn is_whole(path: &Path) -> bool {
    let sum = sum_of(path);
    let digest = || {
        let mut hash = Sha256::new();
        io::copy(&mut fs::File::open(path)?, &mut hash)?;
        io::Result::Ok(format!("{:x}", hash.finalize()))
    };
    is_own(&sum) && digest().is_ok_and(|digest| fs::read(sum).is_ok_and(|sum| sum == digest.as_bytes()))
}

/// Written by this user, and by nobody else since.
fn is_own(path: &Path) -> bool {
    let own = |about: fs::Metadata| {
        about.is_file() && about.uid() == rustix::process::geteuid().as_raw() && about.permissions().mode() & 0o022 == 0
    };
    fs::symlink_metadata(path).is_ok_and(own)
}

fn engine_key(engine: &wasmtime::Engine) -> Vec<u8> {
    use std::hash::{Hash, Hasher};
    // A fixed hasher: the key has to be the same in the next process.
    struct Bytes(Vec<u8>);
    impl Hasher for Bytes {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }
    let mut key = Bytes(Vec::new());
    engine.precompile_compatibility_hash().hash(&mut key);
    key.0
}

#[expect(unsafe_code, reason = "these bytes were compiled by this process")]
fn deserialize_bytes(engine: &wasmtime::Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: see the reason above.
    unsafe { Component::deserialize(engine, compiled) }
}

#[expect(unsafe_code, reason = "the file was written by this program, into a folder that nobody else can write")]
fn deserialize(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: see the reason above; `Cache::open` has checked owner and mode of the folder.
    unsafe { Component::deserialize_file(engine, path) }
}
