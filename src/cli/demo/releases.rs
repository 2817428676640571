//! The versions of the shop, as the files that they are.
use anyhow::Context;
use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What runs before.
    V1,
    /// Its migration forgets a state, so that old orders cannot be read any more.
    V2Bad,
    V2Good,
}

pub struct File {
    pub path: &'static str,
    pub mode: u32,
    pub text: &'static str,
}

macro_rules! files { ($folder:literal: $($path:literal),* $(,)?) => {
    &[$(File { path: $path, mode: 0o644, text: include_str!(concat!("releases/", $folder, "/", $path)) }),*]
}; }
const V1: &[File] = files!("1.0":
    "release.toml", "migrations/1.sql", "templates/page.html", "queries/add.sql", "queries/items.sql",
    "queries/order.sql", "queries/orders.sql", "queries/place.sql", "queries/summary.sql",
);
const V2: &[File] = files!("2.0.0":
    "release.toml", "migrations/2.sql", "templates/page.html", "queries/add.sql", "queries/order.sql",
    "queries/orders.sql", "queries/place.sql", "queries/summary.sql",
);
const V2_FIX: &[File] = files!("2.0.1": "release.toml", "migrations/2.sql");
const PROGRAM: File = File { path: "bin/shop", mode: 0o755, text: include_str!("releases/1.0/bin/shop") };

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "1.0.0",
            Self::V2Bad => "2.0.0",
            Self::V2Good => "2.0.1",
        }
    }

    /// Each version over the ones before it, by path.
    pub fn files(self) -> Vec<&'static File> {
        let layers: &[&[File]] = match self {
            Self::V1 => &[V1],
            Self::V2Bad => &[V1, V2],
            Self::V2Good => &[V1, V2, V2_FIX],
        };
        let mut files = vec![&PROGRAM];
        for file in layers.iter().copied().flatten() {
            files.retain(|f| f.path != file.path);
            files.push(file);
        }
        files.sort_by_key(|f| f.path);
        files
    }

    pub fn write(self, folder: &Path) -> anyhow::Result<()> {
        for file in self.files() {
            let path = folder.join(file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, file.text).with_context(|| format!("cannot write {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        }
        Ok(())
    }

    /// The same files as a package brings them; the same bytes each time.
    pub fn payload(self) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for file in self.files() {
            let mut header = tar::Header::new_gnu();
            header.set_mode(file.mode);
            header.set_mtime(1_750_000_000);
            header.set_size(file.text.len() as u64);
            archive.append_data(&mut header, file.path, file.text.as_bytes())?;
        }
        let mut encoder = zstd::Encoder::new(Vec::new(), 9)?;
        encoder.write_all(&archive.into_inner()?)?;
        Ok(encoder.finish()?)
    }
}
