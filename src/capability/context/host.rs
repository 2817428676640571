use super::ops;
use crate::capability::{AsCall, Call};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/context@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
use bindings::backout::host::context as wit;

impl wit::Host for Call<'_> {
    async fn current(&mut self) -> wasmtime::Result<wit::Run> {
        let current = self.perform(ops::Current {}).await?;
        let place = &self.gate.place;
        Ok(wit::Run {
            package_name: current.package,
            version: current.version,
            from_version: current.from_version,
            to_version: current.to_version,
            phase: phase(&place.phase),
            step: place.step.clone(),
            attempt: place.attempt,
            rolled_back: place.rolled_back,
        })
    }
    async fn setting(&mut self, name: String) -> wasmtime::Result<String> {
        Ok(self.perform(ops::Setting { name }).await?)
    }
    async fn completed(&mut self, step: String) -> wasmtime::Result<bool> {
        Ok(self.perform(ops::Completed { step }).await?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

/// `assess` belongs to no phase; for the script it is `prepare`.
fn phase(name: &str) -> crate::capability::types::Phase {
    use crate::capability::types::Phase;
    match name {
        "upgrade" => Phase::Upgrade,
        "rollback" => Phase::Rollback,
        "verify" => Phase::Verify,
        _ => Phase::Prepare,
    }
}
