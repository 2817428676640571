//! Journals told by hand, for what reads journals.
use backout::{
    journal::{Ending, Entry, Header, Level, Place, Recorded, Request, Risk, RunId, Step},
    resource::{Area, Failure, Reading, Ruling, Verdict},
};
use serde_json::{Value, json};

/// 2026-03-01 14:02:11 UTC
const START: i64 = 1_772_373_731_000;

pub struct Story {
    pub run: RunId,
    pub entries: Vec<Recorded>,
    at: i64,
    place: Place,
    seq: u32,
}

pub fn header(command: &str) -> Header {
    Header {
        command: command.into(),
        package: "acme/shop".into(),
        version: "2.0.0".into(),
        digest: "sha256:9f2c41ab".into(),
        from_version: "1.4.2".into(),
        to_version: "2.0.0".into(),
        site: "sha256:77aa00".into(),
        host: "web-3".into(),
        seed: 7,
        backout: "0.1.0".into(),
        restore_point: 0,
        holds: vec!["database:shop-prod".into(), "tree:shop-app".into(), "service:shop".into()],
        limits: Box::default(),
        ..Header::default()
    }
}

pub fn plan(name: &str, title: &str, estimate_seconds: u64) -> Step {
    Step {
        name: name.into(),
        title: title.into(),
        estimate_seconds,
        measured_runs: 0,
        roles: vec![],
        after: vec![],
        attempts: 1,
    }
}

pub fn request(operation: &str, class: &str, label: &str, resource: &str, request: Value) -> Request {
    let changes = match operation {
        "files.link" | "files.install" | "database.execute" | "backup.restore" => vec![resource.to_owned()],
        // Both are what the site's `uses` name.
        "service.start" | "tool.run" => vec![resource.to_owned(), "database:shop-prod".into(), "tree:shop-app".into()],
        "service.stop" => vec![resource.to_owned()],
        _ => vec![],
    };
    Request {
        operation: operation.into(),
        class: class.into(),
        label: label.into(),
        resource: resource.into(),
        changes,
        disturbs: false,
        request,
    }
}

/// Readings: name, value, unit, what it must be.
pub fn verdict(area: Area, title: &str, result: Ruling, detail: &str, readings: &[(&str, f64, &str, &str)]) -> Value {
    let reading = |&(name, value, unit, must): &(&str, f64, &str, &str)| Reading {
        name: name.into(),
        value,
        unit: unit.into(),
        must: must.into(),
    };
    let verdict = Verdict {
        area,
        title: title.into(),
        result,
        detail: detail.into(),
        readings: readings.iter().map(reading).collect(),
    };
    serde_json::to_value(verdict).unwrap()
}

pub fn snapshot(id: &str, bytes: u64, copied: u64, detector: &str, schema: &str, parts: &[(&str, u64)]) -> Value {
    let part = |(name, count): &(&str, u64)| json!({ "name": name, "count": count, "digest": format!("{count:x}") });
    json!({
        "id": id, "place": format!("/srv/state/copies/{id}"), "method": "stand-by", "bytes": bytes, "proven": true,
        "fingerprint": { "schema": schema, "parts": parts.iter().map(part).collect::<Vec<_>>() },
        "copied": copied, "detector": detector,
    })
}

impl Story {
    pub fn of(run: RunId, header: Header) -> Self {
        let mut story = Self { run, entries: vec![], at: START, place: Place::new("", false, "", 0), seq: 0 };
        story.add(0, Entry::RunStarted(header));
        story
    }

    /// A run that begins after another, and continues the numbers of its entries.
    pub fn after(mut self, earlier: &Story) -> Self {
        self.at = earlier.at + 3_600_000;
        let offset = earlier.entries.last().unwrap().id;
        for entry in &mut self.entries {
            entry.id += offset;
            entry.at = self.at;
        }
        self
    }

    fn add(&mut self, seq: u32, entry: Entry) -> &mut Self {
        let id = self.entries.last().map_or(1, |r| r.id + 1);
        self.entries.push(Recorded { id, run: self.run, at: self.at, place: self.place.clone(), seq, entry });
        self
    }

    pub fn wait(&mut self, millis: i64) -> &mut Self {
        self.at += millis;
        self
    }

    pub fn at(&mut self, phase: &str, rolled_back: bool, step: &str, attempt: u32) -> &mut Self {
        self.place = Place::new(phase, rolled_back, step, attempt);
        self.seq = 0;
        self
    }

    pub fn nowhere(&mut self) -> &mut Self {
        self.at("", false, "", 0)
    }

    pub fn assessed(&mut self, risks: &[(&str, &str, &str)]) -> &mut Self {
        let risk = |&(severity, subject, detail): &(&str, &str, &str)| Risk {
            severity: severity.into(),
            subject: subject.into(),
            detail: detail.into(),
        };
        self.at("assess", false, "", 1).add(0, Entry::Assessed { risks: risks.iter().map(risk).collect() })
    }

