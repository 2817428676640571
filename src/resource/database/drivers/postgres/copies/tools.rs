//! The server's own tools carry over what is declared: nobody else knows all of it, in each version.
//!
//! Neither the archive nor the password lies on a disk: both are files in memory, which the tools open by the number of their
//! descriptor, and which are gone when Backout is.
use super::super::{
    Postgres,
    error::{FULL, told},
};
use crate::resource::{
    CallCtx, Failure,
    database::{Host, Tls},
    process::{Attended, Collected, Redaction, blocking},
    room,
};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{PipeReader, PipeWriter, Write},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio_postgres::Client;

/// A file of this process, for its children.
struct Memory(File);

impl Memory {
    fn new(name: &str) -> Result<Self, Failure> {
        let made = memfd_create(name, MemfdFlags::CLOEXEC).and_then(|fd| {
            fchmod(fd.as_fd(), Mode::RUSR | Mode::WUSR)?;
            Ok(fd)
        });
        made.map(|fd| Self(File::from(fd))).map_err(|e| Failure::failed(format!("no file in memory: {e}")))
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// What is declared in a database, as the server's tools carry it.
pub struct Archive(Memory);

pub struct Tools {
    folder: PathBuf,
    env: BTreeMap<String, String>,
    _password: Memory,
    redaction: Redaction,
}

/// Who wants to change a table that is locked here waits, and whoever comes to that table after him waits for him, also the tool
/// that reads what is declared: without an end, if nobody gives way.
const WAITED_FOR: &str = "2s";
pub const QUEUE: &str = "somebody waits to change a table that is being copied";

/// Of the system's packages; several versions side by side.
const FOLDERS: &str = "/usr/lib/postgresql";
const USUAL: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin", "/opt/bin"];

impl Tools {
    /// For the server that `admin` is connected to.
    pub async fn of(postgres: &Postgres, admin: &Client, call: &CallCtx) -> Result<Self, Failure> {
        let version: String = admin.query_one("SHOW server_version_num", &[]).await.map_err(told)?.get(0);
        let version = version.parse().map_err(|_| Failure::failed("the server does not tell its version"))?;
        Self::find(postgres, version, &postgres.tag(call), call).await
    }

    /// `version`: of the server, as `server_version_num` has it.
    async fn find(postgres: &Postgres, version: u32, tag: &str, call: &CallCtx) -> Result<Self, Failure> {
        let major = version / 10_000;
        let named = postgres.server.tools.clone();
        let elsewhere = named.is_some();
        let mut known = Vec::new();
        for folder in blocking(move || folders(named)).await? {
            if let Some(its) = version_of(&folder, call).await {
                known.push((its, folder));
            }
        }
        // The server's own version; else the next newer one, for older tools do not know all that a newer server has.
        known.sort_by_key(|(version, _)| *version);
        let seen: Vec<String> = known.iter().map(|(version, _)| version.to_string()).collect();
        let Some((_, folder)) = known.into_iter().find(|(its, _)| *its >= major) else {
            let seen =
                if seen.is_empty() { "none are there".to_owned() } else { format!("found: {}", seen.join(", ")) };
            return Err(Failure::failed(format!(
                "a copy needs `pg_dump` and `pg_restore` of version {major} or newer, {seen}"
            ))
            .hint(if elsewhere {
                "`tools` in the section of the database is the folder that is looked into".to_owned()
            } else {
                format!("install the package postgresql-client-{major}, or say where they are: `tools` in the section of the database")
            }));
        };
        let server = &postgres.server;
        let password = Memory::new("backout")?;
        if let Some(secret) = &server.password {
            let secret = secret.replace('\\', "\\\\").replace(':', "\\:");
            let written = (&password.0).write_all(format!("*:*:*:*:{secret}\n").as_bytes());
            written.map_err(|e| Failure::failed(format!("no file in memory: {e}")))?;
        }
        let host = match &server.host {
            Host::Name(name) => name.clone(),
            Host::Socket(folder) => folder.to_string_lossy().into_owned(),
        };
        let tls = match server.tls {
            Tls::Disable => "disable",
            Tls::Prefer => "prefer",
            Tls::Require => "require",
            Tls::VerifyFull => "verify-full",
        };
        let mut env: BTreeMap<String, String> = [
            ("PGHOST", host),
            ("PGPORT", server.port.to_string()),
            ("PGUSER", server.user.clone()),
            ("PGSSLMODE", tls.to_owned()),
            ("PGPASSFILE", password.path()),
            ("PGAPPNAME", tag.to_owned()),
            ("PGCLIENTENCODING", "UTF8".to_owned()),
            ("PGCONNECT_TIMEOUT", "30".to_owned()),
            // Ends what works on when its tool is gone, and speaks the language that is understood here.
            (
                "PGOPTIONS",
                "-c client_connection_check_interval=500 -c statement_timeout=0 -c lock_timeout=30s -c lc_messages=C"
                    .to_owned(),
            ),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";
        if server.tls == Tls::VerifyFull && Path::new(TRUSTED).exists() {
            env.insert("PGSSLROOTCERT".to_owned(), TRUSTED.to_owned());
        }
        let secrets = server.password.iter().map(|p| (String::new(), p.clone())).collect();
        Ok(Self { folder, env, _password: password, redaction: Redaction::new(&secrets) })
    }

    /// All that is declared in a database, as it was at the moment of the snapshot. No content, and no subscription: one that
    /// is copied would fetch what is meant for the other.
    pub async fn declared(&self, database: &str, snapshot: &str, call: &CallCtx) -> Result<Archive, Failure> {
        let archive = Memory::new("backout")?;
        let arguments = [
            "--format=custom".to_owned(),
            "--compress=0".to_owned(),
            "--schema-only".to_owned(),
            "--no-subscriptions".to_owned(),
            "--no-password".to_owned(),
            format!("--lock-wait-timeout={WAITED_FOR}"),
            format!("--snapshot={snapshot}"),
            format!("--file={}", archive.path()),
            format!("--dbname={}", conninfo(database)),
        ];
        match self.run("pg_dump", &arguments, call).await {
            Err(failure) if failure.message.contains("statement timeout") => Err(Failure::unavailable(QUEUE)),
            result => result.map(|()| Archive(archive)),
        }
    }

    /// `section`: `pre-data` or `post-data`.
    pub async fn declare(
        &self,
        database: &str,
        archive: &Archive,
        section: &str,
        call: &CallCtx,
    ) -> Result<(), Failure> {
        let arguments = [
            "--exit-on-error".to_owned(),
            "--no-password".to_owned(),
            "--jobs=2".to_owned(),
            format!("--section={section}"),
            format!("--dbname={}", conninfo(database)),
            archive.0.path(),
        ];
        self.run("pg_restore", &arguments, call).await
    }

    /// All of a database that nobody else is in, as one stream. What repeats is not compressed: a repository finds it again.
    /// `coding`: of the database; what a server cannot convert is carried over as it is.
    pub async fn dump(&self, database: &str, coding: &str, out: PipeWriter, call: &CallCtx) -> Result<(), Failure> {
        let arguments = [
            "--format=custom".to_owned(),
            "--compress=0".to_owned(),
            "--no-subscriptions".to_owned(),
            "--no-password".to_owned(),
            format!("--encoding={coding}"),
            format!("--dbname={}", conninfo(database)),
        ];
        self.run_with("pg_dump", &arguments, (Stdio::null(), out.into()), call).await
    }

    /// The same into an empty database.
    pub async fn restore(&self, database: &str, from: PipeReader, call: &CallCtx) -> Result<(), Failure> {
        let arguments = [
            "--format=custom".to_owned(),
            "--exit-on-error".to_owned(),
            "--no-password".to_owned(),
            format!("--dbname={}", conninfo(database)),
        ];
        self.run_with("pg_restore", &arguments, (from.into(), Stdio::piped()), call).await
    }

    async fn run(&self, tool: &str, arguments: &[String], call: &CallCtx) -> Result<(), Failure> {
        self.run_with(tool, arguments, (Stdio::null(), Stdio::piped()), call).await
    }

    async fn run_with(
        &self,
        tool: &str,
        arguments: &[String],
        streams: (Stdio, Stdio),
        call: &CallCtx,
    ) -> Result<(), Failure> {
        let program = self.folder.join(tool);
        let attended = Attended::between(&program, arguments, &self.env, streams)
            .map_err(|e| Failure::failed(format!("`{tool}` cannot be run: {e}")))?;
        let (well, said) = attended
            .ended(call.deadline)
            .await
            .map_err(|e| Failure::failed(format!("`{tool}` cannot be waited for: {e}")))?;
        match well {
            Some(true) => Ok(()),
            None => Err(Failure::timed_out(format!("`{tool}` did not end in its time"))),
            Some(false) => Err(self.failed(tool, &said)),
        }
    }

    /// The first error, without the statement that it is about: statements may hold what nobody should read.
    fn failed(&self, tool: &str, said: &Collected) -> Failure {
        let text = said.text(&self.redaction);
        if text.contains("No space left on device") || text.contains("could not extend file") {
            return room::none(FULL);
        }
        let mut lines = text.lines();
        let error = lines.find(|line| line.contains("ERROR:") || line.contains("FATAL:") || line.contains("error:"));
        let error = error.unwrap_or("it does not say why");
        let error = error.split_once("ERROR:").or(error.split_once("FATAL:")).map_or(error, |(_, words)| words);
        let error = if error.contains('\'') { "it cannot be said without what it is about" } else { error.trim() };
        let error: String = crate::plain::no_commands(error).chars().take(200).collect();
        Failure::failed(format!("`{tool}` failed: {error}")).hint("the server's log has the whole message")
    }
}

/// `named`: by the site.
fn folders(named: Option<PathBuf>) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(FOLDERS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let usual = || versions.chain(USUAL.map(PathBuf::from)).collect();
    let mut folders: Vec<PathBuf> = named.map_or_else(usual, |folder| vec![folder]);
    folders.retain(|folder| ["pg_dump", "pg_restore"].iter().all(|tool| folder.join(tool).is_file()));
    folders
}

/// `pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`
async fn version_of(folder: &Path, call: &CallCtx) -> Option<u32> {
    let mut versions = Vec::new();
    for tool in ["pg_dump", "pg_restore"] {
        let attended = Attended::start(&folder.join(tool), &["--version".to_owned()], &BTreeMap::new()).ok()?;
        let (_, said) = attended.ended(call.deadline).await.ok()?;
        let text = said.text(&Redaction::default());
        let number = text.split_once("(PostgreSQL) ")?.1;
        versions.push(number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?);
    }
    versions.into_iter().min()
}

fn conninfo(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}
