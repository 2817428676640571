//! Connections, each with as little power as its use needs.
//!
//! The list of sessions of a server shows no more of one than its user, so each of ours holds two named locks: one that says
//! that it is ours, and one by which what still works for an operation can be found and ended. The server gives them back
//! when the session is gone, and not before.
use super::{
    super::servers::{POLL, over},
    MariaDb,
    error::{self, told},
};
use crate::resource::{
    CallCtx, Failure,
    database::{Host, Tls},
};
use mysql_async::{Conn, OptsBuilder, Row, SslOpts, Value, prelude::Queryable};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a connection waits for a lock of the application: what waits for a table keeps those who come later from it.
const PATIENCE: u64 = 10;
/// Sessions of one operation.
const MOST: usize = 16;
/// The largest packet that the protocol knows of.
const ANY: usize = 1 << 30;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To look with, by statements of our own: the server refuses whatever changes anything.
    Looking,
    /// To change something with, by statements of our own.
    Writing,
    /// As `Looking`, for a statement of a script: names mean what they mean to the product, and an answer is bounded.
    Asking { most: usize },
    /// As `Writing`, for statements of a script.
    Obeying,
}

/// A connection; closed when it is dropped.
pub struct Session(Conn);

impl Session {
    /// Rows that it changed.
    pub async fn run(&mut self, sql: impl AsRef<[u8]>) -> Result<u64, Failure> {
        self.0.query_drop(sql.as_ref()).await.map_err(told)?;
        Ok(self.0.affected_rows())
    }

