//! `[limits]`: what one step of a script may use. What is not said here, the session decides.
use crate::diagnostic::{Mistake, reader::Table};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// bytes of linear memory
    pub memory: Option<u64>,
    /// of its own computing, without the time in host calls
    pub cpu: Option<Duration>,
    /// wall time of a whole step
    pub time: Option<Duration>,
    pub host_calls: Option<u32>,
    /// of the processors, to compile a script
    pub compile: Option<Duration>,
    pub log_bytes: Option<u64>,
    pub store_bytes: Option<u64>,
}

pub fn limits(root: &Table<'_>) -> Limits {
    let Some(table) = root.table("limits") else { return Limits::default() };
    let size = |key, least: u64, most: u64| {
        let item = table.get(key)?;
        let size = item.bytes()?;
        if !(least..=most).contains(&size) {
            let show = crate::diagnostic::units::show_bytes;
            item.mistake(Mistake::new(format!("`{}` must be from {} to {}", item.name, show(least), show(most))));
            return None;
        }
        Some(size)
    };
    let time = |key| {
        let item = table.get(key)?;
        let time = item.duration()?.value;
        if time.is_zero() {
            item.mistake(Mistake::new(format!("`{}` must be longer than nothing", item.name)));
            return None;
        }
        Some(time)
    };
    let limits = Limits {
        memory: size("memory", 1 << 20, 4 << 30),
        cpu: time("cpu"),
        time: time("time"),
        compile: time("compile"),
        host_calls: table.integer("host-calls", 1..=i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()),
        log_bytes: size("log", 0, 1 << 30),
        store_bytes: size("store", 0, 1 << 30),
    };
    table.finish();
    limits
}
