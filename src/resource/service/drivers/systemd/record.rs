//! What was stopped, so that the same is started again: by another run, after a crash, after a restart of the machine.
use super::{super::folder::Folder, hold::Hold};
use crate::resource::{CallCtx, Failure};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    path::Path,
};

const FORMAT: u32 = 1;
const FILE: &str = "record.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    pub unit: String,
    pub phase: Phase,
    /// What would start it again: sockets, timers, paths that were stopped.
    pub triggers: Vec<String>,
    /// What was stopped with it.
    pub followers: Vec<String>,
    /// What keeps it down, if Backout put it there.
    pub hold: Option<Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Stopping,
    Stopped,
    Starting,
}

impl Record {
    pub fn new(unit: &str) -> Self {
        Self {
            format: FORMAT,
            unit: unit.to_owned(),
            phase: Phase::Stopping,
            triggers: Vec::new(),
            followers: Vec::new(),
            hold: None,
        }
    }

    /// Of another stop, under what keeps it down already.
    pub fn anew(self) -> Self {
        Self { hold: self.hold, ..Self::new(&self.unit) }
    }

    /// Adds what is not in it yet.
    pub fn add(&mut self, triggers: Vec<String>, followers: Vec<String>) {
        for (list, more) in [(&mut self.triggers, triggers), (&mut self.followers, followers)] {
            for name in more {
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Home(Folder);

impl Home {
    pub fn new(state: &Path, name: &str) -> Self {
        Self(Folder::new(state.join("units").join(name)))
    }

    pub fn read(&self) -> Result<Option<Record>, Failure> {
        let text = match fs::read(self.0.join(FILE)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::failed(format!("the record of what was stopped cannot be read: {e}"))),
        };
        let record: Option<Record> = serde_json::from_slice(&text).ok();
        match record.filter(|record| record.format == FORMAT) {
            Some(record) => Ok(Some(record)),
            None => Err(Failure::failed("the record of what was stopped is damaged, or of another version of Backout")
                .hint(format!(
                    "start what belongs to it by hand (`systemctl unmask --runtime`, `systemctl start`), then remove {}",
                    self.0.join(FILE).display()
                ))),
        }
    }

    /// Durable when it returns.
    pub fn write(&self, record: &Record) -> Result<(), Failure> {
        let written = self.0.replace(FILE, record).and_then(|()| self.0.sync());
        written.map_err(|e| Failure::failed(format!("what is stopped cannot be recorded: {e}")))
    }

    pub fn forget(&self) -> Result<(), Failure> {
        match fs::remove_file(self.0.join(FILE)).and_then(|()| self.0.sync()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Failure::failed(format!("the record of what was stopped cannot be removed: {e}")))
            }
            _ => Ok(()),
        }
    }

    pub async fn take_turn(&self, call: &CallCtx) -> Result<File, Failure> {
        self.0.take_turn(call).await
    }
}
