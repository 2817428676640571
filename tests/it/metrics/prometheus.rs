//! The driver of Prometheus on a real one.
use super::{read, verdict};
use crate::support::{
    command::backout,
    packages::Folder,
    product::Product,
    prometheus::{Servers, servers},
    script::{Script, lend, told},
};
use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::any,
};
use backout::{
    capability::{
        Call,
        metrics::wit::{AlertState, Host as _},
    },
    condition::Unit,
    resource::{
        Access, Header, Metrics, Right, Ruling,
        metrics::{Alertmanager, Driver, PromQl, Prometheus, Section, drivers},
    },
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

fn section(url: String, queries: &[(&str, &str, Option<Unit>)]) -> Prometheus {
    let query =
        |(name, text, unit): &(&str, &str, _)| ((*name).to_owned(), PromQl { text: (*text).to_owned(), unit: *unit });
    Prometheus {
        url,
        headers: BTreeMap::new(),
        timeout: Duration::from_secs(5),
        queries: queries.iter().map(query).collect(),
        alertmanager: None,
        alerts: None,
    }
}

fn open(section: Prometheus) -> Access<Metrics> {
    drivers::open(&Section { driver: Driver::Prometheus(section) }, |_| None).unwrap()
}

fn plain(url: String, queries: &[(&str, &str)]) -> Access<Metrics> {
    let queries: Vec<_> = queries.iter().map(|(name, text)| (*name, *text, None)).collect();
    open(section(url, &queries))
}

fn script_of(metrics: Access<Metrics>, listed: &[&str]) -> Script {
    let mut script = Script::new();
    let mut lend = lend("metrics", "prom", metrics);
    lend.terms.queries = listed.iter().map(|name| (*name).to_owned()).collect();
    script.resources.metrics.0.insert("shop".to_owned(), lend);
    script
}

fn shop() -> String {
    "shop".to_owned()
}

/// A blocking wait in a place where tests run beside each other.
async fn shown(query: &'static str, wanted: f64) {
    tokio::task::spawn_blocking(move || servers().shown(query, |value| value == Some(wanted))).await.unwrap();
}

async fn start() -> &'static Servers {
    tokio::task::spawn_blocking(servers).await.unwrap()
}

#[tokio::test]
async fn numbers_are_what_the_server_says() {
    let servers = start().await;
    for (series, value) in [("n_size{a=\"x\"}", "512"), ("n_size{a=\"y\"}", "NaN"), ("n_size{a=\"z\"}", "+Inf")] {
        servers.show(series, value);
    }
    shown("n_size{a=\"x\"}", 512.0).await;
    let metrics = open(section(
        servers.url(),
        &[
            ("scalar", "scalar(n_size{a=\"x\"}) / 2", None),
            ("millis", "n_size{a=\"x\"}", Some(Unit::Milliseconds)),
            ("percent", "vector(3)", Some(Unit::Percent)),
            ("nan", "n_size{a=\"y\"}", None),
            ("infinite", "n_size{a=\"z\"}", None),
            ("gone", "no_such_series", None),
            ("few", "n_size{a=\"x\"} and on() n_size{a=\"x\"} > 1000", None),
        ],
    ));
    let names = metrics.observer.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let numbers = read(&metrics, &names).await.unwrap();
    let wanted = [
        ("few", None),
        ("gone", None),
        ("infinite", None),
        ("millis", Some(0.512)),
        ("nan", None),
        ("percent", Some(0.03)),
        ("scalar", Some(256.0)),
    ];
    assert_eq!(numbers, wanted.map(|(name, number)| (name.to_owned(), number)).into());
    assert_eq!(read(&metrics, &["lost"]).await.unwrap_err().kind.as_str(), "invalid");
    // What it measures is the site's to say.
    let script = script_of(metrics, &["millis", "percent", "gone", "nan"]);
    let (kind, why) = told(script.call().check(shop(), "millis < 1%".to_owned()).await);
    assert_eq!((kind, why.lines().next().unwrap()), ("invalid", "`millis` is a time, such as `300ms`"));
    script.call().check(shop(), "millis <= 512ms and percent < 4%".to_owned()).await.unwrap();
    for name in ["gone", "nan"] {
        let (kind, why) = told(script.call().query(shop(), name.to_owned()).await);
        assert_eq!((kind, why), ("inconclusive", format!("`{name}` has no data now")));
        assert_eq!(told(script.call().check(shop(), format!("{name} < 1")).await).0, "inconclusive");
    }
}

