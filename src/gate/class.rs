//! The effect class as a type: it decides at compile time which half of a driver an operation gets.
use crate::resource::{Access, Kind};

pub trait Class: 'static {
    const NAME: &'static str;
    /// Intent and outcome are made durable one by one.
    const CHANGES: bool;
    type Half<K: Kind>: ?Sized + Send + Sync;
    fn half<K: Kind>(access: &Access<K>) -> &Self::Half<K>;
}

/// Looks, and can be done again at will.
pub struct Observe;
/// Changes something; done twice is the same as done once.
pub struct Idempotent;
/// Changes something, and must not be done twice.
pub struct Once;

impl Class for Observe {
    const NAME: &'static str = "observe";
    const CHANGES: bool = false;
    type Half<K: Kind> = K::Observer;
    fn half<K: Kind>(access: &Access<K>) -> &K::Observer {
        &access.observer
    }
}

macro_rules! mutating { ($($ty:ident = $name:literal),*) => { $(impl Class for $ty {
    const NAME: &'static str = $name;
    const CHANGES: bool = true;
    type Half<K: Kind> = K::Mutator;
    fn half<K: Kind>(access: &Access<K>) -> &K::Mutator {
        &access.mutator
    }
})* } }
mutating!(Idempotent = "idempotent", Once = "once");

/// Compiles only while an operation that observes is given the half that cannot change anything, and no other.
const _: fn(&Access<crate::resource::Service>) -> &crate::resource::service::Observer = Observe::half;
const _: fn(&Access<crate::resource::Service>) -> &crate::resource::service::Mutator = Once::half;
