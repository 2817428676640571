//! Small real disks: a tmpfs over a folder, as full as a test wants it.
use rustix::fs::FallocateFlags;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Says to a test of this binary that it runs where it may mount.
const INSIDE: &str = "BACKOUT_TEST_MOUNTS";

/// Runs a test that mounts: here, or, where nobody but a namespace of its own lets it, in one, as this binary started again
/// for this test alone. `name` is the test's full name. Where neither is possible the test fails: a test that is passed over
/// says nothing about a disk.
#[track_caller]
pub fn with_mounts(name: &str, test: impl FnOnce()) {
    static HERE: OnceLock<bool> = OnceLock::new();
    if std::env::var_os(INSIDE).is_some() || *HERE.get_or_init(may_mount) {
        return test();
    }
    let test = std::env::current_exe().unwrap();
    let mut unshared = Command::new("unshare");
    unshared.args(["--user", "--map-root-user", "--mount", "--"]).arg(test);
    unshared.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
    let output =
        unshared.output().expect("`unshare` of util-linux is missing, and nothing can be mounted here without it");
    let said = text(&output);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "nothing can be mounted here, and in a namespace of its own the test failed; \
         run it as root, or allow user namespaces\n{said}"
    );
}

fn may_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mounted = mount(folder.path(), "size=64k").status.success();
    if mounted {
        unmount(folder.path());
    }
    mounted
}

fn mount(at: &Path, options: &str) -> Output {
    Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "backout-test"])
        .arg(at)
        .output()
        .expect("`mount` is missing")
}

fn unmount(at: &Path) {
    // Also when somebody has still something open there.
    let done = Command::new("umount").arg("--lazy").arg(at).status().unwrap();
    assert!(done.success() || std::thread::panicking(), "{} stays mounted", at.display());
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Unmounted when it is dropped, so it has to be made after what lives on it.
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Over a folder, whose content moves onto it. `options` as `mount` has them: `size=32m`.
    pub fn under(folder: &Path, options: &str) -> Self {
        let away = folder.with_extension("moved");
        fs::create_dir_all(folder).unwrap();
        fs::rename(folder, &away).unwrap();
        fs::create_dir(folder).unwrap();
        let output = mount(folder, options);
        assert!(output.status.success(), "{}", text(&output));
        let disk = Self { at: folder.to_owned() };
        fs::set_permissions(folder, away.metadata().unwrap().permissions()).unwrap();
        let copied = Command::new("cp").arg("-a").arg(away.join(".")).arg(folder).output().unwrap();
        assert!(copied.status.success(), "{}", text(&copied));
        fs::remove_dir_all(&away).unwrap();
        disk
    }

    fn remount(&self, options: &str) -> Output {
        Command::new("mount").arg("-o").arg(format!("remount,{options}")).arg(&self.at).output().unwrap()
    }

    /// Nobody may have a file open for writing.
    pub fn read_only(&self, yes: bool) {
        let output = self.remount(if yes { "ro" } else { "rw" });
        assert!(output.status.success(), "{}", text(&output));
    }

    pub fn left(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.at).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Takes all room but so much.
    pub fn fill(&self, leave: u64) {
        self.free();
        let filler = File::create(self.filler()).unwrap();
        // Somebody may be writing just now.
        while self.left() > leave {
            let length = filler.metadata().unwrap().len();
            let _ = rustix::fs::fallocate(&filler, FallocateFlags::empty(), length, self.left() - leave);
        }
    }

    /// Gives back what `fill` took.
    pub fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.at);
    }
}
