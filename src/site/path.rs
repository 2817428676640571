//! Paths of a site file: relative to it, absolute once they are read.
use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// The absolute path, as it is written otherwise: a link in it is looked at when the path is used, because `current` means
/// another version after an upgrade. `dir` has no links, so a leading `..` is its parent.
pub fn absolute(dir: &Path, path: &str) -> PathBuf {
    let mut base = dir.to_owned();
    let mut parts = Path::new(path).components();
    while let Some(part @ (Component::ParentDir | Component::CurDir)) = parts.clone().next() {
        parts.next();
        if part == Component::ParentDir {
            base.pop();
        }
    }
    let rest = parts.as_path();
    if rest.as_os_str().is_empty() { base } else { base.join(rest) }
}

/// Where that is now: links on the way are followed, as far as there is a way. A link at the end is not, because what is
/// exchanged is what the site names.
pub fn place(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => real(path),
    }
}

/// The longest part of the path that is there, without links, and the rest of it as it is written.
pub fn real(path: &Path) -> PathBuf {
    let mut there = path.to_owned();
    let mut rest: Vec<OsString> = Vec::new();
    loop {
        if let Ok(real) = there.canonicalize() {
            return rest.iter().rev().fold(real, |path, part| path.join(part));
        }
        match there.components().next_back() {
            Some(Component::Normal(part)) => rest.push(part.to_owned()),
            // `a/..` of a folder that is not there: the two cancel each other out.
            Some(Component::ParentDir) => {
                there.pop();
                there.pop();
                continue;
            }
            Some(Component::CurDir) => {}
            _ => return path.to_owned(),
        }
        there.pop();
    }
}

/// Programs with a `/` are paths, others are looked up when they are started.
pub fn program(dir: &Path, program: &str) -> String {
    if program.contains('/') { absolute(dir, program).display().to_string() } else { program.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_followed_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        let place = |path: &str| place(&absolute(&base, path));
        assert_eq!(place("link/db"), base.join("real/db"));
        assert_eq!(place("link"), base.join("link"));
        assert_eq!(place("new/deep/file"), base.join("new/deep/file"));
        assert_eq!(place("new/../file"), base.join("file"));
        assert_eq!(place("/"), Path::new("/"));
        assert_eq!(place("."), base);
        assert_eq!(place("real/.."), base);
        assert_eq!(absolute(&base, "link/db"), base.join("link/db"));
        assert_eq!(absolute(&base.join("real"), "./../db"), base.join("db"));
        assert_eq!(absolute(&base, "/etc/x"), Path::new("/etc/x"));
        assert_eq!(program(&base, "sh"), "sh");
        assert_eq!(program(&base, "./run"), base.join("run").display().to_string());
    }
}
