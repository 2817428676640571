//! Who has a file or a folder in use. Files are known by device and inode, because a name says nothing about a file that was
//! renamed or is seen through another mount.
//!
//! Processes that Backout may not look into (another user's, unless it runs as root) are not seen. Whoever relies on the
//! answer takes a lock as well, where there is one.
use crate::plain::hidden;
use procfs::{
    ProcError,
    process::{MMapPath, Process, all_processes},
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    fs::Metadata,
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    pub pid: u32,
    /// What the process calls itself, at most 15 bytes; its own word, so no proof of anything.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.pid)
    }
}

/// `python3 (process 812), sqlite3 (process 900)`
pub fn names(holders: &[Holder]) -> String {
    const SHOWN: usize = 5;
    let mut text = holders.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if holders.len() > SHOWN {
        text.push_str(&format!(" and {} more", holders.len() - SHOWN));
    }
    text
}

/// The processes, other than this one, that have one of the files open or mapped. A path where nothing is has no holders.
pub fn of_file(paths: &[&Path]) -> io::Result<Vec<Holder>> {
    let mut files = BTreeSet::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(file) => {
                files.insert(identity(&file));
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(e) => return Err(e),
        }
    }
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<PathBuf> = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
    holding(|process| {
        opened(process).any(|file| files.contains(&identity(&file)))
            || mapped(process, |device, inode, path| {
                files.contains(&(device, inode))
                    // Some file systems (btrfs, overlayfs) show another device in `maps` than in `stat`.
                    || files.iter().any(|(_, i)| *i == inode) && paths.iter().any(|p| p == path)
            })
    })
}

/// The processes, other than this one, that have anything at or below a folder in use: descriptor, working directory, root,
/// program, mapping. `ResourceBusy` when something is mounted there.
pub fn below_folder(path: &Path) -> io::Result<Vec<Holder>> {
    let folder = path.canonicalize()?;
    if let Some(mount) = mounted(&folder)?.first() {
        let inside = mount.strip_prefix(&folder).unwrap_or(mount);
        let place =
            if inside.as_os_str().is_empty() { "it".to_owned() } else { format!("`{}` in it", inside.display()) };
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{place} is a mount point")));
    }
    let here = std::fs::read_link("/proc/self/ns/mnt").ok();
    // In another mount namespace (a container) the folder may have any name, so files are looked up by identity there.
    let mut content: Option<BTreeSet<(u64, u64)>> = None;
    holding(|process| {
        let root = PathBuf::from(format!("/proc/{}", process.pid));
        let links = ["cwd", "root", "exe"].map(|name| root.join(name)).into_iter().chain(descriptors(process));
        let links: Vec<PathBuf> = links.collect();
        if links.iter().any(|link| std::fs::read_link(link).is_ok_and(|target| target.starts_with(&folder))) {
            return true;
        }
        if mapped(process, |_, _, path| path.starts_with(&folder)) {
            return true;
        }
        let there = std::fs::read_link(root.join("ns/mnt")).ok();
        if there.is_none() || there == here {
            return false;
        }
        let content = content.get_or_insert_with(|| identities_below(&folder));
        links.iter().filter_map(|link| std::fs::metadata(link).ok()).any(|file| content.contains(&identity(&file)))
            || mapped(process, |device, inode, _| content.contains(&(device, inode)))
    })
}

/// What is mounted at or below a folder, in this mount namespace.
pub fn mounted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = folder.canonicalize()?;
    let mounts = Process::myself().and_then(|process| process.mountinfo()).map_err(io::Error::other)?;
    Ok(mounts
        .into_iter()
        .map(|mount| unescaped(&mount.mount_point))
        .filter(|point| point.starts_with(&folder))
        .collect())
}

/// Where a path without links is on its own file system: the device, and the way from its root, by whatever name it is mounted
/// here.
pub fn origin(path: &Path) -> io::Result<Option<(String, PathBuf)>> {
    let mounts = Process::myself().and_then(|process| process.mountinfo()).map_err(io::Error::other)?;
    let mut found: Option<(PathBuf, String, PathBuf)> = None;
    for mount in mounts {
        let point = unescaped(&mount.mount_point);
        // The last of those that are mounted over each other is the one that is seen.
        let nearer = found.as_ref().is_none_or(|(nearest, ..)| point.starts_with(nearest));
        if nearer && path.starts_with(&point) {
            found = Some((point, mount.majmin, unescaped(Path::new(&mount.root))));
        }
    }
    Ok(found.and_then(|(point, device, root)| Some((device, root.join(path.strip_prefix(point).ok()?)))))
}

/// `mountinfo` writes blanks, line ends and backslashes as `\040`.
fn unescaped(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|c| std::str::from_utf8(c).ok()).and_then(|c| u8::from_str_radix(c, 8).ok());
        match code {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&plain))
}

fn holding(mut holds: impl FnMut(&Process) -> bool) -> io::Result<Vec<Holder>> {
    let own = std::process::id();
    let mut holders = Vec::new();
    for process in all_processes().map_err(io::Error::other)? {
        // Processes come and go while they are looked at.
        let process = match process {
            Ok(process) => process,
            Err(ProcError::NotFound(_) | ProcError::PermissionDenied(_) | ProcError::Io(..)) => continue,
            Err(e) => return Err(io::Error::other(e)),
        };
        let Ok(pid) = u32::try_from(process.pid) else { continue };
        if pid != own && !begins(&process) && holds(&process) {
            let program = process.stat().map(|stat| stat.comm).unwrap_or_default();
            let program = program.chars().map(|c| if hidden(c) { '?' } else { c }).collect();
            holders.push(Holder { pid, program });
        }
    }
    holders.sort();
    Ok(holders)
}

