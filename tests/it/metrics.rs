//! Metrics: what the drivers measure, and what scripts are told about it.
mod prometheus;

use crate::support::{
    self,
    product::{Pages, Product},
    script::{Script, lend, told},
};
use async_trait::async_trait;
use backout::{
    capability::metrics::wit::Host as _,
    gate::{Error, Stop},
    journal::Entry,
    resource::{
        Access, Area, CallCtx, Failure, Metrics, Ruling, Verdict,
        metrics::{Driver, Query, Section, drivers},
        service::{self, Mark, Status},
    },
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

fn page(url: String, queries: &[(&str, &str)]) -> Access<Metrics> {
    let queries = queries.iter().map(|(name, text)| ((*name).to_owned(), Query::parse(text).unwrap())).collect();
    let section = Section { driver: Driver::Page { url, timeout: Duration::from_secs(2), queries } };
    drivers::open(&section, |_| None).unwrap()
}

fn call() -> CallCtx {
    support::call::call("1/upgrade/watch/1/1", Duration::from_secs(60))
}

async fn read(metrics: &Access<Metrics>, names: &[&str]) -> Result<BTreeMap<String, Option<f64>>, Failure> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Ok(metrics.observer.read(&names, &call()).await?.values)
}

async fn one(metrics: &Access<Metrics>, name: &str) -> Option<f64> {
    read(metrics, &[name]).await.unwrap()[name]
}

