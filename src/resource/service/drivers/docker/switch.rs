//! Another version of a container: one with the same configuration from another image takes its name, and the one before is set
//! aside, stopped, until the next switch. The daemon itself knows all of it: a container that was made for this bears the id of
//! the one that it replaces.
//!
//! A switch is two or three renames, none of which the daemon does together. Whoever comes after one that was cut off finds at most
//! the name without a container, puts the one before back under it, and begins again.
use super::{Contained, Look, daemon::within, image, same::same};
use crate::resource::{CallCtx, Failure, FailureKind, service::Image};
use bollard::{
    models::{ContainerUpdateBody, NetworkConnectRequest, RestartPolicy, RestartPolicyNameEnum as Policy},
    query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder},
};
use std::time::Duration;

/// The label of a container that was made for a switch: the id of the one before.
pub const REPLACES: &str = "backout.replaces";
/// For what the daemon does at once.
const ANSWER: Duration = Duration::from_secs(30);

/// What is to run.
pub struct Chosen {
    /// What has the name now.
    pub look: Look,
    /// What is to have it, if that is another one.
    pub next: Option<Next>,
}

pub struct Next {
    pub id: String,
    /// It was made now; otherwise it was set aside before.
    is_new: bool,
    pub image: String,
}

struct Wanted {
    /// As the site or the release says.
    named: String,
    id: String,
}

impl Look {
    fn image(&self) -> &str {
        self.told.image.as_deref().unwrap_or_default()
    }

    fn label(&self) -> Option<&String> {
        self.told.config.as_ref()?.labels.as_ref()?.get(REPLACES)
    }

    /// Whether one of both was made to replace the other.
    fn goes_with(&self, other: &Self) -> bool {
        self.label() == Some(&other.id) || other.label() == Some(&self.id)
    }

    fn has_run(&self) -> bool {
        let started = self.told.state.as_ref().and_then(|state| state.started_at.as_deref());
        started.is_some_and(|at| !at.is_empty() && !at.starts_with("0001-"))
    }

    fn policy(&self) -> Option<RestartPolicy> {
        self.told.host_config.as_ref()?.restart_policy.clone()
    }

    fn starts_by_itself(&self) -> bool {
        let name = self.policy().and_then(|policy| policy.name);
        name.is_some_and(|name| !matches!(name, Policy::EMPTY | Policy::NO))
    }
}

impl Contained {
    /// What is being made, until it has the name.
    fn made(&self) -> String {
        format!("{}.backout-new", self.section.container)
    }

    /// What had the name before.
    fn aside(&self) -> String {
        format!("{}.backout-aside", self.section.container)
    }

