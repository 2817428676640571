//! The helper that runs one command line for a service. It ends the command with all that it has started when Backout hangs up, by
//! will or by death; a command that has come to its end by itself leaves the service behind, which goes on.
use super::super::process::record::Home;
use crate::resource::process::{Collected, Ended, Family, Program, Stream, Wire};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt,
    net::{UnixStream, unix::pipe::Receiver},
    time::timeout,
};

/// Between being asked to end and being killed.
pub const GRACE: Duration = Duration::from_secs(5);
/// Of each output, so much is handed on.
const MAX_OUTPUT: usize = 64 << 10;
/// How long the last words of a command may take whose output others hold open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the commander is told, over a wire and never through a file or an argument: the environment may hold secrets.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub program: Program,
    /// Ends it even if Backout stands still.
    pub limit: Duration,
    /// What it starts is the service, and outlives it.
    pub leaves: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// Another command changes the service just now.
    Held,
    Failed(String),
    /// standard output, standard error
    Ended {
        how: Option<Ended>,
        outputs: [Collected; 2],
    },
}

/// `backout supervise command`. In the folder a lock says that the service is being changed.
pub fn run(dir: Option<&Path>) -> io::Result<()> {
    let mut wire = Wire::answer()?;
    let order: Order = wire.order()?;
    let lock = match dir.map(|dir| Home::new(dir).hold()).transpose() {
        Ok(Some(None)) => {
            wire.report(&Report::Held);
            return Ok(());
        }
        Ok(lock) => lock.flatten(),
        Err(error) => {
            wire.report(&Report::Failed(format!("its lock cannot be taken: {error}")));
            return Err(error);
        }
    };
    // One thread, the main one: the program dies with the thread that started it.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        match keep(&order, &wire).await {
            Ok((mut family, how, outputs)) => {
                let left = order.leaves && !Family::members()?.is_empty();
                let (mut streams, collected) = split(outputs);
                // Whoever hears of the end finds nobody at it any more.
                drop(lock);
                wire.report(&Report::Ended { how, outputs: collected });
                wire.close();
                if left {
                    // A service that still says something there must neither stand still nor be ended by it.
                    tokio::select! {
                        ended = family.mourn() => ended?,
                        () = drain(&mut streams) => {}
                    }
                }
                Ok(())
            }
            Err(error) => {
                wire.report(&Report::Failed(error.to_string()));
                wire.close();
                Err(error)
            }
        }
    })
}

async fn keep(order: &Order, wire: &Wire) -> io::Result<(Family, Option<Ended>, [Stream; 2])> {
    let mut listener = wire.listener()?;
    let mut family = Family::new()?;
    let ([from_out, from_err], [out, err]) = pipes()?;
    let mut streams = [from_out, from_err].map(|pipe| Stream::new(Some(Box::new(pipe)), MAX_OUTPUT));
    let mut gone = [PollFd::new(&listener, PollFlags::RDHUP)];
    if poll(&mut gone, Some(&Timespec::default()))? > 0 {
        // Whoever wanted it has ended meanwhile, and perhaps begun again.
        return Ok((family, None, streams));
    }
    family.start(&order.program, out, err)?;
    let how = {
        let limit = tokio::time::sleep(order.limit);
        let asked = async {
            tokio::select! { () = hung_up(&mut listener) => {}, () = limit => {} }
            GRACE
        };
        let led = family.lead(asked, (!order.leaves).then_some(GRACE));
        tokio::pin!(led);
        loop {
            let [out, err] = &mut streams;
            tokio::select! {
                how = &mut led => break how?,
                () = out.read() => {}
                () = err.read() => {}
            }
        }
    };
    // What it has written is in the pipes by now; others may hold them open.
    let until = Instant::now() + LAST_WORDS;
    let quiet = async |stream: &mut Stream| {
        while stream.open() && Instant::now() < until && timeout(LAST_WORDS / 10, stream.read()).await.is_ok() {}
    };
    let [out, err] = &mut streams;
    tokio::join!(quiet(out), quiet(err));
    Ok((family, how, streams))
}

fn pipes() -> io::Result<([Receiver; 2], [OwnedFd; 2])> {
    let (out, out_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let (err, err_end) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(([Receiver::from_owned_fd(out)?, Receiver::from_owned_fd(err)?], [out_end, err_end]))
}

async fn hung_up(listener: &mut UnixStream) {
    let mut nothing = [0; 16];
    while let Ok(1..) = listener.read(&mut nothing).await {}
}

fn split(streams: [Stream; 2]) -> ([Stream; 2], [Collected; 2]) {
    let [out, err] = streams.map(Stream::split);
    ([out.0, err.0], [out.1, err.1])
}

async fn drain(streams: &mut [Stream; 2]) {
    loop {
        let [out, err] = streams;
        if !out.open() && !err.open() {
            return;
        }
        tokio::select! {
            () = out.read() => {}
            () = err.read() => {}
        }
    }
}