#[tokio::test]
async fn numbers_are_found_on_json_pages() {
    let pages = Pages::new([r#"{"latency": {"p95": 121.5}, "items": [{"total": 3}], "state": "fine", "a.b": -1}"#]);
    let product = pages.serve().await;
    let metrics = page(
        product.url("/page"),
        &[
            ("p95", "json:latency.p95 as ms"),
            ("total", "json:items.0.total"),
            ("dotted", "json:\"a.b\""),
            ("text", "json:state"),
            ("gone", "json:items.7.total"),
        ],
    );
    let numbers = read(&metrics, &["p95", "total", "dotted", "text", "gone"]).await.unwrap();
    let wanted = [("dotted", Some(-1.0)), ("gone", None), ("p95", Some(0.1215)), ("text", None), ("total", Some(3.0))];
    assert_eq!(numbers, wanted.map(|(name, number)| (name.to_owned(), number)).into());
    assert_eq!(pages.asked(), 1, "one look answers all");
    assert_eq!(read(&metrics, &["p95", "lost"]).await.unwrap_err().kind.as_str(), "invalid");
}

#[tokio::test]
async fn numbers_are_found_on_prometheus_pages() {
    let text =
        "requests_total{code=\"200\"} 90\nrequests_total{code=\"500\"} 7\nrequests_total{code=\"503\"} 3\nup NaN\n";
    let product = Pages::new([text]).serve().await;
    let metrics = page(
        product.url("/page"),
        &[
            ("all", "prometheus:requests_total"),
            ("bad", r#"prometheus:requests_total{code!="200"}"#),
            ("up", "prometheus:up"),
            ("gone", "prometheus:gone"),
        ],
    );
    let numbers = read(&metrics, &["all", "bad", "up", "gone"]).await.unwrap();
    let wanted = [("all", Some(100.0)), ("bad", Some(10.0)), ("gone", None), ("up", None)];
    assert_eq!(numbers, wanted.map(|(name, number)| (name.to_owned(), number)).into());
}

fn counters(errors: u64, requests: u64) -> String {
    format!(r#"{{"errors": {errors}, "requests": {requests}}}"#)
}

#[tokio::test]
async fn a_ratio_is_the_change_between_two_looks() {
    let pages = Pages::new([counters(100, 1000), counters(103, 1100)]);
    let product = pages.serve().await;
    let metrics = page(product.url("/page"), &[("error-rate", "ratio:json:errors / json:requests")]);
    let began = Instant::now();
    assert_eq!(one(&metrics, "error-rate").await, Some(0.03));
    assert!(began.elapsed() > Duration::from_millis(900), "the second look is a moment later");
    assert_eq!(pages.asked(), 2);
    // The looks that were there serve the next one: it does not wait.
    tokio::time::sleep(Duration::from_millis(600)).await;
    pages.show(counters(105, 1110));
    assert_eq!(one(&metrics, "error-rate").await, Some(0.2));
    assert_eq!(pages.asked(), 3);
    // Nobody asked the product: there is no rate of errors, not even 0.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(one(&metrics, "error-rate").await, None);
}

#[tokio::test]
async fn a_counter_that_went_backwards_is_no_data() {
    for (before, now) in [((5, 1000), (0, 10)), ((5, 1000), (2, 1001)), ((5, 1000), (6, 999))] {
        let product = Pages::new([counters(before.0, before.1), counters(now.0, now.1)]).serve().await;
        let metrics = page(product.url("/page"), &[("error-rate", "ratio:json:errors / json:requests")]);
        assert_eq!(one(&metrics, "error-rate").await, None, "{before:?} {now:?}");
    }
}

#[tokio::test]
async fn a_counter_of_failures_that_never_counted_is_zero_and_a_wrong_label_is_no_data() {
    let text = |ok: u32, bad: &str| format!("requests{{code=\"200\"}} {ok}\n{bad}");
    let good = r#"ratio:prometheus:requests{code="500"} / prometheus:requests"#;
    for (query, before, now, wanted) in [
        (good, text(100, ""), text(200, ""), Some(0.0)),
        (good, text(100, ""), text(190, "requests{code=\"500\"} 10\n"), Some(0.1)),
        (good, text(100, "requests{code=\"500\"} 10\n"), text(200, ""), None),
        (r#"ratio:prometheus:requests{cod="500"} / prometheus:requests"#, text(100, ""), text(200, ""), None),
        (r#"ratio:prometheus:request{code="500"} / prometheus:requests"#, text(100, ""), text(200, ""), None),
    ] {
        let product = Pages::new([before, now]).serve().await;
        let metrics = page(product.url("/page"), &[("error-rate", query)]);
        assert_eq!(one(&metrics, "error-rate").await, wanted, "{query}");
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_unavailable_and_its_address_stays_secret() {
    use axum::{Router, http::StatusCode, response::Redirect, routing::get};
    let routes = Router::new()
        .route("/broken", get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "{\"n\": 1}") }))
        .route("/redirect", get(|| async { Redirect::temporary("/fine") }))
        .route("/fine", get(|| async { "{\"n\": 1}" }))
        .route("/html", get(|| async { "<html>\n<p>sorry</p>" }))
        .route("/half", get(|| async { "{\"n\": " }))
        .route("/huge", get(|| async { format!("{{\"n\": 1, \"x\": \"{}\"}}", "x".repeat(5 << 20)) }))
        .route("/latin", get(|| async { vec![b'u', b'p', b' ', 0xff] }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }));
    let product = Product::serve(routes).await;
    let closing = Product::raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"n\": 1}").await;
    let silent = Product::raw(b"").await;
    let other = Product::raw(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    let mut said = String::new();
    for (url, query) in [
        (product.url("/broken"), "json:n"),
        (product.url("/redirect"), "json:n"),
        (product.url("/html"), "json:n"),
        (product.url("/html"), "prometheus:n"),
        (product.url("/half"), "json:n"),
        (product.url("/huge"), "json:n"),
        (product.url("/latin"), "prometheus:up"),
        (product.url("/slow"), "json:n"),
        (closing.url("/"), "json:n"),
        (silent.url("/"), "json:n"),
        (other.url("/"), "json:n"),
        (format!("http://{}/", Product::nobody().await), "json:n"),
        ("http://no-such-host.invalid/".to_owned(), "json:n"),
    ] {
        let failure = read(&page(url, &[("n", query)]), &["n"]).await.unwrap_err();
        assert!(!failure.message.contains("127.0.0.1") && !failure.message.contains("no-such-host"), "{failure}");
        said.push_str(&format!("{failure}\n"));
    }
    expect_test::expect![[r#"
        the metrics page: its status was 503 (unavailable)
        the metrics page: its status was 307 (unavailable)
        the metrics page: it is no JSON (line 1) (unavailable)
        the metrics page: its line 1 is not of the text format of Prometheus (unavailable)
        the metrics page: it is no JSON (line 1) (unavailable)
        the metrics page: it is larger than 4 MiB (unavailable)
        the metrics page: it is not in UTF-8 (unavailable)
        the metrics page: no answer within 2s (unavailable)
        the metrics page: the connection ended before the whole answer was there (unavailable)
        the metrics page: the connection ended before the whole answer was there (unavailable)
        the metrics page: the connection ended before the whole answer was there (unavailable)
        the metrics page: connection refused (unavailable)
        the metrics page: the name of its host is not known (unavailable)
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_page_that_cannot_be_meant_is_refused_at_once() {
    let open = |url: &str, queries: &[(&str, &str)]| {
        let queries = queries.iter().map(|(name, text)| ((*name).to_owned(), Query::parse(text).unwrap())).collect();
        let driver = Driver::Page { url: url.to_owned(), timeout: Duration::from_secs(1), queries };
        drivers::open(&Section { driver }, |_| None).err().unwrap().message
    };
    for (url, queries, problem) in [
        ("http://h/", vec![("a", "json:a"), ("b", "prometheus:b")], "its queries cannot be of both sorts"),
        ("ftp://h/", vec![("a", "json:a")], "must begin with `http://`"),
        ("http://me:hunter2@h/", vec![("a", "json:a")], "an address holds no credentials"),
        ("http://", vec![("a", "json:a")], "the address is not understood"),
    ] {
        let said = open(url, &queries);
        assert!(said.contains(problem) && !said.contains("hunter2"), "{said}");
    }
    let driver = Driver::Process { service: "web".to_owned() };
    assert_eq!(drivers::open(&Section { driver }, |_| None).err().unwrap().message, "there is no service `web`");
}

fn this_machine() -> Access<Metrics> {
    let driver = Driver::Host { disk: PathBuf::from("/") };
    drivers::open(&Section { driver }, |_| None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_measured() {
    let metrics = this_machine();
    let names = ["cpu", "memory", "disk-free", "network-received", "network-sent"];
    assert_eq!(metrics.observer.names(), names);
    // A thread that is busy all the time keeps one processor busy; others may do so too.
    let until = Instant::now() + Duration::from_millis(1300);
    let busy = std::thread::spawn(move || while Instant::now() < until {});
    let numbers = read(&metrics, &names).await.unwrap();
    busy.join().unwrap();
    let number = |name: &str| numbers[name].unwrap();
    let processors = std::thread::available_parallelism().unwrap().get() as f64;
    assert!(number("cpu") > 0.5 / processors && number("cpu") <= 1.0, "{numbers:?}");
    let disk = rustix::fs::statvfs("/").unwrap();
    assert!((number("disk-free") / (disk.f_bavail * disk.f_frsize) as f64 - 1.0).abs() < 0.2, "{numbers:?}");
    assert!(number("memory") > 1e6 && number("network-received") >= 0.0 && number("network-sent") >= 0.0);
    let host = metrics.observer.host(&call()).await.unwrap();
    assert!(host.memory_used > 0 && host.memory_used < host.memory_total, "{host:?}");
    assert!(host.disk_free > 0 && host.disk_free <= host.disk_total, "{host:?}");
    assert!((0.0..=1.0).contains(&host.cpu), "{host:?}");
}

#[test]
fn the_reference_names_every_metric_of_the_drivers() {
    let reference = include_str!("../../docs/conditions.md");
    let fake: Arc<service::Observer> = Arc::new(Fake(Mutex::default()));
    let driver = Driver::Process { service: "web".to_owned() };
    let process = drivers::open(&Section { driver }, |_| Some(fake.clone())).unwrap();
    for metrics in [this_machine(), process] {
        for name in metrics.observer.names() {
            let row = reference.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
            assert!(row.is_some(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_not_there_is_no_data() {
    let driver = Driver::Host { disk: PathBuf::from("/no/such/place") };
    let metrics = drivers::open(&Section { driver }, |_| None).unwrap();
    let numbers = read(&metrics, &["disk-free", "memory"]).await.unwrap();
    assert_eq!(numbers["disk-free"], None);
    assert!(numbers["memory"].is_some());
    assert_eq!(metrics.observer.host(&call()).await.unwrap_err().kind.as_str(), "unavailable");
}

/// A service whose processes are said by the test.
struct Fake(Mutex<Vec<i32>>);
#[async_trait]
impl service::Observe for Fake {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(Status::Running)
    }
    async fn start_id(&self) -> Result<Option<String>, Failure> {
        unreachable!()
    }
    async fn search(&self, _: &Mark, _: &[String]) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(self.0.lock().unwrap().clone())
    }
}

struct Running(Child);
impl Running {
    fn start(script: &str) -> Self {
        Self(Command::new("sh").args(["-c", script]).spawn().unwrap())
    }
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_service_is_measured_by_its_processes() {
    let (busy, idle) = (Running::start("while :; do :; done"), Running::start("sleep 60; :"));
    let fake = Arc::new(Fake(Mutex::new(vec![busy.pid(), idle.pid()])));
    let observer: Arc<service::Observer> = fake.clone();
    let driver = Driver::Process { service: "web".to_owned() };
    let metrics = drivers::open(&Section { driver }, |name| (name == "web").then(|| observer.clone())).unwrap();
    let names = ["cpu", "memory", "processes"];
    assert_eq!(metrics.observer.names(), names);
    let both = read(&metrics, &names).await.unwrap();
    // The machine may be busy with other things, but not so busy that this one gets nothing.
    assert!(both["cpu"].unwrap() > 0.05 && both["cpu"].unwrap() < 1.5, "{both:?}");
    assert_eq!(both["processes"], Some(2.0));
    *fake.0.lock().unwrap() = vec![idle.pid()];
    tokio::time::sleep(Duration::from_millis(600)).await;
    let one = read(&metrics, &names).await.unwrap();
    assert!(one["cpu"].unwrap() < 0.05, "{one:?}");
    assert!(one["memory"].unwrap() > 1e5 && one["memory"] < both["memory"], "{one:?} {both:?}");
    // One that is gone, and one that is only waiting to be collected.
    let mut ended = Running::start("exit 0");
    let zombie = Running::start("exit 0");
    ended.0.wait().unwrap();
    *fake.0.lock().unwrap() = vec![ended.pid(), zombie.pid()];
    tokio::time::sleep(Duration::from_millis(600)).await;
    let none = read(&metrics, &names).await.unwrap();
    let wanted = [("cpu", None), ("memory", None), ("processes", Some(0.0))];
    assert_eq!(none, wanted.map(|(name, number)| (name.to_owned(), number)).into());
    assert_eq!(metrics.observer.host(&call()).await.unwrap_err().kind.as_str(), "invalid");
}

/// A script that is lent the page as `shop`, whose need lists these queries.
async fn script(pages: &Pages, listed: &[&str], queries: &[(&str, &str)]) -> (Script, Product) {
    let product = pages.serve().await;
    let mut script = Script::new();
    let mut lend = lend("metrics", "prom", page(product.url("/page"), queries));
    lend.terms.queries = listed.iter().map(|name| (*name).to_owned()).collect();
    script.resources.metrics.0.insert("shop".to_owned(), lend);
    (script, product)
}

const QUERIES: &[(&str, &str)] =
    &[("error-rate", "json:rate"), ("p95", "json:p95 as s"), ("secret", "json:rate"), ("queue", "json:queue")];

fn shown(rate: f64, p95: f64) -> String {
    serde_json::json!({ "rate": rate, "p95": p95 }).to_string()
}

fn verdict(result: &Result<serde_json::Value, Failure>) -> Verdict {
    serde_json::from_value(result.clone().unwrap()).unwrap()
}

#[tokio::test]
async fn a_script_asks_for_what_its_need_lists_and_for_nothing_else() {
    let pages = Pages::new([shown(0.002, 0.1)]);
    let (script, _product) = script(&pages, &["error-rate", "p95", "queue", "typo"], QUERIES).await;
    let shop = || "shop".to_owned();
    assert_eq!(script.call().query(shop(), "error-rate".to_owned()).await.unwrap(), 0.002);
    // What exists outside of the need cannot be told from what does not.
    let denied = |name: &str| format!("the need does not list `{name}`, only: error-rate, p95, queue, typo");
    for name in ["secret", "nothing"] {
        assert_eq!(told(script.call().query(shop(), name.to_owned()).await), ("denied", denied(name)));
        let condition = format!("error-rate < 1% and {name} < 1%");
        assert_eq!(told(script.call().check(shop(), condition.clone()).await), ("denied", denied(name)));
        assert_eq!(told(script.call().watch(shop(), condition, 60).await), ("denied", denied(name)));
    }
    // What the need lists and the resource lacks is a mistake, not a lack of data.
    let (kind, why) = told(script.call().query(shop(), "typo".to_owned()).await);
    assert_eq!(
        (kind, why.as_str()),
        ("invalid", "there is no metric `typo`, there is: error-rate, p95, queue, secret")
    );
    let (kind, why) = told(script.call().check(shop(), "typo < 1%".to_owned()).await);
    assert_eq!(kind, "invalid");
    assert_eq!(why, "there is no `typo` here, there is: error-rate, p95, queue\n  typo < 1%\n  ^^^^");
    // Known units are kept apart before anything is asked.
    let (kind, why) = told(script.call().watch(shop(), "p95 < 1%".to_owned(), 60).await);
    assert_eq!((kind, why.as_str()), ("invalid", "`p95` is a time, such as `300ms`\n  p95 < 1%\n         ^"));
    let (kind, why) = told(script.call().query(shop(), "queue".to_owned()).await);
    assert_eq!((kind, why.as_str()), ("inconclusive", "`queue` has no data now"));
    assert_eq!(told(script.call().query("other".to_owned(), "p95".to_owned()).await).0, "denied");
    assert_eq!(told(script.call().host(shop()).await).0, "invalid");
    // Lengths are bounded before the journal sees them.
    let before = script.observed().await.len();
    assert_eq!(told(script.call().query(shop(), "x".repeat(1 << 20)).await).0, "invalid");
    assert_eq!(told(script.call().check(shop(), "x".repeat(1 << 20)).await).0, "invalid");
    assert_eq!(script.observed().await.len(), before);
}

#[tokio::test]
async fn a_need_that_lists_nothing_gets_nothing() {
    let (script, _product) = script(&Pages::new([shown(0.0, 0.1)]), &[], QUERIES).await;
    let shop = || "shop".to_owned();
    assert_eq!(told(script.call().query(shop(), "p95".to_owned()).await).0, "denied");
    assert_eq!(told(script.call().check(shop(), "p95 < 1s".to_owned()).await).0, "denied");
    assert_eq!(told(script.call().baseline(shop(), 1).await).0, "denied");
}

#[tokio::test]
async fn baselines_are_recorded_and_later_checks_rest_on_them() {
    let pages = Pages::new([shown(0.004, 0.3), shown(0.002, 0.1), shown(0.003, 0.2)]);
    let (script, _product) = script(&pages, &["error-rate", "p95", "queue"], QUERIES).await;
    let shop = || "shop".to_owned();
    let relative = || "p95 <= 1.2 * baseline and error-rate < 1%".to_owned();
    let (kind, why) = told(script.call().check(shop(), relative()).await);
    assert_eq!((kind, why.as_str()), ("inconclusive", "p95: no baseline was recorded"));
    let began = Instant::now();
    let (kind, why) = told(script.call().watch(shop(), relative(), 60).await);
    assert_eq!((kind, why.as_str()), ("inconclusive", "no baseline of p95 was recorded"));
    assert!(began.elapsed() < Duration::from_secs(5), "waiting would not bring one");

    pages.show(shown(0.002, 0.1));
    script.call().baseline(shop(), 1).await.unwrap();
    let recorded = script.memory.lock().unwrap().restore_point.baselines["prom"].clone();
    let medians: Vec<_> = recorded.iter().map(|(name, baseline)| (name.as_str(), baseline.median)).collect();
    assert_eq!(medians, [("error-rate", 0.002), ("p95", 0.1)], "a metric without data is absent");
    assert_eq!((recorded["p95"].samples, recorded["p95"].batches.len()), (3, 1));
    let news = script.news();
    assert_eq!(news.len(), 3, "three samples at least: {news:?}");
    assert_eq!(news[0].0, "error-rate 0.002, p95 100 ms, queue no data");

    script.call().check(shop(), relative()).await.unwrap();
    pages.show(shown(0.002, 0.13));
    let (kind, why) = told(script.call().check(shop(), relative()).await);
    assert_eq!((kind, why.as_str()), ("failed", "p95 was 130 ms (must be <= 1.2 * baseline, here 120 ms)"));
    // What is missing does not hide what is wrong.
    let both = "queue < 5 and error-rate < 0.1%".to_owned();
    assert_eq!(told(script.call().check(shop(), both).await).0, "failed");

    let observed = script.observed().await;
    let (name, request, result) = observed.last().unwrap().clone();
    assert_eq!(name, "metrics.check");
    assert_eq!(request["baselines"], serde_json::json!({ "error-rate": 0.002, "p95": 0.1 }));
    assert_eq!(verdict(&result).area, Area::Performance);
    let (_, _, passed) = observed.iter().rfind(|(_, _, r)| r.as_ref().is_ok_and(|v| v["result"] == "passed")).unwrap();
    let passed = verdict(passed);
    assert_eq!(passed.title, "shop: p95 <= 1.2 * baseline and error-rate < 1%");
    assert_eq!(passed.detail, "p95 was 100 ms, error-rate was 0.2 %");
    let reading = &passed.readings[0];
    assert_eq!((reading.name.as_str(), reading.value, reading.unit.as_str()), ("p95", 100.0, "ms"));
    assert_eq!(reading.must, "<= 1.2 * baseline, here 120 ms");
    let baseline = observed.iter().find(|(name, ..)| name == "metrics.baseline").unwrap();
    assert_eq!(baseline.1["measures"], serde_json::json!({ "error-rate": "any", "p95": "time", "queue": "any" }));
    let whole = |median| serde_json::json!({ "median": median, "samples": 3, "quartiles": [median, median], "memory": 1.0, "batches": [median] });
    assert_eq!(baseline.2, Ok(serde_json::json!({ "error-rate": whole(0.002), "p95": whole(0.1) })));
}

#[tokio::test]
async fn a_baseline_without_any_data_is_inconclusive() {
    let pages = Pages::new(["{}"]);
    let (script, product) = script(&pages, &["error-rate"], QUERIES).await;
    let shop = || "shop".to_owned();
    let (kind, why) = told(script.call().baseline(shop(), 1).await);
    assert_eq!((kind, why.as_str()), ("inconclusive", "no metric had data in 3 of 3 samples"));
    product.end().await;
    let (kind, why) = told(script.call().baseline(shop(), 0).await);
    let wanted = "no metric had data in 3 of 3 samples: the metrics page: connection refused";
    assert_eq!((kind, why.as_str()), ("inconclusive", wanted));
    assert!(script.memory.lock().unwrap().restore_point.baselines.is_empty());
    assert_eq!(told(script.call().baseline(shop(), 3601).await).0, "invalid");
}

#[tokio::test]
async fn a_watch_ends_early_when_the_product_is_bad() {
    let (good, bad) = (shown(0.003, 0.121), shown(0.071, 0.121));
    // One bad sample is tolerated, three in a row are not.
    let pages = Pages::new([&good, &bad, &good, &bad, &bad, &bad, &good]);
    let (script, _product) = script(&pages, &["error-rate", "p95"], QUERIES).await;
    let began = Instant::now();
    let condition = "error-rate < 1% and p95 < 300ms".to_owned();
    let (kind, why) = told(script.call().watch("shop".to_owned(), condition, 600).await);
    assert_eq!(kind, "failed");
    assert_eq!(why, "error-rate was 7.1 % (must be < 1%), 3 samples in a row; held in 2 of 6 samples");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(pages.asked(), 6);
    let news = script.news();
    assert_eq!(news[0], ("error-rate 0.3 %, p95 121 ms".to_owned(), 0, 600));
    assert_eq!(news.len(), 6);
    assert!(news[5].1 >= 5, "{news:?}");
    let verdict = verdict(&script.observed().await[0].2);
    assert_eq!((verdict.area, verdict.result), (Area::Performance, Ruling::Failed));
    assert_eq!(verdict.title, "shop: error-rate < 1% and p95 < 300ms, for 600 s");
}

#[tokio::test]
async fn a_watch_passes_when_it_held_all_the_time() {
    let pages = Pages::new([shown(0.003, 0.121), shown(0.5, 0.2), shown(0.001, 0.122)]);
    let (script, _product) = script(&pages, &["error-rate", "p95"], QUERIES).await;
    let condition = "error-rate < 1% and p95 < 300ms".to_owned();
    script.call().watch("shop".to_owned(), condition, 2).await.unwrap();
    let verdict = verdict(&script.observed().await[0].2);
    assert_eq!(verdict.result, Ruling::Passed);
    assert_eq!(verdict.detail, "error-rate 0.3 %, p95 122 ms, in the median; held in 2 of 3 samples");
    assert_eq!(verdict.readings.len(), 2);
}

#[tokio::test]
async fn a_product_that_goes_bad_at_the_very_end_is_not_missed() {
    let (good, bad) = (shown(0.003, 0.1), shown(0.5, 0.1));
    let pages = Pages::new([&good, &bad]);
    let (script, _product) = script(&pages, &["error-rate"], QUERIES).await;
    let (kind, why) = told(script.call().watch("shop".to_owned(), "error-rate < 1%".to_owned(), 1).await);
    assert_eq!(kind, "failed");
    assert_eq!(why, "error-rate was 50 % (must be < 1%), 3 samples in a row; held in 1 of 4 samples");
}

#[tokio::test]
async fn a_watch_of_a_product_that_is_gone_is_inconclusive() {
    let pages = Pages::new([shown(0.003, 0.1)]);
    let (script, product) = script(&pages, &["error-rate"], QUERIES).await;
    product.end().await;
    let (kind, why) = told(script.call().watch("shop".to_owned(), "error-rate < 1%".to_owned(), 2).await);
    assert_eq!(kind, "inconclusive");
    assert!(why.starts_with("held in 0 of ") && why.ends_with(" had no data: the metrics page: connection refused"));
    for time in [0, 100_000] {
        let watched = script.call().watch("shop".to_owned(), "error-rate < 1%".to_owned(), time).await;
        assert_eq!(told(watched).0, "invalid");
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_operator_cancels() {
    let (script, _product) = script(&Pages::new([shown(0.003, 0.1)]), &["error-rate"], QUERIES).await;
    let cancel = script.cancel.clone();
    let canceller = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    };
    let began = Instant::now();
    let mut call = script.call();
    let (result, ()) = tokio::join!(call.watch("shop".to_owned(), "error-rate < 1%".to_owned(), 600), canceller);
    assert!(matches!(result, Err(Error::Stop(Stop::Cancelled))), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!script.entries().await.iter().any(|entry| matches!(entry, Entry::Observed { .. })), "it has no outcome");
}

#[tokio::test]
async fn the_host_is_told_to_who_was_lent_it() {
    let mut script = Script::new();
    let mut machine = lend("metrics", "host", this_machine());
    machine.terms.queries = vec!["memory".to_owned(), "disk-free".to_owned()];
    script.resources.metrics.0.insert("machine".to_owned(), machine);
    let host = script.call().host("machine".to_owned()).await.unwrap();
    assert!(host.memory_used < host.memory_total && host.disk_free <= host.disk_total);
    script.call().check("machine".to_owned(), "memory > 1MiB and disk-free > 1kB".to_owned()).await.unwrap();
    let (kind, why) = told(script.call().check("machine".to_owned(), "memory < 90%".to_owned()).await);
    assert_eq!(
        (kind, why.as_str()),
        ("invalid", "`memory` is a size, such as `512MiB`\n  memory < 90%\n             ^")
    );
}