    pub fn planned(&mut self, phase: &str, rolled_back: bool, steps: &[Step]) -> &mut Self {
        self.at(phase, rolled_back, "", 1).add(0, Entry::Planned { steps: steps.to_vec() })
    }

    pub fn begin(&mut self, phase: &str, rolled_back: bool, step: &str) -> &mut Self {
        self.at(phase, rolled_back, step, 1).add(0, Entry::StepStarted)
    }

    pub fn begin_again(&mut self, attempt: u32) -> &mut Self {
        let place = Place { attempt, ..self.place.clone() };
        self.at(&place.phase, place.rolled_back, &place.step, attempt).add(0, Entry::StepStarted)
    }

    pub fn end(&mut self, millis: u64) -> &mut Self {
        self.add(0, Entry::StepEnded { result: Ok(()), millis, limit: false })
    }

    pub fn fail(&mut self, failure: Failure, millis: u64) -> &mut Self {
        self.add(0, Entry::StepEnded { result: Err(failure), millis, limit: false })
    }

    pub fn intend(&mut self, request: Request) -> &mut Self {
        self.seq += 1;
        self.add(self.seq, Entry::Intent(request))
    }

    pub fn did(&mut self, request: Request, result: Result<Value, Failure>, millis: u64) -> &mut Self {
        self.intend(request).wait(millis as i64);
        self.add(self.seq, Entry::Outcome { result, millis })
    }

    pub fn saw(&mut self, request: Request, result: Result<Value, Failure>, millis: u64) -> &mut Self {
        self.wait(millis as i64).seq += 1;
        self.add(self.seq, Entry::Observed { request, result, millis })
    }

    pub fn denied(&mut self, operation: &str, label: &str, right: &str) -> &mut Self {
        let (operation, label, right) = (operation.into(), label.into(), right.into());
        self.add(0, Entry::Denied { operation, label, right })
    }

    pub fn says(&mut self, level: Level, text: &str) -> &mut Self {
        self.nowhere().add(0, Entry::Said { level, text: text.into() })
    }

    pub fn ended(&mut self, outcome: &str, exit: u8, message: &str) -> &mut Self {
        let ending = Ending { outcome: outcome.into(), exit, message: message.into(), ..Ending::default() };
        self.nowhere().add(0, Entry::RunEnded(ending))
    }

    // What the shop's script does.

    pub fn log(&mut self, level: &str, message: &str) -> &mut Self {
        self.saw(
            request(&format!("log.{level}"), "observe", "", "run:12", json!({ "message": message })),
            Ok(Value::Null),
            0,
        )
    }

    pub fn service(&mut self, does: &str, millis: u64) -> &mut Self {
        let operation = format!("service.{does}");
        self.did(
            request(&operation, "idempotent", "shop", "service:shop", json!({ "service": "shop" })),
            Ok(Value::Null),
            millis,
        )
    }

    pub fn answers(&mut self, millis: u64) -> &mut Self {
        let seen = verdict(
            Area::Functional,
            "/health answers",
            Ruling::Passed,
            "status was 200",
            &[("status", 200.0, "", "= 200")],
        );
        self.saw(
            request("probe.until", "observe", "shop", "probe:shop", json!({ "probe": "shop", "path": "/health" })),
            Ok(seen),
            millis,
        )
    }

    pub fn watch(&mut self, result: Ruling, error_rate: f64, detail: &str, millis: u64) -> &mut Self {
        let readings =
            [("error-rate", error_rate, "%", "< 1%"), ("p95", 121.0, "ms", "<= 1.2 * baseline, here 142 ms")];
        let seen =
            verdict(Area::Performance, "shop: error-rate < 1% and p95 <= 1.2 * baseline", result, detail, &readings);
        self.saw(
            request("metrics.watch", "observe", "shop", "metrics:prom", json!({ "metrics": "shop", "time": 600 })),
            Ok(seen),
            millis,
        )
    }

    pub fn prepare(&mut self) -> &mut Self {
        self.begin("prepare", false, "baseline");
        let medians = json!({ "error-rate": 0.002, "p95": 0.118 });
        self.saw(
            request(
                "metrics.baseline",
                "observe",
                "shop",
                "metrics:prom",
                json!({ "metrics": "shop", "window": 2, "measures": { "error-rate": "fraction", "p95": "time" } }),
            ),
            Ok(medians),
            2000,
        );
        self.end(2010);
        self.begin("prepare", false, "copy");
        let orders = snapshot(
            "12-orders",
            2_100_000_000,
            2_113_402,
            "full compare",
            "c0ffee00c0ffee00",
            &[("customers", 113_402), ("orders", 2_000_000)],
        );
        self.did(
            request(
                "backup.take",
                "idempotent",
                "orders",
                "database:shop-prod",
                json!({ "resource": "orders", "id": "12-orders" }),
            ),
            Ok(orders),
            240_000,
        );
        let app = snapshot("12-app", 180_000_000, 311, "full compare", "", &[("current", 1), ("versions", 310)]);
        self.did(
            request("backup.take", "idempotent", "app", "tree:shop-app", json!({ "resource": "app", "id": "12-app" })),
            Ok(app),
            2_000,
        );
        self.end(242_050)
    }

