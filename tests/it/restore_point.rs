//! What a run believes of its restore point, with a real database and a real tree behind the gate; and that commands and report
//! are told the same by its journal.
use crate::support::script::{Script, lend, told};
use backout::{
    capability::{
        backup::{ops, wit::Host as _},
        database::ops::{Fence, Unfence},
        files::ops::Write,
    },
    gate::{Gate, Operation, Reconciled, class},
    journal::{Entry, Level},
    report::Report,
    resource::{
        CallCtx, Failure, ResourceId, Resources, Right, Tree,
        copies::{Restored, Snapshot},
        database,
        run::RestorePoint,
        tree,
    },
    run::restore_point,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::{collections::BTreeSet, fs, marker::PhantomData, process::Command, time::Duration};
use tempfile::TempDir;

/// A script on a host with a database `orders` and a tree `app`.
struct Host {
    dir: TempDir,
    script: Script,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for folder in ["db", "app", "state"] {
            fs::create_dir(path(folder)).unwrap();
        }
        fs::write(path("app/conf"), "old").unwrap();
        let orders = rusqlite::Connection::open(path("db/orders.db")).unwrap();
        orders
            .execute_batch(
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT); INSERT INTO orders VALUES (1, 'old')",
            )
            .unwrap();
        let keep_aside = Duration::from_secs(3600);
        let driver = database::Driver::Sqlite { path: path("db/orders.db") };
        let section = database::Section { driver, exclusive: true, keep_aside, method: Default::default() };
        let orders = database::drivers::open("orders", &section);
        let section =
            tree::Section { path: path("app"), exclude: Vec::new(), keep_aside, exclusive: true, archive: None };
        let app = tree::drivers::open("app", &section, &path("state"));
        let mut script = Script::new();
        script.resources.database.0.insert("orders".to_owned(), lend("database", "orders", orders));
        script.resources.tree.0.insert("app".to_owned(), lend("tree", "app", app));
        Self { dir, script }
    }

    fn conf(&self) -> String {
        fs::read_to_string(self.dir.path().join("app/conf")).unwrap()
    }

    async fn fence(&self) {
        self.script.call().perform(Fence { database: "orders".to_owned(), within: 5 }).await.unwrap();
    }

    async fn take_both(&self) {
        for label in ["orders", "app"] {
            self.script.call().take(label.to_owned()).await.unwrap();
        }
    }

    /// What the run believes, which is what everybody else is told.
    async fn point(&self) -> RestorePoint {
        let recorded = self.script.recorded().await;
        let live = self.script.memory.lock().unwrap().restore_point.clone();
        let told = restore_point::points(&recorded).remove(0);
        assert_eq!(told.restore_point(), &live, "the journal tells what the run believes");
        let report = Report::of(&recorded, &[]);
        assert_eq!(report.one_cut, live.one_cut);
        for copy in report.copies {
            let is = |set: &BTreeSet<ResourceId>| set.iter().any(|resource| resource.to_string() == copy.resource);
            let believed = (is(&live.changed), is(&live.restored), is(&live.freed));
            assert_eq!((copy.changed, copy.restored, copy.freed), believed, "{}", copy.resource);
        }
        live
    }
}

fn write(content: &str) -> Write {
    Write { tree: "app".to_owned(), path: "conf".to_owned(), content: content.as_bytes().to_vec() }
}

fn app() -> ResourceId {
    ResourceId::new("tree", "app")
}

/// A copy, and a step that changes the tree before it has returned.
struct Overtaken<'h> {
    take: ops::Take<Tree>,
    beside: &'h Gate,
    resources: &'h Resources,
}
impl Serialize for Overtaken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.take.serialize(serializer)
    }
}
impl Operation for Overtaken<'_> {
    const NAME: &'static str = ops::Take::<Tree>::NAME;
    const RIGHT: Option<Right> = ops::Take::<Tree>::RIGHT;
    type On = Tree;
    type Class = class::Idempotent;
    type Output = Snapshot;
    fn label(&self) -> &str {
        self.take.label()
    }
    fn changes(&self) -> bool {
        self.take.changes()
    }
    async fn execute(&self, half: &tree::Mutator, call: &CallCtx) -> Result<Snapshot, Failure> {
        let snapshot = self.take.execute(half, call).await?;
        self.beside.perform(self.resources, write("new")).await.unwrap();
        Ok(snapshot)
    }
}

#[tokio::test]
async fn a_change_beside_a_copy_is_not_forgotten() {
    let host = Host::new();
    let (script, beside) = (&host.script, host.script.beside());
    let take = ops::Take { resource: "app".to_owned(), id: "1-app".to_owned(), kind: PhantomData };
    let take = Overtaken { take, beside: &beside, resources: &script.resources };
    script.call().perform(take).await.unwrap();
    assert_eq!(host.conf(), "new");
    assert!(host.point().await.differs(&app()));
    script.call().restore("app".to_owned()).await.unwrap();
    assert_eq!(host.conf(), "old", "what was written beside the copy is taken back");
    let point = host.point().await;
    assert!(point.restored.contains(&app()) && !point.differs(&app()));
}

