//! A Slack-compatible incoming webhook. All that a script says stands between code marks, so that nobody is called by it and no
//! link is hidden behind other words, also where the receiver is not Slack itself.
use super::{Carrier, Reached, Refused, answer};
use crate::resource::{CallCtx, Failure, channel::Message, http};
use async_trait::async_trait;
use reqwest::{Client, Url, header::HeaderMap};
use serde_json::json;

pub struct Slack {
    url: Url,
    client: Client,
}

impl Slack {
    pub fn new(url: &str) -> Result<Self, Failure> {
        let url = http::address(url)?;
        let client = http::client(&url, HeaderMap::new(), 0)?;
        Ok(Self { url, client })
    }
}

/// As Slack wants these three, and without what would end the marks around it.
fn inert(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "'")
}

fn text(message: &Message) -> String {
    let (headline, text, by) = (inert(&message.headline()), inert(message.text()), inert(&message.signature()));
    match text.trim() {
        "" => format!("`{headline}`\n`{by}`"),
        _ => format!("`{headline}`\n```\n{}\n```\n`{by}`", text.trim_matches('\n')),
    }
}

#[async_trait]
impl Carrier for Slack {
    /// There is no place for a key.
    fn tells_apart(&self) -> bool {
        false
    }

    async fn carry(&self, message: &Message, _: &mut Reached, call: &CallCtx) -> Result<(), Refused> {
        let body = json!({ "text": text(message), "link_names": false, "unfurl_links": false, "unfurl_media": false });
        let request = self.client.post(self.url.clone());
        answer::post(request, body.to_string().into_bytes(), call.remaining()).await
    }
}
