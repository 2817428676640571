//! Numbers that Prometheus keeps. Queries are the site's, in PromQL, which is the server's to read.
mod alerts;
mod api;
mod series;

use super::{Failure, known, only_of_this_machine};
use crate::{
    condition::{Dimension, Unit},
    resource::{
        CallCtx, FailureKind,
        metrics::{Alert, HostMetrics, Numbers, Observe, Past, PromQl, Prometheus},
    },
};
use alerts::Alerts;
use api::{Answer, Api};
use async_trait::async_trait;
use series::Series;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinSet;

pub struct Server {
    api: Arc<Api>,
    queries: BTreeMap<String, PromQl>,
    alerts: Alerts,
}

impl Server {
    pub fn new(section: &Prometheus) -> Result<Self, Failure> {
        let api = Arc::new(Api::new("Prometheus", &section.url, &section.headers, section.timeout)?);
        let alerts = Alerts::new(section, api.clone())?;
        Ok(Self { api, queries: section.queries.clone(), alerts })
    }

    fn unit(&self, name: &str) -> Option<Unit> {
        self.queries.get(name).and_then(|query| query.unit)
    }

    /// The number of each of them, all asked at once.
    async fn now(&self, names: &[String], call: &CallCtx) -> BTreeMap<String, Result<Answer<Option<f64>>, Failure>> {
        let mut asked = JoinSet::new();
        for (name, query) in names.iter().filter_map(|name| Some((name.clone(), self.queries.get(name)?.clone()))) {
            let (api, call) = (self.api.clone(), call.clone());
            asked.spawn(async move {
                let answer = instant(&api, &query.text, &call).await.map_err(|failure| of(&name, failure));
                let unit = query.unit;
                let canonical = |number: f64| unit.map_or(number, |unit| unit.canonical(number));
                (name, answer.map(|answer| Answer { data: answer.data.map(canonical), warnings: answer.warnings }))
            });
        }
        asked.join_all().await.into_iter().collect()
    }
}

/// What is wrong with one query is told with its name; that nobody answers is not about a query.
fn of(name: &str, failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Invalid => Failure::new(failure.kind, format!("`{name}`: {}", failure.message)),
        _ => failure,
    }
}

async fn instant(api: &Api, query: &str, call: &CallCtx) -> Result<Answer<Option<f64>>, Failure> {
    let answer: Answer<Series> = api.ask(&["api", "v1", "query"], &[("query", query)], call).await?;
    Ok(Answer { data: answer.data.number()?, warnings: answer.warnings })
}

#[async_trait]
impl Observe for Server {
    fn names(&self) -> Vec<String> {
        self.queries.keys().cloned().collect()
    }

    fn dimension(&self, name: &str) -> Dimension {
        self.unit(name).map_or(Dimension::Any, Unit::dimension)
    }

    async fn read(&self, names: &[String], call: &CallCtx) -> Result<Numbers, Failure> {
        known(names, &self.names())?;
        let mut numbers = Numbers::default();
        for (name, answer) in self.now(names, call).await {
            let answer = answer?;
            numbers.warnings.extend(answer.warnings);
            numbers.values.insert(name, answer.data);
        }
        Ok(numbers)
    }

    async fn past(&self, names: &[String], window: Duration, call: &CallCtx) -> Result<Option<Past>, Failure> {
        known(names, &self.names())?;
        // The server's own clock says what is now: it wrote the times of its samples.
        let end = instant(&self.api, "time()", call).await?.data;
        let end = end.ok_or_else(|| Failure::unavailable("Prometheus: it does not tell the time"))?;
        let (start, end) = (format!("{:.3}", end - window.as_secs_f64()), format!("{end:.3}"));
        let mut past = Past { points: window.as_secs() + 1, ..Past::default() };
        for name in names {
            let Some(query) = self.queries.get(name) else { continue };
            let fields = [("query", query.text.as_str()), ("start", &start), ("end", &end), ("step", "1")];
            let answer = self.api.ask::<Series>(&["api", "v1", "query_range"], &fields, call).await;
            let answer = answer.map_err(|failure| of(name, failure))?;
            let numbers = answer.data.numbers().map_err(|failure| of(name, failure))?;
            let canonical = |number: f64| query.unit.map_or(number, |unit| unit.canonical(number));
            past.warnings.extend(answer.warnings);
            past.values.insert(name.clone(), numbers.into_iter().map(canonical).collect());
        }
        Ok(Some(past))
    }

    async fn promql(&self, query: &str, call: &CallCtx) -> Result<Option<f64>, Failure> {
        Ok(instant(&self.api, query, call).await?.data)
    }

    async fn wrong(&self, names: &[String], call: &CallCtx) -> Vec<(String, Failure)> {
        let answers = self.now(names, call).await;
        answers.into_iter().filter_map(|(name, answer)| Some((name, answer.err()?))).collect()
    }

    async fn alerts(&self, call: &CallCtx) -> Result<Vec<Alert>, Failure> {
        self.alerts.read(call).await
    }

    async fn host(&self, _: &CallCtx) -> Result<HostMetrics, Failure> {
        Err(only_of_this_machine())
    }
}
