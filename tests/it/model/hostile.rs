//! Journals in which somebody has written something else, told to a script again: an error or a difference, and no effect.
use super::{
    life::{Host, Life, Stop},
    world::Death,
};
use crate::fuzz::{
    self,
    journal::{node, value},
};
use backout::run::life_cycle::Outcome;
use proptest::{prelude::*, sample::Index};
use rusqlite::Connection;
use serde_json::{Value, json};

/// A run that was cut off in the midst of its upgrade: the first step is done, the second is at work.
fn cut_off() -> Host {
    let phases = [
        ("prepare", "p 1 - set:p"),
        ("upgrade", "a 1 - now tool:once get:p status:shop set:a;b 1 - tool:checked sleep:0 tool:once"),
        ("rollback", "back 1 - tool:again"),
        ("verify", ""),
    ];
    let mut host = Host::with(phases.map(|(phase, steps)| (phase, steps.to_owned())).to_vec());
    host.limits.steps_at_once = 1;
    let stop = Some(Stop::Death(Death { moment: 6, lands: false }));
    assert_eq!(host.live(&Life { stop, people: true, lost: 0 }), None);
    host
}

struct Rows {
    db: Connection,
    bodies: Vec<(i64, Value)>,
}

impl Rows {
    fn of(host: &Host) -> Self {
        let db = Connection::open(host.journal()).unwrap();
        let bodies = {
            let mut statement = db.prepare("SELECT id, body FROM entry ORDER BY id").unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
            rows.map(|row| row.map(|(id, body)| (id, serde_json::from_str(&body).unwrap())).unwrap()).collect()
        };
        Self { db, bodies }
    }

    /// The last entry of this sort about this operation.
    fn find(&self, entry: &str, operation: &str) -> (i64, Value) {
        let of = |body: &Value| body["entry"] == entry && (operation.is_empty() || body["operation"] == operation);
        self.bodies.iter().rfind(|(_, body)| of(body)).unwrap_or_else(|| panic!("{entry} {operation}")).clone()
    }

    fn write(&self, id: i64, body: &Value) {
        self.db.execute("UPDATE entry SET body = ?1 WHERE id = ?2", (body.to_string(), id)).unwrap();
    }
}

/// Neither a replay nor a run that goes on panics, and what is told stays bounded. What a replay said.
fn told(host: &Host) -> String {
    let effects = host.world.effects();
    let said = match host.replay_with(&host.script, |_| ()) {
        Ok(replayed) => replayed.differences.iter().map(|difference| format!("{difference}\n")).collect(),
        Err(error) => error.to_string(),
    };
    assert_eq!(host.world.effects(), effects, "a replay has done something");
    assert!(said.len() < 20_000, "{} bytes", said.len());
    said
}

#[test]
fn what_somebody_wrote_into_a_journal_is_told() {
    type Edit = fn(&Rows);
    let edits: &[(&str, Edit, &str)] = &[
        (
            "an answer of another type",
            |rows| {
                let (id, mut body) = rows.find("observed", "clock.now");
                body["result"]["Ok"] = json!("noon");
                rows.write(id, &body);
            },
            "the outcome of clock.now",
        ),
        (
            "an end of another type",
            |rows| {
                let (first, _) = rows.find("intent", "tool.run");
                let ends = rows.bodies.iter().filter(|(id, body)| *id < first && body["entry"] == "outcome");
                for (id, body) in ends.filter(|(_, body)| body["result"]["Ok"].is_string()) {
                    let mut body = body.clone();
                    body["result"]["Ok"] = json!({ "x": [1] });
                    rows.write(*id, &body);
                }
            },
            "the outcome of tool.run",
        ),
        (
            "a gap in the numbers",
            |rows| {
                let (id, _) = rows.find("observed", "clock.now");
                rows.db.execute("UPDATE entry SET seq = 7 WHERE id = ?1", [id]).unwrap();
            },
            "operation 7 where operation 2 belongs",
        ),
        (
            "an end without a beginning",
            |rows| {
                let (id, _) = rows.find("intent", "store.set");
                rows.db.execute("DELETE FROM entry WHERE id = ?1", [id]).unwrap();
            },
            "",
        ),
        (
            "an operation that there is not",
            |rows| {
                let (id, mut body) = rows.find("observed", "clock.now");
                body["operation"] = json!("clock.stop");
                rows.write(id, &body);
            },
            "the journal has clock.stop",
        ),
        (
            "another request",
            |rows| {
                let (id, mut body) = rows.find("observed", "store.get");
                body["request"] = json!({ "key": "q", "more": "x".repeat(100_000) });
                rows.write(id, &body);
            },
            "the journal has store.get",
        ),
        (
            "an entry that there is not",
            |rows| {
                let (id, _) = rows.find("observed", "clock.now");
                rows.write(id, &json!({ "entry": "forgotten" }));
            },
            "cannot be read",
        ),
        (
            "a huge answer",
            |rows| {
                let (id, mut body) = rows.find("observed", "context.setting");
                body["result"]["Ok"] = json!("z".repeat(8 << 20));
                rows.write(id, &body);
            },
            "",
        ),
    ];
    for (what, edit, says) in edits {
        let host = cut_off();
        edit(&Rows::of(&host));
        let said = told(&host);
        assert!(said.contains(says), "{what}: {said}");
        assert!(said.matches("cannot be read").count() <= 1, "{what}, told twice: {said}");
        assert!(!says.is_empty() || what.starts_with("an end") || !said.is_empty(), "{what}: equal");
        println!("{what}: {said}");
        let before = host.world.effects();
        let ended = host.try_to_live(&Life::WHOLE);
        println!("{what}, gone on with: {ended:?}");
        // Whatever it comes to, nothing that has happened happens again.
        for effect in before {
            assert!(host.world.times(&effect.what, &effect.key) <= 1 || effect.what == "again", "{what}: {effect:?}");
        }
    }
}

