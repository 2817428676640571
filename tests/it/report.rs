//! The report, from journals told by hand.
use crate::story::{self, Story, header, request, verdict};
use backout::{
    journal::Level,
    report::{self, Report},
    resource::{Area, Failure, Ruling, copies::Lost},
};
use expect_test::{Expect, expect, expect_file};
use serde_json::{Value, json};

fn of(story: &Story) -> Report {
    Report::of(&story.entries, &[])
}

/// The whole page stands in a file, as people get it.
fn page(name: &str, story: &Story) {
    let text = report::markdown(&of(story));
    expect_file![format!("{}/tests/it/reports/{name}.md", env!("CARGO_MANIFEST_DIR"))].assert_eq(&text);
    assert_eq!(text, report::markdown(&of(story)), "the same facts give the same page");
}

#[test]
fn an_upgrade() {
    page("upgraded", &story::upgraded());
}

#[test]
fn an_upgrade_that_went_back_by_itself() {
    page("rolled-back", &story::rolled_back());
}

#[test]
fn a_rollback_that_failed() {
    page("stopped", &story::stopped());
}

#[test]
fn a_run_that_was_refused() {
    page("refused", &story::refused());
}

#[test]
fn a_run_that_was_interrupted() {
    page("interrupted", &story::interrupted());
}

#[test]
fn the_json_form_says_the_same() {
    let text = report::json(&of(&story::rolled_back())).unwrap();
    expect_file![format!("{}/tests/it/reports/rolled-back.json", env!("CARGO_MANIFEST_DIR"))].assert_eq(&text);
}

fn block(story: &Story, expected: Expect) {
    expected.assert_eq(&report::stopped(&of(story)).unwrap_or_else(|| "nothing\n".into()));
}

