//! What every driver of channels has to do, whoever is at the other end. A driver joins with a `Receiver` and a line in
//! `every_driver!`.
mod receivers;
mod smtp;
mod told;
mod webhook;

use crate::support::{
    bench::{BACKOUT, PATIENCE},
    call::call,
    gateway::Gateway,
    product::Product,
    script::{Script, lend, told},
};
use backout::{
    capability::notify::wit::Host as _,
    journal::Entry,
    resource::{
        Access, CallCtx, Channel, Clock, Failure, FailureKind, Lend, ResourceId, Rights,
        channel::{By, Driver, MAX_TEXT, MAX_TITLE, Message, Section, Terms, drivers, key},
        world::World,
    },
};
use receivers::*;
use std::{collections::BTreeSet, time::Duration};

/// No error, journal or answer to a script may contain it.
const SECRET: &str = "s3cr3t-of-the-operator-and-nobody-else";

fn section(driver: Driver) -> Section {
    Section { driver, timeout: PATIENCE, within: PATIENCE, on: BTreeSet::new() }
}

fn open(section: &Section) -> Access<Channel> {
    drivers::open_with("ops", section, BACKOUT.into()).unwrap()
}

fn message(title: &str, text: &str) -> Message {
    Message::new(key(&["test", title]), By::Script, "message", title, text).of("acme/shop 2.0.0", 12)
}

async fn send(section: &Section, message: &Message, call: &CallCtx) -> Result<(), Failure> {
    tokio::time::timeout(PATIENCE * 2, open(section).mutator.send(message, call)).await.expect("it ends in its time")
}

fn usual() -> CallCtx {
    call("1/upgrade/tell/1/1", PATIENCE)
}

async fn is_told_once(receiver: impl Receiver) {
    let message = message("2.0 is ready — Grüße", "All is well.\nNobody has to do anything.");
    send(&section(receiver.driver(None)), &message, &usual()).await.unwrap();
    let [heard] = &receiver.heard().await[..] else { panic!("{:?}", receiver.heard().await) };
    assert!(heard.headline.contains("[acme/shop 2.0.0] 2.0 is ready — Grüße"), "{heard:?}");
    assert!(heard.text.contains("All is well.\nNobody has to do anything."), "{heard:?}");
    assert!(heard.text.contains("said by the script of acme/shop 2.0.0, run 12"), "{heard:?}");
    assert!(heard.key.is_none() || heard.key.as_deref() == Some(&message.key), "{heard:?}");
}

async fn is_told_once_although_the_first_tries_failed(receiver: impl Receiver) {
    let Some(address) = receiver.address() else { return };
    let gateway = Gateway::hanging_up(2, address).await;
    let message = message("again", "and again");
    let (call, said) = crate::support::call::call_heard("1/upgrade/tell/1/1", PATIENCE);
    send(&section(receiver.driver(Some(gateway.address))), &message, &call).await.unwrap();
    assert_eq!((receiver.heard().await.len(), gateway.tries()), (1, 3));
    let said = said.0.lock().unwrap().join("\n");
    assert!(said.contains("not told yet: ") && !said.contains(SECRET), "{said}");
}

