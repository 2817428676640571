//! Kinds of resources: what an operator names in the site file. Several interfaces may work on one kind (`backup` and
//! `database` on databases, `files` and `backup` on trees), so sections of the site and drivers live here.
pub mod answers;
mod call;
mod clock;
pub mod copies;
pub mod holders;
mod http;
mod pace;
pub mod process;
pub mod repository;
mod rights;
pub mod room;
mod secrets;
mod signing;
pub mod stand_in;
mod verdict;
pub mod world;

pub use crate::failure::{Failure, FailureKind};
pub use call::{CallCtx, Earlier, Progress, Witness};
pub use clock::Clock;
pub use http::Header;
pub use pace::Pace;
pub use rights::{Right, Rights};
pub use verdict::{Area, Reading, Ruling, Verdict};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc};

pub trait Kind: Sized + Send + Sync + 'static {
    /// The word of the site file and of a manifest's needs: `database`, `tree`.
    const NAME: &'static str;
    /// The half of a driver that only looks.
    type Observer: ?Sized + Send + Sync + 'static;
    /// The half that changes things.
    type Mutator: ?Sized + Send + Sync + 'static;
    /// What need and grant say beyond rights: which metrics, whether a tool may run twice.
    type Terms: Clone + Default + Send + Sync + 'static;
}

/// Both halves of a driver. An operation gets the one that its class names, and has no way to the other.
pub struct Access<K: Kind> {
    pub observer: Arc<K::Observer>,
    pub mutator: Arc<K::Mutator>,
}

impl<K: Kind> Clone for Access<K> {
    fn clone(&self) -> Self {
        Self { observer: self.observer.clone(), mutator: self.mutator.clone() }
    }
}

/// A resource of the site by kind and name: `database:orders`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
pub struct ResourceId {
    pub kind: String,
    pub name: String,
}

impl ResourceId {
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}
impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}
impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}
impl TryFrom<String> for ResourceId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').ok_or_else(|| format!("no `kind:name`: {text}"))?;
        Ok(Self::new(kind, name))
    }
}

/// One resource as it is lent to a package under a label.
pub struct Lend<K: Kind> {
    pub id: ResourceId,
    /// In both the need and the grant.
    pub rights: Rights,
    pub terms: K::Terms,
    /// Resources that starting or running this one may change (`uses` in the site).
    pub uses: Vec<ResourceId>,
    pub access: Access<K>,
}

impl<K: Kind> Clone for Lend<K> {
    fn clone(&self) -> Self {
        let Self { id, rights, terms, uses, access } = self;
        let (id, rights, terms, uses) = (id.clone(), rights.clone(), terms.clone(), uses.clone());
        Self { id, rights, terms, uses, access: access.clone() }
    }
}

/// One resource as a dry run knows it: what is really there can be looked at, and there is no half that could change it.
pub struct Shown<K: Kind> {
    pub id: ResourceId,
    pub rights: Rights,
    pub terms: K::Terms,
    pub uses: Vec<ResourceId>,
    pub observer: Arc<K::Observer>,
}

impl<K: Kind> From<Lend<K>> for Shown<K> {
    fn from(Lend { id, rights, terms, uses, access }: Lend<K>) -> Self {
        Self { id, rights, terms, uses, observer: access.observer }
    }
}

/// The resources of one kind that are lent, by label.
pub struct Lent<K: Kind>(pub BTreeMap<String, Lend<K>>);

impl<K: Kind> Default for Lent<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Kind> Clone for Lent<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

macro_rules! kinds { ($($name:ident: $ty:ident,)*) => {
    $(pub mod $name; pub use $name::$ty;)*
    /// Everything that is lent to a run.
    #[derive(Clone, Default)]
    pub struct Resources {
        $(pub $name: Lent<$ty>,)*
        /// Labels of what was lent to a run that is only replayed.
        pub told: BTreeMap<String, ResourceId>,
    }
    /// Everything that is lent, to be looked at and nothing more.
    pub struct Sight {
        $(pub $name: BTreeMap<String, Shown<$ty>>,)*
    }
    impl From<Resources> for Sight {
        fn from(resources: Resources) -> Self {
            Self { $($name: resources.$name.0.into_iter().map(|(label, lend)| (label, lend.into())).collect(),)* }
        }
    }
    impl Resources {
        /// What each label stands for, by the kind that the manifest has it under: `database.orders`.
        pub fn labels(&self) -> BTreeMap<String, ResourceId> {
            let mut labels = BTreeMap::new();
            $(for (label, lend) in &self.$name.0 {
                labels.insert(format!("{}.{label}", <$ty as Kind>::NAME), lend.id.clone());
            })*
            labels
        }
    }
    $(impl AsRef<Lent<$ty>> for Resources { fn as_ref(&self) -> &Lent<$ty> { &self.$name } })*
    /// The words of the site file, in the order in which people think of them.
    pub const KINDS: &[&str] = &[$(<$ty as Kind>::NAME),*];
}; }
kinds! {
    run: Run,
    database: Database,
    tree: Tree,
    service: Service,
    metrics: Metrics,
    probe: Probe,
    tool: Tool,
    channel: Channel,
}
