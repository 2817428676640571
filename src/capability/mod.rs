//! One folder per WIT interface. To add one: a folder, its file in `wit/`, and a line at the end of this file.
use crate::{
    gate::{Error, Gate, Operation},
    resource::{Failure, FailureKind, Lent, Resources},
};
use wasmtime::component::{HasData, Linker};

/// What every host function sees: the gate, and what was lent.
pub struct Call<'a> {
    pub gate: &'a Gate,
    pub resources: &'a Resources,
}

impl HasData for Call<'static> {
    type Data<'a> = Call<'a>;
}

impl Call<'_> {
    pub async fn perform<O: Operation>(&mut self, operation: O) -> Result<O::Output, Error>
    where
        Resources: AsRef<Lent<O::On>>,
    {
        self.gate.perform(self.resources, operation).await
    }
}

/// Seconds that one call may ask to be waited for.
pub const MAX_TIME: u32 = 24 * 3600;

/// A text that a guest gives, before it reaches the journal.
pub fn bounded(what: &str, text: String, bytes: usize) -> Result<String, Failure> {
    match text.len() <= bytes {
        true => Ok(text),
        false => Err(Failure::invalid(format!("a {what} has at most {bytes} bytes"))),
    }
}

/// What a store's data has to offer.
pub trait AsCall: Send + 'static {
    fn call(&mut self) -> Call<'_>;
}

/// The one `types` module that every other binding is mapped onto.
pub mod types {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/types@0.1.0;",
        imports: { default: async | trappable },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
    pub use backout::host::types::*;
}

impl types::Host for Call<'_> {
    /// A failure is an answer to the guest; whatever else ends its instance.
    fn convert_error(&mut self, error: Error) -> wasmtime::Result<types::Error> {
        match error {
            Error::Answer(failure) => Ok(failure.into()),
            Error::Stop(stop) => Err(stop.into()),
        }
    }
}

impl From<Failure> for types::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Denied => types::Kind::Denied,
            FailureKind::NotFound => types::Kind::NotFound,
            FailureKind::Invalid => types::Kind::Invalid,
            FailureKind::Unavailable => types::Kind::Unavailable,
            FailureKind::TimedOut => types::Kind::TimedOut,
            FailureKind::Conflict => types::Kind::Conflict,
            FailureKind::Unproven => types::Kind::Unproven,
            FailureKind::Inconclusive => types::Kind::Inconclusive,
            FailureKind::Failed => types::Kind::Failed,
        };
        types::Error { kind, message: failure.message }
    }
}

impl From<types::Error> for Failure {
    fn from(error: types::Error) -> Self {
        let kind = match error.kind {
            types::Kind::Denied => FailureKind::Denied,
            types::Kind::NotFound => FailureKind::NotFound,
            types::Kind::Invalid => FailureKind::Invalid,
            types::Kind::Unavailable => FailureKind::Unavailable,
            types::Kind::TimedOut => FailureKind::TimedOut,
            types::Kind::Conflict => FailureKind::Conflict,
            types::Kind::Unproven => FailureKind::Unproven,
            types::Kind::Inconclusive => FailureKind::Inconclusive,
            types::Kind::Failed => FailureKind::Failed,
        };
        Failure::new(kind, error.message)
    }
}

macro_rules! capabilities { ($($name:ident),* $(,)?) => {
    $(pub mod $name;)*
    /// The interfaces that a script can import, by their WIT names.
    pub const NAMES: &[&str] = &[$(stringify!($name)),*];
    pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        types::add_to_linker::<_, Call<'static>>(linker, T::call)?;
        $($name::link(linker)?;)*
        Ok(())
    }
}; }
capabilities! {
    context,
    log,
    report,
    store,
    payload,
    clock,
    backup,
    database,
    service,
    logs,
    files,
    metrics,
    probe,
    notify,
    tool,
    approval,
}
