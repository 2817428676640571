//! Ends this process at a chosen moment, as a power failure would, or has a chosen operation fail, so that what becomes of it can be
//! looked at. Only in builds with debug assertions: nobody else has a use for it.

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

/// When the failure strikes.
#[derive(Clone, Copy)]
pub enum Fails {
    Before,
    /// The effect is there, although nobody is told.
    After,
}

/// Asked once for each operation that is carried out. `BACKOUT_FAIL_AT=12` has the twelfth fail before its effect, `12+` after it.
#[cfg(debug_assertions)]
#[expect(clippy::disallowed_methods, reason = "it is for tests, which say it to the processes that they start")]
pub fn fails() -> Option<Fails> {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static AT: LazyLock<Option<(u64, Fails)>> = LazyLock::new(|| {
        let at = std::env::var("BACKOUT_FAIL_AT").ok()?;
        match at.strip_suffix('+') {
            Some(number) => Some((number.parse().ok()?, Fails::After)),
            None => Some((at.parse().ok()?, Fails::Before)),
        }
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let (at, fails) = (*AT)?;
    (PASSED.fetch_add(1, Ordering::SeqCst) + 1 == at).then_some(fails)
}

#[cfg(not(debug_assertions))]
pub fn fails() -> Option<Fails> {
    None
}
