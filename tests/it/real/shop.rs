//! The shop on PostgreSQL. It answers as the demo's shop does and reads the same release files, but its data is on a server. It is
//! this test program itself, which a release's `bin/shop` starts through the runtime that the site names.
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
use tokio_postgres::{Client, NoTls};

/// What it was called with, a word a line.
pub const ARGUMENTS: &str = "BACKOUT_TEST_SHOP";
/// How it reaches its database, in the words of libpq.
pub const DATABASE: &str = "BACKOUT_TEST_SHOP_DATABASE";

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

async fn connect() -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&std::env::var(DATABASE).unwrap(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn schema(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let exists = client.query_one("SELECT to_regclass('schema_revision') IS NOT NULL", &[]).await?;
    if !exists.get::<_, bool>(0) {
        return Ok(0);
    }
    Ok(client.query_one("SELECT max(revision) FROM schema_revision", &[]).await?.get(0))
}

/// In one transaction, as PostgreSQL can.
async fn migrate(release: &Release, folder: &FilePath) {
    let mut client = connect().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let from = schema(transaction.client()).await.unwrap();
    for to in from + 1..=release.schema {
        let sql = fs::read_to_string(folder.join(&release.migrations[&to.to_string()])).unwrap();
        transaction.batch_execute(&sql).await.unwrap();
        transaction.execute("INSERT INTO schema_revision VALUES ($1)", &[&to]).await.unwrap();
    }
    transaction.commit().await.unwrap();
    println!("schema {from} -> {}", release.schema);
}

struct Shop {
    release: Release,
    idle: Mutex<Vec<Client>>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    errors: u64,
    recent: VecDeque<(Instant, Duration)>,
}

async fn serve(release: Release, config: Config) {
    let found = schema(&connect().await.unwrap()).await.unwrap();
    assert_eq!(found, release.schema, "{} reads another schema", release.version);
    let shop = Arc::new(Shop { release, idle: Mutex::default(), counts: Mutex::default() });
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
    /// Whatever goes wrong is a 500 and a line in the log.
    async fn work<T>(&self, work: impl AsyncFnOnce(&mut Client) -> Result<T, String>) -> Result<T, Response> {
        let idle = self.idle.lock().unwrap().pop();
        let done = async {
            let mut client = match idle {
                Some(client) if !client.is_closed() => client,
                _ => connect().await.map_err(|e| e.to_string())?,
            };
            let done = work(&mut client).await?;
            self.idle.lock().unwrap().push(client);
            Ok(done)
        };
        done.await.map_err(|error: String| {
            println!("ERROR {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "something went wrong" }))).into_response()
        })
    }

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

async fn health(State(shop): State<Arc<Shop>>) -> Result<Response, Response> {
    let schema = shop.work(async |db| schema(db).await.map_err(|e| e.to_string())).await?;
    let status = if schema == shop.release.schema { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(json!({ "version": shop.release.version, "schema": schema }))).into_response())
}

async fn orders(
    State(shop): State<Arc<Shop>>,
    Query(asked): Query<BTreeMap<String, i64>>,
) -> Result<Response, Response> {
    let page = asked.get("page").copied().unwrap_or_default();
    let sql = format!(
        "SELECT row_to_json(t)::text FROM (
           SELECT o.id, c.name AS customer, o.placed, o.{} AS state, o.total / 100.0 AS total
           FROM orders o JOIN customers c ON c.id = o.customer ORDER BY o.id DESC LIMIT 20 OFFSET $1) t",
        shop.column()
    );
    let orders = shop.work(async |db| {
        let rows = db.query(&sql, &[&(page * 20)]).await.map_err(|e| e.to_string())?;
        rows.iter().map(|row| shop.readable(row.get(0))).collect::<Result<Vec<_>, _>>()
    });
    Ok(Json(json!({ "page": page, "orders": orders.await? })).into_response())
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Response, Response> {
    let sql = format!(
        "SELECT row_to_json(t)::text FROM (
           SELECT o.id, c.name AS customer, o.placed, o.{} AS state, o.total / 100.0 AS total
           FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = $1) t",
        shop.column()
    );
    let found = shop.work(async |db| {
        let row = db.query_opt(&sql, &[&id]).await.map_err(|e| e.to_string())?;
        row.map(|row| shop.readable(row.get(0))).transpose()
    });
    Ok(match found.await? {
        Some(order) => Json(order).into_response(),
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
    let sql =
        format!("INSERT INTO orders (customer, placed, {}) VALUES ($1, now(), {state}) RETURNING id", shop.column());
    let id = shop.work(async |db| {
        let work = async {
            let transaction = db.transaction().await?;
            let id: i64 = transaction.query_one(&sql, &[&new.customer]).await?.get(0);
            for (line, item) in (1i64..).zip(&new.items) {
                let sql = "INSERT INTO items SELECT $1, $2, id, $4, price FROM products WHERE id = $3";
                transaction.execute(sql, &[&id, &line, &item.product, &item.quantity]).await?;
            }
            transaction.commit().await?;
            Ok(id)
        };
        work.await.map_err(|e: tokio_postgres::Error| e.to_string())
    });
    Ok((StatusCode::CREATED, Json(json!({ "id": id.await? }))).into_response())
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
