//! Probes: what they ask, what they never do, and what scripts are told about it.
use crate::support::{
    product::Product,
    script::{Script, lend, told},
};
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{AppendHeaders, Redirect},
    routing::get,
};
use backout::{
    capability::probe::wit::Host as _,
    gate::{Error, Stop},
    resource::{
        Access, Area, Header, Probe, Ruling, Verdict,
        probe::{Load, MAX_BODY, Section, drivers},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const SECRET: &str = "s3cr3t-t0ken-of-the-operator";
/// A header of which only the place that it came from says that it is one.
const FROM_FILE: &str = "tenant-of-a-secret-file";
const LIMIT: Load = Load { clients: 8, time: Duration::from_secs(5) };

fn section(url: String) -> Section {
    let header = |name: &str, value: String, secret| (name.to_owned(), Header { value, secret });
    let headers = [
        header("Authorization", format!("Bearer {SECRET}"), false),
        header("X-Asks", "backout-test".to_owned(), false),
        header("Accept", "application/json".to_owned(), false),
        header("X-Tenant", FROM_FILE.to_owned(), true),
    ];
    Section { url, headers: headers.into(), timeout: Duration::from_secs(10), load: Some(LIMIT) }
}

fn script(section: &Section) -> Script {
    let mut script = Script::new();
    let access: Access<Probe> = drivers::open(section).unwrap();
    script.resources.probe.0.insert("shop".to_owned(), lend("probe", "shop", access));
    script
}

type Asked = Arc<AtomicUsize>;

/// A shop below `/app`, and what must not be reached beside it.
async fn shop(asked: Asked) -> Product {
    let inside = Router::new()
        .route(
            "/orders/{id}",
            get(|Path(id): Path<u32>| async move { format!(r#"{{"total": 3, "items": [{{"id": {id}}}]}}"#) }),
        )
        .route("/moved", get(|| async { Redirect::temporary("/app/") }))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "<h1>it broke\nbadly</h1>") }))
        .route("/huge", get(|| async { format!("{{\"total\": 1, \"x\": \"{}\"}}", "ü".repeat(1 << 20)) }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
        .route("/steady", get(|| async { tokio::time::sleep(Duration::from_millis(50)).await }))
        .route("/echo", get(echo))
        .route("/long/{begin}", get(long))
        .route("/cookie", get(|| async { (AppendHeaders([("set-cookie", "sid=42; HttpOnly")]), "") }))
        .route(
            "/third",
            get(|State(asked): State<Asked>| async move {
                match asked.fetch_add(1, Ordering::Relaxed) {
                    0 | 1 => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
                    _ => (StatusCode::OK, "ready"),
                }
            }),
        )
        .route(
            "/flapping",
            get(|State(asked): State<Asked>| async move {
                match asked.fetch_add(1, Ordering::Relaxed) % 4 {
                    0 => StatusCode::INTERNAL_SERVER_ERROR,
                    _ => StatusCode::OK,
                }
            }),
        );
    let routes = Router::new()
        .nest("/app", inside)
        .route(
            "/app/",
            get(|| async {
                (AppendHeaders([("x-frame-options", "DENY"), ("vary", "a"), ("vary", "b")]), "all is ready")
            }),
        )
        .fallback(|| async { "outside" })
        .with_state(asked);
    Product::serve(routes).await
}

/// What the request was, as some products show it.
async fn echo(uri: Uri, headers: HeaderMap) -> (HeaderMap, String) {
    let shown: String = headers.iter().map(|(name, value)| format!("{name}={}\n", value.to_str().unwrap())).collect();
    let mut back = HeaderMap::new();
    back.insert("x-you-sent", headers["authorization"].clone());
    (back, format!("{uri}\n{shown}"))
}

/// A long page, in which the site's headers stand beginning at this byte.
async fn long(Path(begin): Path<usize>, headers: HeaderMap) -> String {
    let shown = ["authorization", "x-tenant"].map(|name| headers[name].to_str().unwrap());
    format!("{}{}{}", "x".repeat(begin), shown.concat(), "y".repeat(MAX_BODY))
}

async fn ready() -> (Script, Product) {
    let product = shop(Asked::default()).await;
    (script(&section(product.url("/app/"))), product)
}

fn at(path: &str) -> (String, String) {
    ("shop".to_owned(), path.to_owned())
}

async fn verdicts(script: &Script) -> Vec<Verdict> {
    let results = script.observed().await.into_iter();
    results.filter_map(|(_, _, result)| serde_json::from_value(result.ok()?).ok()).collect()
}

#[tokio::test]
async fn a_get_tells_what_came_back() {
    let (script, _product) = ready().await;
    let mut call = script.call();
    let (shop, path) = at("/orders/7?full=1");
    let response = call.get(shop, path).await.unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, r#"{"total": 3, "items": [{"id": 7}]}"#));
    let (shop, path) = at("/broken");
    assert_eq!(call.get(shop, path).await.unwrap().status, 500, "any status is an answer");
    let (shop, path) = at("/moved");
    let moved = call.get(shop, path).await.unwrap();
    assert_eq!((moved.status, moved.body.as_str()), (307, ""), "no redirect is followed");
    let (shop, path) = at("/cookie");
    call.get(shop, path).await.unwrap();
    let (_, _, recorded) = script.observed().await.remove(0);
    assert_eq!(recorded.unwrap()["headers"]["content-type"], "text/plain; charset=utf-8");
    assert!(!script.journal().await.contains("sid=42"), "a session is nothing for the journal");
}

#[tokio::test]
async fn a_body_is_cut_where_a_character_ends() {
    let (script, _product) = ready().await;
    let (shop, path) = at("/huge");
    let response = script.call().get(shop, path).await.unwrap();
    assert!(response.body.len() <= 64 << 10 && response.body.len() > (64 << 10) - 4);
    assert!(!response.body.contains('\u{fffd}'));
    let (shop, path) = at("/huge");
    let (kind, why) = told(script.call().check(shop, path, "json total = 1".to_owned()).await);
    assert_eq!((kind, why.as_str()), ("failed", "json total was missing: the body is longer than 64 KiB (must be 1)"));
}

#[tokio::test]
async fn endless_and_broken_answers_end() {
    let product = Product::endless(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", &[b'x'; 64 << 10]).await;
    let endless = script(&section(product.url("")));
    let (shop, path) = at("/");
    let response = endless.call().get(shop, path).await.unwrap();
    assert_eq!(response.body.len(), 64 << 10);
    for (answer, problem) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
            "the connection ended before the whole answer was there",
        ),
        (b"", "the connection ended before the whole answer was there"),
        (b"no HTTP at all\r\n\r\n", "the connection ended before the whole answer was there"),
    ] {
        let product = Product::raw(answer).await;
        let (shop, path) = at("/");
        let result = script(&section(product.url(""))).call().get(shop, path).await;
        assert_eq!(told(result), ("unavailable", problem.to_owned()));
    }
}

#[tokio::test]
async fn no_answer_is_unavailable() {
    let (_, product) = ready().await;
    let mut slow = section(product.url("/app"));
    slow.timeout = Duration::from_millis(300);
    let (shop, path) = at("/slow");
    assert_eq!(told(script(&slow).call().get(shop, path).await), ("unavailable", "no answer within 300ms".to_owned()));
    let nobody = script(&section(format!("http://{}", Product::nobody().await)));
    let (shop, path) = at("/");
    assert_eq!(told(nobody.call().get(shop, path).await), ("unavailable", "connection refused".to_owned()));
    let (shop, path) = at("/");
    let (kind, why) = told(nobody.call().check(shop, path, "status = 200".to_owned()).await);
    assert_eq!((kind, why.as_str()), ("unavailable", "GET /: status = 200: connection refused"));
    // A product that speaks no TLS.
    let secure = script(&section(product.url("").replace("http:", "https:")));
    let (shop, path) = at("/");
    let (kind, why) = told(secure.call().get(shop, path).await);
    assert_eq!(kind, "unavailable");
    assert!(!why.contains("127.0.0.1"), "{why}");
}

#[tokio::test]
async fn the_sites_headers_are_sent_and_never_told() {
    let (script, _product) = ready().await;
    let (shop, path) = at("/echo");
    let response = script.call().get(shop, path).await.unwrap();
    assert!(response.body.contains("x-asks=backout-test\n"), "{}", response.body);
    assert!(response.body.contains("authorization=[withheld]\n"), "{}", response.body);
    assert!(response.body.contains("accept=application/json\n"), "what is no secret stays readable");
    assert!(response.body.contains("x-tenant=[withheld]\n"), "it came from a file: {}", response.body);
    let (shop, path) = at("/echo");
    told(script.call().check(shop, path, "header x-you-sent = x and body contains nothing".to_owned()).await);
    assert!(!script.journal().await.contains(SECRET) && !script.journal().await.contains(FROM_FILE));
    let shown = format!("{:?}", section("http://h/".to_owned()));
    assert!(shown.contains("Authorization") && !shown.contains(SECRET), "{shown}");
    let mut wrong = section("http://h/".to_owned());
    wrong.headers.insert("x-key".to_owned(), Header { value: format!("{SECRET}\n"), secret: false });
    let refused = drivers::open(&wrong).err().unwrap().message;
    assert_eq!(refused, "the header `x-key` cannot be sent");
}

/// Wherever the end of what is kept falls into what must not be told.
#[tokio::test]
async fn a_secret_at_the_end_of_what_is_kept_is_withheld_as_a_whole() {
    let (script, _product) = ready().await;
    let sent = format!("Bearer {SECRET}{FROM_FILE}");
    for begin in (MAX_BODY - sent.len() - 1)..=MAX_BODY {
        let (shop, path) = at(&format!("/long/{begin}"));
        let body = script.call().get(shop, path).await.unwrap().body;
        let told = body.trim_start_matches('x').replace("[withheld]", "");
        assert!(told.trim_start_matches('y').is_empty(), "from {begin}: {told}");
    }
}

#[tokio::test]
async fn paths_stay_below_the_sites_address() {
    let (script, _product) = ready().await;
    for (path, asked) in [("/echo?x=1&y=/../..", "/echo?x=1&y=/../..\n"), ("/a/../echo", "/echo\n")] {
        let (shop, path) = at(path);
        assert!(script.call().get(shop, path).await.unwrap().body.starts_with(asked));
    }
    for path in ["//127.0.0.1:1/", "/@127.0.0.1:1/", "/\\127.0.0.1:1/"] {
        let (shop, path) = at(path);
        assert_eq!(script.call().get(shop, path).await.unwrap().body, "outside", "an address of this product only");
    }
    for path in ["echo", "http://127.0.0.1:1/", "/../", "/..%2f", "/%2e%2e/", "/a\r\nX: y", ""] {
        let (shop, path) = at(path);
        assert_eq!(told(script.call().get(shop, path).await).0, "invalid");
    }
    let before = script.observed().await.len();
    let (shop, path) = at(&format!("/{}", "x".repeat(1 << 20)));
    assert_eq!(told(script.call().get(shop, path).await).0, "invalid");
    assert_eq!(script.observed().await.len(), before, "the journal keeps no megabyte of path");
    for url in ["ftp://h/", "http://h/?x=1", "http://me:pw@h/", "shop"] {
        let refused = drivers::open(&section(url.to_owned())).err().unwrap();
        assert_eq!(refused.kind.as_str(), "invalid");
        assert!(!refused.message.contains("pw"), "{refused}");
    }
}

#[tokio::test]
async fn checks_say_in_one_line_what_was_seen() {
    let (script, _product) = ready().await;
    let mut said = String::new();
    for (path, condition) in [
        ("/", "status = 200 and body contains ready and header x-frame-options = DENY and header vary = \"a, b\""),
        ("/orders/7", "status = 200 and json total > 0 and json items.0.id = 7 and time < 10s"),
        ("/broken", "status = 200"),
        ("/broken", "json total > 0"),
        ("/broken", "body contains ready"),
        ("/moved", "status < 300"),
        ("/", "header strict-transport-security != \"\""),
        ("/orders/7", "json total = 4 and status = 200"),
        ("/orders/7", "json lost != 4"),
        ("/", "stauts = 200"),
    ] {
        let (shop, at) = at(path);
        match script.call().check(shop, at, condition.to_owned()).await {
            Ok(()) => said.push_str("ok\n"),
            refused => {
                let (kind, why) = told(refused);
                said.push_str(&format!("{kind}: {why}\n"));
            }
        }
    }
    expect_test::expect![[r#"
        ok
        ok
        failed: status was 500 (must be 200)
        failed: json total was missing: the body is no JSON (must be > 0); status was 500
        failed: body was "<h1>it broke badly</h1>" (must contain ready); status was 500
        failed: status was 307 (must be < 300)
        failed: header strict-transport-security was "" (must be != "")
        failed: json total was 3 (must be 4)
        failed: json lost was missing (must be != 4)
        invalid: there is no `stauts` here, there is: status, time, body, header, json
          stauts = 200
          ^^^^^^ did you mean `status`?
    "#]]
    .assert_eq(&said);
    let verdicts = verdicts(&script).await;
    assert_eq!(verdicts[0].area, Area::Security, "a condition about headers is about security");
    assert_eq!(verdicts[1].area, Area::Functional);
    assert_eq!(
        verdicts[1].title,
        "GET /orders/7: status = 200 and json total > 0 and json items.0.id = 7 and time < 10s"
    );
    assert!(verdicts[1].detail.starts_with("status was 200, json total was 3, json items.0.id was 7, time was "));
    let readings: Vec<_> = verdicts[1].readings.iter().map(|r| (r.name.as_str(), r.unit.as_str())).collect();
    assert_eq!(readings, [("status", ""), ("json total", ""), ("json items.0.id", ""), ("time", "s")]);
    assert!(verdicts.iter().all(|v| !v.detail.contains('\n')));
}

#[tokio::test]
async fn until_waits_for_the_answer() {
    let asked = Asked::default();
    let product = shop(asked.clone()).await;
    let script = script(&section(product.url("/app")));
    let (shop, path) = at("/third");
    script.call().until(shop, path, "status = 200 and body contains ready".to_owned(), 60).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let news = script.news();
    assert_eq!(news.len(), 2);
    assert_eq!(news[0].0, "status was 503 (must be 200), body was \"starting\" (must contain ready)");
    assert_eq!(news[0].2, 60);
    let verdict = verdicts(&script).await.remove(0);
    assert_eq!((verdict.result, verdict.area), (Ruling::Passed, Area::Functional));
    assert!(verdict.detail.starts_with("status was 200, body was \"ready\", after "), "{}", verdict.detail);
}

#[tokio::test]
async fn until_tells_the_last_answer_when_time_is_up() {
    let (script, product) = ready().await;
    let (shop, path) = at("/broken");
    let (kind, why) = told(script.call().until(shop, path, "status = 200".to_owned(), 1).await);
    assert_eq!((kind, why.as_str()), ("timed-out", "not within 1 s; at last: status was 500 (must be 200)"));
    // One that hangs is not waited for longer than was asked, though the site would allow it.
    let (began, (shop, path)) = (Instant::now(), at("/slow"));
    let (kind, why) = told(script.call().until(shop, path, "status = 200".to_owned(), 1).await);
    assert_eq!(kind, "timed-out");
    assert!(why.starts_with("not within 1 s; at last: no answer within "), "{why}");
    assert!(began.elapsed() < Duration::from_secs(8));
    product.end().await;
    let (shop, path) = at("/");
    let (kind, why) = told(script.call().until(shop, path, "status = 200".to_owned(), 0).await);
    assert_eq!((kind, why.as_str()), ("timed-out", "not within 0 s; at last: connection refused"));
    let (shop, path) = at("/../");
    assert_eq!(told(script.call().until(shop, path, "status = 200".to_owned(), 60).await).0, "invalid");
    let (shop, path) = at("/");
    assert_eq!(told(script.call().until(shop, path, "status = 200".to_owned(), u32::MAX).await).0, "invalid");
}

#[tokio::test]
async fn until_ends_when_the_operator_cancels() {
    let (script, _product) = ready().await;
    let cancel = script.cancel.clone();
    let canceller = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    };
    let (began, (shop, path)) = (Instant::now(), at("/broken"));
    let mut call = script.call();
    let (result, ()) = tokio::join!(call.until(shop, path, "status = 200".to_owned(), 600), canceller);
    assert!(matches!(result, Err(Error::Stop(Stop::Cancelled))), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_test_measures() {
    let (script, _product) = ready().await;
    let (shop, path) = at("/steady");
    let condition = "p50 >= 50ms and p99 < 5s and errors = 0 and rate > 1/s and requests > 4".to_owned();
    script.call().check_load(shop, path, 4, 1, condition).await.unwrap();
    let verdict = verdicts(&script).await.remove(0);
    assert_eq!((verdict.area, verdict.result), (Area::Performance, Ruling::Passed));
    assert!(verdict.title.starts_with("GET /steady by 4 clients for 1 s: p50 >= 50ms"), "{}", verdict.title);
    let reading = |name: &str| verdict.readings.iter().find(|r| r.name == name).unwrap();
    for name in ["p50", "p90", "p95", "p99", "rate", "errors", "requests"] {
        assert!(reading(name).value.is_finite(), "{name}");
    }
    let (rate, requests) = (reading("rate").value, reading("requests").value);
    // Four clients, each at most twenty times a second, and the last requests are waited for.
    assert!(rate <= 80.5 && requests <= 84.0, "{verdict:?}");
    assert!((50.0..1000.0).contains(&reading("p50").value) && reading("p50").unit == "ms", "{verdict:?}");
    assert!(reading("p95").must.is_empty() && reading("p99").must == "< 5s");
    assert!(script.news().iter().any(|(text, _, total)| text.ends_with(" requests, 0 errors") && *total == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_load_test_are_counted() {
    let (script, product) = ready().await;
    let (shop, path) = at("/flapping");
    let (kind, why) = told(script.call().check_load(shop, path, 2, 1, "errors < 1%".to_owned()).await);
    assert_eq!(kind, "failed");
    let verdict = verdicts(&script).await.remove(0);
    let errors = verdict.readings.iter().find(|r| r.name == "errors").unwrap();
    assert!((errors.value - 25.0).abs() < 10.0 && errors.unit == "%", "{why}");
    // A dead product: that it errs is certain, how fast it is cannot be said.
    product.end().await;
    let load = async |condition: &str| {
        let (shop, path) = at("/");
        told(script.call().check_load(shop, path, 2, 1, condition.to_owned()).await)
    };
    let (kind, why) = load("p95 < 300ms and errors < 1%").await;
    assert_eq!(kind, "failed");
    assert!(why.starts_with("errors was 100 % (must be < 1%); "), "{why}");
    let (kind, why) = load("p95 < 300ms").await;
    assert_eq!(kind, "inconclusive");
    assert!(why.starts_with("p95: no data; "), "{why}");
}

#[tokio::test]
async fn a_load_beyond_what_the_site_allows_is_denied() {
    let (script, product) = ready().await;
    let load = async |script: &Script, clients, time| {
        let (shop, path) = at("/");
        told(script.call().check_load(shop, path, clients, time, "errors = 0".to_owned()).await)
    };
    let denied = ("denied", "the site allows a load of at most 8 clients for 5s".to_owned());
    assert_eq!(load(&script, 9, 1).await, denied);
    assert_eq!(load(&script, 1, 6).await, denied);
    assert_eq!(load(&script, u32::MAX, 1).await, denied);
    assert_eq!(load(&script, 0, 1).await.0, "invalid");
    assert_eq!(load(&script, 1, 0).await.0, "invalid");
    let none = Section { load: None, ..section(product.url("/app")) };
    assert_eq!(load(&self::script(&none), 1, 1).await.0, "denied");
}

#[tokio::test]
async fn a_port_is_open_or_not() {
    let (script, product) = ready().await;
    script.call().tcp("shop".to_owned()).await.unwrap();
    product.end().await;
    let (kind, why) = told(script.call().tcp("shop".to_owned()).await);
    assert_eq!((kind, why.as_str()), ("failed", "connection refused"));
    let verdict = verdicts(&script).await.remove(1);
    assert_eq!((verdict.title.as_str(), verdict.result), ("shop accepts connections", Ruling::Failed));
    assert_eq!(told(script.call().tcp("other".to_owned()).await).0, "denied");
}

/// Its environment names a proxy, which nothing listens at.
#[tokio::test]
#[ignore = "run by the test below in a process of its own"]
async fn child() {
    let (script, _product) = ready().await;
    let (shop, path) = at("/");
    assert_eq!(script.call().get(shop, path).await.unwrap().body, "all is ready");
    let (shop, path) = at("/");
    script.call().check_load(shop, path, 1, 1, "errors = 0".to_owned()).await.unwrap();
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, "http://127.0.0.1:1");
    }
    for name in ["no_proxy", "NO_PROXY"] {
        child.env_remove(name);
    }
    let output = child.args(["--exact", "probe::child", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
