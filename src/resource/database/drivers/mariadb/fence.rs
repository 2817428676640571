//! Keeping applications out: their accounts are locked, events rest, and the fence is up when their sessions are gone.
//!
//! A locked account keeps its open sessions, so those are waited for, and ended when their time is over. What was locked before is written down on the server
//! before anything is locked, so that whoever lifts the fence needs to know nothing.
use super::{
    super::servers::POLL,
    MariaDb,
    activity::{named, others, there},
    connection::{Session, Use, end, literal, quoted},
    own::{self, Shut},
};
use crate::resource::{CallCtx, Failure};
use std::time::{Duration, Instant};

/// `shop@%` is user and host. A host has no `@`.
pub fn parts(account: &str) -> (&str, &str) {
    account.rsplit_once('@').unwrap_or((account, "%"))
}

impl Shut {
    fn quoted(&self) -> String {
        format!("{}@{}", literal(&self.user), literal(&self.host))
    }
}

async fn is_locked(session: &mut Session, shut: &Shut) -> Result<Option<bool>, Failure> {
    let sql = format!(
        "SELECT COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) IN ('1', 'true') FROM mysql.global_priv \
         WHERE BINARY User = {} AND Host = {}",
        literal(&shut.user),
        literal(&shut.host)
    );
    Ok(session.one(sql).await?.map(|value| value == "1"))
}

async fn lock(session: &mut Session, shut: &Shut, locked: bool) -> Result<(), Failure> {
    let word = if locked { "LOCK" } else { "UNLOCK" };
    session.run(format!("ALTER USER {} ACCOUNT {word}", shut.quoted())).await.map(|_| ())
}

pub async fn fenced(maria: &MariaDb, call: &CallCtx) -> Result<bool, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let fence = own::fence(&mut session, &maria.server.database).await?;
    session.close().await;
    Ok(!fence.is_empty())
}

/// Every account is locked, and nobody has got in behind that.
pub async fn shut(maria: &MariaDb, call: &CallCtx) -> Result<bool, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let fence = own::fence(&mut session, &maria.server.database).await?;
    let mut whole = !fence.is_empty();
    for shut in &fence {
        whole &= is_locked(&mut session, shut).await? != Some(false);
    }
    whole = whole && others(maria, &mut session).await?.is_empty();
    session.close().await;
    Ok(whole)
}

pub async fn raise(maria: &MariaDb, within: Duration, call: &CallCtx) -> Result<(), Failure> {
    let database = &maria.server.database;
    if maria.server.fence_roles.is_empty() {
        return Err(Failure::invalid("the site does not say which accounts the applications use")
            .hint("say `fence-accounts = [\"user@host\"]` in the section of the database"));
    }
    let mut session = maria.connect(Use::Writing, call).await?;
    there(maria, &mut session).await?;
    own::ready(&mut session).await?;
    let own_account = session.one("SELECT CURRENT_USER()").await?.unwrap_or_default();
    let mut accounts = Vec::new();
    for account in &maria.server.fence_roles {
        if *account == own_account || parts(account) == parts(&own_account) {
            return Err(Failure::invalid("Backout's own account is among `fence-accounts`: nobody could unlock it")
                .hint("give Backout an account of its own"));
        }
        let (user, host) = parts(account);
        let mut shut = Shut { user: user.to_owned(), host: host.to_owned(), was_locked: false };
        let Some(locked) = is_locked(&mut session, &shut).await? else {
            return Err(Failure::not_found("the server has no account that `fence-accounts` names").hint(account));
        };
        shut.was_locked = locked;
        accounts.push(shut);
    }
    let stood = !own::fence(&mut session, database).await?.is_empty();
    for shut in &accounts {
        // What another product's fence has locked was not locked by itself.
        let sql = format!(
            "INSERT IGNORE INTO backout.fences (of, account_user, account_host, was_locked) \
             SELECT {}, {}, {}, COALESCE((SELECT MIN(f.was_locked) FROM backout.fences f \
                 WHERE f.account_user = {1} AND f.account_host = {2}), {})",
            literal(database),
            literal(&shut.user),
            literal(&shut.host),
            shut.was_locked
        );
        session.run(sql).await?;
    }
    let acting = events(&mut session, database, "ENABLED").await?;
    for (name, _) in &acting {
        own::hold_event(&mut session, database, name).await?;
    }
    // A lock is on the disk at once, and without this nobody would know any more whose it is.
    own::durable(&mut session).await?;
    for shut in &accounts {
        lock(&mut session, shut, true).await?;
    }
    for (name, definer) in acting {
        alter_event(&mut session, database, (&name, &definer), "DISABLE").await?;
    }
    let emptied = empty(maria, &mut session, Instant::now() + within, call).await;
    if emptied.is_err() && !stood {
        down(maria, &mut session).await?;
    }
    session.close().await;
    emptied
}

