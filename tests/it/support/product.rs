//! Small products that answer over HTTP, in this process, on a port of their own.
use axum::{Router, body::Body, extract::State, http::Response, response::IntoResponse, routing::get};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

pub struct Product {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Product {
    pub async fn serve(routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, task }
    }

    /// Says the same to everybody, whatever they ask, and closes the connection: answers that no decent server gives.
    pub async fn raw(answer: &'static [u8]) -> Self {
        Self::accept(answer, None).await
    }

    /// Goes on for as long as somebody listens.
    pub async fn endless(beginning: &'static [u8], then: &'static [u8]) -> Self {
        Self::accept(beginning, Some(then)).await
    }

    async fn accept(beginning: &'static [u8], then: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let mut said = stream.write_all(beginning).await;
                    while let (Some(more), Ok(())) = (then, said) {
                        said = stream.write_all(more).await;
                    }
                });
            }
        });
        Self { address, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends it; nobody listens on its port any more.
    pub async fn end(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// A port that was free a moment ago: nobody listens there.
    pub async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A page that shows one text after the other, the last one for ever.
#[derive(Clone)]
pub struct Pages {
    texts: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Pages {
    pub fn new<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts = texts.into_iter().map(Into::into).collect();
        Self { texts: Arc::new(Mutex::new(texts)), asked: Arc::default() }
    }

    /// From now on.
    pub fn show(&self, text: impl Into<String>) {
        *self.texts.lock().unwrap() = vec![text.into()];
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub async fn serve(&self) -> Product {
        Product::serve(Router::new().route("/page", get(page)).with_state(self.clone())).await
    }
}

async fn page(State(pages): State<Pages>) -> Response<Body> {
    let asked = pages.asked.fetch_add(1, Ordering::Relaxed);
    let texts = pages.texts.lock().unwrap();
    texts[asked.min(texts.len() - 1)].clone().into_response()
}
