//! A real systemd of the tests' own: a system manager as the first process of its own namespaces, or a user's manager. One of
//! each for all tests of this process; a keeper ends it with the process, however that ends.
//!
//! It never sees the units of this machine, which would empty its temporary folders, and it is put into a control group of its
//! own before it begins, because it moves all processes of the group that it finds itself in.
use super::bench::{PATIENCE, wait_for};
use std::{
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

pub struct Systemd {
    dir: PathBuf,
    user: bool,
    /// Its first process, seen from here.
    leader: i32,
    /// As long as it is open, the keeper keeps.
    _keeper: Child,
}

static SYSTEM: LazyLock<Systemd> = LazyLock::new(|| Systemd::start(false));
static USER: LazyLock<Systemd> = LazyLock::new(|| Systemd::start(true));

/// The system's manager.
pub fn system() -> &'static Systemd {
    &SYSTEM
}
/// A user's manager.
pub fn user() -> &'static Systemd {
    &USER
}

/// It waits for the end of whoever started it, then ends everything in the control group, and removes it.
const KEEPER: &str = r#"
dir=$1 group=$2
mkdir "$group" || exit 1
( echo 0 > "$group/cgroup.procs" && exec setsid unshare --mount --cgroup $3 "$dir/init" "$dir" ) < /dev/null > "$dir/log" 2>&1 &
echo $! > "$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
cat > /dev/null
echo 1 > "$group/cgroup.kill"
for i in $(seq 200); do
  find "$group" -depth -type d -exec rmdir {} + 2> /dev/null
  [ -d "$group" ] || break
  sleep 0.05
done
rm -rf "$dir"
"#;

const OWN_GROUPS: &str = "
umount -R /sys/fs/cgroup 2> /dev/null || umount -lR /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
";

/// What the manager finds as its machine: an empty `/run`, its units, and the rest of this one, which it can only read.
const SYSTEM_INIT: &str = r#"#!/bin/sh
set -e
dir=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system /run/dbus /run/lock /run/log/journal
mount --bind "$dir/run" /run/dbus
mount --bind "$dir/journal" /run/log/journal
mount --bind "$dir/etc" /etc/systemd/system
mount --bind "$dir" "$dir"
mount -o remount,bind,ro /
"#;
const SYSTEM_EXEC: &str = r#"
units=/etc/systemd/system.control:/run/systemd/system.control:/run/systemd/transient:/etc/systemd/system:/run/systemd/system
exec env -i PATH=/usr/local/bin:/usr/bin:/bin container=unshare SYSTEMD_UNIT_PATH="$units:$dir/lib" \
  /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=0
"#;
const USER_INIT: &str = r#"#!/bin/sh
set -e
dir=$1
mount --make-rprivate /
mkdir -p /run/systemd
mount -t tmpfs -o mode=755 tmpfs /run/systemd
mkdir -p /run/systemd/system
"#;
const USER_EXEC: &str = r#"
units="$dir/run/systemd/transient:$dir/etc:$dir/run/systemd/user:$dir/lib"
exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run" SYSTEMD_UNIT_PATH="$units" \
  /lib/systemd/systemd --user --unit=test.target --log-target=console
"#;

