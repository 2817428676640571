//! A Docker daemon of this test process, without a network, with one image that holds a shell. It ends with the process.
use super::bench::{Bench, wait_for};
use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{LazyLock, mpsc},
    thread,
};

pub const IMAGE: &str = "backout-test";

pub struct Daemon {
    dir: PathBuf,
}

/// Nothing of it is removed at the end: what a daemon leaves is a few MB below the folder of builds, and the next one begins anew.
static DAEMON: LazyLock<Daemon> = LazyLock::new(Daemon::start);

pub fn daemon() -> &'static Daemon {
    &DAEMON
}

impl Daemon {
    fn start() -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker");
        // A daemon of an earlier run that was killed ends with its process; what it has mounted does not show outside.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let daemon = Self { dir };
        daemon.serve();
        let made = daemon.docker(&["version"]);
        assert!(made.status.success(), "{made:?}");
        daemon.image();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("d.sock")
    }

    /// Starts a daemon, and returns when it answers. It is a child of a thread that lives as long as the process, because it is told
    /// to end with that.
    fn serve(&self) {
        let dir = self.dir.clone();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let at = |name: &str| dir.join(name).display().to_string();
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "unshare", "--mount", "--propagation", "private", "dockerd"]);
            command.args(["--host", &format!("unix://{}", at("d.sock"))]);
            command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
            command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
            command.args(["--storage-driver=vfs", "--live-restore=false"]);
            let log = fs::File::create(dir.join("log")).unwrap();
            command.env_remove("DOCKER_HOST").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let child = command.process_group(0).spawn();
            tell.send(()).unwrap();
            let mut child = child.expect("`dockerd` and `setpriv` are needed: apt-get install docker.io util-linux");
            let _ = child.wait();
        });
        told.recv().unwrap();
        let dir = &self.dir;
        wait_for("an answer of dockerd (apt-get install docker.io busybox-static; it needs root)", || {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(!log.contains("failed to start daemon"), "dockerd cannot run here: {log}");
            let answers = std::os::unix::net::UnixStream::connect(dir.join("d.sock")).is_ok();
            (answers && self.docker(&["version"]).status.success()).then_some(())
        });
    }

    /// A shell and nothing else; no registry is asked.
    fn image(&self) {
        let root = self.dir.join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("tmp")).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let busybox = busybox.expect("a static busybox is needed: apt-get install busybox-static");
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for name in ["sh", "sleep", "cat", "echo", "true", "test", "head", "tr", "seq"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let tar = self.tar();
        let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap();
        assert!(made.success());
        let made = self.docker(&["import", tar.to_str().unwrap(), IMAGE]);
        assert!(made.status.success(), "{made:?}");
    }

    fn tar(&self) -> PathBuf {
        self.dir.join("image.tar")
    }

    /// Another image, which says more than that it holds a shell: `ENV VERSION=2`. Its id; it has no name.
    #[track_caller]
    pub fn image_with(&self, said: &[&str]) -> String {
        let tar = self.tar();
        let changes = said.iter().flat_map(|change| ["--change", change]);
        let arguments: Vec<&str> = ["import"].into_iter().chain(changes).chain([tar.to_str().unwrap()]).collect();
        let made = self.docker(&arguments);
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    pub fn docker(&self, arguments: &[&str]) -> Output {
        let socket = format!("unix://{}", self.socket().display());
        Command::new("docker").args(["-H", &socket]).args(arguments).output().expect("`docker` is needed")
    }

    /// Creates a container that runs a script, named after a bench.
    #[track_caller]
    pub fn create(&'static self, bench: &Bench, options: &[&str], script: &str) -> Container {
        self.create_from(IMAGE, bench, options, script)
    }

    #[track_caller]
    pub fn create_from(&'static self, image: &str, bench: &Bench, options: &[&str], script: &str) -> Container {
        let name = bench.tag.clone();
        let always = ["create", "--name", &name, "--network", "none"];
        let made = self.docker(&[&always, options, &[image, "/bin/sh", "-c", script]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Container { name, daemon: self }
    }
}

/// A container, removed in the end.
pub struct Container {
    pub name: String,
    daemon: &'static Daemon,
}

impl Container {
    #[track_caller]
    pub fn docker(&self, verb: &[&str]) -> String {
        let output = self.daemon.docker(&[verb, &[&self.name]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for end in ["", ".backout-aside", ".backout-new"] {
            self.daemon.docker(&["rm", "--force", "--volumes", &format!("{}{end}", self.name)]);
        }
    }
}