async fn where_nobody_is_it_ends_in_its_time(receiver: impl Receiver) {
    if receiver.address().is_none() {
        return;
    }
    let silent = Gateway::silent().await;
    for (address, why) in [(Product::nobody().await, "connection refused"), (silent.address, "no answer")] {
        let mut section = section(receiver.driver(Some(address)));
        (section.timeout, section.within) = (Duration::from_millis(300), Duration::from_millis(900));
        let failure = send(&section, &message("hello", "anybody?"), &usual()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
        assert!(failure.message.contains(why) && failure.message.contains("not told after "), "{failure}");
        for hidden in [SECRET, &address.to_string(), "127.0.0.1"] {
            assert!(!failure.to_string().contains(hidden), "{failure}");
        }
    }
    // The time of the call counts, too.
    let call = call("1/upgrade/tell/1/1", Duration::from_millis(500));
    let failure = send(&section(receiver.driver(Some(silent.address))), &message("x", ""), &call).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    assert_eq!(receiver.heard().await.len(), 0);
}

async fn words_of_a_script_do_nothing(receiver: impl Receiver) {
    let title = "ok\r\nBcc: mallory@example.org\r\nSubject: two\u{202e}";
    let text = "<!channel> <@U024BE7LH> @here\r\n.\r\nMAIL FROM:<mallory@example.org>\r\n<http://evil.example|https://bank.example>\n\
                ``` out ` [bank](http://evil.example)\n{{ .ExternalURL }} \u{1b}]0;pwned\u{7}\u{1b}[2J\u{200b}$(touch /tmp/x) &amp;";
    send(&section(receiver.driver(None)), &message(title, text), &usual()).await.unwrap();
    let [heard] = &receiver.heard().await[..] else { panic!("{:?}", receiver.heard().await) };
    for text in [&heard.headline, &heard.text] {
        assert!(!text.contains(['\r', '\u{1b}', '\u{7}', '\u{202e}', '\u{200b}']), "{text:?}");
    }
    assert!(!heard.headline.contains('\n') && heard.headline.contains("ok  Bcc: mallory@example.org"), "{heard:?}");
    receiver.is_harmless(heard);
}

async fn a_script_is_told_what_came_of_it_and_no_secret(receiver: impl Receiver) {
    let lent = |driver: Driver, rights: Rights| {
        let mut script = Script::new();
        let section = Section { within: Duration::from_secs(1), ..section(driver) };
        let terms = Terms { package: "acme/shop 2.0.0".into(), within: section.within };
        let lend = Lend { rights, terms, ..lend("channel", "ops", open(&section)) };
        script.resources.channel.0.insert("ops".to_owned(), lend);
        script
    };
    let ops = || "ops".to_owned();
    let script = lent(receiver.driver(None), [backout::resource::Right::Send].into_iter().collect());
    script.call().send(ops(), "done".into(), "as planned".into()).await.unwrap();
    assert_eq!(receiver.heard().await.len(), 1);
    let (kind, _) = told(script.call().send(ops(), "x".repeat(MAX_TITLE + 1), "".into()).await);
    assert_eq!(kind, "invalid");
    let (kind, _) = told(script.call().send(ops(), "x".into(), "x".repeat(MAX_TEXT + 1)).await);
    assert_eq!(kind, "invalid");
    let (kind, text) = told(script.call().send(ops(), " \r\n".into(), "no title".into()).await);
    assert_eq!((kind, text.as_str()), ("invalid", "a message has a title"));
    let (kind, _) = told(script.call().send("elsewhere".into(), "x".into(), "".into()).await);
    assert_eq!(kind, "denied");
    let entries = script.entries().await;
    let intents = entries.iter().filter_map(|entry| match entry {
        Entry::Intent(request) => Some((request.class.as_str(), request.disturbs, request.changes.len())),
        _ => None,
    });
    assert!(intents.clone().all(|intent| intent == ("idempotent", false, 0)) && intents.count() == 2, "{entries:?}");

    let other = lent(receiver.driver(None), Rights::default());
    let (kind, _) = told(other.call().send(ops(), "not granted".into(), "".into()).await);
    assert_eq!(kind, "denied");
    let lost = match receiver.address() {
        Some(_) => lent(receiver.driver(Some(Product::nobody().await)), Rights::all()),
        None => lent(receiver.failing(), Rights::all()),
    };
    let (_, text) = told(lost.call().send(ops(), "lost".into(), "".into()).await);
    assert!(!text.contains(SECRET), "{text}");
    assert_eq!(receiver.heard().await.len(), 1);
    for script in [script, other, lost] {
        assert!(!script.journal().await.contains(SECRET));
    }
}

macro_rules! every_driver { ($($driver:ident: $receiver:ty,)*) => { $(mod $driver {
    use super::*;
    every_driver! { @ $receiver:
        is_told_once, is_told_once_although_the_first_tries_failed, where_nobody_is_it_ends_in_its_time,
        words_of_a_script_do_nothing, a_script_is_told_what_came_of_it_and_no_secret
    }
})* };
    (@ $receiver:ty: $($test:ident),*) => { $(#[tokio::test] async fn $test() { super::$test(<$receiver>::new().await).await })* };
}
every_driver! {
    webhooks: Webhook,
    slack: Slack,
    mail: Mailbox,
    alertmanager: Alertmanager,
    command: Pager,
}

#[tokio::test]
async fn in_a_plan_nobody_is_told() {
    let (id, world) = (ResourceId::new("channel", "ops"), World::new(Clock::simulated(0)));
    let mut script = Script::new();
    let access = drivers::simulated::simulate(&id, &world);
    script.resources.channel.0.insert("ops".to_owned(), lend("channel", "ops", access));
    script.call().send("ops".into(), "it\nis done".into(), "all of it".into()).await.unwrap();
    let (kind, _) = told(script.call().send("ops".into(), "".into(), "".into()).await);
    assert_eq!(kind, "invalid");
    let said: Vec<String> = world.changes().into_iter().map(|change| change.text).collect();
    assert_eq!(said, ["is told: it is done"]);
}
