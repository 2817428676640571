//! Alerts: from Alertmanager, which knows what is silenced, or else from Prometheus itself.
use super::api::{Api, plain};
use crate::resource::{
    CallCtx, Failure,
    metrics::{Alert, AlertState, Prometheus},
};
use jiff::Timestamp;
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

const MOST: usize = 1000;
const MOST_LABELS: usize = 32;
/// Bytes of a label's name and value.
const LONGEST: usize = 256;

type Labels = BTreeMap<String, String>;

pub struct Alerts {
    prometheus: Arc<Api>,
    alertmanager: Option<Api>,
    /// Labels of those that may be seen.
    seen: Option<Labels>,
}

#[derive(Deserialize)]
struct Managed {
    labels: Labels,
    #[serde(rename = "startsAt")]
    starts_at: Timestamp,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    state: String,
}

#[derive(Deserialize)]
struct Ruled {
    alerts: Vec<Own>,
}

#[derive(Deserialize)]
struct Own {
    labels: Labels,
    state: String,
    #[serde(rename = "activeAt")]
    active_at: Option<Timestamp>,
}

impl Alerts {
    pub fn new(section: &Prometheus, prometheus: Arc<Api>) -> Result<Self, Failure> {
        let manager = section.alertmanager.as_ref();
        let manager = manager.map(|m| Api::new("Alertmanager", &m.url, &m.headers, section.timeout)).transpose()?;
        Ok(Self { prometheus, alertmanager: manager, seen: section.alerts.clone() })
    }

    pub async fn read(&self, call: &CallCtx) -> Result<Vec<Alert>, Failure> {
        let Some(seen) = &self.seen else {
            return Err(Failure::denied("the site lets no alerts be seen: it says which with `alerts`"));
        };
        let all = match &self.alertmanager {
            Some(api) => managed(api, call).await?,
            None => own(&self.prometheus, call).await?,
        };
        let is_seen = |labels: &Labels| seen.iter().all(|(name, value)| labels.get(name) == Some(value));
        let mut alerts: Vec<Alert> = all
            .into_iter()
            .filter(|(labels, ..)| is_seen(labels))
            .map(|(l, state, since)| alert(l, state, since))
            .collect();
        if alerts.len() > MOST {
            return Err(Failure::failed(format!("there are {} alerts, more than {MOST}", alerts.len())));
        }
        alerts.sort_by(|a, b| (a.since, &a.name, &a.labels).cmp(&(b.since, &b.name, &b.labels)));
        Ok(alerts)
    }
}

type Found = Vec<(Labels, AlertState, Option<Timestamp>)>;

async fn managed(api: &Api, call: &CallCtx) -> Result<Found, Failure> {
    let only = [("active", "true"), ("silenced", "false"), ("inhibited", "false"), ("unprocessed", "true")];
    let alerts: Vec<Managed> = api.get(&["api", "v2", "alerts"], &only, call).await?;
    let loud = alerts.into_iter().filter(|alert| alert.status.state != "suppressed");
    Ok(loud.map(|alert| (alert.labels, AlertState::Firing, Some(alert.starts_at))).collect())
}

async fn own(api: &Api, call: &CallCtx) -> Result<Found, Failure> {
    let alerts = api.got::<Ruled>(&["api", "v1", "alerts"], call).await?.data.alerts;
    let state = |state: &str| match state {
        "firing" => Some(AlertState::Firing),
        "pending" => Some(AlertState::Pending),
        _ => None,
    };
    Ok(alerts.into_iter().filter_map(|alert| Some((alert.labels, state(&alert.state)?, alert.active_at))).collect())
}

fn alert(mut labels: Labels, state: AlertState, since: Option<Timestamp>) -> Alert {
    let mut take = |name: &str| plain(&labels.remove(name).unwrap_or_default(), LONGEST);
    let (name, severity) = (take("alertname"), take("severity"));
    let labels = labels.iter().take(MOST_LABELS);
    let labels = labels.map(|(name, value)| (plain(name, LONGEST), plain(value, LONGEST))).collect();
    let since = since.map_or(0, |since| u64::try_from(since.as_millisecond()).unwrap_or(0));
    Alert { name, severity, state, since, labels }
}
