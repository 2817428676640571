//! restic itself, and a repository for a test.
use super::files::files_below;
use backout::resource::repository::Repository;
use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

pub const PASSWORD: &str = "correct horse battery staple";

pub struct Archives {
    pub at: PathBuf,
}

impl Archives {
    /// Made in this folder, which is not there yet.
    pub fn create(at: &Path) -> Self {
        let archives = Self { at: at.to_owned() };
        archives.repository().create().unwrap();
        archives
    }

    pub fn repository(&self) -> Repository {
        Repository::new("offsite", &self.at, PASSWORD.to_owned())
    }

    /// What restic says.
    #[track_caller]
    pub fn restic(&self, args: &[&str]) -> Vec<u8> {
        let mut restic = Command::new("restic");
        restic.args(["--no-cache", "--repo"]).arg(&self.at).args(args).env("RESTIC_PASSWORD", PASSWORD);
        let output = restic.output().expect("`restic` is missing: tests/run installs it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "restic {}: {said}{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout)
        );
        output.stdout
    }

    /// Everything in it is whole, as restic sees it.
    #[track_caller]
    pub fn are_whole(&self) {
        self.restic(&["check", "--read-data"]);
    }

    /// Of a kind: `data`, `index`, `snapshots`.
    pub fn files(&self, kind: &str) -> Vec<PathBuf> {
        files_below(&self.at.join(kind))
    }

    pub fn tags(&self) -> Vec<String> {
        let snapshots: serde_json::Value = serde_json::from_slice(&self.restic(&["snapshots", "--json"])).unwrap();
        let tags = snapshots.as_array().unwrap().iter().map(|snapshot| {
            let tags = snapshot["tags"].as_array().unwrap().iter().filter_map(|tag| tag.as_str());
            // The mark is another one each time.
            tags.filter(|tag| tag.len() < 32).collect::<Vec<_>>().join(" ")
        });
        tags.collect()
    }
}

/// One bit of a file is another one afterwards.
pub fn flip(file: &Path, at: u64) {
    let writable = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    writable.read_exact_at(&mut byte, at).unwrap();
    writable.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

pub fn cut(file: &Path, length: u64) {
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(length).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.flush().unwrap();
}
