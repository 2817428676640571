//! `runs`, `show` and `restore-points`, on a journal that a story left in a site's state folder.
use crate::story::{self, Story, header};
use backout::{
    journal::{Entry, Header, Journal, Recorded, RunId},
    resource::ResourceId,
    run::Locks,
};
use expect_test::{Expect, expect};
use serde_json::Value;
use std::{path::PathBuf, process::Command, sync::Arc};

pub struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("backout.toml"), "[site]\nstate = \"state\"\n").unwrap();
        Self { dir }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn journal(&self) -> PathBuf {
        self.state().join("journal.db")
    }

    /// As the run that wrote it would have.
    pub async fn tell_now(&self, story: &Story) -> RunId {
        std::fs::create_dir_all(self.state()).unwrap();
        let path = self.journal();
        let Entry::RunStarted(header) = &story.entries[0].entry else { panic!() };
        let (journal, run) = Journal::begin(&path, header.clone(), Arc::new(|_| ())).unwrap();
        for r in &story.entries[1..] {
            journal.append(run, &r.place, r.seq, r.entry.clone()).await.unwrap();
        }
        run
    }

    /// The time that it was is the story's.
    async fn tell(&self, story: &Story) {
        let run = self.tell_now(story).await;
        let path = self.journal();
        let db = rusqlite::Connection::open(&path).unwrap();
        let mut statement = db.prepare("SELECT id FROM entry WHERE run = ?1 ORDER BY id").unwrap();
        let ids: Vec<i64> = statement.query_map([run as i64], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for (id, Recorded { at, .. }) in ids.iter().zip(&story.entries) {
            db.execute("UPDATE entry SET at = ?1 WHERE id = ?2", [at, id]).unwrap();
        }
    }

    pub fn says(&self, code: i32, args: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_backout"))
            .args(args)
            .env("TZ", "UTC")
            .env_remove("BACKOUT_SITE")
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let said = if matches!(code, 0 | 10) { output.stdout } else { output.stderr };
        String::from_utf8(said).unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        self.parse(0, args)
    }

    pub fn parse(&self, code: i32, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(code, args)).unwrap()
    }
}

fn same(expected: Expect, text: &str) {
    expected.assert_eq(text);
}

#[test]
fn where_nothing_was_ever_run_there_is_nothing_to_list() {
    let site = Site::new();
    assert_eq!(site.says(0, &["runs"]), "there was no run yet\n");
    assert_eq!(site.says(0, &["restore-points"]), "there is no restore point\n");
    assert_eq!(site.json(&["--json", "runs"]), serde_json::json!([]));
    assert_eq!(site.json(&["--json", "restore-points"]), serde_json::json!([]));
    assert_eq!(site.says(3, &["show"]), "error: there was no run yet\n");
    assert!(!site.state().exists(), "looking makes nothing");
}

