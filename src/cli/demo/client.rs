//! Somebody who uses the shop all the time, and measures what is seen of it from outside.
use super::{shop, stock};
use anyhow::{Context, bail};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const READERS: u32 = 3;
/// Between two requests of one reader; an outage is measured about as finely.
const PAUSE: Duration = Duration::from_millis(12);
const BETWEEN_ORDERS: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_ANSWER: u64 = 1 << 20;

pub struct Answer {
    pub status: u16,
    /// of the shop that answered
    pub version: String,
    /// status line and headers
    pub head: String,
    pub body: String,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// requests that were answered, whatever the status
    pub answers: u64,
    /// of these: with a status of 500 and above
    pub errors: u64,
    /// orders that the shop has confirmed
    pub orders: u64,
    /// the times in which no request was answered, in order
    pub outages: Vec<Duration>,
    /// of the last answer
    pub version: Option<String>,
    last_answer: Option<Instant>,
    missed: bool,
}

impl Seen {
    pub fn longest_outage(&self) -> Duration {
        self.outages.iter().copied().max().unwrap_or_default()
    }

    fn note(&mut self, answer: Option<&Answer>, now: Instant) {
        let Some(answer) = answer else {
            self.missed = true;
            return;
        };
        if let (true, Some(last)) = (self.missed, self.last_answer) {
            self.outages.push(now - last);
        }
        self.missed = false;
        self.last_answer = Some(now);
        self.answers += 1;
        self.errors += u64::from(answer.status >= 500);
        self.orders += u64::from(answer.status == 201);
        if !answer.version.is_empty() {
            self.version = Some(answer.version.clone());
        }
    }
}

/// Reads go on always. Orders are placed with 2.0 only: 1.0 must not change after the moment that is compared with, and
/// what 2.0 has written is what a rollback keeps aside.
pub struct Client {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    port: u16,
    seen: Mutex<Seen>,
    stop: AtomicBool,
}

impl Client {
    pub fn start(port: u16) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { port, seen: Mutex::default(), stop: AtomicBool::new(false) });
        let mut client = Self { shared: shared.clone(), threads: Vec::new() };
        for reader in 0..READERS {
            let shared = shared.clone();
            let work = move || shared.until_stopped(PAUSE, |n| shared.read(reader, n));
            client.threads.push(std::thread::Builder::new().name(format!("reader-{reader}")).spawn(work)?);
        }
        let work = move || shared.until_stopped(BETWEEN_ORDERS, |n| shared.order(n));
        client.threads.push(std::thread::Builder::new().name("buyer".to_owned()).spawn(work)?);
        Ok(client)
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until_stopped(&self, pause: Duration, mut work: impl FnMut(u32)) {
        let mut n = 0;
        while !self.stop.load(Ordering::Relaxed) {
            work(n);
            n = n.wrapping_add(1);
            std::thread::sleep(pause);
        }
    }

    /// Single orders all over the shop's past, and now and then the latest ones.
    fn read(&self, reader: u32, n: u32) {
        let path = match n % 10 {
            0 => "/orders".to_owned(),
            _ => format!("/orders/{}", 1 + (reader * 1_000 + n * 7) % stock::ORDERS),
        };
        let answer = get(self.port, &path);
        self.seen().note(answer.ok().as_ref(), Instant::now());
    }

    fn order(&self, n: u32) {
        let Some(version) = self.seen().version.clone().filter(|version| version.starts_with("2.")) else { return };
        let customer = 1 + n % stock::CUSTOMERS;
        let items: Vec<String> = (0..1 + n % 3)
            .map(|i| format!(r#"{{"product":{},"quantity":{}}}"#, 1 + (n * 11 + i) % stock::PRODUCTS, 1 + i))
            .collect();
        let body = format!(r#"{{"customer":{customer},"items":[{}]}}"#, items.join(","));
        // Another version that has come meanwhile refuses.
        let headers = format!("content-type: application/json\r\n{}: {version}\r\n", shop::VERSION);
        let answer = request(self.port, "POST /orders", &headers, &body);
        self.seen().note(answer.ok().as_ref(), Instant::now());
    }
}

pub fn get(port: u16, path: &str) -> anyhow::Result<Answer> {
    request(port, &format!("GET {path}"), "", "")
}

/// `what` is method and path; each header ends its line. A connection of its own for each request, so that nothing hides
/// when the shop is gone.
pub fn request(port: u16, what: &str, headers: &str, body: &str) -> anyhow::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head =
        format!("{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}");
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer that breaks off")?;
    let header = |name: &str| {
        head.lines()
            .filter_map(|l| l.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    };
    if header("content-length").is_some_and(|length| length.parse() != Ok(body.len())) {
        bail!("an answer that breaks off");
    }
    Ok(Answer {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without status")?,
        version: header(shop::VERSION).unwrap_or_default().to_owned(),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_from_the_last_answer_before_to_the_first_one_after() {
        let answer = |status| Answer { status, version: "1.0.0".into(), head: String::new(), body: String::new() };
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut seen = Seen::default();
        seen.note(None, at(0)); // nobody had ever been there: no outage
        for (time, status) in [(100, 200), (110, 500), (120, 201)] {
            seen.note(Some(&answer(status)), at(time));
        }
        assert_eq!((seen.answers, seen.errors, seen.orders, seen.outages.len()), (3, 1, 1, 0));
        seen.note(None, at(130));
        seen.note(None, at(300));
        seen.note(Some(&answer(404)), at(420));
        seen.note(Some(&answer(200)), at(900)); // slow is not away
        assert_eq!(seen.outages, [Duration::from_millis(300)]);
        assert_eq!(seen.longest_outage(), Duration::from_millis(300));
    }
}