impl Systemd {
    fn start(user: bool) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a systemd of its own needs namespaces and a control group: run the tests as root"
        );
        assert!(Path::new("/lib/systemd/systemd").exists(), "`systemd` is missing: `tests/run` installs it");
        assert!(Path::new("/usr/bin/dbus-daemon").exists(), "`dbus` is missing: `tests/run` installs it");
        let dir = tempfile::Builder::new().prefix("backout-systemd-").tempdir().unwrap().keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["run", "journal", "etc", "lib", "home"] {
            DirBuilder::new().mode(0o755).create(dir.join(name)).unwrap();
        }
        let [init, exec] = if user { [USER_INIT, USER_EXEC] } else { [SYSTEM_INIT, SYSTEM_EXEC] };
        fs::write(dir.join("init"), format!("{init}{OWN_GROUPS}{exec}")).unwrap();
        fs::set_permissions(dir.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
        let group = groups().join(dir.file_name().unwrap());
        let namespaces = if user { "" } else { "--fork --kill-child=SIGKILL --pid --mount-proc --ipc --uts" };
        let lib = dir.join("lib");
        own_units(&lib, user);
        let mut keeper = Command::new("setsid");
        keeper.args(["sh", "-c", KEEPER, "sh"]).arg(&dir).arg(&group).arg(namespaces);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = wait_for("its first process", || fs::read_to_string(dir.join("pid")).ok());
        let started: i32 = started.trim().parse().unwrap();
        let mut systemd = Self { dir, user, leader: started, _keeper: keeper };
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            if !user
                && let Some(first) = fs::read_to_string(format!("/proc/{started}/task/{started}/children"))
                    .ok()
                    .and_then(|children| children.trim().parse().ok())
            {
                systemd.leader = first;
            }
            if systemd.try_ctl(&["is-active", "test.target"]).is_some_and(|said| said.trim() == "active")
                && systemd.bus().exists()
            {
                return systemd;
            }
            let log = || fs::read_to_string(systemd.dir.join("log")).unwrap_or_default();
            let over = std::time::Instant::now() > until || !super::bench::alive(started);
            assert!(
                !over,
                "no systemd can be started here (it needs root and a control group of version 2):\n{}",
                log()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// A folder of the tests that its units can write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket of its bus.
    pub fn bus(&self) -> PathBuf {
        self.dir.join("run").join(if self.user { "bus" } else { "system_bus_socket" })
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    fn try_ctl(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.leader.to_string()).args(["--mount", "--cgroup"]);
        if self.user {
            command.args(["systemctl", "--user"]).env("XDG_RUNTIME_DIR", self.dir.join("run"));
        } else {
            command.args(["--pid", "systemctl"]);
        }
        let output = command.args(arguments).env_remove("DBUS_SESSION_BUS_ADDRESS").output().unwrap();
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// What systemd's own tool says; its failures are a part of that.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.try_ctl(arguments).unwrap().trim().to_owned()
    }

    /// `ActiveState` and the like.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.ctl(&["show", "--value", "--property", property, unit])
    }

    pub fn is_active(&self, unit: &str) -> bool {
        self.show(unit, "ActiveState") == "active"
    }

    /// A unit as a package brings it, below `/usr/lib`.
    pub fn unit(&self, name: &str, text: &str) {
        self.write("lib", name, text);
    }

    /// A unit as an operator writes it, below `/etc`.
    pub fn unit_of_operator(&self, name: &str, text: &str) {
        self.write("etc", name, text);
    }

    fn write(&self, folder: &str, name: &str, text: &str) {
        fs::write(self.dir.join(folder).join(name), format!("[Unit]\nDefaultDependencies=no\n{text}")).unwrap();
        self.ctl(&["daemon-reload"]);
    }
}

fn own_units(lib: &Path, user: bool) {
    let unit = |name: &str, text: &str| fs::write(lib.join(name), text).unwrap();
    let bus = if user { "%t/bus" } else { "/run/dbus/system_bus_socket" };
    let kind = if user { "--session" } else { "--system" };
    let daemon = "--address=systemd: --nofork --nopidfile --systemd-activation --syslog-only";
    unit("dbus.socket", &format!("[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream={bus}\n"));
    unit(
        "dbus.service",
        &format!(
            "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\nExecStart=/usr/bin/dbus-daemon {kind} {daemon}\n"
        ),
    );
    let sockets = if user { "dbus.socket" } else { "dbus.socket systemd-journald.socket" };
    unit(
        "test.target",
        &format!("[Unit]\nDefaultDependencies=no\nRequires={sockets}\nAfter={sockets}\nAllowIsolate=yes\n"),
    );
    for name in ["shutdown", "sysinit", "basic", "umount", "final", "sockets", "timers", "exit"] {
        unit(&format!("{name}.target"), "[Unit]\nDefaultDependencies=no\n");
    }
    if !user {
        for name in ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"] {
            fs::copy(Path::new("/lib/systemd/system").join(name), lib.join(name)).unwrap();
        }
    }
}

/// Where the control groups of version 2 are.
fn groups() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| PathBuf::from(mount.split(' ').nth(4).unwrap()))
    });
    place.expect("there are no control groups of version 2 here, and without one no systemd can be started")
}