    pub fn close(&mut self) -> &mut Self {
        self.begin("upgrade", false, "close");
        self.service("stop", 800);
        self.did(
            request(
                "database.fence",
                "idempotent",
                "orders",
                "database:shop-prod",
                json!({ "database": "orders", "within": 30 }),
            ),
            Ok(Value::Null),
            40,
        );
        let orders = snapshot(
            "12-orders",
            2_100_000_000,
            431,
            "page difference",
            "c0ffee00c0ffee00",
            &[("customers", 113_402), ("orders", 2_000_431)],
        );
        self.did(
            request("backup.refresh", "idempotent", "orders", "database:shop-prod", json!({ "resource": "orders" })),
            Ok(orders),
            20_000,
        );
        let app = snapshot("12-app", 180_000_000, 0, "full compare", "", &[("current", 1), ("versions", 310)]);
        self.did(
            request("backup.refresh", "idempotent", "app", "tree:shop-app", json!({ "resource": "app" })),
            Ok(app),
            200,
        );
        self.end(21_100)
    }

    pub fn install(&mut self) -> &mut Self {
        self.begin("upgrade", false, "install");
        self.did(
            request(
                "files.install",
                "idempotent",
                "app",
                "tree:shop-app",
                json!({ "tree": "app", "path": "versions/2.0", "payload": "shop-2.0" }),
            ),
            Ok(Value::Null),
            700,
        );
        self.did(
            request(
                "files.link",
                "idempotent",
                "app",
                "tree:shop-app",
                json!({ "tree": "app", "path": "current", "target": "versions/2.0" }),
            ),
            Ok(Value::Null),
            10,
        );
        self.did(
            request("tool.run", "once", "migrate", "tool:shop-migrate", json!({ "tool": "migrate" })),
            Ok(json!("17 steps\n")),
            40_000,
        );
        self.log("info", "schema 17");
        self.end(40_800)
    }

    pub fn start_new(&mut self) -> &mut Self {
        self.begin("upgrade", false, "start-new");
        self.did(
            request("database.unfence", "idempotent", "orders", "database:shop-prod", json!({ "database": "orders" })),
            Ok(Value::Null),
            20,
        );
        self.service("start", 1500);
        self.answers(6000);
        self.end(7600)
    }

    pub fn verify(&mut self, rolled_back: bool) -> &mut Self {
        self.begin("verify", rolled_back, "answers");
        let seen = verdict(
            Area::Functional,
            "/orders/1: status = 200 and json total > 0",
            Ruling::Passed,
            "status was 200, json total was 12.5",
            &[],
        );
        self.saw(
            request("probe.check", "observe", "shop", "probe:shop", json!({ "probe": "shop", "path": "/orders/1" })),
            Ok(seen),
            12,
        );
        self.end(20);
        if rolled_back {
            self.begin("verify", true, "data");
            let seen = verdict(
                Area::Data,
                "orders is as at the restore point",
                Ruling::Passed,
                "2 tables, 2113833 rows and the schema are equal",
                &[],
            );
            self.saw(
                request(
                    "database.check-unchanged",
                    "observe",
                    "orders",
                    "database:shop-prod",
                    json!({ "database": "orders" }),
                ),
                Ok(seen),
                31_000,
            );
            self.end(31_010);
        }
        self
    }

    pub fn plans(&mut self) -> &mut Self {
        self.assessed(&[
            ("high", "data", "2.0 drops orders.note; 431 orders have one"),
            ("low", "availability", "the shop is closed for about two minutes"),
        ]);
        let copy = Step { measured_runs: 3, ..plan("copy", "Copy database and files, prove the copies", 250) };
        self.planned("prepare", false, &[plan("baseline", "Record how 1.0 behaves", 5), copy]);
        let install = Step { roles: vec!["dba".into()], ..plan("install", "Install 2.0, migrate the database", 60) };
        let upgrade = [
            plan("close", "Close the shop, bring the copies up to date", 30),
            install,
            plan("start-new", "Start 2.0", 20),
            plan("watch", "Watch 2.0", 600),
        ];
        self.planned("upgrade", false, &upgrade);
        self.planned("verify", false, &[plan("answers", "Orders can be read", 5)]);
        self.planned("rollback", true, &rollback_plan())
    }
}

