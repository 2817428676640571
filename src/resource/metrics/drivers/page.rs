//! Numbers that the product shows on a page of its own.
use super::{
    Failure, Values, known, only_of_this_machine,
    series::{Pair, Series},
};
use crate::{
    condition::Dimension,
    resource::{
        CallCtx, http,
        metrics::{
            HostMetrics, Numbers, Observe, Query,
            exposition::{self, Found},
            query::Page,
        },
    },
};
use async_trait::async_trait;
use reqwest::{
    Client, Url,
    header::{ACCEPT, HeaderMap, HeaderValue},
};
use std::{collections::BTreeMap, time::Duration};

const MAX_PAGE: usize = 4 << 20;

pub struct ProductPage {
    client: Client,
    url: Url,
    timeout: Duration,
    queries: BTreeMap<String, Query>,
    /// What a look at the page answers, each once.
    leaves: Vec<Query>,
    series: Series<Look>,
}

/// What was found for each of the leaves.
type Look = Vec<Found>;

impl ProductPage {
    pub fn new(url: &str, timeout: Duration, queries: &BTreeMap<String, Query>) -> Result<Self, Failure> {
        let url = http::address(url)?;
        let mut leaves: Vec<Query> = Vec::new();
        for leaf in queries.values().flat_map(Query::leaves) {
            if !leaves.contains(leaf) {
                leaves.push(leaf.clone());
            }
        }
        let json = leaves.iter().filter(|leaf| matches!(leaf, Query::Json(_))).count();
        if json != 0 && json != leaves.len() {
            return Err(Failure::invalid("a page is JSON or text of Prometheus: its queries cannot be of both sorts"));
        }
        let accept = match json {
            0 => "text/plain;version=0.0.4, text/plain;q=0.9, */*;q=0.1",
            _ => "application/json, */*;q=0.1",
        };
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let client = http::client(&url, headers, 0)?;
        Ok(Self { client, url, timeout, queries: queries.clone(), leaves, series: Series::default() })
    }

    async fn look(&self, call: &CallCtx) -> Result<Look, Failure> {
        let timeout = self.timeout.min(call.remaining());
        let said = |what: Failure| Failure::new(what.kind, format!("the metrics page: {}", what.message));
        let request = self.client.get(self.url.clone()).timeout(timeout);
        let response = request.send().await.map_err(|e| said(http::why(&e, timeout)))?;
        if !response.status().is_success() {
            return Err(Failure::unavailable(format!(
                "the metrics page: its status was {}",
                response.status().as_u16()
            )));
        }
        let body = http::body(response, MAX_PAGE, MAX_PAGE, timeout).await.map_err(said)?;
        if body.cut {
            return Err(Failure::unavailable("the metrics page: it is larger than 4 MiB"));
        }
        let leaves = self.leaves.clone();
        // Megabytes of text take a while.
        let find = move || page(body.bytes, &leaves).map(|page| leaves.iter().map(|leaf| page.find(leaf)).collect());
        tokio::task::spawn_blocking(find)
            .await
            .unwrap_or_else(|_| Err("it could not be read".to_owned()))
            .map_err(|what| Failure::unavailable(format!("the metrics page: {what}")))
    }

    fn found(&self, look: &Look, leaf: &Query) -> Found {
        let nothing = Found { value: None, unborn: false };
        self.leaves.iter().position(|l| l == leaf).and_then(|i| look.get(i)).copied().unwrap_or(nothing)
    }

    fn value(&self, query: &Query, now: &Look, pair: Option<&Pair<Look>>) -> Option<f64> {
        match query {
            Query::Json(_) | Query::Prometheus(_) => self.found(now, query).value,
            Query::Ratio(above, below) => {
                let pair = pair?;
                let change = |leaf| change(self.found(&pair.before, leaf), self.found(&pair.after, leaf));
                let below = change(below).filter(|by| *by > 0.0)?;
                Some(change(above)? / below)
            }
            Query::In(query, unit) => self.value(query, now, pair).map(|number| unit.canonical(number)),
        }
    }
}

fn page(bytes: Vec<u8>, leaves: &[Query]) -> Result<Page, String> {
    if matches!(leaves.first(), Some(Query::Json(_))) {
        return serde_json::from_slice(&bytes)
            .map(Page::Json)
            .map_err(|e| format!("it is no JSON (line {})", e.line()));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not in UTF-8".to_owned())?;
    match exposition::check(&text) {
        Ok(()) => Ok(Page::Prometheus(text)),
        Err(line) => Err(format!("its line {line} is not of the text format of Prometheus")),
    }
}

/// How much a counter has grown. One that went backwards was started again, and nobody knows by how much it grew before.
fn change(before: Found, now: Found) -> Option<f64> {
    let number = |found: Found| found.value.or(found.unborn.then_some(0.0));
    let change = number(now)? - number(before)?;
    (change >= 0.0).then_some(change)
}

#[async_trait]
impl Observe for ProductPage {
    fn names(&self) -> Vec<String> {
        self.queries.keys().cloned().collect()
    }

    fn dimension(&self, name: &str) -> Dimension {
        self.queries.get(name).map_or(Dimension::Any, Query::dimension)
    }

    async fn read(&self, names: &[String], call: &CallCtx) -> Result<Numbers, Failure> {
        known(names, &self.names())?;
        let asked = || names.iter().filter_map(|name| Some((name, self.queries.get(name)?)));
        let (now, pair) = if asked().any(|(_, query)| query.is_ratio()) {
            let pair = self.series.pair(|| self.look(call)).await?;
            (pair.after.clone(), Some(pair))
        } else {
            self.series.keep(self.look(call).await?)
        };
        let finite = |number: &f64| number.is_finite();
        let value = |query| self.value(query, &now, pair.as_ref()).filter(finite);
        Ok(asked().map(|(name, query)| (name.clone(), value(query))).collect::<Values>().into())
    }

    async fn host(&self, _: &CallCtx) -> Result<HostMetrics, Failure> {
        Err(only_of_this_machine())
    }
}
