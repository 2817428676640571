//! Packages that are decoded, never run: a component's imports and exports in the text format are enough for that.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A component that imports these interfaces, each with the functions that are named.
pub fn component(imports: &[(&str, &[&str])]) -> Vec<u8> {
    let imports: String = imports
        .iter()
        .map(|(name, functions)| {
            let exports: String = functions.iter().map(|f| format!("(export \"{f}\" (func))")).collect();
            format!("(import \"{name}\" (instance {exports}))\n")
        })
        .collect();
    let export = "(instance $script) (export \"backout:host/life-cycle@0.1.0\" (instance $script))";
    wat::parse_str(format!("(component {imports} {export})")).unwrap()
}

/// Imports every interface that works on resources.
pub fn whole() -> Vec<u8> {
    component(&[
        ("backout:host/types@0.1.0", &[]),
        ("backout:host/backup@0.1.0", &["take"]),
        ("backout:host/database@0.1.3", &["fence"]),
        ("backout:host/files@0.1.0", &["list"]),
        ("backout:host/service@0.1.0", &["start"]),
        ("backout:host/logs@0.1.0", &["mark"]),
        ("backout:host/metrics@0.1.0", &["query"]),
        ("backout:host/probe@0.1.0", &["get"]),
        ("backout:host/tool@0.1.0", &["run"]),
        ("backout:host/notify@0.1.0", &["send"]),
    ])
}

/// A folder that is gone when this value is.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    pub fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
    /// Writes a file, and the folders that lead to it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
    pub fn folder(&self, path: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(&path).unwrap();
        path
    }
    /// The text without the name of this folder, which is another one each time.
    pub fn plain(&self, text: &str) -> String {
        let real = self.0.path().canonicalize().unwrap();
        text.replace(&format!("{}/", real.display()), "").replace(&real.display().to_string(), ".")
    }
}

/// What a command said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Folder {
    /// Runs Backout in this folder, with nothing on its standard input.
    pub fn backout(&self, arguments: &[&str]) -> Said {
        self.backout_with(&[], arguments)
    }

    /// With these variables in its environment.
    pub fn backout_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_backout"))
            .args(arguments)
            .current_dir(self.path())
            .env_remove("BACKOUT_SITE")
            .env_remove("GITHUB_ACTIONS")
            .env_remove("CI")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| self.plain(&String::from_utf8(bytes).unwrap());
        Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }
}

impl Said {
    /// Both outputs and the exit code, for a snapshot.
    pub fn whole(&self) -> String {
        let err = if self.err.is_empty() { String::new() } else { format!("── stderr\n{}", self.err) };
        format!("{}{err}── exit {}\n", self.out, self.code)
    }
}
