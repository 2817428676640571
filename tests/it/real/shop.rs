//! The shop whose data is on a server. It answers as the demo's shop does and reads the same release files. It is this test
//! program itself, which a release's `bin/shop` starts through the runtime that the site names.
mod mariadb;
mod postgres;

use async_trait::async_trait;
use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use backout::cli::demo::shop::VERSION;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What it was called with, a word a line.
pub const ARGUMENTS: &str = "BACKOUT_TEST_SHOP";
/// How it reaches its database: an address that begins with `mysql://`, or the words of libpq.
pub const DATABASE: &str = "BACKOUT_TEST_SHOP_DATABASE";

/// What it asks of its database. An error is a line in its log.
#[async_trait]
trait Data: Send + Sync {
    /// 0: there is none yet.
    async fn schema(&self) -> Result<i32, String>;
    /// Each revision with its statements.
    async fn migrate(&self, revisions: &[(i32, String)]) -> Result<(), String>;
    /// A page of orders as JSON; `state` is the column that holds it.
    async fn orders(&self, state: &str, page: i64) -> Result<Vec<String>, String>;
    async fn order(&self, state: &str, id: i64) -> Result<Option<String>, String>;
    /// Its number. The state is the column and what stands there.
    async fn place(&self, state: (&str, &str), order: &NewOrder) -> Result<i64, String>;
}

fn data() -> Box<dyn Data> {
    let address = std::env::var(DATABASE).unwrap();
    if address.starts_with("mysql://") {
        Box::new(mariadb::MariaDb::new(address))
    } else {
        Box::new(postgres::Postgres::new(address))
    }
}

/// Connections that wait for the next one who needs them. One that failed does not come back.
struct Idle<C>(Mutex<Vec<C>>);

impl<C> Idle<C> {
    fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }
    fn take(&self) -> Option<C> {
        self.0.lock().unwrap().pop()
    }
    fn give(&self, connection: C) {
        self.0.lock().unwrap().push(connection);
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[derive(Deserialize)]
struct Release {
    version: String,
    schema: i32,
    states: BTreeMap<String, String>,
    migrations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Config {
    port: u16,
}

/// `shop --release DIR serve|migrate --config FILE`
pub async fn run(arguments: &str) {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let [_, _, folder, command, _, config] = words[..] else { panic!("not called as a shop is: {arguments}") };
    let folder = PathBuf::from(folder);
    let release: Release = toml::from_str(&fs::read_to_string(folder.join("release.toml")).unwrap()).unwrap();
    match command {
        "migrate" => migrate(&release, &folder).await,
        _ => serve(release, toml::from_str(&fs::read_to_string(config).unwrap()).unwrap()).await,
    }
}

async fn migrate(release: &Release, folder: &FilePath) {
    let data = data();
    let from = data.schema().await.unwrap();
    let sql = |to: i32| fs::read_to_string(folder.join(&release.migrations[&to.to_string()])).unwrap();
    let revisions: Vec<_> = (from + 1..=release.schema).map(|to| (to, sql(to))).collect();
    data.migrate(&revisions).await.unwrap();
    println!("schema {from} -> {}", release.schema);
}

struct Shop {
    release: Release,
    data: Box<dyn Data>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    errors: u64,
    recent: VecDeque<(Instant, Duration)>,
}

async fn serve(release: Release, config: Config) {
    let data = data();
    assert_eq!(data.schema().await.unwrap(), release.schema, "{} reads another schema", release.version);
    let shop = Arc::new(Shop { release, data, counts: Mutex::default() });
    let routes = Router::new()
        .route("/orders", get(orders).post(place))
        .route("/orders/{id}", get(order))
        .layer(middleware::from_fn_with_state(shop.clone(), measure))
        .route("/health", get(health))
        .route("/metrics.json", get(metrics))
        .layer(middleware::from_fn_with_state(shop.clone(), sign))
        .with_state(shop.clone());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", config.port)).await.unwrap();
    println!("INFO {} answers on port {}", shop.release.version, config.port);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let (closing, closed) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
        terminate.recv().await;
        drop(closing);
    });
    tokio::select! {
        served = server => served.unwrap(),
        // Who keeps a connection open does not keep the shop.
        () = async { let _ = closed.await; tokio::time::sleep(Duration::from_secs(2)).await } => {}
    }
    println!("INFO closed");
}

