//! Ends this process at a chosen moment, as a power failure would, so that what is left can be looked at. Only in builds with
//! debug assertions: nobody else has a use for it.

/// A moment at which `BACKOUT_CRASH_AT` can end the process: the N-th that it comes to, or the first of this name.
#[cfg(debug_assertions)]
#[expect(clippy::disallowed_methods, reason = "it is for tests, which say it to the processes that they start")]
pub fn point(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static AT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("BACKOUT_CRASH_AT").ok());
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some(at) = AT.as_deref() else { return };
    let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if at == name || at.parse() == Ok(passed) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub fn point(_: &str) {}