/// A child of ours on its way into another program: until it is there it is a copy of this process, with copies of all our
/// descriptors. What we start ourselves has other arguments.
fn begins(process: &Process) -> bool {
    let child = process.stat().is_ok_and(|stat| u32::try_from(stat.ppid) == Ok(std::process::id()));
    let same = |name: &str| std::fs::read(format!("/proc/{}/{name}", process.pid)).ok();
    child && same("cmdline").is_some_and(|line| std::fs::read("/proc/self/cmdline").is_ok_and(|own| own == line))
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn descriptors(process: &Process) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = PathBuf::from(format!("/proc/{}/fd", process.pid));
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn opened(process: &Process) -> impl Iterator<Item = Metadata> + use<> {
    // Following the link reaches the open file itself, whatever has its name now.
    descriptors(process).filter_map(|link| std::fs::metadata(link).ok())
}

fn mapped(process: &Process, mut is: impl FnMut(u64, u64, &Path) -> bool) -> bool {
    let Ok(maps) = process.maps() else { return false };
    maps.into_iter().filter(|map| map.inode != 0).any(|map| {
        let device = match (u32::try_from(map.dev.0), u32::try_from(map.dev.1)) {
            (Ok(major), Ok(minor)) => rustix::fs::makedev(major, minor),
            _ => 0,
        };
        let path = if let MMapPath::Path(path) = &map.pathname { path.as_path() } else { Path::new("") };
        is(device, map.inode, path)
    })
}

fn identities_below(folder: &Path) -> BTreeSet<(u64, u64)> {
    let mut identities = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    identities.extend(std::fs::symlink_metadata(folder).ok().as_ref().map(identity));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(file) = entry.metadata() else { continue };
            identities.insert(identity(&file));
            if file.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    identities
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        process::{Child, Command, Stdio},
    };

    struct Ended(Child);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    fn sleeping(command: &mut Command) -> Ended {
        Ended(command.arg("60").stdout(Stdio::null()).spawn().unwrap())
    }
    fn sleep() -> Command {
        Command::new("sleep")
    }
    fn pids(holders: Vec<Holder>) -> Vec<u32> {
        holders.into_iter().map(|h| h.pid).collect()
    }

    #[test]
    fn a_descriptor_is_found_after_a_rename_and_gone_when_the_process_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        assert_eq!(of_file(&[&path]).unwrap(), [], "this process does not count");
        let child = sleeping(sleep().stdin(file));
        let renamed = folder.path().join("renamed");
        std::fs::rename(&path, &renamed).unwrap();
        let holders = of_file(&[&path, &renamed]).unwrap();
        assert_eq!(holders, [Holder { pid: child.0.id(), program: "sleep".into() }]);
        assert_eq!(names(&holders), format!("sleep (process {})", child.0.id()));
        assert_eq!(pids(below_folder(folder.path()).unwrap()), [child.0.id()]);
        drop(child);
        assert_eq!(of_file(&[&renamed]).unwrap(), []);
        assert_eq!(below_folder(folder.path()).unwrap(), []);
    }

    #[test]
    fn a_working_directory_and_a_running_program_hold_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        let child = sleeping(sleep().current_dir(&inner));
        assert_eq!(pids(below_folder(folder.path()).unwrap()), [child.0.id()]);
        drop(child);
        let program = folder.path().join("own-sleep");
        // Copied by another process: a descriptor of ours could be inherited by a child of a test beside this one, and a
        // program that is open for writing cannot be started.
        assert!(Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap().success());
        let child = sleeping(&mut Command::new(&program));
        assert_eq!(pids(below_folder(folder.path()).unwrap()), [child.0.id()]);
        assert_eq!(pids(of_file(&[&program]).unwrap()), [child.0.id()], "mapped, not opened");
        assert_eq!(below_folder(&inner).unwrap(), []);
    }

    /// Catches the moment only now and then.
    #[test]
    fn what_we_start_does_not_hold_what_we_have_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let _file = File::create(&path).unwrap();
        let spawning = std::thread::spawn(|| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..200).for_each(|_| assert!(Command::new("true").status().unwrap().success())));
                }
            });
        });
        while !spawning.is_finished() {
            assert_eq!(of_file(&[&path]).unwrap(), []);
        }
        spawning.join().unwrap();
    }

    #[test]
    fn a_neighbour_with_the_same_beginning_is_not_below() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, neighbour) = (folder.path().join("app"), folder.path().join("app-2"));
        std::fs::create_dir(&tree).unwrap();
        std::fs::create_dir(&neighbour).unwrap();
        let _child = sleeping(sleep().current_dir(&neighbour));
        assert_eq!(below_folder(&tree).unwrap(), []);
    }

    #[test]
    fn a_mount_point_is_an_error_of_its_own() {
        let error = below_folder(Path::new("/proc")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(unescaped(Path::new("/mnt/a\\040b\\134c")), Path::new("/mnt/a b\\c"));
    }
}