#[tokio::test]
async fn what_nothing_has_changed_since_its_copy_is_left_alone() {
    let host = Host::new();
    let script = &host.script;
    script.call().perform(write("older")).await.unwrap();
    host.take_both().await;
    // What others write is not the upgrade's.
    fs::write(host.dir.path().join("app/upload"), "a customer's").unwrap();
    script.call().restore("app".to_owned()).await.unwrap();
    assert!(host.dir.path().join("app/upload").exists());
    let point = host.point().await;
    assert!(point.changed.is_empty() && point.restored.is_empty() && point.aside.is_empty(), "{point:?}");
}

#[tokio::test]
async fn copies_are_one_cut_only_when_one_call_brought_all_up_to_date() {
    let host = Host::new();
    let script = &host.script;
    host.take_both().await;
    assert!(!host.point().await.one_cut, "taken one after the other");
    let (kind, why) = told(script.call().refresh().await.map(drop));
    assert_eq!((kind, why.contains("not fenced")), ("conflict", true), "{why}");
    host.fence().await;
    script.call().refresh().await.unwrap();
    assert!(host.point().await.one_cut);

    // The product wrote in between; then one of the two cannot be brought up to date.
    script.call().perform(Unfence { database: "orders".to_owned() }).await.unwrap();
    let orders = rusqlite::Connection::open(host.dir.path().join("db/orders.db")).unwrap();
    orders.execute_batch("INSERT INTO orders VALUES (2, 'later')").unwrap();
    drop(orders);
    host.fence().await;
    let (tree, away) = (host.dir.path().join("app"), host.dir.path().join("away"));
    fs::rename(&tree, &away).unwrap();
    script.call().refresh().await.map(drop).unwrap_err();
    assert!(!host.point().await.one_cut, "the copy of the database is newer than that of the tree");
    fs::rename(&away, &tree).unwrap();
    script.call().refresh().await.unwrap();
    assert!(host.point().await.one_cut);
}

/// An exchange that happens, and then says that it failed.
struct Unsure(ops::Restore<Tree>);
impl Serialize for Unsure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
impl Operation for Unsure {
    const NAME: &'static str = ops::Restore::<Tree>::NAME;
    const RIGHT: Option<Right> = ops::Restore::<Tree>::RIGHT;
    type On = Tree;
    type Class = class::Once;
    type Output = Restored;
    fn label(&self) -> &str {
        self.0.label()
    }
    async fn execute(&self, half: &tree::Mutator, call: &CallCtx) -> Result<Restored, Failure> {
        self.0.execute(half, call).await?;
        Err(Failure::failed("it is live, but may not be after a power failure"))
    }
    async fn reconcile(
        &self,
        half: &tree::Observer,
        evidence: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<Restored>, Failure> {
        self.0.reconcile(half, evidence, call).await
    }
}

#[tokio::test]
async fn an_error_after_the_point_of_no_return_is_looked_into() {
    let host = Host::new();
    let script = &host.script;
    host.take_both().await;
    script.call().perform(write("new")).await.unwrap();
    let snapshot = host.point().await.snapshots.get(&app()).cloned();
    let restore = ops::Restore { resource: "app".to_owned(), snapshot, changed: true, kind: PhantomData };
    let restored = script.call().perform(Unsure(restore)).await.unwrap();
    assert!(restored.exchanged && host.conf() == "old");
    let point = host.point().await;
    assert!(point.restored.contains(&app()) && point.unsettled.is_empty());
    assert_eq!(point.aside[&app()], restored);
    let said = script.entries().await.into_iter().find_map(|entry| match entry {
        Entry::Said { level: Level::Warn, text } => Some(text),
        _ => None,
    });
    assert!(said.unwrap().contains("may not be after a power failure"));
    // A later rollback has nothing left to do, and says so.
    script.call().restore("app".to_owned()).await.unwrap();
    assert_eq!(host.conf(), "old");
}

#[tokio::test]
async fn an_error_before_the_point_of_no_return_is_one() {
    let host = Host::new();
    let script = &host.script;
    host.take_both().await;
    script.call().perform(write("new")).await.unwrap();
    let mut holder = Command::new("sleep").arg("600").current_dir(host.dir.path().join("app")).spawn().unwrap();
    let refused = script.call().restore("app".to_owned()).await.map(drop);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let (kind, why) = told(refused);
    assert_eq!((kind, why.contains("in use by")), ("conflict", true), "{why}");
    assert!(host.point().await.differs(&app()));
    script.call().restore("app".to_owned()).await.unwrap();
    assert_eq!(host.conf(), "old");
}
