use super::{
    Config, Release,
    log::{self, Level},
    meter::Meter,
    store::{NewOrder, Store},
};
use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;
use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, signal::unix::SignalKind};

/// A request that is at work when the shop closes is finished, but not for ever.
const GRACE: Duration = Duration::from_secs(2);

pub const VERSION: &str = "x-shop-version";

struct Shop {
    release: Release,
    config: Config,
    store: Store,
    meter: Meter,
}

pub fn serve(release: Release, config: Config) -> anyhow::Result<()> {
    let store = Store::open(&config.database, &release)?;
    let shop = Arc::new(Shop { release, config, store, meter: Meter::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(listen(shop.clone()));
    runtime.shutdown_timeout(GRACE);
    shop.log(Level::Info, "closed");
    result
}

async fn listen(shop: Arc<Shop>) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let address = (Ipv4Addr::LOCALHOST, shop.config.port);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on port {}", shop.config.port))?;
    shop.log(Level::Info, &format!("{} answers on port {}", shop.release.version, shop.config.port));
    let (closing, mut closed) = tokio::sync::watch::channel(());
    let server = axum::serve(listener, routes(shop)).with_graceful_shutdown(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        drop(closing);
    });
    // The sender is dropped when the shop is told to close.
    let out_of_patience = async {
        while closed.changed().await.is_ok() {}
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => Ok(result?),
        () = out_of_patience => Ok(()),
    }
}

fn routes(shop: Arc<Shop>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/orders", get(orders).post(place))
        .route("/orders/{id}", get(order))
        .layer(middleware::from_fn_with_state(shop.clone(), measure))
        .route("/health", get(health))
        .route("/metrics.json", get(|State(shop): State<Arc<Shop>>| async move { Json(shop.meter.read()) }))
        .route("/metrics", get(|State(shop): State<Arc<Shop>>| async move { shop.meter.read().prometheus() }))
        .layer(middleware::from_fn_with_state(shop.clone(), sign))
        .with_state(shop)
}

impl Shop {
    fn log(&self, level: Level, text: &str) {
        log::line(self.config.log_level, level, text);
    }
}

/// Work on the database, away from the threads that answer. Whatever goes wrong there is a 500 and a line in the log.
async fn work<T: Send + 'static>(
    shop: Arc<Shop>,
    work: impl FnOnce(&Shop) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Response> {
    let worker = shop.clone();
    let result = tokio::task::spawn_blocking(move || work(&worker)).await.map_err(anyhow::Error::from).flatten();
    result.map_err(|error| {
        shop.log(Level::Error, &format!("{error:#}"));
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "something went wrong" }))).into_response()
    })
}

async fn health(State(shop): State<Arc<Shop>>) -> Result<Response, Response> {
    let schema = work(shop.clone(), |shop| shop.store.schema()).await?;
    let status = if schema == shop.release.schema { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = json!({ "version": shop.release.version, "schema": schema, "reads-schema": shop.release.schema });
    Ok((status, Json(health)).into_response())
}

#[derive(Deserialize)]
struct Paging {
    #[serde(default)]
    page: u32,
}

async fn orders(State(shop): State<Arc<Shop>>, Query(paging): Query<Paging>) -> Result<Response, Response> {
    let orders = work(shop, move |shop| shop.store.orders(&shop.release, shop.config.page_size, paging.page)).await?;
    Ok(Json(json!({ "page": paging.page, "orders": orders })).into_response())
}

async fn order(State(shop): State<Arc<Shop>>, Path(id): Path<i64>) -> Result<Response, Response> {
    tokio::time::sleep(Duration::from_millis(shop.config.partner_millis)).await;
    Ok(match work(shop, move |shop| shop.store.order(&shop.release, id)).await? {
        Some(order) => Json(order).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "no such order" }))).into_response(),
    })
}

async fn place(State(shop): State<Arc<Shop>>, Json(order): Json<NewOrder>) -> Result<Response, Response> {
    Ok(match work(shop, move |shop| shop.store.place(&shop.release, &order)).await? {
        Ok(id) => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": reason }))).into_response(),
    })
}

async fn page(State(shop): State<Arc<Shop>>) -> Result<Response, Response> {
    let summary = work(shop.clone(), |shop| shop.store.summary(&shop.release)).await?;
    let page = shop
        .release
        .page
        .replace("{{version}}", &shop.release.version)
        .replace("{{theme}}", &shop.config.theme)
        .replace("{{orders}}", &summary.orders.to_string())
        .replace("{{total}}", &format!("{:.2}", summary.total));
    Ok(Html(page).into_response())
}

async fn measure(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let what = format!("{} {}", request.method(), request.uri());
    let response = next.run(request).await;
    let took = began.elapsed();
    shop.meter.count(response.status().is_server_error(), took);
    shop.log(Level::Debug, &format!("{what} {} {took:.1?}", response.status().as_u16()));
    response
}

/// Every answer says which version gave it, and what a browser may do with it. A client that says which version it talks to
/// is told when that is another one by now.
async fn sign(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let mut response = match request.headers().get(VERSION) {
        Some(meant) if meant != shop.release.version.as_str() => StatusCode::CONFLICT.into_response(),
        _ => next.run(request).await,
    };
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(version) = HeaderValue::from_str(&shop.release.version) {
        response.headers_mut().insert(HeaderName::from_static(VERSION), version);
    }
    response
}
