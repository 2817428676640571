//! wasmtime alone, with the answers of a recorded run.
use crate::raw;
use backout::{
    capability::types,
    journal::{Entry, Reader, RunId},
};
use std::{path::Path, sync::Arc};
use wasmtime::{
    Engine,
    component::{ComponentType, Lift, Linker, Lower},
};

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)]
enum Area {
    #[component(name = "functional")]
    Functional,
    #[component(name = "performance")]
    Performance,
    #[component(name = "security")]
    Security,
    #[component(name = "data")]
    Data,
}

pub enum Answer {
    Rows(Vec<Vec<String>>),
    Changed(u64),
    Nothing,
}

/// The recorded answers, in order.
pub fn answers(journal: &Path, run: RunId) -> Vec<Answer> {
    let mut asked = String::new();
    let answer = |operation: &str, value| match operation {
        "database.query" => Answer::Rows(serde_json::from_value(value).unwrap()),
        "database.execute" => Answer::Changed(serde_json::from_value(value).unwrap()),
        _ => Answer::Nothing,
    };
    let entries = Reader::open(journal).unwrap().stream(run, 0);
    let answers = entries.filter_map(|recorded| match recorded.unwrap().entry {
        Entry::Intent(request) => {
            asked = request.operation;
            None
        }
        Entry::Outcome { result, .. } => Some(answer(&asked, result.unwrap())),
        Entry::Observed { request, result, .. } => Some(answer(&request.operation, result.unwrap())),
        _ => None,
    });
    answers.collect()
}

/// The answers, one after the other.
pub struct Canned {
    pub answers: Arc<Vec<Answer>>,
    pub next: usize,
}

impl Canned {
    fn answer(&mut self) -> &Answer {
        self.next += 1;
        &self.answers[self.next - 1]
    }
}

/// What the script calls, with the types that its interfaces have, and asynchronous as in Backout.
pub fn linker(engine: &Engine) -> Linker<Canned> {
    type Told<T> = Result<T, types::Error>;
    let mut linker = Linker::new(engine);
    linker.instance("backout:host/types@0.1.0").unwrap();
    let mut database = linker.instance("backout:host/database@0.1.0").unwrap();
    database
        .func_wrap_async("query", |mut store: wasmtime::StoreContextMut<'_, Canned>, asked: (String, String)| {
            Box::new(async move {
                std::hint::black_box(asked);
                let Answer::Rows(rows) = store.data_mut().answer() else { panic!("it asks for something else") };
                Ok((Told::Ok(rows.clone()),))
            })
        })
        .unwrap();
    database
        .func_wrap_async("execute", |mut store: wasmtime::StoreContextMut<'_, Canned>, asked: (String, String)| {
            Box::new(async move {
                std::hint::black_box(asked);
                let Answer::Changed(rows) = store.data_mut().answer() else { panic!("it asks for something else") };
                Ok((Told::Ok(*rows),))
            })
        })
        .unwrap();
    let mut report = linker.instance("backout:host/report@0.1.0").unwrap();
    report
        .func_wrap_async("check", |mut store, asked: (Area, String, bool, String)| {
            Box::new(async move {
                std::hint::black_box(asked);
                nothing(store.data_mut())
            })
        })
        .unwrap();
    report
        .func_wrap_async("note", |mut store, asked: (String,)| {
            Box::new(async move {
                std::hint::black_box(asked);
                nothing(store.data_mut())
            })
        })
        .unwrap();
    let mut store = linker.instance("backout:host/store@0.1.0").unwrap();
    store
        .func_wrap("get", |_, _: (String,)| -> wasmtime::Result<(Option<String>,)> { panic!("it is another step") })
        .unwrap();
    store
        .func_wrap_async("set", |mut store, asked: (String, String)| {
            Box::new(async move {
                std::hint::black_box(asked);
                nothing(store.data_mut())
            })
        })
        .unwrap();
    // What it calls elsewhere.
    let mut context = linker.instance("backout:host/context@0.1.0").unwrap();
    context.func_wrap("setting", |_, _: (String,)| -> wasmtime::Result<(String,)> { panic!("it is no plan") }).unwrap();
    linker
}

fn nothing(canned: &mut Canned) -> wasmtime::Result<()> {
    let Answer::Nothing = canned.answer() else { panic!("it asks for something else") };
    Ok(())
}

/// One call of `run`.
pub async fn run(
    engine: &Engine,
    linker: &Linker<Canned>,
    component: &wasmtime::component::Component,
    answers: Arc<Vec<Answer>>,
    step: &str,
) -> usize {
    let (mut store, instance) = raw::instance(engine, linker, component, Canned { answers, next: 0 }).await;
    let run: raw::Run = raw::function(&mut store, &instance, "run");
    run.call_async(&mut store, (types::Phase::Upgrade, step.to_owned())).await.unwrap().0.unwrap();
    store.data().next
}
