//! Answers as signed POSTs. Whoever reaches the address can send anything, so there is a limit to each thing: what is not signed with
//! the secret is not even read as JSON.
use super::{
    Found, Person, Question, Signing,
    answer::{self, Answer},
    folder::NOT_UNDERSTOOD,
};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::Sleep,
};

/// The clocks of both sides may be so much apart.
const APART: u64 = 300;
/// Connections at once, and how long each may take.
const MOST_VISITORS: usize = 32;
const LONGEST_VISIT: Duration = Duration::from_secs(10);
/// Ids of answers that were taken.
const MOST_TAKEN: usize = 256;
/// After an address could not be had.
const AGAIN: Duration = Duration::from_secs(1);

/// Where answers are taken while something is asked.
pub struct Desk {
    address: SocketAddr,
    signing: Signing,
    people: Arc<BTreeMap<String, Person>>,
    asked: Mutex<BTreeMap<String, Asked>>,
    /// What was taken, by its id: whoever sends it again because no reply came is told so.
    taken: Mutex<VecDeque<(String, [u8; 32])>>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

struct Asked {
    run: u64,
    role: String,
    /// Has room for one answer, so the second finds nobody who asks.
    answer: mpsc::Sender<Found>,
    /// What does not fit is not told.
    trouble: mpsc::Sender<Found>,
}

/// A question, for as long as this is kept.
pub struct Open {
    desk: Arc<Desk>,
    id: String,
    answer: mpsc::Receiver<Found>,
    trouble: mpsc::Receiver<Found>,
}

impl Open {
    pub async fn next(&mut self) -> Found {
        let found = tokio::select! {
            biased;
            answer = self.answer.recv() => answer,
            trouble = self.trouble.recv() => trouble,
        };
        match found {
            Some(found) => found,
            // The desk keeps the other ends for as long as the question is open.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut asked = lock(&self.desk.asked);
        asked.remove(&self.id);
        if asked.is_empty()
            && let Some(serving) = lock(&self.desk.serving).take()
        {
            serving.abort();
        }
    }
}

impl Desk {
    pub fn new(address: SocketAddr, signing: Signing, people: Arc<BTreeMap<String, Person>>) -> Self {
        let (asked, taken, serving) = Default::default();
        Self { address, signing, people, asked, taken, serving }
    }

    pub fn open(self: &Arc<Self>, question: &Question) -> Open {
        let ((answer, answers), (trouble, troubles)) = (mpsc::channel(1), mpsc::channel(16));
        let Question { id, run, role, .. } = question;
        let mut asked = lock(&self.asked);
        asked.insert(id.clone(), Asked { run: *run, role: role.clone(), answer, trouble });
        lock(&self.serving).get_or_insert_with(|| tokio::spawn(self.clone().serve()));
        Open { desk: self.clone(), id: id.clone(), answer: answers, trouble: troubles }
    }

    async fn serve(self: Arc<Self>) {
        let mut said = false;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        let why = format!("no answers can be taken at {} yet: {error}", self.address);
                        self.trouble(&why);
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let doors = Doors { listener, room: Arc::new(Semaphore::new(MOST_VISITORS)) };
        let desk = Router::new().route("/answers", post(take)).layer(DefaultBodyLimit::max(answer::MAX));
        let _ = axum::serve(doors, desk.with_state(self)).await;
    }

    /// What is about no question is told with one of those that are asked.
    fn trouble(&self, why: &str) {
        if let Some(asked) = lock(&self.asked).values().next() {
            let _ = asked.trouble.try_send(Err(why.to_owned()));
        }
    }

    fn take(&self, headers: &HeaderMap, body: &[u8]) -> Result<&'static str, Refusal> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
        let signed = !id.is_empty() && id.len() <= 128 && self.signing.holds(id, at, body, header("webhook-signature"));
        if !signed {
            return Err(Refusal::told(StatusCode::UNAUTHORIZED, "its signature does not hold"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if !at.parse::<u64>().is_ok_and(|at| at.abs_diff(now) <= APART) {
            let why = "its time is more than five minutes away from the time here";
            return Err(Refusal::told(StatusCode::UNAUTHORIZED, why));
        }
        let digest: [u8; 32] = Sha256::digest(body).into();
        let before = lock(&self.taken).iter().find(|(taken, _)| taken == id).map(|(_, digest)| *digest);
        match before {
            Some(before) if before == digest => return Ok("it was taken already\n"),
            Some(_) => return Err(Refusal::told(StatusCode::CONFLICT, "its id is that of another answer")),
            None => {}
        }
        let envelope: Envelope = serde_json::from_slice(body)
            .ok()
            .filter(|envelope: &Envelope| envelope.r#type == "backout.answer")
            .ok_or_else(|| Refusal::told(StatusCode::BAD_REQUEST, NOT_UNDERSTOOD))?;
        let answer = envelope.data;
        let asked = lock(&self.asked);
        let Some(asked) = asked.get(&answer.question) else {
            // Late, or again: nobody has to hear of it.
            return Err(Refusal { status: StatusCode::NOT_FOUND, why: "nobody asks this", told: false });
        };
        let answered = match answer.counts(asked.run, &asked.role, &self.people, None) {
            Ok(answered) => answered,
            Err(why) => {
                let _ = asked.trouble.try_send(Err(format!("an answer by webhook does not count: {why}")));
                return Err(Refusal { status: StatusCode::FORBIDDEN, why: "it does not count", told: false });
            }
        };
        if asked.answer.try_send(Ok(answered)).is_err() {
            return Err(Refusal { status: StatusCode::NOT_FOUND, why: "it was answered before", told: false });
        }
        let mut taken = lock(&self.taken);
        if taken.len() == MOST_TAKEN {
            taken.pop_front();
        }
        taken.push_back((id.to_owned(), digest));
        Ok("taken\n")
    }
}

struct Refusal {
    status: StatusCode,
    why: &'static str,
    /// To whoever is asked, too.
    told: bool,
}

impl Refusal {
    fn told(status: StatusCode, why: &'static str) -> Self {
        Self { status, why, told: true }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    r#type: String,
    data: Answer,
    #[serde(default, rename = "timestamp")]
    _timestamp: serde::de::IgnoredAny,
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    match desk.take(&headers, &body) {
        Ok(words) => (StatusCode::OK, words.to_owned()),
        Err(Refusal { status, why, told }) => {
            if told {
                desk.trouble(&format!("an answer by webhook does not count: {why}"));
            }
            (status, format!("{why}\n"))
        }
    }
}

/// Lets so many in at once, each for so long.
struct Doors {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl axum::serve::Listener for Doors {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        // Never closed, so there will be room.
        let room = self.room.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let end = Box::pin(tokio::time::sleep(LONGEST_VISIT));
                    return (Visit { stream, end, _room: room }, from);
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Visit {
    fn over(&mut self, cx: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Visit {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
