//! The interface, through the gate.
use super::*;
use backout::{
    capability::files::ops,
    gate::{Error, Events, Gate},
    journal::{Entry, Header, Journal, Place as Where, Reader},
    resource::{Lend, ResourceId, Resources, Right},
};

fn lent(place: &Place, rights: &[Right]) -> Resources {
    let mut resources = Resources::default();
    let lend = Lend {
        id: ResourceId::new("tree", "shop-app"),
        rights: rights.iter().copied().collect(),
        terms: (),
        uses: Vec::new(),
        access: place.access.clone(),
    };
    resources.tree.0.insert("app".into(), lend);
    resources
}

#[tokio::test]
async fn the_gate_comes_first_and_the_journal_keeps_no_secret() {
    let place = Place::new();
    place.file("a", "then");
    let path = place.dir.path().join("journal");
    let (journal, run) = Journal::begin(&path, Header::default(), Arc::new(|_| ())).unwrap();
    let journal = Arc::new(journal);
    let step = Where::new("upgrade", false, "install", 1);
    journal.append(run, &step, 0, Entry::StepStarted).await.unwrap();
    let gate = Gate::new(journal.clone(), run, step, Events::default(), Default::default());
    let (reader, writer) = (lent(&place, &[Right::Read]), lent(&place, &[Right::Read, Right::Write]));
    let install = || ops::Install { tree: "app".into(), path: "v".into(), payload: "none".into(), archive: None };
    let kind = |result: Result<(), Error>| match result.unwrap_err() {
        Error::Answer(failure) => failure.kind,
        Error::Stop(stop) => panic!("{stop}"),
    };
    assert_eq!(kind(gate.perform(&reader, install()).await), FailureKind::Denied);
    assert_eq!(kind(gate.perform(&writer, install()).await), FailureKind::NotFound);
    let write = || ops::Write { tree: "app".into(), path: "a".into(), content: b"password = 1234".to_vec() };
    assert_eq!(kind(gate.perform(&reader, write()).await), FailureKind::Denied);
    assert_eq!(place.text("a"), "then");
    gate.perform(&writer, write()).await.unwrap();
    gate.perform(&writer, ops::Link { tree: "app".into(), path: "l".into(), target: "a".into() }).await.unwrap();
    let list = gate.perform(&reader, ops::List { tree: "app".into(), path: ".".into() }).await.unwrap();
    assert_eq!(list.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["a", "l"]);
    let before = serde_json::to_string(&Reader::open(&path).unwrap().entries(run).unwrap()).unwrap();
    assert!(!before.contains("password"), "{before}");
    let read = gate.perform(&reader, ops::Read { tree: "app".into(), path: "l".into() }).await.unwrap();
    assert_eq!(read.0, b"password = 1234");
}