#[test]
fn people_who_are_called_get_a_block_of_what_is_done_and_what_is_not() {
    block(
        &story::stopped(),
        expect![[r#"
            ■ STOPPED half-way. People are needed.
              done        database shop-prod open to applications
                          service shop stopped
                          prepare: baseline, copy (2 of 2 steps)
                          upgrade: close, install, start-new (3 of 4 steps)
                          rollback: stop (1 of 3 steps)
              NOT done    database shop-prod: not restored, may be as the upgrade left it
                          tree shop-app: not restored, may be as the upgrade left it
                          service shop: down
                          rollback/restore failed: database orders: exchanging failed: no space left on the
                            disk
                          rollback/start-old: not begun
                          verify after the rollback: not begun
              safe        proven copy of database shop-prod of 2026-03-01 14:06:40 UTC, 2.1 GB
                          proven copy of tree shop-app of 2026-03-01 14:06:41 UTC, 180 MB
                          nothing is half-exchanged
              next        1. remove the cause: rollback/restore: database orders: exchanging failed: no space
                            left on the disk (unavailable)
                          2. backout resume 12    go on where it stopped; what is done is not done again
                          3. backout rollback    go back to the restore point; what is restored already is
                            left alone
        "#]],
    );
    block(
        &story::interrupted(),
        expect![[r#"
            ■ NOT ENDED. It goes on, or was interrupted.
              done        database shop-prod fenced
                          service shop stopped
                          prepare: baseline, copy (2 of 2 steps)
                          upgrade: close (1 of 4 steps)
              NOT done    database shop-prod: not restored, may be as the upgrade left it
                          tree shop-app: not restored, may be as the upgrade left it
                          database shop-prod: fenced, no application gets in
                          service shop: down
                          upgrade/install: tool.run on tool shop-migrate was begun, its end is not recorded
                          upgrade/install: begun, not ended
                          upgrade/start-new: not begun
                          upgrade/watch: not begun
                          rollback: not begun
              safe        proven copy of database shop-prod of 2026-03-01 14:06:40 UTC, 2.1 GB
                          proven copy of tree shop-app of 2026-03-01 14:06:41 UTC, 180 MB
                          nothing is half-exchanged
              next        1. make sure that it does not go on; while it does, its resources are held
                          2. backout resume 12    go on where it stopped; what is done is not done again
                          3. backout rollback    go back to the restore point; what is restored already is
                            left alone
                          4. backout unfence    only if nothing is to be restored: let applications in again
        "#]],
    );
    block(&story::upgraded(), expect!["nothing\n"]);
    block(&story::rolled_back(), expect!["nothing\n"]);
    block(&story::refused(), expect!["nothing\n"]);
}

/// From, until, for how long.
fn down(story: &Story, earlier: &[backout::journal::Recorded]) -> Vec<(bool, u64)> {
    Report::of(&story.entries, earlier).down.iter().map(|d| (d.until.is_some(), d.millis)).collect()
}

#[test]
fn a_service_is_down_until_it_answers() {
    let start = || {
        let mut story = Story::of(1, header("upgrade"));
        story.begin("upgrade", false, "all");
        story
    };
    let until = |result| verdict(Area::Functional, "answers", result, "", &[]);
    let ask = || request("probe.until", "observe", "shop", "probe:shop", json!({}));

    let mut story = start();
    story.service("stop", 500).wait(1000).service("start", 200).answers(3000).wait(9000).answers(0).end(20_000);
    assert_eq!(down(&story, &[]), [(true, 4700)], "from the call that stops it to the first answer");

    let mut story = start();
    story.service("stop", 500).wait(1000).service("start", 200).wait(7000).end(9000);
    story.wait(5000).begin("verify", false, "later").answers(10).end(10);
    assert_eq!(down(&story, &[]), [(true, 1700)], "nobody asked in the step that started it");

    let mut story = start();
    story.service("stop", 500).service("start", 200).saw(ask(), Ok(until(Ruling::TimedOut)), 60_000);
    story.fail(Failure::timed_out("no answer"), 61_000);
    story.begin("rollback", true, "back").service("stop", 100).service("start", 200).answers(300).end(600);
    assert_eq!(down(&story, &[]), [(true, 61_300)], "a start without an answer does not end it");

    let mut story = start();
    story.service("stop", 500).wait(1500);
    assert_eq!(down(&story, &[]), [(false, 500)], "to the last entry when it is down still");

    let mut story = start();
    let stop = request("service.stop", "idempotent", "shop", "service:shop", json!({}));
    story.did(stop, Err(Failure::timed_out("it does not stop")), 500).end(500);
    assert_eq!(down(&story, &[]), [], "a stop that failed stopped nothing");

    let mut story = start();
    story.service("restart", 700).end(700);
    story.begin("upgrade", false, "other").service("stop", 100).service("start", 100).end(200);
    assert_eq!(down(&story, &[]), [(true, 700), (true, 200)]);

    let mut earlier = Story::of(1, header("upgrade"));
    earlier.begin("upgrade", false, "close").service("stop", 500).end(500);
    let mut story = Story::of(2, header("rollback")).after(&earlier);
    story.begin("rollback", true, "start").service("start", 500).answers(500).end(1000);
    assert_eq!(down(&story, &earlier.entries), [(true, 3_601_500)], "since an earlier run");
}

#[test]
fn a_rollback_of_its_own_knows_the_restore_point_of_the_upgrade() {
    let upgrade = story::upgraded();
    let header = backout::journal::Header { restore_point: 12, ..header("rollback") };
    let mut story = Story::of(13, header).after(&upgrade);
    story.planned("rollback", true, &story::rollback_plan());
    story.begin("rollback", true, "stop").service("stop", 2000).end(2010);
    story.watch(Ruling::Passed, 0.1, "", 10);
    // Written after the report was made.
    let mut later = Story::of(14, header_of_commit()).after(&story);
    let discard = json!({ "resource": "shop-prod", "snapshot": story::snapshot("12-orders", 1, 0, "", "", &[]) });
    let request = request("backup.discard", "idempotent", "shop-prod", "database:shop-prod", discard);
    later.at("commit", false, "", 1).did(request, Ok(json!(1)), 1);
    let earlier: Vec<_> = upgrade.entries.iter().chain(&story.entries).chain(&later.entries).cloned().collect();

    let report = Report::of(&story.entries, &earlier);
    let copies: Vec<_> = report.copies.iter().map(|c| (c.resource.as_str(), c.proven, c.changed, c.freed)).collect();
    assert_eq!(copies, [("database:shop-prod", true, true, false), ("tree:shop-app", true, true, false)]);
    assert!(report.one_cut);
    let metric = report.metrics.iter().find(|m| m.name == "error-rate").unwrap();
    assert_eq!((metric.before, metric.after_upgrade, metric.after_rollback), (Some(0.002), None, Some(0.001)));
    assert_eq!(report.phases.len(), 1, "phases of the upgrade are not this run's");
    assert!(report.checks.len() == 1 && report.risks.is_empty() && report.log.is_empty());
    assert!(report.half_way.is_some(), "the service is down, and the run has not ended");
}

fn header_of_commit() -> backout::journal::Header {
    backout::journal::Header { restore_point: 12, ..header("commit") }
}

#[test]
fn an_exchange_that_a_cut_off_run_began_is_settled_by_the_next() {
    let mut cut_off = story::turning_back();
    let restore = request("backup.restore", "once", "orders", "database:shop-prod", json!({ "resource": "orders" }));
    cut_off.begin("rollback", true, "restore").intend(restore);
    let half_way = of(&cut_off).half_way.unwrap();
    assert!(!half_way.safe.contains(&"nothing is half-exchanged".to_owned()), "{half_way:?}");
    let begun = "rollback/restore: backup.restore on database shop-prod was begun, its end is not recorded";
    assert!(half_way.not_done.contains(&begun.to_owned()), "{half_way:?}");

    let header = backout::journal::Header { restore_point: 12, ..header("rollback") };
    let mut story = Story::of(13, header).after(&cut_off);
    let settle = request("backup.settle", "observe", "orders", "database:shop-prod", json!({ "resource": "orders" }));
    story.at("settle", false, "", 1).saw(settle, Ok(json!({ "Done": { "aside": "/srv/aside" } })), 1);
    let report = Report::of(&story.entries, &cut_off.entries);
    let copy = &report.copies[0];
    assert_eq!((copy.resource.as_str(), copy.restored, copy.changed), ("database:shop-prod", true, false));
    assert_eq!(report.restored[0].aside.as_deref(), Some("/srv/aside"));
    assert!(report.unclear.is_empty(), "what an earlier run left open is not this run's");
}

#[test]
fn what_nobody_has_counted_is_not_taken_for_nothing() {
    let on = |operation: &str, class: &str| {
        request(operation, class, "orders", "database:shop-prod", json!({ "resource": "orders" }))
    };
    let upgraded = story::upgraded();
    let mut story =
        Story::of(13, backout::journal::Header { restore_point: 12, ..header("rollback") }).after(&upgraded);
    let later = json!({ "exchanged": true, "aside": "there", "lost": [Lost::later()] });
    story.begin("rollback", true, "restore").did(on("backup.restore", "once"), Ok(later), 1).end(2);
    let told = |story: &Story| Report::of(&story.entries, &upgraded.entries);
    let page = report::markdown(&told(&story));
    assert!(
        page.contains("  - (not counted: the product comes first)") && !page.contains("nothing in it differs"),
        "{page}"
    );
    let lost = json!([{ "part": "orders", "rows": 4, "changed": 0, "missing": 0 }]);
    story.at("count", false, "", 1).did(on("backup.count", "idempotent"), Ok(lost), 1);
    let page = report::markdown(&told(&story));
    assert!(page.contains("orders: 4 only there") && !page.contains("  - (not counted"), "{page}");
}

#[test]
fn copies_are_one_cut_only_when_one_refresh_brought_all_up_to_date() {
    let copy = |id: &str| story::snapshot(id, 10, 1, "full compare", "", &[("t", 1)]);
    let on = |operation: &str, what: &str| request(operation, "idempotent", what, &format!("tree:{what}"), json!({}));
    let one_cut = |tell: &dyn Fn(&mut Story)| {
        let mut story = Story::of(1, header("upgrade"));
        story.begin("prepare", false, "copy").did(on("backup.take", "a"), Ok(copy("a")), 1);
        story.did(on("backup.take", "b"), Ok(copy("b")), 1).end(2);
        tell(&mut story);
        of(&story).one_cut
    };
    assert!(!one_cut(&|_| {}), "taken one after the other");
    let both = |story: &mut Story| {
        story.begin("upgrade", false, "close").did(on("backup.refresh", "a"), Ok(copy("a")), 1);
        story.did(on("backup.refresh", "b"), Ok(copy("b")), 1).end(2);
    };
    assert!(one_cut(&both));
    assert!(!one_cut(&|story| {
        story.begin("upgrade", false, "close").did(on("backup.refresh", "a"), Ok(copy("a")), 1).end(2);
        story.begin("upgrade", false, "later").did(on("backup.refresh", "b"), Ok(copy("b")), 1).end(2);
    }));
    // A second call in the same step came as far as the first copy.
    assert!(!one_cut(&|story| {
        story.begin("upgrade", false, "close");
        for (what, cut) in [("a", 3), ("b", 3), ("a", 5)] {
            let refresh = request("backup.refresh", "idempotent", what, &format!("tree:{what}"), json!({ "cut": cut }));
            story.did(refresh, Ok(copy(what)), 1);
        }
        story.end(2);
    }));
    assert!(!one_cut(&|story| {
        both(story);
        story.begin("upgrade", false, "again").did(on("backup.take", "a"), Ok(copy("a")), 1).end(2);
    }));
}

#[test]
fn a_check_without_a_verdict_is_no_pass() {
    let mut story = Story::of(1, header("verify"));
    let check =
        |path: &str| request("probe.check", "observe", "shop", "probe:shop", json!({ "probe": "shop", "path": path }));
    story.begin("verify", false, "answers");
    story.saw(check("/a"), Err(Failure::invalid("unknown word `statsu`")), 1);
    story.saw(check("/b"), Ok(Value::Null), 1);
    story.saw(check("/c"), Ok(verdict(Area::Security, "/c", Ruling::Inconclusive, "no data", &[])), 1).end(3);
    let text = report::markdown(&of(&story));
    let checks: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("## Checks")).skip(2).take(6).collect();
    expect![[r#"
        0 of 3 passed.

        |  | check | about | where | seen |
        | --- | --- | --- | --- | --- |
        | ? | probe.check of probe shop, path /a | – | verify/answers | could not be made: unknown word \`statsu\` (invalid) |
        | ? | probe.check of probe shop, path /b | – | verify/answers | could not be made: its outcome is no verdict |"#]].assert_eq(&checks.join("\n"));
}

#[test]
fn hostile_words_stay_words() {
    let mut story = Story::of(1, header("upgrade"));
    let hostile =
        "x\n# Owned\n| a | b |\n<script>alert(1)</script> [click](http://evil) `code` **bold** \u{1b}[31m\u{202e}";
    story.assessed(&[("high", hostile, hostile)]);
    story.planned("prepare", false, &[story::plan("copy", hostile, 1)]);
    story.begin("prepare", false, "copy").log("warn", hostile).denied(hostile, hostile, hostile);
    story.saw(request("report.note", "observe", "", "run:1", json!({ "text": hostile })), Ok(Value::Null), 0);
    story.fail(Failure::failed(hostile), 1).says(Level::Error, hostile).ended("refused", 3, hostile);
    let text = report::markdown(&of(&story));
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    for line in text.lines() {
        assert!(!line.starts_with("# Owned") && !line.starts_with("| a |"), "{line}");
        let unescaped = |what: &str| line.match_indices(what).any(|(at, _)| !line[..at].ends_with('\\'));
        // Between backticks nothing is markup; none of these may stand elsewhere.
        if !line.contains('`') || line.matches("\\`").count() == line.matches('`').count() {
            assert!(!unescaped("<script") && !unescaped("[click") && !unescaped("**"), "{line}");
        }
    }
    expect![[r#"
        > x # Owned \| a \| b \| \<script>alert(1)\</script> \[click\](http://evil) \`code\` \*\*bold\*\* �\[31m�
        - nothing was changed; remove the cause and try again: x # Owned \| a \| b \| \<script>alert(1)\</script> \[click\](http://evil) \`code\` \*\*bold\*\* �\[31m�
        | high | x # Owned \| a \| b \| \<script>alert(1)\</script> \[click\](http://evil) \`code\` \*\*bold\*\* �\[31m� | x # Owned \| a \| b \| \<script>alert(1)\</script> \[click\](http://evil) \`code\` \*\*bold\*\* �\[31m� |"#]].assert_eq(&text.lines().filter(|l| l.contains("wned")).take(3).collect::<Vec<_>>().join("\n"));
}

#[test]
fn nothing_at_all_is_a_report_too() {
    let report = Report::of(&[], &[]);
    assert!(report::markdown(&report).starts_with('#') && report.half_way.is_none());
}
