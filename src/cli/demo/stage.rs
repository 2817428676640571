//! What a scenario plays on: the folder, the running shop, its client, and the commands as a user would type them.
#![expect(clippy::disallowed_methods, reason = "it types commands as a user would")]
use super::{
    Scenario,
    client::{self, Client},
    folder::{self, Folder, Found, Wanted},
    proof::Proof,
    releases::Version,
    service::Supervised,
};
use crate::cli::ui;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Stage {
    pub folder: Folder,
    pub before: Proof,
    /// What did not go as the scenario says.
    pub wrong: Vec<String>,
    client: Option<Client>,
    /// A program that is none of the shop's, while it runs.
    foreign: Option<Child>,
    service: Supervised,
    signals: Signals,
    runtime: Runtime,
}

impl Stage {
    /// Makes the folder, starts 1.0 and its client.
    pub fn set(root: &Path, scenario: Scenario) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let signals = runtime.block_on(async { Signals::watch() })?;
        if matches!(folder::look(root)?, Found::Demo) {
            // Without a site file that can be read, nothing was ever started.
            if let Ok(old) = Supervised::of(root) {
                runtime.block_on(old.stop()).context("an earlier demo still runs there")?;
            }
            folder::clear(root)?;
        }
        let wanted = match scenario {
            Scenario::GoodUpgrade => Wanted { upgrade: Version::V2Good, granted: true },
            Scenario::Denied => Wanted { upgrade: Version::V2Bad, granted: false },
            Scenario::BadUpgrade | Scenario::BrokenRollback => Wanted { upgrade: Version::V2Bad, granted: true },
        };
        let folder = Folder::make(root, &wanted)?;
        let service = Supervised::of(&folder.root)?;
        runtime.block_on(service.start())?;
        let mut stage = Self {
            before: Proof::default(),
            wrong: Vec::new(),
            client: None,
            foreign: None,
            service,
            signals,
            runtime,
            folder,
        };
        let port = stage.folder.port;
        stage.until("1.0 answers", || client::get(port, "/health").is_ok_and(|answer| answer.status == 200))?;
        stage.client = Some(Client::start(port)?);
        stage.until("the client gets answers", || stage.seen().answers > 10)?;
        stage.before = stage.look()?;
        Ok(stage)
    }

    pub fn seen(&self) -> client::Seen {
        self.client.as_ref().map(Client::seen).unwrap_or_default()
    }

    /// The state as it is now.
    pub fn look(&self) -> anyhow::Result<Proof> {
        let (app, config) = (self.folder.path("srv/app"), self.folder.path("srv/config"));
        Proof::take(&self.folder.database(), &[("srv/app", &app), ("srv/config", &config)])
    }

    pub fn expect(&mut self, holds: bool, otherwise: impl Into<String>) {
        if !holds {
            self.wrong.push(otherwise.into());
        }
    }

    /// One command of Backout as a user would type it, its output as the user would see it; the exit code.
    pub fn backout(&mut self, arguments: &[&str], exit: i32) -> anyhow::Result<()> {
        self.backout_while(arguments, exit, |_| Ok(()))
    }

    /// The same; `meanwhile` is called again and again as long as the command runs.
    pub fn backout_while(
        &mut self,
        arguments: &[&str],
        exit: i32,
        mut meanwhile: impl FnMut(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.signals.check()?;
        let line = format!("backout {}", arguments.join(" "));
        typed(&line);
        // What this command says at its end goes to standard output alone.
        let output = io::stderr().as_fd().try_clone_to_owned()?;
        let mut child = self.command(arguments).stdout(output).spawn().with_context(|| format!("cannot run {line}"))?;
        let mut told = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if self.signals.terminated() && !told {
                // Ctrl-C reaches the command by itself, a signal to this process alone does not.
                told = true;
                let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            }
            meanwhile(self)?;
            std::thread::sleep(POLL);
        };
        let meaning = match status.code() {
            Some(code) => format!("exit code {code}{}", meaning(code)),
            None => format!("{line}: {status}"),
        };
        ui::say(&console::style(meaning).dim().for_stderr().to_string());
        self.signals.check()?;
        if status.code() != Some(exit) {
            self.wrong.push(format!("`{line}` ended with {status}, expected was exit code {exit}"));
        }
        Ok(())
    }

    /// What a command prints for machines.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let output = self.command(arguments).arg("--json").stderr(Stdio::inherit()).output()?;
        let line = arguments.join(" ");
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`backout {line} --json` ended with {} and no JSON", output.status))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("backout")
            .args(arguments)
            .current_dir(&self.folder.root)
            .env_remove("BACKOUT_SITE")
            .stdin(Stdio::null());
        command
    }

    /// Somebody starts the shop's nightly export by hand; it holds the database open for some minutes.
    pub fn start_export(&mut self) -> anyhow::Result<u32> {
        let mut export = Command::new(self.folder.path("srv/app/current/bin/shop"));
        export.args(["export", "--config", "srv/config/shop.toml", "--to", "srv/orders.csv"]);
        export.current_dir(&self.folder.root).env("SHOP_RUNTIME", std::env::current_exe()?);
        let export = export.stdin(Stdio::null()).spawn().context("the export does not start")?;
        let id = export.id();
        self.foreign = Some(export);
        Ok(id)
    }

    pub fn export_runs(&self) -> bool {
        self.foreign.is_some()
    }

    pub fn end_export(&mut self) -> anyhow::Result<()> {
        if let Some(mut export) = self.foreign.take() {
            typed(&format!("kill {}", export.id()));
            let _ = kill_process(Pid::from_child(&export), Signal::TERM);
            export.wait()?;
        }
        Ok(())
    }

    /// Waits for something that must come about soon.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
        let patience = Instant::now() + PATIENCE;
        while !holds() {
            self.signals.check()?;
            if Instant::now() > patience {
                bail!("{what}: not within {PATIENCE:?}");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Leaves shop and client alone until somebody has seen enough.
    pub fn linger(&self) {
        while self.signals.check().is_ok() {
            std::thread::sleep(POLL);
        }
    }

    /// Ends client and shop; an error here is one of the demo, not only of its tidiness.
    pub fn strike(&mut self) -> anyhow::Result<()> {
        self.client = None;
        self.end_export()?;
        self.runtime.block_on(self.service.stop())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.strike() {
            ui::say(&format!("the shop of the demo may still run: {error:#}"));
        }
    }
}

/// A command line as it stands behind a prompt.
fn typed(line: &str) {
    ui::say(&format!("\n{}", console::style(format!("$ {line}")).bold().for_stderr()));
}

fn meaning(code: i32) -> &'static str {
    match code {
        0 => "",
        3 => ": refused, nothing was changed",
        4 => ": rolled back by itself, as before",
        5 => ": stopped half-way, people are needed",
        _ => ": not expected here",
    }
}

/// Whether people want to stop.
#[derive(Clone, Default)]
struct Signals {
    any: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let signals = Self::default();
        let (mut interrupt, mut hangup) = (signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
        let mut terminate = signal(SignalKind::terminate())?;
        let watched = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {}
                    _ = terminate.recv() => watched.terminated.store(true, Ordering::Relaxed),
                }
                watched.any.store(true, Ordering::Relaxed);
            }
        });
        Ok(signals)
    }

    fn terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.any.load(Ordering::Relaxed) {
            bail!("interrupted; what there is stays in the folder, and the next demo replaces it");
        }
        Ok(())
    }
}
