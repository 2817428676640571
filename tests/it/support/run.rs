//! A run of a component without a package or a site around it.
use super::script::Nobody;
use backout::{
    gate::Events,
    journal::Header,
    resource::run::{Facts, Memory},
    run::{Hold, Run, Setup},
    session::{Engine, Limits, Script},
};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

pub struct Trial {
    pub run: Run,
    _state: TempDir,
}

impl Trial {
    /// Nothing is granted.
    pub fn begin(component: &[u8], settings: &[(&str, &str)]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let setup = Setup {
            header: Header { command: "upgrade".to_owned(), seed: 1, ..Header::default() },
            facts: Facts { settings, ..Facts::default() },
            memory: Memory::default(),
            hold: Hold::default(),
            script: Some(load(component)),
            limits: Limits::default(),
            approver: Arc::new(Nobody),
            events: Events::default(),
            cancel: Default::default(),
        };
        Self { run: Run::begin(state.path(), setup).unwrap(), _state: state }
    }
}

/// What was compiled stays for later test runs.
pub fn load(component: &[u8]) -> Script {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    ENGINE.get_or_init(|| Engine::new(&cache).unwrap()).load(component).unwrap()
}