/// Name and definer of those that stand so.
async fn events(session: &mut Session, database: &str, status: &str) -> Result<Vec<(String, String)>, Failure> {
    let sql = format!(
        "SELECT EVENT_NAME, DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} AND STATUS = '{status}'",
        literal(database)
    );
    let mut found = Vec::new();
    for row in session.rows(sql).await? {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        found.push((row.next().unwrap_or_default(), row.next().unwrap_or_default()));
    }
    Ok(found)
}

/// Whoever alters an event becomes its definer, unless it is said who is.
async fn alter_event(
    session: &mut Session,
    database: &str,
    (name, definer): (&str, &str),
    word: &str,
) -> Result<(), Failure> {
    let (user, host) = parts(definer);
    let definer = format!("{}@{}", literal(user), literal(host));
    let sql = format!("ALTER DEFINER = {definer} EVENT {}.{} {word}", quoted(database), quoted(name));
    session.run(sql).await.map(|_| ())
}

/// Waits until nobody is in it; when their time is over, ends those whose accounts are locked.
async fn empty(maria: &MariaDb, session: &mut Session, until: Instant, call: &CallCtx) -> Result<(), Failure> {
    const ROUNDS: u32 = 100;
    // Time is needed to take the fence down again.
    const LEFT: Duration = Duration::from_secs(2);
    let mut ended = 0;
    loop {
        let others = others(maria, session).await?;
        if others.is_empty() {
            return Ok(());
        }
        call.progress(&format!("waiting for {}", named(&others)), 0, 0);
        let late = Instant::now() >= until;
        if (late && (ended >= ROUNDS || others.iter().all(|other| !other.listed))) || call.remaining() < LEFT {
            return Err(Failure::timed_out(format!("the database is still in use by {}", named(&others)))
                .hint("only the sessions of `fence-accounts` are ended"));
        }
        if late {
            for other in others.iter().filter(|other| other.listed) {
                end(session, &other.id).await?;
            }
            ended += 1;
        }
        tokio::time::sleep(POLL).await;
    }
}

pub async fn lift(maria: &MariaDb, call: &CallCtx) -> Result<(), Failure> {
    let mut session = maria.connect(Use::Writing, call).await?;
    down(maria, &mut session).await?;
    session.close().await;
    Ok(())
}

async fn down(maria: &MariaDb, session: &mut Session) -> Result<(), Failure> {
    let resting = events(session, &maria.server.database, "DISABLED").await?;
    for name in own::events(session, &maria.server.database).await? {
        if let Some((_, definer)) = resting.iter().find(|(resting, _)| *resting == name) {
            alter_event(session, &maria.server.database, (&name, definer), "ENABLE").await?;
        }
        own::release_event(session, &maria.server.database, &name).await?;
    }
    let database = literal(&maria.server.database);
    for shut in own::fence(session, &maria.server.database).await? {
        let (user, host) = (literal(&shut.user), literal(&shut.host));
        let sql = format!(
            "SELECT COUNT(*) FROM backout.fences WHERE account_user = {user} AND account_host = {host} AND of <> {database}"
        );
        // An account that another fence holds stays locked. One that was dropped since needs nothing.
        let held = session.number(sql).await? > 0;
        if !held && !shut.was_locked && is_locked(session, &shut).await? == Some(true) {
            lock(session, &shut, false).await?;
        }
        let sql = format!(
            "DELETE FROM backout.fences WHERE of = {database} AND account_user = {user} AND account_host = {host}"
        );
        session.run(sql).await?;
    }
    own::durable(session).await
}
