//! The live display and the plan, as text.
use crate::story::{self, Story, header, plan, request};
use backout::{
    cli::progress::{self, Board, Display, Mark, Paper, Row},
    gate::{Event, Events, Work},
    journal::{Entry, Level, Place, Risk, Step},
    resource::{Area, Failure, Ruling},
    run::life_cycle::Plans,
};
use expect_test::expect;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const FILE: Paper = Paper { width: None, colour: false };

fn wide(width: usize) -> Paper {
    Paper { width: Some(width), colour: false }
}

fn board(verbose: u8) -> Board {
    Board::new(verbose, |at| format!("{:02}:{:02}", at / 60_000 % 60, at / 1000 % 60))
}

fn rows(board: &mut Board, story: &Story) -> Vec<Row> {
    story.entries.iter().flat_map(|r| board.hear(&Event::Recorded(Box::new(r.clone())), r.at)).collect()
}

fn lines(rows: &[Row], paper: Paper) -> String {
    rows.iter().flat_map(|row| paper.row(row)).map(|line| line + "\n").collect()
}

/// On a terminal the living line says that a step has begun.
fn on_terminal(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.mark != Mark::Started);
    rows
}

fn news(place: &Place, operation: &str, text: &str, done: u64, total: u64) -> Event {
    let (place, operation, text) = (place.clone(), operation.into(), text.into());
    Event::Progress(Box::new(Work { place, operation, text, done, total }))
}

