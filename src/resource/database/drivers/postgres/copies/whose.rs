//! What belongs to a database as a whole, and is in no dump of it: owner, privileges, limit, settings, comment, labels.
use super::super::error::told;
use super::mark::{literal, quoted};
use crate::resource::Failure;
use tokio_postgres::Client;

/// A statement that makes an empty database like another one, closed, and with nobody let in.
pub async fn create(admin: &Client, live: &str, name: &str) -> Result<String, Failure> {
    // Columns differ between versions.
    let of = "SELECT pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, to_jsonb(d) ->> 'datlocprovider', \
            coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale'), to_jsonb(d) ->> 'daticurules', \
            r.rolname::text, s.spcname::text \
        FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba JOIN pg_tablespace s ON s.oid = d.dattablespace \
        WHERE d.datname = $1";
    let row = admin.query_opt(of, &[&live]).await.map_err(told)?;
    let row = row.ok_or_else(|| Failure::not_found("the server has no such database"))?;
    let text = |i: usize| row.get::<_, Option<String>>(i);
    let mut words = format!(
        "CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 0 ENCODING {} LC_COLLATE {} LC_CTYPE {} \
         OWNER {} TABLESPACE {}",
        quoted(name),
        literal(&text(0).unwrap_or_default()),
        literal(&text(1).unwrap_or_default()),
        literal(&text(2).unwrap_or_default()),
        quoted(&text(6).unwrap_or_default()),
        quoted(&text(7).unwrap_or_default()),
    );
    match (text(3).as_deref(), text(4)) {
        (Some("i"), Some(locale)) => words += &format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(&locale)),
        (Some("b"), Some(locale)) => words += &format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(&locale)),
        _ => {}
    }
    if let Some(rules) = text(5) {
        words += &format!(" ICU_RULES {}", literal(&rules));
    }
    Ok(words)
}

/// The same, with all that is in it, copied by the server as files. All else it has from what it is made of.
pub async fn clone(admin: &Client, live: &str, name: &str) -> Result<String, Failure> {
    let of = "SELECT r.rolname::text, current_setting('server_version_num')::int \
        FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1";
    let row = admin.query_opt(of, &[&live]).await.map_err(told)?;
    let row = row.ok_or_else(|| Failure::not_found("the server has no such database"))?;
    // Before there was a choice, it was the only way.
    let strategy = if row.get::<_, i32>(1) >= 150_000 { " STRATEGY FILE_COPY" } else { "" };
    Ok(format!(
        "CREATE DATABASE {} TEMPLATE {}{strategy} ALLOW_CONNECTIONS false CONNECTION LIMIT 0 OWNER {}",
        quoted(name),
        quoted(live),
        quoted(row.get(0))
    ))
}

/// Settings for everybody in the database, and for each role in it, as the live one has them.
pub async fn settings(admin: &Client, live: &str, name: &str) -> Result<Vec<String>, Failure> {
    let of = "SELECT r.rolname::text, setting FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting \
        LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = $1) AND setting NOT LIKE 'backout.%'";
    let rows = admin.query(of, &[&live]).await.map_err(told)?;
    let mut statements = Vec::new();
    for row in &rows {
        let setting: String = row.get(1);
        let Some((key, value)) = setting.split_once('=') else { continue };
        let subject = match row.get::<_, Option<String>>(0) {
            None => format!("ALTER DATABASE {}", quoted(name)),
            Some(role) => format!("ALTER ROLE {} IN DATABASE {}", quoted(&role), quoted(name)),
        };
        statements.push(format!("{subject} SET {} TO {}", quoted(key), value_of(key, value)));
    }
    let labels = "SELECT provider, label FROM pg_shseclabel WHERE classoid = 'pg_database'::regclass \
        AND objoid = (SELECT oid FROM pg_database WHERE datname = $1)";
    for row in admin.query(labels, &[&live]).await.map_err(told)? {
        let (provider, label) = (quoted(row.get(0)), literal(row.get(1)));
        statements.push(format!("SECURITY LABEL FOR {provider} ON DATABASE {} IS {label}", quoted(name)));
    }
    Ok(statements)
}

/// Lists are kept as the server quotes their elements, and are said element by element.
fn value_of(key: &str, value: &str) -> String {
    const LISTS: [&str; 6] = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    if !LISTS.contains(&key) {
        return literal(value);
    }
    let (mut elements, mut element, mut inside) = (Vec::new(), String::new(), false);
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if inside && rest.peek() == Some(&'"') => {
                rest.next();
                element.push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => elements.push(std::mem::take(&mut element)),
            c if c.is_whitespace() && !inside => {}
            c => element.push(c),
        }
    }
    elements.push(element);
    elements.iter().map(|element| literal(element)).collect::<Vec<_>>().join(", ")
}

const PRIVILEGES: &str = "SELECT d.datname::text, coalesce(g.rolname::text, ''), r.rolname::text, a.privilege_type, a.is_grantable \
    FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
        JOIN pg_roles r ON r.oid = a.grantor LEFT JOIN pg_roles g ON g.oid = a.grantee \
    WHERE d.datname = $1";

/// What must be said so that `name` has the privileges that `live` has, and nobody any other.
pub async fn privileges(admin: &Client, live: &str, name: &str) -> Result<Vec<String>, Failure> {
    let on = |name: &str| format!("ON DATABASE {}", quoted(name));
    let who = |role: String| if role.is_empty() { "PUBLIC".to_owned() } else { quoted(&role) };
    let mut statements = Vec::new();
    for row in admin.query(PRIVILEGES, &[&name]).await.map_err(told)? {
        statements.push(format!("REVOKE ALL {} FROM {} CASCADE", on(name), who(row.get(1))));
    }
    for row in admin.query(PRIVILEGES, &[&live]).await.map_err(told)? {
        let (right, option): (String, bool) = (row.get(3), row.get(4));
        let option = if option { " WITH GRANT OPTION" } else { "" };
        statements.push(format!("GRANT {right} {} TO {}{option}", on(name), who(row.get(1))));
    }
    statements.dedup();
    Ok(statements)
}

/// Who may do what, by name. Who has granted it is left out: in a copy it is the owner.
pub async fn allowed(admin: &Client, name: &str) -> Result<Vec<(String, String, bool)>, Failure> {
    let rows = admin.query(PRIVILEGES, &[&name]).await.map_err(told)?;
    let mut all: Vec<(String, String, bool)> = rows.iter().map(|row| (row.get(1), row.get(3), row.get(4))).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_said_element_by_element() {
        assert_eq!(value_of("search_path", "\"$user\", public, \"a, \"\"b\""), "'$user', 'public', 'a, \"b'");
        assert_eq!(value_of("search_path", "\"\""), "''");
        assert_eq!(value_of("work_mem", "64MB, 'x'"), "'64MB, ''x'''");
    }
}
