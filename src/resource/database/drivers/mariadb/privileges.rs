//! What the server would have to allow Backout's user. Of rights that can only be given for all of the server: those on single
//! databases the server names itself when it is asked for them.
use super::{
    super::servers::{Lacking, while_wanted},
    MariaDb,
    connection::{Use, literal},
};
use crate::resource::{CallCtx, Failure, Right, Rights};

pub async fn lacking(maria: &MariaDb, rights: &Rights, call: &CallCtx) -> Result<Vec<Lacking>, Failure> {
    while_wanted(call, look(maria, rights, call)).await
}

async fn look(maria: &MariaDb, rights: &Rights, call: &CallCtx) -> Result<Vec<Lacking>, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let account = session.one("SELECT CURRENT_USER()").await?.unwrap_or_default();
    let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
    let grantee = format!("'{user}'@'{host}'");
    let sql =
        format!("SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = {}", literal(&grantee));
    let has = session.list(sql).await?;
    let logs = session.number("SELECT @@GLOBAL.log_bin").await? == 1;
    session.close().await;
    let [copies, restores, fences] = [Right::Backup, Right::Restore, Right::Fence].map(|right| rights.contains(right));
    let wanted = [
        (true, "PROCESS", "the sessions of others are not shown"),
        (fences, "CREATE USER", "no account can be locked"),
        (copies || fences, "CONNECTION ADMIN", "sessions cannot be ended"),
        (copies && logs, "BINLOG MONITOR", "the server's log does not tell what has changed, so all is compared"),
        (copies && logs, "SLAVE MONITOR", "nobody can say whether the server's log is whole, so all is compared"),
        (restores, "SET USER", "views, triggers and routines of others cannot be made again"),
    ];
    const NOT_OF_SUPER: &[&str] = &["PROCESS", "CREATE USER", "BINLOG MONITOR"];
    let lacks = wanted.into_iter().filter(|(needed, right, _)| {
        *needed && !has.iter().any(|own| own == right || own == "SUPER" && !NOT_OF_SUPER.contains(right))
    });
    let mut found: Vec<Lacking> = lacks
        .map(|(_, right, what)| Lacking { what: what.to_owned(), say: format!("GRANT {right} ON *.* TO {grantee};") })
        .collect();
    if fences && maria.server.fence_roles.is_empty() {
        let say = "list the application's accounts: `fence-accounts = [\"…\"]`".to_owned();
        found.push(Lacking { what: "nobody says whom a fence keeps out".to_owned(), say });
    }
    Ok(found)
}