#[test]
fn what_a_step_that_goes_on_was_told_and_cannot_be_read_is_named() {
    let phases = [("prepare", ""), ("upgrade", "a 1 - now tool:once"), ("rollback", "back 1 - now"), ("verify", "")];
    let host = Host::with(phases.map(|(phase, steps)| (phase, steps.to_owned())).to_vec());
    let stop = Some(Stop::Death(Death { moment: 1, lands: false }));
    assert_eq!(host.live(&Life { stop, people: true, lost: 0 }), None);
    let rows = Rows::of(&host);
    let (id, mut body) = rows.find("observed", "clock.now");
    body["result"]["Ok"] = json!("noon");
    rows.write(id, &body);
    drop(rows);
    let effects = host.world.effects();
    let Some(Ok(Outcome::Stopped(why) | Outcome::Refused(why))) = host.try_to_live(&Life::WHOLE) else { panic!() };
    let named = format!(
        "upgrade/a: entry {id} of journal {} cannot be read: the outcome of clock.now",
        host.journal().display()
    );
    assert!(why.starts_with(&named) && why.ends_with("; `backout audit` tells all that is wrong with it"), "{why}");
    assert_eq!(host.world.effects(), effects);
}

#[test]
fn evidence_that_makes_no_sense_is_evidence_all_the_same() {
    for data in [json!(null), json!([[[]]]), json!("x".repeat(1 << 20)), json!({ "start": 7 })] {
        let host = cut_off();
        let rows = Rows::of(&host);
        let (id, _) = rows.find("evidence", "");
        rows.write(id, &json!({ "entry": "evidence", "data": data }));
        drop(rows);
        assert_eq!(told(&host), "");
        let ended = host.try_to_live(&Life::WHOLE).unwrap().unwrap();
        assert_eq!(ended.ending().outcome, "upgraded", "{ended:?}");
    }
}

#[test]
fn any_entry_may_hold_anything() {
    let host = cut_off();
    let rows = Rows::of(&host);
    let edits = prop::collection::vec((any::<Index>(), any::<Index>(), value()), 1..4);
    let column = prop::option::of((
        prop::sample::select(vec!["attempt", "seq", "rolled_back", "at"]),
        any::<Index>(),
        prop::sample::select(vec![-1, 0, 1, 2, 3, i64::from(u32::MAX), i64::MAX]),
    ));
    fuzz::run(120, (edits, column), |(edits, column)| {
        let kept: Vec<(i64, i64, i64, i64, i64)> = {
            let mut statement = rows.db.prepare("SELECT id, attempt, seq, rolled_back, at FROM entry").unwrap();
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
            statement.query_map([], row).unwrap().map(Result::unwrap).collect()
        };
        for (entry, place, value) in &edits {
            let (id, mut body) = rows.bodies[entry.index(rows.bodies.len())].clone();
            *node(&mut body, place) = value.clone();
            rows.write(id, &body);
        }
        if let Some((column, entry, number)) = column {
            let (id, _) = rows.bodies[entry.index(rows.bodies.len())];
            rows.db.execute(&format!("UPDATE entry SET {column} = ?1 WHERE id = ?2"), (number, id)).unwrap();
        }
        told(&host);
        for (id, body) in &rows.bodies {
            rows.write(*id, body);
        }
        for (id, attempt, seq, rolled_back, at) in kept {
            let sql = "UPDATE entry SET attempt = ?2, seq = ?3, rolled_back = ?4, at = ?5 WHERE id = ?1";
            rows.db.execute(sql, (id, attempt, seq, rolled_back, at)).unwrap();
        }
    });
    assert_eq!(told(&host), "");
}
