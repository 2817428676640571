//! An alert, by version 2 of Alertmanager's API. An alert is what its labels are, so the same message is the same alert.
use super::{Carrier, Reached, Refused, answer};
use crate::resource::{CallCtx, Failure, Header, channel::Message, http};
use async_trait::async_trait;
use reqwest::{Client, Url};
use serde_json::json;
use std::collections::BTreeMap;

/// Those that say what it is; a site adds others.
const OWN: [&str; 6] = ["alertname", "event", "host", "key", "package", "run"];

pub struct Alertmanager {
    url: Url,
    client: Client,
    labels: BTreeMap<String, String>,
}

pub fn understood(
    url: &str,
    headers: &BTreeMap<String, Header>,
    labels: &BTreeMap<String, String>,
) -> Result<Url, Failure> {
    http::headers(headers)?;
    for name in labels.keys() {
        let mut characters = name.chars();
        let begins = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !begins || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Failure::invalid(format!("`{name}` cannot be the name of a label")));
        }
        if OWN.contains(&name.as_str()) {
            return Err(Failure::invalid(format!("the label `{name}` says what the alert is, and is Backout's own")));
        }
    }
    let base = http::address(url)?;
    if base.query().is_some() || base.fragment().is_some() {
        return Err(Failure::invalid("the address of an Alertmanager ends with its path"));
    }
    http::address(&format!("{}/api/v2/alerts", base.as_str().trim_end_matches('/')))
}

impl Alertmanager {
    pub fn new(
        url: &str,
        headers: &BTreeMap<String, Header>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let url = understood(url, headers, labels)?;
        let client = http::client(&url, http::headers(headers)?.0, 0)?;
        Ok(Self { url, client, labels: labels.clone() })
    }
}

/// Its templates put a text into chats and mails as it is.
fn inert(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}

#[async_trait]
impl Carrier for Alertmanager {
    fn tells_apart(&self) -> bool {
        true
    }

    async fn carry(&self, message: &Message, _: &mut Reached, call: &CallCtx) -> Result<(), Refused> {
        let Message { key, event, package, run, host, .. } = message;
        let mut labels = self.labels.clone();
        let own = ["backout", event, host, key, package, &run.to_string()].map(str::to_owned);
        labels.extend(OWN.map(str::to_owned).into_iter().zip(own).filter(|(_, value)| !value.is_empty()));
        let annotations = json!({
            "summary": inert(&message.headline()), "description": inert(message.text()), "by": message.signature(),
        });
        let alert = json!([{ "labels": labels, "annotations": annotations }]);
        let request = self.client.post(self.url.clone());
        answer::post(request, alert.to_string().into_bytes(), call.remaining()).await
    }
}