pub fn rollback_plan() -> [Step; 3] {
    let restore = Step { attempts: 3, roles: vec!["dba".into()], ..plan("restore", "Put 1.0 and its data back", 5) };
    [plan("stop", "Stop 2.0", 10), restore, plan("start-old", "Start 1.0", 20)]
}

/// Ends upgraded.
pub fn upgraded() -> Story {
    let mut story = Story::of(12, header("upgrade"));
    story.plans().wait(5000).prepare().close().install().start_new();
    story
        .begin("upgrade", false, "watch")
        .watch(Ruling::Passed, 0.3, "held in 600 of 600 samples", 600_000)
        .end(600_020);
    story.verify(false).ended("upgraded", 0, "");
    story
}

/// Up to the watch that sees the error rate.
pub fn turning_back() -> Story {
    let mut story = Story::of(12, header("upgrade"));
    story.plans().wait(5000).prepare().close().install().start_new();
    let detail = "error-rate was 7.1 % (must be < 1%) in 40 of 40 samples";
    story.begin("upgrade", false, "watch").watch(Ruling::Failed, 7.1, detail, 80_000);
    story.fail(Failure::failed(detail), 80_010);
    story.says(Level::Warn, &format!("rolling back, because upgrade/watch: {detail} (failed)"));
    story.planned("rollback", true, &rollback_plan());
    story.begin("rollback", true, "stop").service("stop", 2000).end(2010);
    story
}

/// Ends rolled back by itself.
pub fn rolled_back() -> Story {
    let mut story = turning_back();
    story.begin("rollback", true, "restore");
    let orders = json!({ "exchanged": true, "aside": "/srv/state/aside/12-orders", "lost": [
        { "part": "customers", "rows": 0, "changed": 0, "missing": 0 },
        { "part": "orders", "rows": 3, "changed": 1, "missing": 0 }] });
    story.did(
        request(
            "backup.restore",
            "once",
            "orders",
            "database:shop-prod",
            json!({ "resource": "orders", "changed": true }),
        ),
        Ok(orders),
        100,
    );
    let app = json!({ "exchanged": true, "aside": "/srv/app.aside-12", "lost": [
        { "part": "current", "rows": 0, "changed": 1, "missing": 0 },
        { "part": "versions", "rows": 318, "changed": 0, "missing": 0 }] });
    story.did(
        request("backup.restore", "once", "app", "tree:shop-app", json!({ "resource": "app", "changed": true })),
        Ok(app),
        20,
    );
    story.end(130);
    story.begin("rollback", true, "start-old").service("start", 1000).answers(3000).end(4010);
    story.planned("verify", true, &[plan("answers", "Orders can be read", 5), plan("data", "Data is as before", 60)]);
    story.verify(true);
    story.ended("rolled-back", 4, "upgrade/watch: error-rate was 7.1 % (must be < 1%) in 40 of 40 samples (failed)");
    story
}

/// A rollback that fails.
pub fn stopped() -> Story {
    let mut story = turning_back();
    let full = || Failure::unavailable("database orders: exchanging failed: no space left on the disk");
    let restore = || {
        request(
            "backup.restore",
            "once",
            "orders",
            "database:shop-prod",
            json!({ "resource": "orders", "changed": true }),
        )
    };
    story.begin("rollback", true, "restore");
    for attempt in 1..=3 {
        if attempt > 1 {
            story.wait(1000).begin_again(attempt);
        }
        story.did(restore(), Err(full()), 300).fail(full(), 310);
    }
    story.ended("stopped", 5, &format!("rollback/restore: {}", full()));
    story
}

/// Refused because the script asked for what it was not granted.
pub fn refused() -> Story {
    let mut story = Story::of(12, header("upgrade"));
    story.plans().wait(3000);
    story.begin("prepare", false, "copy").wait(4).denied("backup.take", "payroll", "backup");
    let denied = Failure::denied("backup.take on `payroll` needs the right `backup`, which is not granted");
    story.fail(denied.clone(), 6);
    story.ended("refused", 3, &format!("prepare/copy: {denied}"));
    story
}

/// The power failed while the database was migrated.
pub fn interrupted() -> Story {
    let mut story = Story::of(12, header("upgrade"));
    story.plans().wait(5000).prepare().close();
    story.begin("upgrade", false, "install");
    let link = request(
        "files.link",
        "idempotent",
        "app",
        "tree:shop-app",
        json!({ "tree": "app", "path": "current", "target": "versions/2.0" }),
    );
    story.did(link, Ok(Value::Null), 10);
    story.intend(request("tool.run", "once", "migrate", "tool:shop-migrate", json!({ "tool": "migrate" })));
    story
}
