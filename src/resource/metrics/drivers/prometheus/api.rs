//! Requests to the HTTP interfaces of Prometheus and Alertmanager, and what their answers mean.
use crate::{
    plain::hidden,
    resource::{CallCtx, Failure, Header, http, secrets::Secrets},
};
use reqwest::{
    Client, Method, Request, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};

/// An hour of one series, second by second, is a fortieth of it.
const MAX_BODY: usize = 4 << 20;
/// Bytes of what the server says in words.
const MAX_WORDS: usize = 500;

pub struct Api {
    /// For people: `Prometheus`, `Alertmanager`.
    server: &'static str,
    client: Client,
    base: Url,
    timeout: Duration,
    secrets: Secrets,
}

/// What every answer of Prometheus is wrapped in.
#[derive(Deserialize)]
struct Envelope<D> {
    status: String,
    #[serde(default = "none")]
    data: Option<D>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

fn none<D>() -> Option<D> {
    None
}

pub struct Answer<D> {
    pub data: D,
    /// The answer may not be whole.
    pub warnings: Vec<String>,
}

struct Said {
    status: u16,
    body: Vec<u8>,
}

impl Api {
    pub fn new(
        server: &'static str,
        url: &str,
        headers: &BTreeMap<String, Header>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let base = http::address(url)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(Failure::invalid(format!("the address of {server} ends with its path")));
        }
        let (mut headers, secrets) = http::headers(headers)?;
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        // A watch asks every second.
        let client = http::client(&base, headers, 2)?;
        Ok(Self { server, client, base, timeout, secrets })
    }

    /// A question to Prometheus. Its fields go into the body: a query may be longer than an address. The server is told when
    /// nobody waits for the answer any more.
    pub async fn ask<D: DeserializeOwned>(
        &self,
        path: &[&str],
        fields: &[(&str, &str)],
        call: &CallCtx,
    ) -> Result<Answer<D>, Failure> {
        let timeout = self.timeout.min(call.remaining());
        let mut url = self.url(path)?;
        let limit = format!("{}ms", timeout.as_millis().max(1));
        url.query_pairs_mut().extend_pairs(fields).append_pair("timeout", &limit);
        let form = url.query().unwrap_or_default().to_owned();
        url.set_query(None);
        let mut request = Request::new(Method::POST, url);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        *request.body_mut() = Some(form.into());
        let said = self.send(request, timeout).await?;
        self.opened(said)
    }

    /// What an address has to show; `fields` are part of it.
    pub async fn get<D: DeserializeOwned>(
        &self,
        path: &[&str],
        fields: &[(&str, &str)],
        call: &CallCtx,
    ) -> Result<D, Failure> {
        let mut url = self.url(path)?;
        if !fields.is_empty() {
            url.query_pairs_mut().extend_pairs(fields);
        }
        let said = self.send(Request::new(Method::GET, url), self.timeout.min(call.remaining())).await?;
        if !(200..300).contains(&said.status) {
            return Err(self.refused(said.status));
        }
        serde_json::from_slice(&said.body).map_err(|_| self.stranger())
    }

    /// The same, wrapped as Prometheus wraps it.
    pub async fn got<D: DeserializeOwned>(&self, path: &[&str], call: &CallCtx) -> Result<Answer<D>, Failure> {
        let timeout = self.timeout.min(call.remaining());
        let said = self.send(Request::new(Method::GET, self.url(path)?), timeout).await?;
        self.opened(said)
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let mut segments =
            url.path_segments_mut().map_err(|()| Failure::invalid("the address cannot have a path below it"))?;
        segments.pop_if_empty().extend(path);
        drop(segments);
        Ok(url)
    }

    async fn send(&self, mut request: Request, timeout: Duration) -> Result<Said, Failure> {
        *request.timeout_mut() = Some(timeout);
        let response = self.client.execute(request).await.map_err(|e| self.says(http::why(&e, timeout)))?;
        let status = response.status().as_u16();
        let body = http::body(response, MAX_BODY, MAX_BODY, timeout).await.map_err(|e| self.says(e))?;
        if body.cut {
            return Err(self.says(Failure::unavailable("its answer is larger than 4 MiB")));
        }
        Ok(Said { status, body: body.bytes })
    }

    /// Errors are wrapped as well, with a status that says the same; what is not wrapped comes from somebody between.
    fn opened<D: DeserializeOwned>(&self, said: Said) -> Result<Answer<D>, Failure> {
        let fine = (200..300).contains(&said.status);
        let Ok(envelope) = serde_json::from_slice::<Envelope<D>>(&said.body) else {
            return Err(if fine { self.stranger() } else { self.refused(said.status) });
        };
        match (envelope.status.as_str(), envelope.data) {
            ("success", Some(data)) if fine => {
                let warnings = envelope.warnings.iter().map(|warning| self.words(warning)).collect();
                Ok(Answer { data, warnings })
            }
            ("error", _) => Err(self.failed(said.status, &envelope.error_type, &envelope.error)),
            _ if fine => Err(self.stranger()),
            _ => Err(self.refused(said.status)),
        }
    }

    fn failed(&self, status: u16, sort: &str, error: &str) -> Failure {
        let words = self.words(error);
        self.says(match sort {
            // With line and column of the query.
            "bad_data" => Failure::invalid(words),
            // The query is understood, and what there is does not fit it.
            "execution" => Failure::invalid(format!("the query cannot be answered: {}", without_labels(&words))),
            "timeout" => Failure::timed_out(words),
            "canceled" | "unavailable" | "internal" => Failure::unavailable(words),
            _ if status >= 500 => Failure::unavailable(words),
            _ => Failure::invalid(words),
        })
    }

    /// Without words that could be passed on.
    fn refused(&self, status: u16) -> Failure {
        self.says(match status {
            401 | 403 => {
                Failure::invalid(format!("it does not let Backout in (status {status}): look at `headers` in the site"))
            }
            404 | 405 => Failure::invalid(format!("it is not at this address (status {status}): look at the site")),
            _ => Failure::unavailable(format!("its status was {status}")),
        })
    }

    fn stranger(&self) -> Failure {
        let Self { server, .. } = self;
        Failure::invalid(format!("what answers is not {server}, or speaks another language than this Backout"))
    }

    fn says(&self, failure: Failure) -> Failure {
        Failure::new(failure.kind, format!("{}: {}", self.server, failure.message))
    }

    /// A text of the server on one line, of bounded length and without what was sent to it in confidence.
    fn words(&self, text: &str) -> String {
        plain(&self.secrets.withhold(text, text.len()), MAX_WORDS)
    }
}

/// Labels of series hold addresses, which are not for the script.
fn without_labels(words: &str) -> String {
    let mut parts = words.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| kept + "{…}" + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// On one line, with at most so many bytes.
pub fn plain(text: &str, bytes: usize) -> String {
    let whole: String = text.chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
    match whole.len() > bytes {
        true => format!("{}…", &whole[..whole.floor_char_boundary(bytes)]),
        false => whole,
    }
}
