//! Keys that sign (Ed25519), and the files that hold them. A secret key is a PKCS#8 document, its public half a line of text.
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use rustix::fs::OFlags;
use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// What is signed, and what holds a key, is shorter than this.
const LONGEST: u64 = 1024;

/// What a public key's line begins with.
const PUBLIC: &str = "backout-key 1 ";

pub struct Key {
    file: File,
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl Key {
    /// Made when it is first needed. Who has it signs in its owner's name, so nobody else may read it. `Err`: why there is none, as
    /// a fragment.
    pub fn own(path: &Path) -> Result<Self, String> {
        let told = |error: io::Error| error.to_string();
        if let Err(error) = path.symlink_metadata()
            && error.kind() == io::ErrorKind::NotFound
        {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| "cannot be made")?;
            match write(path, made.as_ref(), false) {
                // Another process was first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.map_err(told)?,
            }
        }
        let bytes = small_file(path).map_err(told)?;
        let file = File::open(path).map_err(told)?;
        if file.metadata().map_err(told)?.mode() & 0o077 != 0 {
            return Err("can be read by others than its owner".to_owned());
        }
        // ring tells nothing of the key in its errors.
        let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| "is no key")?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| "is no key")?;
        Ok(Self { file, pair, public })
    }

    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        // One of Ed25519 is never of another length.
        signature.copy_from_slice(self.pair.sign(text).as_ref());
        signature
    }

    /// For a lock that all who use the key respect.
    pub fn file(&self) -> &File {
        &self.file
    }
}

pub fn holds(public: &[u8; 32], text: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(text, signature).is_ok()
}

/// A public key as it is handed on, in one line.
pub fn public_line(public: &[u8; 32]) -> String {
    format!("{PUBLIC}{}\n", hex(public))
}

/// `Err`: why there is none, as a fragment.
pub fn read_public(path: &Path) -> Result<[u8; 32], String> {
    let bytes = small_file(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    })?;
    let mode = path.metadata().map_err(|error| error.to_string())?.mode();
    if mode & 0o002 != 0 {
        return Err(format!("everybody may write it (mode {:o})", mode & 0o777));
    }
    let line = std::str::from_utf8(&bytes).ok().and_then(|line| line.trim_end().strip_prefix(PUBLIC));
    line.and_then(from_hex).ok_or_else(|| "is no public key".to_owned())
}

/// Nothing that blocks, and no more than a head or a key can be.
pub fn small_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("is too long"));
    }
    Ok(bytes)
}

/// As a whole or not at all, also when the power fails. Nobody but its owner may read or write what is made so.
pub fn write(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match replace {
        true => file.persist(path).map_err(|e| e.error)?,
        false => file.persist_noclobber(path).map_err(|e| e.error)?,
    };
    File::open(folder)?.sync_all()
}

/// As people copy it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