#[tokio::test]
async fn runs_are_listed_newest_first() {
    let site = Site::new();
    site.tell(&story::rolled_back()).await;
    site.tell(&story::refused()).await;
    site.tell(&story::interrupted()).await;
    same(
        expect![[r#"
            $ backout runs
              run  began                command  package          outcome      took
              3    2026-03-01 14:02:11  upgrade  acme/shop 2.0.0  interrupted
              2    2026-03-01 14:02:11  upgrade  acme/shop 2.0.0  refused      3 s
              1    2026-03-01 14:02:11  upgrade  acme/shop 2.0.0  rolled back  7 m 15 s
        "#]],
        &format!("$ backout runs\n{}", site.says(0, &["runs"])),
    );
    let runs = site.json(&["runs", "--json"]);
    let outcomes: Vec<_> = runs.as_array().unwrap().iter().map(|r| (&r["run"], &r["outcome"], &r["exit"])).collect();
    assert_eq!(
        format!("{outcomes:?}"),
        r#"[(Number(3), String("interrupted"), Null), (Number(2), String("refused"), Number(3)), (Number(1), String("rolled-back"), Number(4))]"#
    );
    assert_eq!(runs[2]["started"], "2026-03-01T14:02:11Z");
    assert_eq!(site.json(&["--json", "runs", "-n", "1"]).as_array().unwrap().len(), 1);

    // Who holds a lock goes on.
    let mut locks = Locks::take(&site.state(), &[ResourceId::new("service", "shop")]).unwrap();
    locks.name(3).unwrap();
    assert_eq!(site.json(&["--json", "runs"])[0]["outcome"], "running");
    drop(locks);
    assert_eq!(site.json(&["--json", "runs"])[0]["outcome"], "interrupted");
}

#[tokio::test]
async fn a_run_is_shown_as_its_report() {
    let site = Site::new();
    site.tell(&story::upgraded()).await;
    site.tell(&story::stopped()).await;
    let text = site.says(0, &["show"]);
    assert!(text.starts_with("# acme/shop 1.4.2 → 2.0.0 on web-3: stopped\n"), "{text}");
    assert!(text.contains("## Half-way: people are needed"), "{text}");
    let text = site.says(0, &["show", "1"]);
    assert!(text.starts_with("# acme/shop 1.4.2 → 2.0.0 on web-3: upgraded\n"), "{text}");
    let report = site.json(&["show", "1", "--json"]);
    assert_eq!((&report["run"], &report["ending"]["outcome"]), (&1.into(), &"upgraded".into()));
    same(
        expect![[r#"
        error: there is no run 7
          hint: `backout runs` lists them
    "#]],
        &site.says(3, &["show", "7"]),
    );
    assert_eq!(site.json(&["show", "1", "--json"]), report, "and again the same");
}

#[tokio::test]
async fn what_one_can_go_back_to() {
    let site = Site::new();
    site.tell(&story::rolled_back()).await;
    site.tell(&story::upgraded()).await;
    // How long ago it was depends on today, and with it the width of the column.
    let cells = |line: &str| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect::<Vec<_>>().join(" | ");
    let age = |cell: String| match (cell.find(", "), cell.find(" ago")) {
        (Some(from), Some(until)) => format!("{} (…){}", &cell[..from], &cell[until..]),
        _ => cell,
    };
    let table: String = site.says(0, &["restore-points"]).lines().map(|line| age(cells(line)) + "\n").collect();
    same(
        expect![[r#"
            run | of | package | goes back to | state | size | proven | one cut | copies of
            2 | 2026-03-01 14:06:41 (…) ago | acme/shop 2.0.0 | 1.4.2 | ready | 2.3 GB | yes | yes | database shop-prod, tree shop-app
            1 | 2026-03-01 14:06:41 (…) ago | acme/shop 2.0.0 | 1.4.2 | restored | 2.3 GB | yes | yes | database shop-prod, tree shop-app

            run 1: what was live in database shop-prod is kept at /srv/state/aside/12-orders
            run 1: what was live in tree shop-app is kept at /srv/app.aside-12
        "#]],
        &table,
    );
    let points = site.json(&["restore-points", "--json"]);
    let states: Vec<_> = points.as_array().unwrap().iter().map(|p| p["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ready", "restored"], "newest first");
    assert_eq!(points[0]["restore_point"]["snapshots"]["database:shop-prod"]["proven"], true);

    // A commit frees the copies of both.
    let header = Header { restore_point: 2, ..header("commit") };
    let mut commit = Story::of(3, header);
    commit.at("commit", false, "", 1);
    for (resource, id, bytes) in
        [("database:shop-prod", "12-orders", 2_100_000_000u64), ("tree:shop-app", "12-app", 180_000_000)]
    {
        let snapshot = story::snapshot(id, bytes, 0, "", "", &[]);
        let discard = serde_json::json!({ "resource": resource, "snapshot": snapshot });
        commit.did(story::request("backup.discard", "idempotent", resource, resource, discard), Ok(bytes.into()), 5);
    }
    commit.ended("committed", 0, "");
    site.tell(&commit).await;
    assert_eq!(site.says(0, &["restore-points"]), "there is no restore point\n");
    let points = site.json(&["restore-points", "--all", "--json"]);
    assert_eq!(points[0]["state"], "committed");
}
