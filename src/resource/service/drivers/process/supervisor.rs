//! The helper that keeps a service while Backout comes and goes. It starts the program, writes its log, records how it ends,
//! and ends what it leaves behind.
use super::{
    log::Writer,
    record::{FORMAT, Home, Record},
};
use crate::resource::process::{Family, Identity, Program, Wire, boot_id, since_boot};
use rustix::{
    fs::Mode,
    pipe::{PipeFlags, pipe_with},
    process::umask,
};
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, io, path::Path, time::Duration};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    signal::unix::{SignalKind, signal},
};

/// What the supervisor is told, over a wire and never through a file or an argument: the environment may hold secrets.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub program: Program,
    pub token: String,
    pub stop_within: Duration,
    pub log_bytes: u64,
    pub log_keep: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The program was started; how it goes on is in the record.
    Begun,
    /// There is another supervisor.
    Held,
    Failed(String),
}

/// `backout supervise service`
pub fn run(dir: &Path) -> io::Result<()> {
    let mut wire = Wire::answer()?;
    umask(Mode::from_raw_mode(0o077));
    let order: Order = wire.order()?;
    let home = Home::new(dir);
    let lock = match home.hold() {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            wire.report(&Report::Held);
            return Ok(());
        }
        Err(error) => {
            wire.report(&Report::Failed(format!("its lock cannot be taken: {error}")));
            return Err(error);
        }
    };
    // One thread, the main one: the program dies with the thread that started it.
    let result = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(keep(&home, order, wire));
    drop(lock);
    result
}

async fn keep(home: &Home, order: Order, mut wire: Wire) -> io::Result<()> {
    // A stop may come as soon as the record names this process.
    let mut stops = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::quit())?];
    let begun = begin(home, &order);
    wire.report(&match &begun {
        Ok(_) => Report::Begun,
        Err(error) => Report::Failed(error.to_string()),
    });
    wire.close();
    let Begun { mut family, record, pump } = begun?;
    let record = RefCell::new(record);
    // A record that cannot be written now stays as it was: whoever reads it learns less, the service does not suffer.
    let note = |change: &dyn Fn(&mut Record)| {
        change(&mut record.borrow_mut());
        if let Err(error) = home.save(&record.borrow()) {
            tracing::error!(%error, "the record cannot be written");
        }
    };
    let supervisor = record.borrow().supervisor;
    let asked = async || {
        let [term, int, quit] = &mut stops;
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, _ = quit.recv() => {} }
        // Before anything ends, so that it never looks like an end of its own.
        note(&|record| record.stopped = true);
        home.stop_order(supervisor).map_or(order.stop_within, |order| order.within)
    };
    family.outlive(order.stop_within, asked, |ended, _| note(&|record| record.ended = Some(ended))).await?;
    // Nobody is left to write, unless a descriptor was handed to a stranger.
    let log = tokio::time::timeout(Duration::from_secs(2), pump).await.ok().and_then(Result::ok);
    note(&|record| {
        record.log_ended = log;
        record.gone = true;
    });
    Ok(())
}

struct Begun {
    family: Family,
    record: Record,
    /// Gives the end of the log.
    pump: tokio::task::JoinHandle<u64>,
}

fn begin(home: &Home, order: &Order) -> io::Result<Begun> {
    let within = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    let before = home.record().ok().flatten().map_or(0, |record| record.log_ended.unwrap_or(record.log_began));
    let mut log = Writer::open(&home.log(), order.log_bytes, order.log_keep, before)
        .map_err(within("its log cannot be written"))?;
    let mut record = Record {
        format: FORMAT,
        boot: boot_id()?,
        token: order.token.clone(),
        supervisor: Identity::own()?,
        program: None,
        since: Duration::ZERO,
        log_began: log.position(),
        log_ended: None,
        stopped: false,
        ended: None,
        gone: false,
    };
    home.save(&record).map_err(within("its record cannot be written"))?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut reader = Receiver::from_owned_fd(reader)?;
    let mut family = Family::new()?;
    record.program = Some(
        family.start(&order.program, writer.try_clone()?, writer).map_err(within("the program cannot be started"))?,
    );
    record.since = since_boot();
    home.save(&record).map_err(within("its record cannot be written"))?;
    let pump = tokio::spawn(async move {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(n @ 1..) = reader.read(&mut chunk).await {
            log.append(&chunk[..n]);
        }
        log.position()
    });
    Ok(Begun { family, record, pump })
}
