//! The shop as a service that Backout supervises: started and stopped by the driver that also an upgrade uses.
use crate::{
    failure::Failure,
    resource::{
        Access, CallCtx, Clock, Progress, Service, Witness,
        service::{Status, drivers},
    },
    site::Site,
};
use anyhow::{Context, bail};
use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct Supervised {
    service: Access<Service>,
}

impl Supervised {
    /// The service `shop` of the site in a demo's folder.
    pub fn of(root: &Path) -> anyhow::Result<Self> {
        let site = Site::load(&root.join("backout.toml"))?;
        let section = site.services.get("shop").context("the site has no service `shop`")?;
        Ok(Self { service: drivers::open("shop", section, &site.state) })
    }

    pub async fn start(&self) -> anyhow::Result<()> {
        self.service.mutator.start(&call("start")).await.context("the shop does not start")
    }

    pub async fn stop(&self) -> anyhow::Result<()> {
        self.service.mutator.stop(&call("stop")).await.context("the shop does not stop")?;
        match self.service.observer.status().await? {
            Status::Stopped | Status::Failed => Ok(()),
            status => bail!("the shop does not stop: it is {status:?}"),
        }
    }
}

/// There is no run whose journal would have to know.
struct Nobody;
impl Witness for Nobody {
    fn evidence(&self, _: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}
impl Progress for Nobody {
    fn progress(&self, _: &str, _: u64, _: u64) {}
}

fn call(what: &str) -> CallCtx {
    CallCtx {
        clock: Clock::Real,
        earlier: None,
        key: format!("demo/{what}"),
        deadline: Instant::now() + PATIENCE,
        cancel: CancellationToken::new(),
        witness: Arc::new(Nobody),
        progress: Arc::new(Nobody),
    }
}
