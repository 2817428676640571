//! Somebody who receives what is posted, and answers as the test says.
use super::product::Product;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use serde_json::Value;
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
pub struct Posted {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub status: u16,
}

impl Posted {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Default)]
struct Desk {
    posted: Vec<Posted>,
    /// What it answers next; 200 when there is nothing left.
    answers: Vec<u16>,
}

pub struct Hook {
    pub server: Product,
    desk: Arc<Mutex<Desk>>,
}

impl Hook {
    /// Answers with these first.
    pub async fn answering(answers: &[u16]) -> Self {
        let desk = Arc::new(Mutex::new(Desk { posted: vec![], answers: answers.iter().rev().copied().collect() }));
        let server = Product::serve(Router::new().fallback(post).with_state(desk.clone())).await;
        Self { server, desk }
    }

    pub fn posted(&self) -> Vec<Posted> {
        self.desk.lock().unwrap().posted.clone()
    }
}

async fn post(
    State(desk): State<Arc<Mutex<Desk>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    let mut desk = desk.lock().unwrap();
    let status = desk.answers.pop().unwrap_or(200);
    desk.posted.push(Posted { path: uri.path().to_owned(), headers, body: body.to_vec(), status });
    let mut answer = HeaderMap::new();
    if status == 302 {
        answer.insert("location", "http://127.0.0.1:9/elsewhere".parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), answer)
}
