//! An exchange of a database that was begun and cut off, and whose step a limit ends before it comes to the exchange again: how it
//! ended is found out from the evidence, and nothing is exchanged twice.
use crate::{
    half_way::forgetful,
    support::{guests, run::load, script::Nobody, shop::Shop},
};
use backout::{
    cli::demo::proof::Proof,
    gate::Events,
    journal::{Entry, Reader, Recorded, Resumption, RunId},
    package::Package,
    resource::run::{Facts, Memory},
    run::{Hold, Phase, Run, Setup, life_cycle::Outcome, restore_point},
    session::Limits,
    site::Site,
};
use rusqlite::Connection;
use std::{os::unix::process::ExitStatusExt, path::Path, sync::Arc};

const UPGRADE: RunId = 1;
const ROLLBACK: RunId = 2;

struct Host {
    shop: Shop,
    package: String,
    before: Proof,
}

impl Host {
    /// A customer has ordered since the upgrade, and its rollback is killed at this moment of its exchange.
    fn killed_at(moment: &str) -> Self {
        let (shop, package) = forgetful("true");
        shop.edit_site("[tool.meanwhile]\n", "[tool.meanwhile]\nuses = [\"shop\"]\n");
        let before = shop.proof();
        shop.expect(0, &["upgrade", "--yes", &package]);
        write_late(&shop.folder.database());
        let mut rollback = shop.command(&["rollback", "--yes"]);
        let killed = rollback.env("BACKOUT_CRASH_AT", moment).output().unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{moment}: {killed:?}");
        let host = Self { shop, package, before };
        let entries = host.entries(ROLLBACK);
        let last = |found: fn(&Entry) -> bool| entries.iter().rposition(|r| found(&r.entry));
        let begun = last(|entry| matches!(entry, Entry::Intent(request) if request.operation == "backup.restore"));
        assert!(begun.is_some() && begun < last(|entry| matches!(entry, Entry::Evidence { .. })), "{moment}");
        host
    }

    fn entries(&self, run: RunId) -> Vec<Recorded> {
        Reader::open(&self.shop.folder.path("state/journal.db")).unwrap().entries(run).unwrap()
    }

    /// The rollback goes on, on a machine that has no memory for it.
    fn goes_on_into_a_limit(&self) -> Outcome {
        let site = Site::load(&self.shop.site()).unwrap();
        let package = Package::open(Path::new(&self.package)).unwrap();
        let reader = Reader::open(&site.state.join("journal.db")).unwrap();
        let points = restore_point::points(&reader.entries(UPGRADE).unwrap());
        let memory: Memory = points[0].memory();
        let header = reader.run(ROLLBACK).unwrap().header;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let setup = Setup {
                header,
                facts: Facts::default(),
                memory,
                hold: Hold::take(&site.state, site.lend(&package).unwrap()).await.unwrap(),
                script: Some(load(&guests::forgetful().component)),
                limits: Limits { memory: 1 << 16, ..Limits::default() },
                approver: Arc::new(Nobody),
                events: Events::default(),
                cancel: Default::default(),
            };
            let run = Run::resume(&site.state, ROLLBACK, Resumption::default(), setup).unwrap();
            let steps = run.plan(Phase::Rollback, true).await.unwrap();
            let outcome = run.roll_back(&steps, &[]).await;
            let (outcome, written) = run.finish(outcome).await;
            written.unwrap();
            outcome
        })
    }

    fn live_has_the_late_order(&self) -> bool {
        late(&self.shop.folder.database()) == 1
    }
}

const LATE: &str = "ordered after the upgrade";

fn write_late(database: &Path) {
    Connection::open(database).unwrap().execute("UPDATE orders SET note = ?1 WHERE id = 7", [LATE]).unwrap();
}

fn late(database: &Path) -> i64 {
    let connection = Connection::open(database).unwrap();
    connection.query_row("SELECT count(*) FROM orders WHERE note = ?1", [LATE], |row| row.get(0)).unwrap()
}

fn settled(entries: &[Recorded]) -> Vec<&Entry> {
    let settles =
        |r: &&Recorded| matches!(&r.entry, Entry::Observed { request, .. } if request.operation == "backup.settle");
    entries.iter().filter(settles).map(|r| &r.entry).collect()
}

#[test]
fn an_exchange_of_a_database_is_settled_when_a_limit_ends_its_step() {
    for (moment, exchanged) in [("after evidence", false), ("after backup.restore on orders", true)] {
        for way_on in ["rollback", "resume"] {
            let host = Host::killed_at(moment);
            assert_eq!(host.live_has_the_late_order(), !exchanged, "{moment}");
            let outcome = host.goes_on_into_a_limit();
            assert!(
                matches!(&outcome, Outcome::Stopped(why) if why.contains("of memory, the limit is")),
                "{outcome:?}"
            );
            let entries = host.entries(ROLLBACK);
            let ended = entries.iter().find(|r| matches!(r.entry, Entry::StepEnded { .. })).unwrap();
            assert!(matches!(ended.entry, Entry::StepEnded { limit: true, .. }), "{ended:?}");
            let [Entry::Observed { result: Ok(found), .. }] = settled(&entries)[..] else { panic!("{entries:?}") };
            assert_eq!(found.get("Done").is_some(), exchanged, "{moment}: {found}");
            assert_eq!(host.live_has_the_late_order(), !exchanged, "{moment}: who looks exchanges nothing");
            // What was found out is known from here on.
            let said = host.shop.expect(0, &[way_on, "--yes"]);
            println!("{moment}, {way_on}: {said}");
            assert_eq!(host.shop.proof().differences(&host.before), [""; 0], "{moment}, {way_on}");
            let aside = host.shop.copies().into_iter().find(|path| path.contains("/data/") && path.contains("aside"));
            assert_eq!(late(Path::new(&aside.unwrap())), 1, "{moment}, {way_on}: what was live is kept");
            host.shop.expect(0, &["audit"]);
        }
    }
}
