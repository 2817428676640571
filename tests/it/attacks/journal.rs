//! What many steps could write together, one by one within their limits.
use crate::support::script::Script;
use backout::{
    capability::log::ops::Info,
    gate::{Error, Stop},
};

#[tokio::test]
async fn the_steps_of_a_phase_share_what_they_may_write() {
    let (first, mut second) = (Script::new(), Script::new());
    second.gate.written = first.gate.written.beside();
    second.gate.quota.journal_bytes_of_phase = 1_000;
    let log = async |script: &Script| {
        let message = "x".repeat(400);
        script.gate.perform(&script.resources, Info { message }).await
    };
    log(&first).await.unwrap();
    log(&second).await.unwrap();
    let ended = log(&second).await.unwrap_err();
    assert!(matches!(ended, Error::Stop(Stop::Limit { limit: 1_000, .. })), "{ended}");
    assert_eq!(ended.to_string(), "more than 1000 bytes in the journal in one phase");
}