#[test]
fn an_upgrade_that_goes_back_on_a_terminal() {
    let rows = on_terminal(rows(&mut board(0), &story::rolled_back()));
    expect![[r#"
          run 12                upgrade acme/shop 1.4.2 → 2.0.0 on web-3                               02:11
        ✓ prepare/baseline      error-rate 0.2 %, p95 118 ms                                             2 s
        ✓ prepare/copy          2 copies proven, 2.3 GB                                             4 m 02 s
        ✓ upgrade/close         431 changes in the copies brought up to date                            21 s
        ✓ upgrade/install                                                                               41 s
        ✓ upgrade/start-new     status 200                                                               8 s
        ✗ upgrade/watch         error-rate was 7.1 % (must be < 1%) in 40 of 40 samples             1 m 20 s
        ! backout: rolling back, because upgrade/watch: error-rate was 7.1 % (must be < 1%) in 40 of 40
          samples (failed)
        ✓ rollback/stop                                                                                  2 s
        ✓ rollback/restore      orders exchanged, set aside 4 in orders; app exchanged, set aside 1 …  0.1 s
        ✓ rollback/start-old    status 200                                                               4 s
        ✓ verify/answers        /orders/1: status = 200 and json total > 0                             20 ms
        ✓ verify/data           orders is as at the restore point                                       31 s
    "#]]
    .assert_eq(&lines(&rows, wide(100)));
}

#[test]
fn the_same_in_a_file() {
    let text = lines(&rows(&mut board(1), &story::rolled_back()), FILE);
    expect![[r#"
          run 12                upgrade acme/shop 1.4.2 → 2.0.0 on web-3  02:11
        … prepare/baseline      Record how 1.0 behaves
        ✓ prepare/baseline      error-rate 0.2 %, p95 118 ms  2 s
        … prepare/copy          Copy database and files, prove the copies
        ✓ prepare/copy          2 copies proven, 2.3 GB  4 m 02 s
        … upgrade/close         Close the shop, bring the copies up to date
        ✓ upgrade/close         431 changes in the copies brought up to date  21 s
        … upgrade/install       Install 2.0, migrate the database
          upgrade/install       schema 17
        ✓ upgrade/install       41 s
        … upgrade/start-new     Start 2.0
        ✓ upgrade/start-new     status 200  8 s
        … upgrade/watch         Watch 2.0
        ✗ upgrade/watch         error-rate was 7.1 % (must be < 1%) in 40 of 40 samples  1 m 20 s
        ! backout: rolling back, because upgrade/watch: error-rate was 7.1 % (must be < 1%) in 40 of 40 samples (failed)
        … rollback/stop         Stop 2.0
        ✓ rollback/stop         2 s
        … rollback/restore      Put 1.0 and its data back
        ✓ rollback/restore      orders exchanged, set aside 4 in orders; app exchanged, set aside 1 in current, 318 in versions  0.1 s
        … rollback/start-old    Start 1.0
        ✓ rollback/start-old    status 200  4 s
        … verify/answers        Orders can be read
        ✓ verify/answers        /orders/1: status = 200 and json total > 0  20 ms
        … verify/data           Data is as before
        ✓ verify/data           orders is as at the restore point  31 s
    "#]].assert_eq(&text);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "plain text");
}

#[test]
fn attempts_that_fail_and_a_rollback_that_stops() {
    let rows = on_terminal(rows(&mut board(0), &story::stopped()));
    expect![[r#"
        ↻ rollback/restore      database orders: exchanging failed: no space left  0.3 s
                                on the disk, attempt 1 of 3
        ↻ rollback/restore      database orders: exchanging failed: no space left  0.3 s
                                on the disk, attempt 2 of 3
        ✗ rollback/restore      database orders: exchanging failed: no space left  0.3 s
                                on the disk, attempt 3 of 3
    "#]]
    .assert_eq(&lines(&rows[rows.len() - 3..], wide(80)));
}

#[test]
fn colours_only_repeat_what_words_say() {
    let row = Row { mark: Mark::Failed, name: "upgrade/watch".into(), text: "too slow".into(), time: "9 s".into() };
    let plain = wide(60).row(&row);
    let coloured = Paper { width: Some(60), colour: true }.row(&row);
    assert!(coloured[0].contains("\u{1b}[31m✗\u{1b}[0m"), "{coloured:?}");
    let stripped: Vec<_> = coloured.iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect();
    assert_eq!(stripped, plain);
}

#[test]
fn a_step_that_goes_on_is_one_line_however_narrow() {
    let mut board = board(0);
    let mut story = Story::of(12, header("upgrade"));
    story.plans().begin("prepare", false, "copy").begin("verify", false, "unplanned");
    rows(&mut board, &story);
    let began = story.entries.last().unwrap().at;
    let copy = Place::new("prepare", false, "copy", 1);
    let mut text = String::new();
    let mut draw = |board: &Board, what: &str, width: usize, after: i64| {
        text += &format!("{what}\n");
        for live in board.live(began + after) {
            let line = wide(width).live(&live, 3);
            assert!(console::measure_text_width(&line) < width, "{line:?}");
            text += &format!("{}\n", line.trim_end());
        }
    };
    draw(&board, "nothing told yet", 100, 100);
    board.hear(&news(&copy, "backup.take", "copying", 1_300_000_000, 2_100_000_000), began);
    draw(&board, "bytes", 100, 12_000);
    draw(&board, "narrower", 72, 12_000);
    draw(&board, "narrowest", 34, 12_000);
    board.hear(
        &news(&copy, "backup.take", "comparing customers, orders, order_lines, addresses, and every other table", 0, 0),
        began,
    );
    draw(&board, "longer than its estimate", 100, 400_000);
    expect![[r#"
        nothing told yet
        ⠸ prepare/copy          Copy database and files, prove the copi…  ──────────────  0.1 s of 4 m 10 s
        ⠸ verify/unplanned                                                                            0.1 s
        bytes
        ⠸ prepare/copy          copying  1.3 GB of 2.1 GB                  ━━━━━━━━╸─────  12 s of 4 m 10 s
        ⠸ verify/unplanned                                                                             12 s
        narrower
        ⠸ prepare/copy          copying  1.3 GB of 2.1 GB      12 s of 4 m 10 s
        ⠸ verify/unplanned                                                 12 s
        narrowest
        ⠸ prepare/copy          co…  12 s
        ⠸ verify/unplanned           12 s
        longer than its estimate
        ⠸ prepare/copy          comparing customers, orders, order_l…  ━━━━━━━━━━━━━╸  6 m 40 s of 4 m 10 s
        ⠸ verify/unplanned                                                                         6 m 40 s
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_bar_grows_with_what_is_done() {
    let live = |part| progress::Live { name: "a/b".into(), text: String::new(), part: Some(part), time: "1 s".into() };
    let bars = [0.0, 0.3, 0.54, 1.0].map(|part| {
        let line = wide(80).live(&live(part), 0);
        line.chars().filter(|c| "━╸─".contains(*c)).collect::<String>()
    });
    assert_eq!(bars, ["──────────────", "━━━━──────────", "━━━━━━━╸──────", "━━━━━━━━━━━━━━"]);
}

#[test]
fn plain_news_comes_now_and_then() {
    let mut board = board(0);
    let mut story = Story::of(12, header("upgrade"));
    story.plans().begin("upgrade", false, "watch");
    rows(&mut board, &story);
    let began = story.entries.last().unwrap().at;
    let watch = Place::new("upgrade", false, "watch", 1);
    let mut told = Vec::new();
    for tenth in 0..600 {
        let now = began + tenth * 100;
        // After half a minute nothing new is to be told.
        let sample = (tenth / 10).min(30);
        board.hear(&news(&watch, "metrics.watch", &format!("error-rate 0.{sample} %"), sample as u64, 60), now);
        told.extend(board.plain_news(now));
    }
    expect![[r#"
        news
          upgrade/watch         error-rate 0.10 %  10 s of 10 m 00 s
          upgrade/watch         error-rate 0.20 %  20 s of 10 m 00 s
          upgrade/watch         error-rate 0.30 %  30 s of 10 m 00 s
    "#]]
    .assert_eq(&format!("news\n{}", lines(&told, FILE)));
}

#[test]
fn the_log_of_the_script_is_heard_as_loud_as_asked() {
    let mut story = Story::of(12, header("upgrade"));
    story.begin("upgrade", false, "install").log("debug", "a detail").log("info", "news").log("warn", "look here");
    story.saw(request("report.note", "observe", "", "run:12", json!({ "text": "remarkable" })), Ok(Value::Null), 0);
    let check = |result| story::verdict(Area::Security, "headers", result, "x-frame-options is missing", &[]);
    let report = request("report.check", "observe", "", "run:12", json!({}));
    story.saw(report.clone(), Ok(check(Ruling::Passed)), 0).saw(report, Ok(check(Ruling::Failed)), 0).end(5);
    let heard = |verbose| lines(&on_terminal(rows(&mut board(verbose), &story)), FILE);
    expect![[r#"
          run 12                upgrade acme/shop 1.4.2 → 2.0.0 on web-3  02:11
        ! upgrade/install       look here
        ! upgrade/install       headers: x-frame-options is missing
        ✓ upgrade/install       headers  5 ms
    "#]]
    .assert_eq(&heard(0));
    expect![[r#"
          run 12                upgrade acme/shop 1.4.2 → 2.0.0 on web-3  02:11
          upgrade/install       news
        ! upgrade/install       look here
          upgrade/install       remarkable
        ! upgrade/install       headers: x-frame-options is missing
        ✓ upgrade/install       headers  5 ms
    "#]]
    .assert_eq(&heard(1));
    expect![[r#"
          run 12                upgrade acme/shop 1.4.2 → 2.0.0 on web-3  02:11
          upgrade/install       a detail
          upgrade/install       news
        ! upgrade/install       look here
          upgrade/install       remarkable
        ! upgrade/install       headers: x-frame-options is missing
        ✓ upgrade/install       headers  5 ms
    "#]]
    .assert_eq(&heard(2));
}

#[test]
fn what_backout_does_by_itself_is_shown_too() {
    let mut story = Story::of(14, header("commit"));
    let discard = || request("backup.discard", "idempotent", "shop-prod", "database:shop-prod", json!({}));
    story.at("commit", false, "", 1).did(discard(), Ok(json!(7)), 30).did(discard(), Err(Failure::failed("busy")), 30);
    expect![[r#"
          run 14                commit acme/shop 1.4.2 → 2.0.0 on web-3  02:11
        ✓ commit                backup.discard database shop-prod  30 ms
        ✗ commit                backup.discard database shop-prod: busy (failed)  30 ms
    "#]]
    .assert_eq(&lines(&rows(&mut board(0), &story), FILE));
}

#[test]
fn a_display_that_fell_behind_finds_its_feet() {
    let mut board = board(0);
    let mut story = Story::of(12, header("upgrade"));
    story.plans().begin("upgrade", false, "close").begin("upgrade", false, "install");
    rows(&mut board, &story);
    assert_eq!(board.live(0).len(), 2);
    assert_eq!(board.lagged(17).len(), 1);
    assert!(board.lagged(4).is_empty(), "that is said once");
    assert!(board.live(0).is_empty(), "one of them may have ended");
    board.hear(&news(&Place::new("upgrade", false, "install", 1), "tool.run", "step 4", 0, 0), 1000);
    let names: Vec<_> = board.live(0).into_iter().map(|live| live.name).collect();
    assert_eq!(names, ["upgrade/install"], "it still has something to tell");
    let left: Vec<_> = board.end(2000).into_iter().map(|row| (row.mark, row.time)).collect();
    assert_eq!(left, [(Mark::Open, "1 s".to_owned())]);
}

#[test]
fn hostile_words_stay_on_their_line() {
    let hostile = "up\u{1b}[2A\u{1b}[2Kdate\r\nok\u{202e}\u{200b}\u{9b}1m ✓ upgrade/watch \u{7}";
    let mut board = board(2);
    let mut story = Story::of(12, header("upgrade"));
    story.planned("upgrade", false, &[plan("install", hostile, 9)]).begin("upgrade", false, "install");
    story.log("warn", hostile).log("debug", hostile).denied(hostile, hostile, hostile);
    let mut rows = rows(&mut board, &story);
    let place = story.entries.last().unwrap().place.clone();
    board.hear(&news(&place, hostile, hostile, 1, 2), 0);
    let live = board.live(0);
    let mut end = Story::of(12, header("upgrade"));
    end.at("upgrade", false, "install", 1).fail(Failure::failed(hostile.repeat(50)), 1).says(Level::Error, hostile);
    rows.extend(self::rows(&mut board, &end).into_iter().skip(1));
    let mut lines: Vec<String> = rows.iter().flat_map(|row| wide(80).row(row)).collect();
    lines.extend(live.iter().map(|live| wide(80).live(live, 0)));
    assert!(lines.len() > 10);
    for line in lines {
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{200b}'), "{line:?}");
        assert!(console::measure_text_width(&line) <= 80, "{line:?}");
    }
    let risks = vec![Risk { severity: hostile.into(), subject: hostile.into(), detail: hostile.into() }];
    let steps = vec![Step { roles: vec![hostile.into()], ..plan(hostile, hostile, 1) }];
    let text = progress::plan(&Plans { risks, upgrade: steps.clone(), rollback: steps, ..Plans::default() }, wide(80));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn the_plan() {
    let mut plans = Plans {
        risks: vec![
            Risk {
                severity: "high".into(),
                subject: "data".into(),
                detail: "2.0 drops orders.note; 431 orders have one".into(),
            },
            Risk {
                severity: "low".into(),
                subject: "availability".into(),
                detail: "the shop is closed for two minutes".into(),
            },
        ],
        prepare: vec![
            plan("baseline", "Record how 1.0 behaves", 5),
            Step {
                measured_runs: 3,
                after: vec!["baseline".into()],
                ..plan("copy", "Copy database and files, prove the copies", 250)
            },
        ],
        upgrade: vec![
            plan("close", "Close the shop, bring the copies up to date", 30),
            Step {
                roles: vec!["dba".into()],
                after: vec!["close".into()],
                ..plan("install", "Install 2.0, migrate the database", 60)
            },
            Step { after: vec!["install".into()], ..plan("watch", "Watch 2.0", 900) },
        ],
        verify: vec![
            plan("answers", "Orders can be read", 5),
            plan("headers", "Security headers are set", 5),
            plan("load", "Fast enough for 20 clients", 30),
        ],
        rollback: story::rollback_plan().to_vec(),
    };
    for n in 1..3 {
        let before = plans.rollback[n - 1].name.clone();
        plans.rollback[n].after = vec![before];
    }
    expect![[r#"

        risk  high     data            2.0 drops orders.note; 431 orders have one
              low      availability    the shop is closed for two minutes

        prepare     1  baseline  Record how 1.0 behaves                             5 s
                    2  copy      Copy database and files, prove the copies     4 m 10 s *
        upgrade     3  close     Close the shop, bring the copies up to date       30 s
                    4  install   Install 2.0, migrate the database             1 m 00 s    dba
                    5  watch     Watch 2.0                                    15 m 00 s
        verify      6  answers   Orders can be read                                 5 s
                    7  headers   Security headers are set                           5 s    in parallel
                    8  load      Fast enough for 20 clients                        30 s    in parallel

        About 21 m 15 s in all.   * measured here, 3 earlier runs.   People: dba.
        If it fails: stop, restore, start-old; back in about 35 s.
    "#]]
    .assert_eq(&progress::plan(&plans, wide(100)));
    let narrow = progress::plan(&plans, wide(72));
    assert!(narrow.lines().filter(|l| l.contains("Copy database")).all(|l| l.contains('…')), "{narrow}");
    assert!(narrow.lines().all(|line| console::measure_text_width(line) <= 72), "{narrow}");
    plans.upgrade.clear();
    plans.prepare.clear();
    expect![[r#"

        risk  high     data            2.0 drops orders.note; 431 orders have one
              low      availability    the shop is closed for two minutes

        rollback    1  stop       Stop 2.0                    10 s
                    2  restore    Put 1.0 and its data back    5 s    dba
                    3  start-old  Start 1.0                   20 s
        verify      4  answers    Orders can be read           5 s
                    5  headers    Security headers are set     5 s    in parallel
                    6  load       Fast enough for 20 clients  30 s    in parallel

        About 1 m 05 s in all.   People: dba.
    "#]]
    .assert_eq(&progress::plan(&plans, FILE));
}

#[test]
fn steps_beside_each_other_take_as_long_as_the_longest() {
    let mut plans =
        Plans { upgrade: vec![plan("a", "", 100), plan("b", "", 100), plan("c", "", 10)], ..Plans::default() };
    assert!(progress::plan(&plans, FILE).contains("About 1 m 40 s in all."));
    plans.upgrade[0].after = vec!["c".into()];
    plans.upgrade[1].after = vec!["a".into()];
    assert!(progress::plan(&plans, FILE).contains("About 3 m 30 s in all."), "c, a, b though c stands last");
}

#[test]
fn a_display_holds_up_nothing() {
    let events = Events::default();
    let display = Display::start(&events, 0);
    let place = Place::new("upgrade", false, "install", 1);
    let began = Instant::now();
    for n in 0..100_000 {
        events.send(news(&place, "tool.run", "busy", n, 100_000));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A clone that lives on must not keep it from ending.
    let _clone = display.clone();
    display.finish();
    display.finish();
    events.send(Event::Recorded(Box::new(story::upgraded().entries.remove(0))));
    assert!(matches!(story::upgraded().entries[0].entry, Entry::RunStarted(_)));
}
