//! A POST of JSON, signed as [Standard Webhooks](https://www.standardwebhooks.com) 1.0 has it: HMAC-SHA256 over
//! `id.timestamp.body`, in Base64 behind `v1,`. The id is the message's key, so a receiver that has seen it knows.
use super::{Carrier, Reached, Refused, answer};
use crate::resource::{CallCtx, Failure, Header, channel::Message, http};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{Client, Url};
use ring::hmac;
use serde_json::json;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// A shorter secret could be guessed.
const SHORTEST: usize = 16;

pub struct Webhook {
    url: Url,
    client: Client,
    secret: hmac::Key,
}

/// Its bytes; behind `whsec_` they are written in Base64, as the scheme has it.
fn secret(text: &str) -> Result<Vec<u8>, Failure> {
    let bytes = match text.strip_prefix("whsec_") {
        Some(encoded) => BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| Failure::invalid("behind `whsec_`, the secret of the webhook is not in Base64"))?,
        None => text.as_bytes().to_vec(),
    };
    if bytes.len() < SHORTEST {
        return Err(Failure::invalid(format!("the secret of the webhook has fewer than {SHORTEST} bytes")));
    }
    Ok(bytes)
}

pub fn understood(url: &str, text: &str, headers: &BTreeMap<String, Header>) -> Result<(), Failure> {
    http::address(url)?;
    http::headers(headers)?;
    secret(text).map(drop)
}

impl Webhook {
    pub fn new(url: &str, text: &str, headers: &BTreeMap<String, Header>) -> Result<Self, Failure> {
        let url = http::address(url)?;
        let client = http::client(&url, http::headers(headers)?.0, 0)?;
        Ok(Self { url, client, secret: hmac::Key::new(hmac::HMAC_SHA256, &secret(text)?) })
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
        let mut signing = hmac::Context::with_key(&self.secret);
        signing.update(format!("{}.{at}.", message.key).as_bytes());
        signing.update(&body);
        let signature = BASE64_STANDARD.encode(signing.sign());
        let request = self
            .client
            .post(self.url.clone())
            .header("webhook-id", &message.key)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", format!("v1,{signature}"))
            .header("idempotency-key", &message.key);
        answer::post(request, body, call.remaining()).await
    }
}
