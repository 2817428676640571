//! What a webhook can rely on: who has sent it, and that it is the same message.
use super::*;
use crate::support::hook::Hook;
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;
use std::collections::BTreeMap;

fn hook(hook: &Hook, secret: &str) -> Section {
    let url = hook.server.url("/hook");
    section(Driver::Webhook { url, secret: secret.to_owned(), headers: BTreeMap::new() })
}

#[tokio::test]
async fn the_signature_is_that_of_standard_webhooks() {
    for (secret, bytes) in [
        ("sixteen bytes or more".to_owned(), b"sixteen bytes or more".to_vec()),
        (format!("whsec_{}", BASE64_STANDARD.encode([7; 32])), vec![7; 32]),
    ] {
        let receiver = Hook::answering(&[]).await;
        send(&hook(&receiver, &secret), &message("signed", "text"), &usual()).await.unwrap();
        let posted = &receiver.posted()[0];
        let signed = [
            format!("{}.{}.", posted.header("webhook-id"), posted.header("webhook-timestamp")).into_bytes(),
            posted.body.clone(),
        ];
        let signature =
            BASE64_STANDARD.decode(posted.header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        hmac::verify(&key, &signed.concat(), &signature).unwrap();
        let other = [&signed.concat()[..], b" "].concat();
        assert!(hmac::verify(&key, &other, &signature).is_err());
        assert_eq!(posted.header("idempotency-key"), posted.header("webhook-id"));
    }
}

#[tokio::test]
async fn what_is_tried_again_is_the_same_to_the_letter() {
    let receiver = Hook::answering(&[503, 429, 500]).await;
    send(&hook(&receiver, SECRET), &message("again", "text"), &usual()).await.unwrap();
    let posted = receiver.posted();
    let statuses: Vec<u16> = posted.iter().map(|posted| posted.status).collect();
    assert_eq!(statuses, [503, 429, 500, 200]);
    for again in &posted[1..] {
        assert_eq!((again.header("webhook-id"), &again.body), (posted[0].header("webhook-id"), &posted[0].body));
    }
}

#[tokio::test]
async fn a_refusal_is_one() {
    for (status, why) in [(401, "it was refused with status 401"), (302, "leads elsewhere (status 302)")] {
        let receiver = Hook::answering(&[status]).await;
        let failure = send(&hook(&receiver, SECRET), &message("x", ""), &usual()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Failed);
        assert!(failure.message.contains(why), "{failure}");
        assert_eq!(receiver.posted().len(), 1);
    }
}

#[tokio::test]
async fn who_stops_a_run_does_not_wait_for_it() {
    let receiver = Hook::answering(&[503; 1000]).await;
    let call = usual();
    let cancel = call.cancel.clone();
    let section = hook(&receiver, SECRET);
    let message = message("x", "");
    let (failure, ()) = tokio::join!(send(&section, &message, &call), async {
        while receiver.posted().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    });
    assert_eq!(failure.unwrap_err().message, "not told: it answers with status 503");
}

#[tokio::test]
async fn it_comes_over_tls_or_not_at_all() {
    // Nobody speaks TLS there, so nothing may be said.
    let receiver = Hook::answering(&[]).await;
    let mut section = hook(&receiver, SECRET);
    let Driver::Webhook { url, .. } = &mut section.driver else { unreachable!() };
    *url = url.replace("http://", "https://");
    section.within = Duration::from_millis(600);
    let failure = send(&section, &message("x", ""), &usual()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    assert_eq!(receiver.posted().len(), 0);
}