#[tokio::test]
async fn a_query_that_gives_no_number_is_a_mistake_and_says_how_to_write_it() {
    let servers = start().await;
    for instance in ["a", "b", "c", "d"] {
        servers.show(&format!("w_size{{at=\"{instance}\"}}"), "1");
    }
    shown("sum(w_size)", 4.0).await;
    let mut said = String::new();
    for query in [
        "sum(rate(x[1m])",
        "up{job=~\"(\"}",
        "no_such_function(up)",
        "sum by (at) (w_size)",
        "w_size[1m]",
        "\"text\"",
        "w_size * on(job) w_size",
    ] {
        let failure = read(&plain(servers.url(), &[("n", query)]), &["n"]).await.unwrap_err();
        said.push_str(&format!("{query}\n  {failure}\n"));
    }
    expect_test::expect![[r#"
        sum(rate(x[1m])
          `n`: Prometheus: invalid parameter "query": 1:16: parse error: unclosed left parenthesis (invalid)
        up{job=~"("}
          `n`: Prometheus: invalid parameter "query": 1:4: parse error: error parsing regexp: missing closing ): `^(?:()$` (invalid)
        no_such_function(up)
          `n`: Prometheus: invalid parameter "query": 1:1: parse error: unknown function with name "no_such_function" (invalid)
        sum by (at) (w_size)
          `n`: the query gives 4 series where one is wanted, which differ in at; make one of them, as in `sum(…)` or `max(…)` (invalid)
        w_size[1m]
          `n`: the query gives many values for each series: make one number of them, as in `rate(…[1m])` (invalid)
        "text"
          `n`: the query gives the text `text`, not a number (invalid)
        w_size * on(job) w_size
          `n`: Prometheus: the query cannot be answered: found duplicate series for the match group {…} on the right hand-side of the operation: [{…}, {…}];many-to-many matching not allowed: matching labels must be unique on one side (invalid)
    "#]].assert_eq(&said);
}

#[tokio::test]
async fn a_series_that_has_ended_is_no_data_at_once() {
    let servers = start().await;
    servers.show("ended_size", "7");
    shown("ended_size", 7.0).await;
    let metrics = plain(servers.url(), &[("n", "ended_size")]);
    assert_eq!(read(&metrics, &["n"]).await.unwrap()["n"], Some(7.0));
    servers.hide("ended_size");
    tokio::task::spawn_blocking(|| servers.shown("ended_size", |value| value.is_none())).await.unwrap();
    assert_eq!(read(&metrics, &["n"]).await.unwrap()["n"], None);
    let (kind, why) = told(script_of(metrics, &["n"]).call().watch(shop(), "n < 8".to_owned(), 1).await);
    assert_eq!((kind, why.as_str()), ("inconclusive", "held in 0 of 2 samples, 2 had no data: n: no data"));
}

#[tokio::test]
async fn whoever_does_not_answer_as_it_should_is_told_apart() {
    let envelope = |fields: &str| format!("{{\"status\":{fields}}}");
    let error = move |status: u16, sort: &str, words: &str| {
        let body = envelope(&format!("\"error\",\"errorType\":\"{sort}\",\"error\":\"{words}\""));
        any(move || async move { (StatusCode::from_u16(status).unwrap(), body) })
    };
    let guard = |headers: HeaderMap| async move {
        let right = headers.get("authorization").is_some_and(|value| value == "Bearer hunter2-hunter2");
        let body = r#"{"status":"error","errorType":"bad_data","error":"said hunter2-hunter2 twice\n"}"#;
        if right { (StatusCode::BAD_REQUEST, body).into_response() } else { StatusCode::UNAUTHORIZED.into_response() }
    };
    let huge = || async { format!("{{\"status\":\"success\",\"data\":\"{}\"}}", "x".repeat(5 << 20)) };
    let deep = || async { "[".repeat(1 << 20) };
    let routes = Router::new()
        .route("/away/api/v1/query", error(503, "unavailable", "not ready"))
        .route("/late/api/v1/query", error(503, "timeout", "query timed out in expression evaluation"))
        .route("/broken/api/v1/query", error(500, "internal", "disk"))
        .route("/proxy/api/v1/query", any(|| async { StatusCode::BAD_GATEWAY }))
        .route("/page/api/v1/query", any(|| async { "<html>hello" }))
        .route("/deep/api/v1/query", any(deep))
        .route("/guard/api/v1/query", any(guard))
        .route("/huge/api/v1/query", any(huge))
        .route("/slow/api/v1/query", any(|| async { tokio::time::sleep(Duration::from_secs(60)).await }));
    let product = Product::serve(routes).await;
    let mut said = String::new();
    for path in ["away", "late", "broken", "proxy", "page", "deep", "guard", "huge", "slow", "none"] {
        let mut section = section(product.url(&format!("/{path}/")), &[("n", "up", None)]);
        section.timeout = Duration::from_secs(1);
        let failure = read(&open(section), &["n"]).await.unwrap_err();
        said.push_str(&format!("{path}: {failure}\n"));
    }
    let nobody = format!("http://{}/", Product::nobody().await);
    said.push_str(&format!("{}\n", read(&plain(nobody, &[("n", "up")]), &["n"]).await.unwrap_err()));
    let mut section = section(product.url("/guard"), &[("n", "up", None)]);
    let header = Header { value: "Bearer hunter2-hunter2".to_owned(), secret: true };
    section.headers.insert("authorization".to_owned(), header);
    assert!(!format!("{section:?}").contains("hunter2"));
    said.push_str(&format!("{}\n", read(&open(section), &["n"]).await.unwrap_err()));
    assert!(!said.contains("127.0.0.1"), "{said}");
    expect_test::expect![[r#"
        away: Prometheus: not ready (unavailable)
        late: Prometheus: query timed out in expression evaluation (timed-out)
        broken: Prometheus: disk (unavailable)
        proxy: Prometheus: its status was 502 (unavailable)
        page: `n`: what answers is not Prometheus, or speaks another language than this Backout (invalid)
        deep: `n`: what answers is not Prometheus, or speaks another language than this Backout (invalid)
        guard: `n`: Prometheus: it does not let Backout in (status 401): look at `headers` in the site (invalid)
        huge: Prometheus: its answer is larger than 4 MiB (unavailable)
        slow: Prometheus: no answer within 1s (unavailable)
        none: `n`: Prometheus: it is not at this address (status 404): look at the site (invalid)
        Prometheus: connection refused (unavailable)
        `n`: Prometheus: said [withheld] twice  (invalid)
    "#]]
    .assert_eq(&said);
}

#[tokio::test]
async fn warnings_of_the_server_are_kept() {
    let answer = r#"{"status":"success","warnings":["remote read: a store is missing\u0007"],
        "data":{"resultType":"vector","result":[{"metric":{},"value":[1,"5"]}]}}"#;
    let product = Product::serve(Router::new().route("/api/v1/query", any(move || async move { answer }))).await;
    let script = script_of(plain(product.url(""), &[("n", "up")]), &["n"]);
    script.call().check(shop(), "n < 8".to_owned()).await.unwrap();
    script.call().watch(shop(), "n < 8".to_owned(), 1).await.unwrap();
    for (_, _, result) in script.observed().await {
        let detail = verdict(&result).detail;
        assert!(detail.ends_with(" (warning: remote read: a store is missing )"), "{detail}");
    }
}

#[tokio::test]
async fn a_baseline_looks_back_and_does_not_wait() {
    let servers = start().await;
    let queries = [("p95", "past_seconds", Some(Unit::Seconds)), ("gone", "no_such_series", None)];
    let script = script_of(open(section(servers.url(), &queries)), &["p95", "gone"]);
    let began = Instant::now();
    script.call().baseline(shop(), 2400).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    let recorded = script.memory.lock().unwrap().restore_point.baselines["prom"].clone();
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["p95"]);
    let p95 = &recorded["p95"];
    assert!(
        p95.median == 0.1 && p95.quartiles == [0.1, 0.1] && p95.samples > 2000 && p95.batches == [0.1; 20],
        "{p95:?}"
    );
    // Whoever asks for what was never there is told the same as ever.
    let lost = script_of(plain(servers.url(), &[("n", "no_such_series")]), &["n"]);
    let (kind, why) = told(lost.call().baseline(shop(), 60).await);
    assert_eq!((kind, why.as_str()), ("inconclusive", "no metric had data in 3 of 61 samples"));
    let nobody = format!("http://{}/", Product::nobody().await);
    let away = script_of(plain(nobody, &[("n", "up")]), &["n"]);
    let (kind, why) = told(away.call().baseline(shop(), 60).await);
    let wanted = "no metric had data in 3 of 61 samples: Prometheus: connection refused";
    assert_eq!((kind, why.as_str()), ("inconclusive", wanted));
    let wrong = script_of(plain(servers.url(), &[("n", "up{")]), &["n"]);
    assert_eq!(told(wrong.call().baseline(shop(), 60).await).0, "invalid");
}

#[tokio::test]
async fn a_watch_sees_what_becomes_of_it() {
    let servers = start().await;
    servers.show("watched_seconds", "0.1");
    shown("watched_seconds", 0.1).await;
    let script = script_of(open(section(servers.url(), &[("p95", "watched_seconds", Some(Unit::Seconds))])), &["p95"]);
    shown("count_over_time(watched_seconds[10s]) >= bool 4", 1.0).await;
    script.call().baseline(shop(), 1).await.unwrap();
    script.call().watch(shop(), "p95 <= 1.2 * baseline".to_owned(), 2).await.unwrap();
    servers.show("watched_seconds", "0.4");
    let (kind, why) = told(script.call().watch(shop(), "p95 <= 1.2 * baseline".to_owned(), 60).await);
    assert_eq!(kind, "failed");
    assert!(why.starts_with("p95 was 400 ms (must be <= 1.2 * baseline, here 120 ms), 3 samples in a row"), "{why}");
    // The same baseline is there when it has been taken back.
    servers.show("watched_seconds", "0.1");
    shown("watched_seconds", 0.1).await;
    script.call().check(shop(), "p95 <= 1.2 * baseline".to_owned()).await.unwrap();
    let last = script.observed().await.pop().unwrap();
    assert_eq!(verdict(&last.2).result, Ruling::Passed);
}

#[tokio::test]
async fn alerts_are_those_of_the_product_that_nobody_has_silenced() {
    let servers = start().await;
    let labels = |name: &str| BTreeMap::from([("product".to_owned(), name.to_owned())]);
    for product in ["shop", "other"] {
        servers.show(&format!("alarm_slow{{product=\"{product}\"}}"), "1");
    }
    servers.show("alarm_full{product=\"shop\"}", "1");
    let alerts = |alertmanager: bool, seen: Option<BTreeMap<String, String>>| {
        let mut section = section(servers.url(), &[("n", "up", None)]);
        section.alerts = seen;
        section.alertmanager =
            alertmanager.then(|| Alertmanager { url: servers.alertmanager(), headers: BTreeMap::new() });
        script_of(open(section), &["n"])
    };
    // Without Alertmanager: what Prometheus itself thinks.
    let own = alerts(false, Some(labels("shop")));
    let found = until(&own, 2).await;
    let state = |name: &str| found.iter().find(|alert| alert.name == name).unwrap().state;
    assert_eq!((state("TooSlow"), state("SoonFull")), (AlertState::Firing, AlertState::Pending));
    // Through Alertmanager: what fires.
    let managed = alerts(true, Some(labels("shop")));
    let [alert] = until(&managed, 1).await.try_into().unwrap();
    assert_eq!(
        (alert.name.as_str(), alert.severity.as_str(), alert.state),
        ("TooSlow", "critical", AlertState::Firing)
    );
    let labels_of: Vec<_> = alert.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
    assert!(labels_of.contains(&("product", "shop")) && labels_of.contains(&("job", "app")), "{labels_of:?}");
    assert!(labels_of.is_sorted() && !labels_of.iter().any(|(name, _)| *name == "alertname"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(alert.since > now - 120_000 && alert.since <= now, "{} {now}", alert.since);
    let everything = alerts(true, Some(BTreeMap::new()));
    until(&everything, 2).await;
    // Somebody takes care of it.
    let at = |seconds: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    let silence = serde_json::json!({
        "matchers": [{ "name": "product", "value": "shop", "isRegex": false, "isEqual": true }],
        "startsAt": at(-1), "endsAt": at(600), "createdBy": "a test", "comment": "seen",
    });
    let silence = silence.to_string();
    tokio::task::spawn_blocking(move || servers.manage("/api/v2/silences", &silence)).await.unwrap();
    until(&managed, 0).await;
    until(&everything, 1).await;
    // Nothing is seen of what the site does not name.
    let (kind, why) = told(alerts(true, None).call().alerts(shop()).await);
    assert_eq!((kind, why.as_str()), ("denied", "the site lets no alerts be seen: it says which with `alerts`"));
    let page = super::page("http://127.0.0.1:1/".to_owned(), &[("n", "json:n")]);
    assert_eq!(told(script_of(page, &["n"]).call().alerts(shop()).await).0, "invalid");
    let mut away = section(servers.url(), &[]);
    let nobody = Product::nobody().await;
    away.alertmanager = Some(Alertmanager { url: format!("http://{nobody}"), headers: BTreeMap::new() });
    away.alerts = Some(BTreeMap::new());
    let (kind, why) = told(script_of(open(away), &[]).call().alerts(shop()).await);
    assert_eq!((kind, why.as_str()), ("unavailable", "Alertmanager: connection refused"));
}

/// Rules are looked at every second, and what fires is sent on.
async fn until(script: &Script, wanted: usize) -> Vec<backout::capability::metrics::wit::Alert> {
    let late = Instant::now() + Duration::from_secs(60);
    loop {
        let alerts = script.call().alerts(shop()).await.unwrap();
        if alerts.len() == wanted {
            return alerts;
        }
        assert!(Instant::now() < late, "{wanted} are wanted: {alerts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_wrong_query_is_said_by_check() {
    let folder = Folder::new();
    let site = |url: &str| {
        let text = format!(
            "[metrics.prom]\ndriver = \"prometheus\"\nurl = \"{url}\"\nqueries.fine = 'up'\n\
             queries.many = {{ promql = 'up +', unit = \"s\" }}\n"
        );
        folder.write("backout.toml", text);
        backout(folder.path(), &["check"], Duration::from_secs(60))
    };
    let ended = site(&servers().url());
    assert_eq!(ended.code, Some(3), "{}", ended.text);
    assert!(
        ended.text.contains("metrics prom: `many`: Prometheus: invalid parameter \"query\": 1:5: parse error"),
        "{}",
        ended.text
    );
    // That nobody is there to ask is no mistake of the site.
    let ended = site("http://127.0.0.1:1");
    assert_eq!(ended.code, Some(0), "{}", ended.text);
    assert!(ended.text.contains("metrics prom: Prometheus: connection refused"), "{}", ended.text);
}

#[tokio::test]
async fn a_comparison_says_what_has_become_of_the_whole() {
    let servers = start().await;
    // As it was before, but of the time after it a product of its own shows something else.
    let product = |name: &str| {
        let query = format!("{name}_seconds or on() past_seconds");
        script_of(open(section(servers.url(), &[("p95", query.as_str(), Some(Unit::Seconds))])), &["p95"])
    };
    let (good, bad) = (product("compared_good"), product("compared_bad"));
    let limit = || "p95 <= 1.2 * baseline".to_owned();
    assert_eq!(told(good.call().compare(shop(), limit(), 60).await).1, "no baseline of p95 was recorded");
    good.call().baseline(shop(), 10).await.unwrap();
    let (kind, why) = told(good.call().compare(shop(), limit(), 60).await);
    assert_eq!(kind, "inconclusive");
    assert!(why.starts_with("p95: the baseline's ") && why.ends_with(" so it takes 18"), "{why}");
    for (condition, time) in
        [("p95 < 1s", 60), ("p95 = baseline", 60), ("p95 <= baseline", 23), ("p95 <= baseline", 86_401)]
    {
        assert_eq!(
            told(good.call().compare(shop(), condition.to_owned(), time).await).0,
            "invalid",
            "{condition} {time}"
        );
    }
    for script in [&good, &bad] {
        script.call().baseline(shop(), 2400).await.unwrap();
    }
    servers.show("compared_good_seconds", "0.11");
    servers.show("compared_bad_seconds", "0.5");
    shown("compared_bad_seconds", 0.5).await;
    let (mut call, mut other) = (good.call(), bad.call());
    let (held, failed) = tokio::join!(call.compare(shop(), limit(), 24), other.compare(shop(), limit(), 24));
    held.unwrap();
    let (kind, why) = told(failed);
    assert_eq!(kind, "failed");
    let seen = "p95 was 500 ms in the median, half of it 500 ms to 500 ms, before 100 ms, half of it 100 ms to 100 ms, +400 % (must be \
                <= 1.2 * baseline, here 120 ms): above that in 100 % of pairs, by chance p < 0.0001; 6 batches of ";
    assert!(why.starts_with(seen), "{why}");
    let last = verdict(&good.observed().await.pop().unwrap().2);
    assert_eq!((last.result, last.title.as_str()), (Ruling::Passed, "shop: p95 <= 1.2 * baseline, 24 s as a whole"));
    assert!(last.detail.contains("above that in 0 % of pairs, by chance p = 1.0000"), "{}", last.detail);
    assert_eq!(last.readings[0].value, 110.0);

    // Who goes on after an interruption is told what came of it then, although it is otherwise now, and nobody is asked.
    let nobody = format!("http://{}/", Product::nobody().await);
    for (script, wanted) in [(&good, None), (&bad, Some(why))] {
        let gate = script.again().await;
        let away = script_of(plain(nobody.clone(), &[("p95", "up")]), &["p95"]);
        let mut resources = away.resources.clone();
        resources.run = script.resources.run.clone();
        let mut call = Call { gate: &gate, resources: &resources };
        if wanted.is_none() {
            assert_eq!(told(call.compare(shop(), limit(), 60).await).0, "inconclusive");
            call.baseline(shop(), 10).await.unwrap();
            assert_eq!(told(call.compare(shop(), limit(), 60).await).0, "inconclusive");
            for (condition, time) in
                [("p95 < 1s", 60), ("p95 = baseline", 60), ("p95 <= baseline", 23), ("p95 <= baseline", 86_401)]
            {
                assert_eq!(told(call.compare(shop(), condition.to_owned(), time).await).0, "invalid");
            }
        }
        call.baseline(shop(), 2400).await.unwrap();
        match (call.compare(shop(), limit(), 24).await, wanted) {
            (Ok(()), None) => {}
            (Err(failed), Some(why)) => assert_eq!(told::<()>(Err(failed)), ("failed", why)),
            other => panic!("{other:?}"),
        }
        // What comes after it is asked anew.
        assert_eq!(told(call.check(shop(), "p95 < 1s".to_owned()).await).0, "inconclusive");
    }
}

/// All conditions, for the time; a clear failure ends it; no data is neither good nor bad.
#[tokio::test]
async fn a_watch_of_two_numbers_holds_them_both() {
    let servers = start().await;
    for (series, value) in [("both_a", "1"), ("both_b", "1"), ("both_c", "1")] {
        servers.show(series, value);
    }
    shown("both_a + both_b + both_c", 3.0).await;
    let queries = [("a", "both_a"), ("b", "both_b"), ("c", "both_c")];
    let script = script_of(plain(servers.url(), &queries), &["a", "b", "c"]);
    let watch = |condition: &str, time| {
        let (script, condition) = (&script, condition.to_owned());
        async move { script.call().watch(shop(), condition, time).await }
    };
    watch("a = 1 and b = 1", 2).await.unwrap();
    // One of them goes bad on the way: the whole time is not waited for.
    let began = Instant::now();
    let (failed, ()) = tokio::join!(watch("a = 1 and b = 1", 3600), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        servers.show("both_b", "7");
    });
    let (kind, why) = told(failed);
    assert!(
        kind == "failed" && why.contains("b was 7 (must be 1)") && why.contains("3 samples in a row"),
        "{kind} {why}"
    );
    assert!(began.elapsed() < Duration::from_secs(600));
    // Gone for more than half of the time, it can be said neither way; the other one being well does not help.
    servers.hide("both_c");
    tokio::task::spawn_blocking(|| servers.shown("both_c", |value| value.is_none())).await.unwrap();
    let (kind, why) = told(watch("a = 1 and c = 1", 4).await);
    assert!(kind == "inconclusive" && why.contains("had no data: ") && why.contains('c'), "{kind} {why}");
    // The other one being bad does.
    let (kind, why) = told(watch("b = 1 and c = 1", 3600).await);
    assert_eq!(kind, "failed", "{why}");
}

#[tokio::test]
async fn a_query_in_a_scripts_own_words_needs_a_right_of_its_own() {
    let servers = start().await;
    for at in ["a", "b"] {
        servers.show(&format!("own_size{{at=\"{at}\"}}"), "21");
    }
    shown("sum(own_size)", 42.0).await;
    shown("min(count_over_time(own_size[10s])) >= bool 4", 1.0).await;
    let granted = |rights: &[Right]| {
        let mut script = script_of(plain(servers.url(), &[("n", "up")]), &["n"]);
        script.resources.metrics.0.get_mut("shop").unwrap().rights = rights.iter().copied().collect();
        script
    };
    let reader = granted(&[Right::Read]);
    let (kind, why) = told(reader.call().promql(shop(), "sum(own_size)".to_owned()).await);
    assert_eq!(
        (kind, why.as_str()),
        ("denied", "metrics.promql on `shop` needs the right `promql`, which is not granted")
    );
    assert!(reader.observed().await.is_empty(), "the server was not asked");

    let script = granted(&[Right::Promql]);
    assert_eq!(script.call().promql(shop(), "sum(own_size)".to_owned()).await.unwrap(), 42.0);
    assert_eq!(script.call().promql(shop(), "max_over_time(sum(own_size)[1m:1s])".to_owned()).await.unwrap(), 42.0);
    assert_eq!(told(script.call().query(shop(), "n".to_owned()).await).0, "denied", "one right is not the other");
    let mut said = String::new();
    for query in [
        "no_such_series",
        "own_size",
        "own_size[1m]",
        "sum(own_size",
        "sum_over_time(own_size[2d])",
        "sum_over_time(sum_over_time(own_size[5m:1m])[5m:1m])",
        "sum_over_time(own_size[1d:1s])",
    ] {
        let (kind, why) = told(script.call().promql(shop(), query.to_owned()).await);
        said.push_str(&format!("{query}\n  {kind}: {why}\n"));
    }
    expect_test::expect![[r#"
        no_such_series
          inconclusive: the query has no data now
        own_size
          invalid: the query gives 2 series where one is wanted, which differ in at; make one of them, as in `sum(…)` or `max(…)`
        own_size[1m]
          invalid: the query gives many values for each series: make one number of them, as in `rate(…[1m])`
        sum(own_size
          invalid: Prometheus: invalid parameter "query": 1:13: parse error: unclosed left parenthesis
        sum_over_time(own_size[2d])
          invalid: `[2d]`: a query of a script looks back a day at the most
        sum_over_time(sum_over_time(own_size[5m:1m])[5m:1m])
          invalid: a query of a script has at most one subquery (`[10m:1m]`)
        sum_over_time(own_size[1d:1s])
          invalid: `[1d:1s]` is more than 11000 evaluations
    "#]].assert_eq(&said);
    let (kind, why) = told(script.call().promql(shop(), "x".repeat(3000)).await);
    assert_eq!(kind, "invalid", "{why}");
    assert!(script.journal().await.contains("max_over_time(sum(own_size)[1m:1s])"), "the journal has it word by word");
    let mut page = script_of(super::page("http://127.0.0.1:1/".to_owned(), &[("n", "json:n")]), &["n"]);
    page.resources.metrics.0.get_mut("shop").unwrap().rights = [Right::Promql].into_iter().collect();
    let (kind, why) = told(page.call().promql(shop(), "up".to_owned()).await);
    assert_eq!((kind, why.as_str()), ("invalid", "PromQL needs a resource with the driver `prometheus`"));
}