impl Shop {
    fn column(&self) -> &'static str {
        if self.release.schema == 1 { "status" } else { "state" }
    }

    /// States are numbers or short words in the database; people get the release's name for them.
    fn readable(&self, text: &str) -> Result<Value, String> {
        let mut order: Value = serde_json::from_str(text).unwrap();
        let state = &order["state"];
        let stored = state.as_str().map_or_else(|| state.to_string(), str::to_owned);
        let name = self.release.states.get(&stored).ok_or_else(|| {
            format!("order {} has the state {stored}, which {} does not know", order["id"], self.release.version)
        })?;
        order["state"] = name.as_str().into();
        Ok(order)
    }
}

/// Whatever goes wrong is a 500 and a line in the log.
fn wrong(error: String) -> Response {
    println!("ERROR {error}");
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "something went wrong" }))).into_response()
}

async fn health(State(shop): State<Arc<Shop>>) -> Result<Response, Response> {
    let schema = shop.data.schema().await.map_err(wrong)?;
    let status = if schema == shop.release.schema { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(json!({ "version": shop.release.version, "schema": schema }))).into_response())
}

async fn orders(
    State(shop): State<Arc<Shop>>,
    Query(asked): Query<BTreeMap<String, i64>>,
) -> Result<Response, Response> {
    let page = asked.get("page").copied().unwrap_or_default();
    let found = shop.data.orders(shop.column(), page).await.map_err(wrong)?;
    let orders = found.iter().map(|order| shop.readable(order)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    Ok(Json(json!({ "page": page, "orders": orders })).into_response())
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Response, Response> {
    Ok(match shop.data.order(shop.column(), id).await.map_err(wrong)? {
        Some(order) => Json(shop.readable(&order).map_err(wrong)?).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "no such order" }))).into_response(),
    })
}

#[derive(Deserialize)]
struct NewOrder {
    customer: i64,
    items: Vec<NewItem>,
}
#[derive(Deserialize)]
struct NewItem {
    product: i64,
    quantity: i64,
}

async fn place(State(shop): State<Arc<Shop>>, Json(new): Json<NewOrder>) -> Result<Response, Response> {
    let state = if shop.release.schema == 1 { "'new'" } else { "1" };
    let id = shop.data.place((shop.column(), state), &new).await.map_err(wrong)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

async fn metrics(State(shop): State<Arc<Shop>>) -> Response {
    let mut counts = shop.counts.lock().unwrap();
    counts.recent.retain(|(at, _)| at.elapsed() < Duration::from_secs(5));
    let mut times: Vec<f64> = counts.recent.iter().map(|(_, took)| took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let p95 = times.get((times.len() * 95).div_ceil(100).saturating_sub(1));
    Json(json!({ "requests": counts.requests, "errors": counts.errors, "p95": p95 })).into_response()
}

async fn measure(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let mut counts = shop.counts.lock().unwrap();
    counts.requests += 1;
    counts.errors += u64::from(response.status().is_server_error());
    counts.recent.push_back((began, began.elapsed()));
    response
}

/// Every answer says which version gave it; who means another one is told.
async fn sign(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let mut response = match request.headers().get(VERSION) {
        Some(meant) if meant != shop.release.version.as_str() => StatusCode::CONFLICT.into_response(),
        _ => next.run(request).await,
    };
    response.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let version = HeaderValue::from_str(&shop.release.version).unwrap();
    response.headers_mut().insert(HeaderName::from_static(VERSION), version);
    response
}