    /// `None` is NULL. What is no text becomes text as well as it can: names and numbers are.
    pub async fn rows(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let rows: Vec<Row> = self.0.query(sql.as_ref()).await.map_err(told)?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect())
    }

    /// The first value of the first row.
    pub async fn one(&mut self, sql: impl AsRef<[u8]>) -> Result<Option<String>, Failure> {
        Ok(self.rows(sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// The first value of each row.
    pub async fn list(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<String>, Failure> {
        Ok(self.rows(sql).await?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    pub async fn number(&mut self, sql: impl AsRef<[u8]>) -> Result<u64, Failure> {
        Ok(self.one(sql).await?.and_then(|text| text.parse().ok()).unwrap_or_default())
    }

    /// For what comes in streams.
    pub fn raw(&mut self) -> &mut Conn {
        &mut self.0
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns when the server has heard of it.
    pub async fn close(self) {
        let _ = self.0.disconnect().await;
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}

impl MariaDb {
    pub async fn connect(&self, with: Use, call: &CallCtx) -> Result<Session, Failure> {
        let left = call.remaining();
        if left.is_zero() {
            return Err(over());
        }
        let mut session = self.open(with).await?;
        session.run(settings(with, left)).await?;
        // With the name of the operation, so that there is no statement of it that nobody finds.
        let tag = self.tag(call);
        let slots: Vec<String> =
            (0..MOST).map(|n| format!("WHEN IS_FREE_LOCK('{tag} {n}') THEN GET_LOCK('{tag} {n}', 0)")).collect();
        let locks = format!("SELECT GET_LOCK(CONCAT('{OURS}', CONNECTION_ID()), 0), CASE {} END", slots.join(" "));
        let mut got = false;
        for _ in 0..20 {
            let row = session.rows(&locks).await?.pop().unwrap_or_default();
            got = row.iter().all(|lock| lock.as_deref() == Some("1"));
            if got {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        if !got {
            return Err(Failure::unavailable("the server gives no more locks to say who works on it"));
        }
        match with {
            Use::Looking | Use::Asking { .. } => session.run("SET SESSION TRANSACTION READ ONLY").await?,
            Use::Writing | Use::Obeying => session.run("SET SESSION TRANSACTION READ WRITE").await?,
        };
        if matches!(with, Use::Asking { .. } | Use::Obeying) {
            session.run(format!("USE {}", quoted(&self.server.database))).await?;
        }
        Ok(session)
    }

    async fn open(&self, with: Use) -> Result<Session, Failure> {
        let server = &self.server;
        let most = if let Use::Asking { most } = with { most } else { ANY };
        let mut opts = OptsBuilder::default()
            .user(Some(&server.user))
            .pass(server.password.as_deref())
            .prefer_socket(false)
            .stmt_cache_size(0)
            // Said here, so that the server is not asked for it.
            .max_allowed_packet(Some(most))
            .wait_timeout(Some(28_800))
            .connect_attribute("program_name", "backout");
        let mut tls = Tls::Disable;
        match &server.host {
            Host::Name(name) => {
                tls = server.tls;
                opts = opts.ip_or_hostname(name).tcp_port(server.port).tcp_nodelay(true);
            }
            Host::Socket(path) => {
                let path = path.to_str().ok_or_else(|| Failure::invalid("the socket's path is not text"))?;
                opts = opts.socket(Some(path));
            }
        }
        let encrypted = match tls {
            Tls::Disable => None,
            Tls::VerifyFull => Some(SslOpts::default()),
            // Does not ask who the server is, as its own tools do not unless they are told to.
            Tls::Prefer | Tls::Require => {
                Some(SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
            }
        };
        let plain = opts.clone();
        match Conn::new(opts.ssl_opts(encrypted)).await {
            Ok(conn) => Ok(Session(conn)),
            Err(e) if tls == Tls::Prefer && error::is_plain(&e) => Conn::new(plain).await.map(Session).map_err(told),
            Err(e) => Err(told(e)),
        }
    }

    /// The name of the operation's locks: the database is in it, because two products may have the same key, and one server.
    pub fn tag(&self, call: &CallCtx) -> String {
        let digest = Sha256::digest(format!("{}:{}", self.server.database, call.key));
        let digest: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("backout {digest}")
    }
}

/// Ends what still works for an operation and waits until it is gone; `session` is none of it.
pub async fn end_others(session: &mut Session, tag: &str) -> Result<(), Failure> {
    let holders: Vec<String> =
        (0..MOST).map(|n| format!("SELECT IS_USED_LOCK({}) AS id", literal(&format!("{tag} {n}")))).collect();
    let holders =
        format!("SELECT id FROM ({}) h WHERE id IS NOT NULL AND id <> CONNECTION_ID()", holders.join(" UNION ALL "));
    loop {
        let ids = session.list(&holders).await?;
        if ids.is_empty() {
            return Ok(());
        }
        for id in ids {
            end(session, &id).await?;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ends a session; one that is gone is fine.
pub async fn end(session: &mut Session, id: &str) -> Result<(), Failure> {
    const NO_SUCH: u16 = 1094;
    match session.0.query_drop(format!("KILL CONNECTION {id}")).await {
        Err(e) if error::code(&e) != NO_SUCH => Err(told(e)),
        _ => Ok(()),
    }
}

/// What the lock is called that says that a session is ours, before its number.
pub const OURS: &str = "backout session ";

fn settings(with: Use, left: Duration) -> String {
    let seconds = left.as_secs_f64().max(0.001);
    let patience = (left.as_secs() * 9 / 10).clamp(1, PATIENCE);
    let mut settings = format!(
        "SET NAMES utf8mb4, max_statement_time = {seconds:.3}, lock_wait_timeout = {patience}, \
         innodb_lock_wait_timeout = {patience}, autocommit = 1, wait_timeout = 28800, net_write_timeout = 600, \
         tx_isolation = 'REPEATABLE-READ', max_recursive_iterations = 4294967295"
    );
    if matches!(with, Use::Looking | Use::Writing) {
        settings += &format!(", {OWN}");
    }
    settings
}

/// Statements of our own mean the same on every server.
pub const OWN: &str = "sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00', sql_quote_show_create = 1, \
     foreign_key_checks = 0, unique_checks = 0, check_constraint_checks = 0, innodb_strict_mode = 0, \
     sql_select_limit = DEFAULT, sql_safe_updates = 0";

/// An identifier, whatever it is made of.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in a statement of our own.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'").replace('\0', "\\0"))
}
