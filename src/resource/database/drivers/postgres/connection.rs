//! Connections, each with as little power as its use needs.
//!
//! Each carries the name of the operation that it works for (`application_name`), so that what still works for it can be found
//! and ended. A connection that is dropped is closed at once, and the server ends what it is at within a second.
use super::{
    super::servers::over,
    Postgres,
    error::{self, told},
    stream::Stream,
    tls,
};
use crate::resource::{CallCtx, Failure, FailureKind, database::Server};
use sha2::{Digest, Sha256};
use std::{
    future::Future,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_postgres::{CancelToken, Client, Config, NoTls, error::SqlState};

pub use super::super::servers::{POLL, in_time, soon, while_wanted};

/// How long a connection waits for a lock of the application.
const PATIENCE: Duration = Duration::from_secs(30);
/// What one connection may be sent. The rows of a large copy are many bytes.
const ANY: u64 = u64::MAX;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To look with, by statements of our own: the server refuses whatever changes anything.
    Looking,
    /// To change something with, by statements of our own.
    Writing,
    /// As `Looking`, for a statement of a script: names mean what they mean to the product, and an answer is bounded.
    Asking { most: u64 },
    /// As `Writing`, for statements of a script.
    Obeying,
}

/// A connection; closed when it is dropped.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
    exceeded: Arc<AtomicBool>,
    /// Of a script's statement, to be ended by its own name: the script may have set everything that would end it otherwise.
    at_work: Option<Server>,
}

impl Session {
    /// Nothing is left to end.
    pub fn finished(&mut self) {
        self.at_work = None;
    }

    /// The server wanted to send more than it may.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}
impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
        if let (Some(server), Ok(runtime)) = (self.at_work.take(), Handle::try_current()) {
            let token = self.client.cancel_token();
            runtime.spawn(async move { tokio::time::timeout(PATIENCE, end(&server, token)).await });
        }
    }
}

/// The server ends what the connection is at. That it cannot be reached is no news to whoever has given it up.
async fn end(server: &Server, token: CancelToken) {
    let Ok(stream) = Stream::open(server, ANY).await else { return };
    let ended = match tls::wanted(server) {
        Ok((_, Some(connector))) => token.cancel_query_raw(stream, connector).await,
        Ok((_, None)) => token.cancel_query_raw(stream, NoTls).await,
        Err(_) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(code = ?error.code(), "a statement that was given up may go on for a while");
    }
}

impl Postgres {
    /// To the database that the site names, whatever stands under its name now.
    pub async fn connect(&self, with: Use, call: &CallCtx) -> Result<Session, Failure> {
        self.connect_to(&self.server.database, with, call).await
    }

    /// To one of the databases that no product uses, from where all are seen and any but itself can be renamed.
    pub async fn maintenance(&self, with: Use, call: &CallCtx) -> Result<Session, Failure> {
        match self.connect_to("postgres", with, call).await {
            Err(e) if matches!(e.kind, FailureKind::NotFound | FailureKind::Denied) => {
                self.connect_to("template1", with, call).await.map_err(|_| e)
            }
            result => result,
        }
    }

    /// To any database of the same server, such as a stand-by.
    pub async fn connect_to(&self, database: &str, with: Use, call: &CallCtx) -> Result<Session, Failure> {
        let server = &self.server;
        let left = call.remaining();
        if left.is_zero() {
            return Err(over());
        }
        let (mode, connector) = tls::wanted(server)?;
        let mut config = Config::new();
        config.user(&server.user).dbname(database).application_name(self.tag(call)).ssl_mode(mode);
        config.options(options(with, left));
        if let Some(password) = &server.password {
            config.password(password);
        }
        let most = if let Use::Asking { most } = with { most } else { ANY };
        let connected = async {
            let stream = Stream::open(server, most).await.map_err(|e| error::cannot_connect(&e))?;
            let exceeded = stream.exceeded();
            let script = matches!(with, Use::Asking { .. } | Use::Obeying);
            let too_much = |of: Option<&str>| script && !server.allow_superuser && of != Some("off");
            let (client, driver, refuse) = match connector {
                Some(connector) => {
                    let (client, connection) = config.connect_raw(stream, connector).await.map_err(refused)?;
                    let refuse = too_much(connection.parameter(SUPERUSER));
                    (client, tokio::spawn(ended(connection)), refuse)
                }
                None => {
                    let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(refused)?;
                    let refuse = too_much(connection.parameter(SUPERUSER));
                    (client, tokio::spawn(ended(connection)), refuse)
                }
            };
            if refuse {
                driver.abort();
                return Err(superuser());
            }
            if with == Use::Writing {
                client.batch_execute(DURABLE).await.map_err(told)?;
            }
            Ok(Session { client, driver, exceeded, at_work: script.then(|| server.clone()) })
        };
        // The library's own part is big, and is in all that connects.
        in_time(call, Box::pin(connected)).await
    }
}

