use super::ops;
use crate::{
    capability::{AsCall, Call},
    resource::{Area, Ruling, Verdict},
};
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/report@0.1.0;",
        imports: { default: async | trappable },
    });
}
use bindings::backout::host::report as wit;

impl wit::Host for Call<'_> {
    async fn check(&mut self, area: wit::Area, title: String, passed: bool, detail: String) -> wasmtime::Result<()> {
        self.gate.count_log(title.len() + detail.len())?;
        let result = if passed { Ruling::Passed } else { Ruling::Failed };
        let verdict = Verdict { area: area.into(), title, result, detail, readings: Vec::new() };
        self.perform(ops::Check { verdict }).await?;
        Ok(())
    }
    async fn note(&mut self, text: String) -> wasmtime::Result<()> {
        self.gate.count_log(text.len())?;
        Ok(self.perform(ops::Note { text }).await?)
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<wit::Area> for Area {
    fn from(area: wit::Area) -> Self {
        match area {
            wit::Area::Functional => Self::Functional,
            wit::Area::Performance => Self::Performance,
            wit::Area::Security => Self::Security,
            wit::Area::Data => Self::Data,
        }
    }
}
