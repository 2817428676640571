//! A POST of JSON that is signed. The id is the message's key, so a receiver that has seen it knows.
use super::{Carrier, Reached, Refused, answer};
use crate::resource::{
    CallCtx, Failure, Header,
    channel::{Asked, Message},
    http,
    signing::Signing,
};
use async_trait::async_trait;
use reqwest::{Client, Url};
use serde_json::json;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

pub struct Webhook {
    url: Url,
    client: Client,
    signing: Signing,
}

pub fn understood(url: &str, text: &str, headers: &BTreeMap<String, Header>) -> Result<(), Failure> {
    http::address(url)?;
    http::headers(headers)?;
    Signing::new(text).map(drop)
}

impl Webhook {
    pub fn new(url: &str, text: &str, headers: &BTreeMap<String, Header>) -> Result<Self, Failure> {
        let url = http::address(url)?;
        let client = http::client(&url, http::headers(headers)?.0, 0)?;
        Ok(Self { url, client, signing: Signing::new(text)? })
    }
}

fn body(message: &Message) -> Vec<u8> {
    let Message { key, by, event, package, run, host, .. } = message;
    let mut data = json!({
        "key": key, "by": by, "event": event, "package": package, "run": run, "host": host,
        "title": message.title(), "text": message.text(),
    });
    if let (Some(markdown), Some(fields)) = (message.as_markdown(), data.as_object_mut()) {
        fields.insert("markdown".to_owned(), markdown.into());
    }
    if let (Some(Asked { id, role, text }), Some(fields)) = (message.asked(), data.as_object_mut()) {
        fields.insert("question".to_owned(), json!({ "id": id, "role": role, "text": text }));
    }
    // Nothing in it depends on when it is sent: under one key there is one body.
    json!({ "type": format!("backout.{event}"), "data": data }).to_string().into_bytes()
}

#[async_trait]
impl Carrier for Webhook {
    fn tells_apart(&self) -> bool {
        true
    }

    async fn carry(&self, message: &Message, _: &mut Reached, call: &CallCtx) -> Result<(), Refused> {
        let body = body(message);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .header("webhook-id", &message.key)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", self.signing.sign(&message.key, at, &body))
            .header("idempotency-key", &message.key);
        answer::post(request, body, call.remaining()).await
    }
}
