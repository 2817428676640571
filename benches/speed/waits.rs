//! wasmtime alone, as a program of its own: loads what was compiled, waits. What the other benchmarks link would lie in its memory
//! too, so it is no part of their program.
#![allow(clippy::unwrap_used)]
#[allow(dead_code, clippy::panic)]
mod raw;

use std::path::Path;

fn main() {
    // Cargo starts every benchmark; this one is for `memory`, which names what was compiled.
    let Some(compiled) = std::env::args().nth(1).filter(|arg| arg.ends_with(".cwasm")) else { return };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let engine = raw::engine();
        let component = raw::load(&engine, Path::new(&compiled));
        let (mut store, instance) = raw::instance(&engine, &raw::answering(&engine), &component, ()).await;
        let assess: raw::Assess = raw::function(&mut store, &instance, "assess");
        assess.call_async(&mut store, ()).await.unwrap().0.unwrap();
    });
}
