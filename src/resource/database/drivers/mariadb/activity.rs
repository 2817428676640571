//! Who works on the database.
use super::{
    super::servers::{self, POLL, short},
    MariaDb,
    connection::{OURS, Session as Connected, Use, literal},
};
use crate::resource::{CallCtx, Failure, database::Session};

/// Somebody other than Backout.
pub struct Other {
    pub id: String,
    /// It came by one of the accounts that a fence locks.
    pub listed: bool,
    pub session: Session,
}

pub async fn activity(maria: &MariaDb, call: &CallCtx) -> Result<Vec<Session>, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    there(maria, &mut session).await?;
    let others = others(maria, &mut session).await?;
    session.close().await;
    Ok(others.into_iter().map(|other| other.session).collect())
}

/// A database that is not there is no database that nobody uses.
pub async fn there(maria: &MariaDb, session: &mut Connected) -> Result<(), Failure> {
    let name = literal(&maria.server.database);
    let sql = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE BINARY SCHEMA_NAME = {name}");
    if session.number(sql).await? == 1 { Ok(()) } else { Err(Failure::not_found("the server has no such database")) }
}

/// All but our own: who has chosen the database, and who may reach it without that, by the accounts that the site lists. A
/// thread that applies what another server wrote has no user that could be told from others.
pub async fn others(maria: &MariaDb, session: &mut Connected) -> Result<Vec<Other>, Failure> {
    let accounts: Vec<String> =
        maria.server.fence_roles.iter().map(|account| literal(super::fence::parts(account).0)).collect();
    let accounts = if accounts.is_empty() { String::new() } else { format!(" OR p.USER IN ({})", accounts.join(", ")) };
    let sql = format!(
        "SELECT p.ID, p.USER, p.HOST, p.COMMAND, COALESCE(p.STATE, ''), p.TIME, \
             SUBSTRING_INDEX(CURRENT_USER(), '@', 1) = p.USER, t.trx_id IS NOT NULL, (0{accounts}) \
         FROM information_schema.PROCESSLIST p \
         LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID \
         WHERE p.ID <> CONNECTION_ID() AND (p.DB = {}{accounts}) \
           AND COALESCE(IS_USED_LOCK(CONCAT('{OURS}', p.ID)), 0) <> p.ID \
         ORDER BY p.ID",
        literal(&maria.server.database)
    );
    const TRIES: usize = 5;
    let mut tried = 0;
    loop {
        let rows = session.rows(&sql).await?;
        tried += 1;
        let mut others = Vec::new();
        // One of ours that ends gives its locks back before it is gone.
        let mut perhaps_ours = false;
        for row in rows {
            let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
            let [id, user, host, command, state, time, own, open, listed] = row.as_slice() else { continue };
            perhaps_ours |= own == "1";
            let state = match (command.as_str(), open.as_str()) {
                ("Sleep", "1") => "idle in a transaction".to_owned(),
                ("Sleep", _) => "idle".to_owned(),
                _ if state.is_empty() => command.to_lowercase(),
                _ => state.to_lowercase(),
            };
            let from = if host.is_empty() { "the server itself" } else { host };
            let who = format!("{} from {} (session {id})", short(user), short(from));
            let age_seconds = time.parse().unwrap_or_default();
            others.push(Other {
                id: id.clone(),
                listed: listed == "1",
                session: Session { who, state: short(&state), age_seconds },
            });
        }
        if !perhaps_ours || tried == TRIES {
            return Ok(others);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// For people: the first ones by name.
pub fn named(others: &[Other]) -> String {
    servers::named(others.iter().map(|other| &other.session))
}
