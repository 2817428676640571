//! What Backout's user would have to be granted on the server for what the site grants to packages.
use super::{
    super::servers::Lacking,
    Postgres,
    connection::{Use, while_wanted},
    copies,
    error::told,
    fence::{self, SETTING, quoted},
};
use crate::resource::{CallCtx, Failure, Right, Rights};

const ABLE: &str = "SELECT r.rolsuper, pg_has_role(r.oid, d.datdba, 'MEMBER'), \
        pg_has_role(r.oid, 'pg_read_all_stats'::regrole, 'USAGE'), pg_has_role(r.oid, 'pg_signal_backend'::regrole, 'USAGE'), \
        current_setting('server_version_num')::int \
     FROM pg_roles r, pg_database d \
     WHERE r.rolname = current_user AND d.datname = current_database()";
/// The tables of the product that cannot be read, and those that cannot be written.
const TABLES: &str = "SELECT count(*) FILTER (WHERE NOT has_table_privilege(c.oid, 'SELECT')), \
        count(*) FILTER (WHERE NOT (has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') \
            AND has_table_privilege(c.oid, 'DELETE'))) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')";

pub async fn lacking(postgres: &Postgres, rights: &Rights, call: &CallCtx) -> Result<Vec<Lacking>, Failure> {
    while_wanted(call, look(postgres, rights, call)).await
}

async fn look(postgres: &Postgres, rights: &Rights, call: &CallCtx) -> Result<Vec<Lacking>, Failure> {
    let session = postgres.connect(Use::Looking, call).await?;
    let row = session.query_one(ABLE, &[]).await.map_err(told)?;
    let (superuser, owns): (bool, bool) = (row.get(0), row.get(1));
    let (stats, signals, version): (bool, bool, i32) = (row.get(2), row.get(3), row.get(4));
    let (user, database) = (quoted(&postgres.server.user), quoted(&postgres.server.database));
    let mut found: Vec<Lacking> = Vec::new();
    let mut lacks = |lacking: bool, what: &str, say: String| {
        if lacking && !found.iter().any(|other| other.say == say) {
            found.push(Lacking { what: what.to_owned(), say });
        }
    };
    let [reads, writes, copies, restores, fences] =
        [Right::Read, Right::Write, Right::Backup, Right::Restore, Right::Fence].map(|right| rights.contains(right));
    if fences {
        let listed = fence::listed_superuser(&session, postgres).await?;
        let own = "let the application work as a role of its own, which is no superuser".to_owned();
        lacks(listed.is_some(), "an application that is a superuser cannot be kept out", own);
    }
    if superuser {
        let refused = (reads || writes) && !postgres.server.allow_superuser;
        let say = "trust them with the server: `allow-superuser = true`, or grant no `read` and `write`".to_owned();
        if copies && let Err(failure) = copies::way(postgres, call).await {
            lacks(true, &failure.message, failure.hint.unwrap_or_default());
        }
        lacks(refused, "no script says SQL as a superuser, who can do anything on the server", say);
        return Ok(found);
    }
    let row = session.query_one(TABLES, &[]).await.map_err(told)?;
    let (unread, unwritten): (i64, i64) = (row.get(0), row.get(1));
    let all = |role: &str| format!("GRANT {role} TO {user};");
    lacks((reads || copies) && unread > 0, "not every table can be read", all("pg_read_all_data"));
    lacks(writes && unwritten > 0, "not every table can be written", all("pg_write_all_data"));
    lacks((reads || fences) && !stats, "not all of a session is shown", all("pg_read_all_stats"));
    let all_of_it = "only a superuser can copy all that belongs to a database, and exchange it";
    lacks(copies || restores, all_of_it, format!("ALTER ROLE {user} SUPERUSER;"));
    if fences {
        lacks(!owns, "only its owner can fence it", format!("ALTER DATABASE {database} OWNER TO {user};"));
        lacks(!signals, "sessions of applications cannot be ended", all("pg_signal_backend"));
        let roles = "list the application's roles: `fence-roles = [\"…\"]`".to_owned();
        lacks(postgres.server.fence_roles.is_empty(), "it is not said whom a fence keeps out", roles);
        let say = format!("GRANT SET ON PARAMETER {SETTING} TO {user};");
        let settable = match version {
            150_000.. => {
                let row = session.query_one("SELECT has_parameter_privilege($1::text, 'SET')", &[&SETTING]).await;
                row.map_err(told)?.get(0)
            }
            // Only superusers may set it there.
            _ => false,
        };
        lacks(!settable, "a fence cannot write down what it changes (before PostgreSQL 15 only a superuser can)", say);
    }
    Ok(found)
}