    /// By its whole name: the daemon also takes the begin of an id for one.
    async fn find(&self, name: &str) -> Result<Option<Look>, Failure> {
        match self.daemon.inspect(name).await {
            Ok(told) if told.name.as_deref().map(|own| own.trim_start_matches('/')) == Some(name) => {
                Ok(Some(Look::of(told, self.section.healthy)))
            }
            Ok(_) => Ok(None),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The one before, where it belongs to this one.
    pub(super) async fn set_aside(&self, look: &Look) -> Result<Option<Look>, Failure> {
        if self.section.image.is_none() {
            return Ok(None);
        }
        Ok(self.find(&self.aside()).await?.filter(|aside| aside.goes_with(look)))
    }

    /// While a switch is cut off nothing may have the name. Then neither of both runs.
    pub(super) async fn between(&self) -> Result<Option<Look>, Failure> {
        if self.section.image.is_none() {
            return Ok(None);
        }
        let (Some(aside), Some(made)) = (self.find(&self.aside()).await?, self.find(&self.made()).await?) else {
            return Ok(None);
        };
        Ok(aside.goes_with(&made).then_some(aside))
    }

    async fn wanted(&self, image: &Image) -> Result<Wanted, Failure> {
        let named = image::named(image).await?;
        let found = self.daemon.inspect_image(&named).await.map_err(|failure| match failure.kind {
            FailureKind::NotFound => {
                let message = format!("the image `{named}` is not on this host");
                Failure::invalid(message).hint("pull it before the upgrade: a switch asks no registry")
            }
            _ => failure,
        })?;
        Ok(Wanted { named, id: found.id.unwrap_or_default() })
    }

    /// Whether it is made from the image that the site or the release names now. Who cannot tell does not say yes.
    pub(super) async fn is_of_its_image(&self, look: &Look) -> bool {
        match &self.section.image {
            None => true,
            Some(image) => self.wanted(image).await.is_ok_and(|wanted| wanted.id == look.image()),
        }
    }

    /// Whether all that a switch needs is there; changes nothing.
    pub(super) async fn could_switch(&self) -> Result<Look, Failure> {
        let look = self.look().await?;
        look.stays()?;
        if let Some(image) = &self.section.image {
            self.may_switch(&look)?;
            self.wanted(image).await?;
        }
        Ok(look)
    }

    fn may_switch(&self, look: &Look) -> Result<(), Failure> {
        let name = look.told.name.as_deref().unwrap_or_default().trim_start_matches('/');
        if name != self.section.container {
            let message =
                format!("`{}` is no name but an id, which no other container can have", self.section.container);
            return Err(Failure::invalid(message).hint(format!("name it in the site: `container = \"{name}\"`")));
        }
        look.stays()
    }

    /// Finds or makes what is to run. Nothing that runs is touched.
    pub(super) async fn chosen(&self, call: &CallCtx) -> Result<Chosen, Failure> {
        let Some(image) = &self.section.image else {
            return Ok(Chosen { look: self.look().await?, next: None });
        };
        self.mend().await?;
        let look = self.look().await?;
        let wanted = self.wanted(image).await?;
        if wanted.id == look.image() {
            return Ok(Chosen { look, next: None });
        }
        self.may_switch(&look)?;
        let aside = self.find(&self.aside()).await?;
        if aside.as_ref().is_some_and(|aside| !aside.goes_with(&look)) {
            return Err(self.in_the_way(&self.aside()));
        }
        // The way back. One that was taken back itself is not tried again as that left it.
        let next = match aside.filter(|aside| look.label() == Some(&aside.id) && aside.image() == wanted.id) {
            Some(aside) => Next { id: aside.id, is_new: false, image: wanted.named },
            None => {
                call.progress(&format!("making `{}` again from another image", self.name), 0, 0);
                Next { id: self.make(&look, &wanted, call).await?, is_new: true, image: wanted.named }
            }
        };
        Ok(Chosen { look, next: Some(next) })
    }

    fn in_the_way(&self, name: &str) -> Failure {
        let message = format!("a container `{name}` is in the way, which was not made for this one");
        Failure::conflict(message).hint("look what it is, and rename or remove it")
    }

    async fn make(&self, old: &Look, wanted: &Wanted, call: &CallCtx) -> Result<String, Failure> {
        let client = self.daemon.client().await?;
        let made_from = self.daemon.inspect_image(old.image()).await.map_err(|failure| match failure.kind {
            FailureKind::NotFound => Failure::conflict(
                "the image of its container is no longer on this host, so nobody can tell what of its configuration is the image's",
            ),
            _ => failure,
        })?;
        let same = same(&old.told, &made_from, &wanted.named)?;
        let options = CreateContainerOptionsBuilder::default().name(&self.made()).build();
        let time = self.section.start_within.min(call.remaining());
        let id = Box::pin(within(time, client.create_container(Some(options), *same.body))).await?.id;
        for (network, at) in same.networks {
            let request = NetworkConnectRequest { container: id.clone(), endpoint_config: Some(at) };
            within(ANSWER, client.connect_network(&network, request)).await?;
        }
        Ok(id)
    }

    /// Gives the name to the other one. Both are stopped.
    pub(super) async fn switch(&self, from: &Look, to: &Next) -> Result<(), Failure> {
        let own = &self.section.container;
        if to.is_new {
            if let Some(older) = self.set_aside(from).await? {
                self.remove(&older).await?;
            }
            self.rename(&from.id, &self.aside()).await?;
            self.rename(&to.id, own).await?;
        } else {
            self.set_policy(&to.id, from.policy()).await?;
            self.rename(&from.id, &self.made()).await?;
            self.rename(&to.id, own).await?;
            self.rename(&from.id, &self.aside()).await?;
        }
        self.stay_down(from).await
    }

    /// Puts right what a switch that was cut off has left.
    pub(super) async fn mend(&self) -> Result<(), Failure> {
        let own = &self.section.container;
        if self.find(own).await?.is_none()
            && let Some(before) = self.between().await?
        {
            self.rename(&before.id, own).await?;
        }
        let Some(look) = self.find(own).await? else { return Ok(()) };
        if let Some(made) = self.find(&self.made()).await? {
            let is_free = self.find(&self.aside()).await?.is_none();
            match made.has_run() {
                false if made.label().is_some() => self.remove(&made).await?,
                true if made.goes_with(&look) && is_free => self.rename(&made.id, &self.aside()).await?,
                _ => return Err(self.in_the_way(&self.made())),
            }
        }
        match self.set_aside(&look).await? {
            Some(aside) => self.stay_down(&aside).await,
            None => Ok(()),
        }
    }

    /// Nothing but a switch starts what is set aside, not even the daemon when it is started.
    async fn stay_down(&self, aside: &Look) -> Result<(), Failure> {
        if aside.starts_by_itself() {
            self.set_policy(&aside.id, Some(RestartPolicy { name: Some(Policy::NO), ..RestartPolicy::default() }))
                .await?;
        }
        if aside.runs() { self.end(aside, self.section.stop_within + ANSWER).await } else { Ok(()) }
    }

    async fn set_policy(&self, id: &str, policy: Option<RestartPolicy>) -> Result<(), Failure> {
        let body = ContainerUpdateBody { restart_policy: policy, ..ContainerUpdateBody::default() };
        Box::pin(within(ANSWER, self.daemon.client().await?.update_container(id, body))).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), Failure> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        within(ANSWER, self.daemon.client().await?.rename_container(id, options)).await
    }

    /// Its volumes stay. One that runs is not removed.
    async fn remove(&self, look: &Look) -> Result<(), Failure> {
        let options = RemoveContainerOptionsBuilder::default().v(false).force(false).build();
        within(ANSWER, self.daemon.client().await?.remove_container(&look.id, Some(options))).await
    }
}
