//! Processes of this machine, and how to start and end them so that none is mistaken for another and none is forgotten.
//!
//! Services and tools are kept by *helpers*: this same executable, started again. A helper is the reaper of all that its
//! program starts, so it knows when everything is gone, and it goes on when Backout ends.
mod attended;
mod family;
mod helper;
mod identity;
mod launch;
mod output;
mod text;
mod user;

pub use attended::Attended;
pub use family::{Ended, Family};
pub use helper::{Helper, Wire, own_executable};
pub use identity::{Handle, Identity, all, boot_id, descendants, end, marked, since_boot, unique};
pub use launch::{Program, become_program};
pub use output::{Collected, Redaction, Stream, bounded};
pub use text::give_back;
pub use user::User;

use super::Failure;
use rustix::process::Signal;

/// A signal by the name that people use for it, with or without `SIG`.
pub fn signal_named(name: &str) -> Option<Signal> {
    Some(match name.strip_prefix("SIG").unwrap_or(name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "TERM" => Signal::TERM,
        "CONT" => Signal::CONT,
        "WINCH" => Signal::WINCH,
        _ => return None,
    })
}

/// Now, for people who read it later and elsewhere.
pub fn moment() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Runs what reads files or `/proc` where it delays nobody.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Failure::failed(format!("a look at the machine broke off: {e}")))
}