/// What the server says of whoever logs in.
const SUPERUSER: &str = "is_superuser";

/// A superuser's SQL reads and writes files of the server and runs programs there, whatever right the site grants.
fn superuser() -> Failure {
    Failure::denied("Backout's user is a superuser on the server, whose SQL no right holds, and the site lets no script speak as one")
        .hint("`allow-superuser = true` in the section of the database, where every package with `read` or `write` is trusted with the server")
}

/// What we say is done is never undone by a power failure, whatever the server makes of its own commits.
const DURABLE: &str =
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// The error that ends a connection reaches whoever waits for an answer on it.
async fn ended(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        tracing::debug!(code = ?error.code(), "a connection to PostgreSQL ended");
    }
}

fn refused(error: tokio_postgres::Error) -> Failure {
    if error::is(&error, &SqlState::UNDEFINED_OBJECT) {
        return Failure::unavailable("the server is too old: Backout needs PostgreSQL 14 or newer");
    }
    told(error)
}

/// In the first message, so that there is no moment without them, and stronger than what is set for the user or the database.
fn options(with: Use, left: Duration) -> String {
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).clamp(1, i32::MAX as u64);
    // Less than the whole, so that the one who waits hears what for.
    let lock = left.mul_f32(0.9).min(PATIENCE).as_millis().max(1);
    let mut options = format!(
        "-c statement_timeout={millis} -c lock_timeout={lock} -c idle_in_transaction_session_timeout={millis} \
         -c client_connection_check_interval=500"
    );
    if matches!(with, Use::Looking | Use::Asking { .. }) {
        options += " -c default_transaction_read_only=on";
    } else {
        options += " -c default_transaction_read_only=off";
    }
    // Nothing that the product has declared may take the place of what the server brings.
    if matches!(with, Use::Looking | Use::Writing) {
        options += " -c search_path=pg_catalog -c row_security=off -c standard_conforming_strings=on";
    }
    options
}

/// What each of our connections is called at first.
pub const PREFIX: &str = "backout ";

/// What a connection is called while it works for an operation: the name of the database is in it, because two products may
/// have the same key, and one server.
fn tag(database: &str, key: &str) -> String {
    /// What the server keeps of it.
    const LONGEST: usize = 63;
    let name = format!("{PREFIX}{database}:{key}");
    if name.len() <= LONGEST && name.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        return name;
    }
    let digest = format!("{:x}", Sha256::digest(&name));
    let start: String = key.chars().filter(char::is_ascii_graphic).take(30).collect();
    format!("{PREFIX}{start}~{}", digest.get(..16).unwrap_or_default())
}

impl Postgres {
    pub fn tag(&self, call: &CallCtx) -> String {
        tag(&self.server.database, &call.key)
    }

    /// Ends what still works for the operation, in any database of the server, and waits until it is gone. Only sessions of
    /// our own user are ours: others may call themselves what they like.
    pub async fn end_others(&self, session: &Client, call: &CallCtx) -> Result<(), Failure> {
        const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()";
        loop {
            let row = session.query_one(END, &[&self.tag(call)]).await.map_err(told)?;
            if row.get::<_, i64>(0) == 0 {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
