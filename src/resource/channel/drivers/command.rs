//! A fixed command line, which reads the message from its standard input: headline, empty line, text. It is run as a tool is.
use super::{Carrier, Reached, Refused};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    channel::{self, Message},
    tool,
};
use async_trait::async_trait;
use std::{path::PathBuf, time::Duration};

pub struct Pager(tool::drivers::command::Command);

impl Pager {
    pub fn new(name: &str, command: &channel::Command, executable: PathBuf) -> Self {
        let section = tool::Section {
            run: command.run.clone(),
            dir: command.dir.clone(),
            env: command.env.clone(),
            user: command.user.clone(),
            timeout: Duration::MAX,
            idempotent: true,
            uses: Vec::new(),
            check: None,
        };
        Self(tool::drivers::command::Command::new(name, &section, executable))
    }
}

#[async_trait]
impl Carrier for Pager {
    /// It is told the key, and what it makes of it nobody knows.
    fn tells_apart(&self) -> bool {
        false
    }

    async fn carry(&self, message: &Message, _: &mut Reached, call: &CallCtx) -> Result<(), Refused> {
        let input = format!("{}\n\n{}", message.headline(), message.body());
        let told = [("BACKOUT_MESSAGE", message.key.as_str()), ("BACKOUT_EVENT", message.event.as_str())];
        match self.0.run_with(Some(&input), &told, call).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(match failure.kind {
                FailureKind::TimedOut | FailureKind::Inconclusive | FailureKind::Unavailable => {
                    Refused::Now(Failure::unavailable(failure.message), None)
                }
                _ => Refused::ForGood(failure),
            }),
        }
    }
}
