//! The helper that runs a tool, and ends it with everything it has started when Backout hangs up, by will or by death.
use crate::resource::process::{Ended, Family, Program, Wire};
use serde::{Deserialize, Serialize};
use std::{io, os::fd::AsFd, time::Duration};
use tokio::io::AsyncReadExt;

/// Between being asked to end and being killed.
pub const GRACE: Duration = Duration::from_secs(5);

#[derive(Serialize, Deserialize)]
pub struct Order {
    pub program: Program,
    /// Ends it even if Backout stands still.
    pub limit: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    Failed(String),
    /// Everything is gone; so many processes had to be ended because the tool had left them behind.
    Ended {
        how: Option<Ended>,
        left: usize,
    },
}

/// `backout supervise tool`. The outputs are the tool's own.
pub fn run() -> io::Result<()> {
    let mut wire = Wire::answer()?;
    let order: Order = wire.order()?;
    // One thread, the main one: the program dies with the thread that started it.
    let report = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(keep(&order, &wire));
    wire.report(&report.unwrap_or_else(|error| Report::Failed(error.to_string())));
    wire.close();
    Ok(())
}

async fn keep(order: &Order, wire: &Wire) -> io::Result<Report> {
    let mut listener = wire.listener()?;
    let mut family = Family::new()?;
    family.start(
        &order.program,
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stderr().as_fd().try_clone_to_owned()?,
    )?;
    let limit = tokio::time::Instant::now() + order.limit;
    let mut wanted = true;
    let asked = async || {
        if !wanted {
            return std::future::pending().await;
        }
        let mut nothing = [0; 16];
        tokio::select! {
            () = async { while let Ok(1..) = listener.read(&mut nothing).await {} } => {}
            () = tokio::time::sleep_until(limit) => {}
        }
        wanted = false;
        GRACE
    };
    let mut left = 0;
    let how = family.outlive(GRACE, asked, |_, behind| left = behind).await?;
    Ok(Report::Ended { how, left })
}
