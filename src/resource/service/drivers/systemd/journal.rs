//! What a unit has said, as systemd's journal keeps it. Its own reader reads it: the files have several formats.
use super::super::super::Manager;
use crate::resource::{Failure, process::bounded};
use serde::Deserialize;
use serde_json::Value;
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// An entry longer than this cannot be looked at.
const MAX_ENTRY: u64 = 4 << 20;
/// For the journal to write down what it has taken.
const SYNC: Duration = Duration::from_secs(10);
/// The journal's own word that it has left messages out.
const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";

#[derive(Clone, Debug)]
pub struct Journal {
    pub unit: String,
    pub manager: Manager,
    /// Where it is, if not where this machine has its own.
    pub directory: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "MESSAGE_ID", default)]
    id: Value,
}

impl Entry {
    /// Text, or bytes that are none; several where a program has sent several.
    fn bytes(&self) -> Vec<u8> {
        match &self.message {
            Value::String(text) => text.clone().into_bytes(),
            Value::Array(parts) => {
                let byte = |part: &Value| part.as_u64().and_then(|byte| u8::try_from(byte).ok());
                match parts.iter().map(byte).collect() {
                    Some(bytes) => bytes,
                    None => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n").into_bytes(),
                }
            }
            _ => Vec::new(),
        }
    }
}

struct Reader {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Entry>, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.output).take(MAX_ENTRY).read_until(b'\n', &mut line).await;
        match read.map_err(|e| unreadable(e.to_string()))? {
            0 => return Ok(None),
            n if n as u64 == MAX_ENTRY => {
                return Err(Failure::inconclusive("an entry of the journal is too long to be looked at"));
            }
            _ => {}
        }
        serde_json::from_slice(&line).map(Some).map_err(|e| unreadable(e.to_string()))
    }

    /// What came was all that there is: whatever the reader complains of makes it less.
    async fn whole(mut self) -> Result<(), Failure> {
        let mut complaint = Vec::new();
        if let Some(errors) = self.child.stderr.take() {
            errors.take(1 << 10).read_to_end(&mut complaint).await.map_err(|e| unreadable(e.to_string()))?;
        }
        let complaint = String::from_utf8_lossy(&complaint).trim().replace('\n', " ");
        let status = self.child.wait().await.map_err(|e| unreadable(e.to_string()))?;
        match (status.success(), complaint.is_empty()) {
            (true, true) => Ok(()),
            (_, false) => Err(unreadable(complaint)),
            (false, true) => Err(unreadable(format!("its reader ended with {status}"))),
        }
    }
}

/// The hint is for the operator alone: a complaint may name paths.
fn unreadable(why: String) -> Failure {
    let why = bounded(&why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>(), 500);
    Failure::inconclusive("the journal cannot be read, or not all of it")
        .hint(format!("journalctl says: {why}; a user in the group `systemd-journal` may read all of it"))
}

impl Journal {
    #[expect(
        clippy::disallowed_methods,
        reason = "it starts nothing itself, and is killed when nobody reads it any more"
    )]
    fn command(&self) -> Command {
        let mut command = Command::new("journalctl");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").kill_on_drop(true);
        command
    }

    fn read(&self, arguments: &[String]) -> Result<Reader, Failure> {
        let mut command = self.command();
        command.args(["--output=json", "--output-fields=MESSAGE,MESSAGE_ID", "--all", "--no-pager"]);
        if let Some(directory) = &self.directory {
            command.arg("--directory").arg(directory);
        }
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| unreadable(format!("it cannot be started: {e}")))?;
        let output = child.stdout.take().ok_or_else(|| unreadable("it has no output".to_owned()))?;
        Ok(Reader { child, output: BufReader::new(output) })
    }

    /// What was said before is in its files then. Not of another machine's journal; and not everybody may ask for it.
    async fn sync(&self) {
        if self.directory.is_none() {
            let _ = timeout(SYNC, self.command().arg("--sync").status()).await;
        }
    }

    /// The last entry there is, of whatever unit; none in an empty journal.
    pub async fn end(&self) -> Result<Option<String>, Failure> {
        self.sync().await;
        let mut reader = self.read(&["--lines=1".to_owned()])?;
        let last = reader.next().await?;
        reader.whole().await?;
        Ok(last.map(|entry| entry.cursor))
    }

    /// Gives every line that the unit has said since to `see`, until that has seen enough.
    pub async fn lines(&self, since: Option<&str>, mut see: impl FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        self.sync().await;
        let unit = match self.manager {
            Manager::System => format!("--unit={}", self.unit),
            Manager::User => format!("--user-unit={}", self.unit),
        };
        let mut arguments = vec![unit];
        if let Some(cursor) = since {
            self.still_has(cursor).await?;
            // Not `--after-cursor`: where only one unit's entries are read, several versions leave the first one out.
            arguments.push(format!("--cursor={cursor}"));
        }
        let mut reader = self.read(&arguments)?;
        while let Some(entry) = reader.next().await? {
            if since == Some(entry.cursor.as_str()) {
                continue;
            }
            if entry.id == DROPPED {
                return Err(Failure::inconclusive("the journal has left out a part of it: it wrote too much at once"));
            }
            let bytes = entry.bytes();
            if !bytes.split(|byte| *byte == b'\n').all(&mut see) {
                return Ok(());
            }
        }
        reader.whole().await
    }

    /// Old entries are removed to make room.
    async fn still_has(&self, cursor: &str) -> Result<(), Failure> {
        let mut reader = self.read(&[format!("--cursor={cursor}")])?;
        match reader.next().await? {
            Some(entry) if entry.cursor == cursor => Ok(()),
            Some(_) => Err(Failure::inconclusive("the journal since then was removed in part")),
            None => {
                reader.whole().await?;
                Err(Failure::inconclusive("the journal of then is not there any more"))
            }
        }
    }
}
