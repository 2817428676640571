//! GETs over HTTP, each with a connection of its own, so that an answer tells how the product is now.
use super::{Failure, load, path};
use crate::resource::{
    CallCtx, http,
    probe::{Load, MAX_BODY, Observe, Response, Sample, Section},
    secrets::Secrets,
};
use async_trait::async_trait;
use reqwest::{Client, Url, header::HeaderMap};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A body is read to its end, because the time of the whole is asked for; but no further than this.
pub const MAX_READ: usize = 64 << 20;
/// Bytes of all headers of an answer that are kept.
const MAX_HEADERS: usize = 16 << 10;

pub struct Http {
    base: Url,
    headers: HeaderMap,
    client: Client,
    timeout: Duration,
    load: Option<Load>,
    secrets: Secrets,
}

impl Http {
    pub fn new(section: &Section) -> Result<Self, Failure> {
        let base = http::address(&section.url)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(Failure::invalid("the address of a probe ends with its path; a query belongs in the script"));
        }
        let (headers, secrets) = http::headers(&section.headers)?;
        let client = http::client(&base, headers.clone(), 0)?;
        Ok(Self { base, headers, client, timeout: section.timeout, load: section.load, secrets })
    }
}

#[async_trait]
impl Observe for Http {
    async fn get(&self, path: &str, call: &CallCtx) -> Result<Response, Failure> {
        let url = path::below(&self.base, path)?;
        let timeout = self.timeout.min(call.remaining());
        let began = Instant::now();
        let answer = self.client.get(url).timeout(timeout).send().await.map_err(|e| http::why(&e, timeout))?;
        let status = answer.status().as_u16();
        let headers = kept(answer.headers());
        // What follows the part that is kept tells whether a secret begins in it; a character may be cut as well.
        let body = http::body(answer, MAX_BODY + self.secrets.longest() + 4, MAX_READ, timeout).await?;
        let text = text(&body.bytes, body.cut);
        let millis = began.elapsed().as_secs_f64() * 1000.0;
        Ok(Response {
            status,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name, self.secrets.withhold(&value, value.len())))
                .collect(),
            body: self.secrets.withhold(&text, MAX_BODY),
            cut: body.cut || text.len() > MAX_BODY,
            millis,
        })
    }

    async fn load(&self, path: &str, clients: u32, time: Duration, call: &CallCtx) -> Result<Sample, Failure> {
        let Some(limit) = self.load else {
            return Err(Failure::denied("the site allows no load test of this probe"));
        };
        if clients > limit.clients || time > limit.time {
            let Load { clients, time } = limit;
            return Err(Failure::denied(format!("the site allows a load of at most {clients} clients for {time:?}")));
        }
        if clients == 0 || time.is_zero() {
            return Err(Failure::invalid("a load test takes at least one client and one second"));
        }
        let url = path::below(&self.base, path)?;
        let client = http::client(&self.base, self.headers.clone(), clients as usize)?;
        let timeout = self.timeout.min(call.remaining().saturating_sub(time));
        load::run(load::Plan { client, url, clients, time, timeout }, call).await
    }

    async fn connect(&self, call: &CallCtx) -> Result<Duration, Failure> {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.base.port_or_known_default().unwrap_or(80);
        let timeout = self.timeout.min(call.remaining());
        let began = Instant::now();
        match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => Ok(began.elapsed()),
            Ok(Err(error)) => Err(Failure::unavailable(http::io_words(error.kind()).unwrap_or("no connection"))),
            Err(_) => Err(Failure::unavailable(format!("no connection within {timeout:?}"))),
        }
    }
}

/// Several of one name are joined, as HTTP allows; what is beyond the limit is left out.
fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut room = MAX_HEADERS;
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let Some(left) = room.checked_sub(name.as_str().len() + value.len()) else { break };
        room = left;
        match kept.get_mut(name.as_str()) {
            Some(before) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            None => {
                kept.insert(name.as_str().to_owned(), value.into_owned());
            }
        }
    }
    kept
}

/// A body that was cut may end inside a character.
fn text(bytes: &[u8], cut: bool) -> String {
    let end = match std::str::from_utf8(bytes) {
        Err(e) if cut && e.error_len().is_none() => e.valid_up_to(),
        _ => bytes.len(),
    };
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
