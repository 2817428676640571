//! The log, event by event, as the server itself lists it: no row of it has to leave the server, and nobody has to be its replica.
//!
//! Rows are logged behind the name of their table. What declares something is logged as it was said; it cannot change rows of a
//! table without naming it, and its database or where that was chosen. Whatever else was said is taken for anything.
use super::{
    super::super::{super::servers::short, connection::literal, error::told},
    Place, Session, Table, Without, why,
};
use mysql_async::{Row, Value, prelude::Queryable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Tables, in small letters: there are servers for which these are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Written {
    tables: BTreeSet<String>,
    /// Why it can be any table.
    anything: Option<String>,
}

impl Written {
    pub fn table(&mut self, name: &str) {
        self.tables.insert(name.to_lowercase());
    }

    pub fn has(&self, name: &str) -> bool {
        self.tables.contains(&name.to_lowercase())
    }

    pub fn anything(&self) -> Option<&str> {
        self.anything.as_deref()
    }

    fn take_for_anything(&mut self, why: String) {
        self.anything.get_or_insert(why);
    }

    pub fn add(&mut self, other: Self) {
        self.tables.extend(other.tables);
        self.anything = self.anything.take().or(other.anything);
    }
}

/// What was logged of `databases` from a place up to now, and where that is.
pub async fn written(
    session: &mut Session,
    from: &Place,
    databases: &[&str],
    tables: &[Table],
) -> Without<(Written, Place)> {
    let status = session.rows("SHOW BINLOG STATUS").await.map_err(why)?.into_iter().next().unwrap_or_default();
    let mut status = status.into_iter().flatten();
    let (Some(last), Some(end)) = (status.next(), status.next().and_then(|end| end.parse::<u64>().ok())) else {
        return Err("the server has stopped logging changes".to_owned());
    };
    let mut reading = Reading {
        databases: databases.iter().map(|name| name.to_lowercase()).collect(),
        tables: tables.iter().map(|table| table.name.to_lowercase()).collect(),
        written: Written::default(),
        next: None,
    };
    let (mut file, mut position, mut reached_last) = (from.file.clone(), from.position, false);
    loop {
        let there = session.list("SHOW BINARY LOGS").await.map_err(why)?;
        if !there.contains(&file) {
            return Err("the server has not kept all of its log".to_owned());
        }
        let events = format!("SHOW BINLOG EVENTS IN {} FROM {position}", literal(&file));
        let cannot = |e| format!("the server's log cannot be read: {}", told(e).message);
        let mut events = session.raw().query_iter(events).await.map_err(cannot)?;
        while let Some(event) = events.next().await.map_err(cannot)? {
            let event: Row = event;
            let event: Vec<String> = event.unwrap().into_iter().map(text).collect();
            let [_, _, kind, _, until, said] = event.as_slice() else {
                return Err("the server lists its log in another way".to_owned());
            };
            reading.event(kind, said);
            position = until.parse().unwrap_or(position);
        }
        if file == last {
            reached_last = true;
            if reading.next.is_none() && position < end {
                return Err("the server's log ends before its end".to_owned());
            }
        }
        match reading.next.take() {
            Some(next) => (file, position) = (next, FIRST),
            None if reached_last => break,
            None => return Err("a file of the server's log has no end".to_owned()),
        }
    }
    let gtid = super::gtid(session, &last, end).await.map_err(why)?;
    Ok((reading.written, Place { file: last, position: end, gtid }))
}

/// Where the first event of a file is.
const FIRST: u64 = 4;

fn text(value: Value) -> String {
    match value {
        Value::NULL => String::new(),
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => other.as_sql(true),
    }
}

struct Reading {
    databases: Vec<String>,
    tables: Vec<String>,
    written: Written,
    /// The file with which the log goes on.
    next: Option<String>,
}

impl Reading {
    fn event(&mut self, kind: &str, said: &str) {
        // The file that goes on has none behind it.
        self.next = None;
        match kind {
            "Format_desc" | "Gtid_list" | "Binlog_checkpoint" | "Start_encryption" | "Annotate_rows" | "Xid" => {}
            "Gtid" if !said.contains("XA ") => {}
            "Rotate" => self.next = said.split(';').next().map(str::to_owned),
            "Table_map" => self.rows_of(said),
            "Query" | "Query_compressed" => self.statement(said),
            _ if ["Write_rows", "Update_rows", "Delete_rows"].iter().any(|rows| kind.starts_with(rows)) => {}
            "Gtid" | "XA_prepare" => self.written.take_for_anything("a transaction was prepared (XA)".to_owned()),
            "Stop" => self.written.take_for_anything("the server was started again since".to_owned()),
            _ => self.written.take_for_anything(format!("the server's log has {} in it", short(kind))),
        }
    }

    /// `table_id: 18 (shop.orders)`; the server cuts off what is very long.
    fn rows_of(&mut self, said: &str) {
        let name = said.split_once('(').and_then(|(_, name)| name.strip_suffix(')')).map(str::to_lowercase);
        let Some(name) = name else {
            return self.written.take_for_anything("a name in the server's log is too long to be told".to_owned());
        };
        for database in &self.databases {
            let Some(table) = name.strip_prefix(&**database).and_then(|rest| rest.strip_prefix('.')) else { continue };
            // Under what name it went then, if it has another one now, the log says as well.
            if table.is_ascii() || self.tables.iter().any(|known| known == table) {
                self.written.table(table);
            } else {
                self.written.take_for_anything("a name in the server's log is not understood".to_owned());
            }
        }
    }

    fn statement(&mut self, said: &str) {
        let said = said.to_lowercase();
        let statement = behind_set(behind_use(&said)).trim_start();
        let mut words = statement.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // Whatever is in front of it makes something else of it.
        let first = if statement.starts_with(first) { first } else { "" };
        match (first, second) {
            ("begin" | "commit" | "rollback", "") | ("savepoint", _) | ("rollback", "to") => return,
            ("set", "password" | "default") => return,
            ("grant" | "revoke" | "optimize" | "repair" | "flush", _) | ("analyze", "table" | "local") => return,
            ("create" | "alter" | "drop" | "rename" | "truncate", _) => {}
            ("xa", _) => return self.written.take_for_anything("a transaction was prepared (XA)".to_owned()),
            _ => {
                let what = if first.is_empty() { "something".to_owned() } else { first.to_uppercase() };
                return self
                    .written
                    .take_for_anything(format!("{} was logged as a statement, not by its rows", short(&what)));
            }
        }
        let hidden = statement.contains("/*!") || statement.contains("/*m!");
        let names = names(&said);
        let is_of_ours = self.databases.iter().any(|database| names.contains(&**database));
        // It may have called functions.
        let computes = first == "create" && names.contains("table") && (names.contains("select") || values(statement));
        let of_database = names.contains("database") || names.contains("schema");
        if hidden || computes || is_of_ours && of_database {
            return self
                .written
                .take_for_anything(format!("{} was said, which may have changed any table", first.to_uppercase()));
        }
        if is_of_ours {
            for table in &self.tables {
                let plain = table.chars().all(|c| c.is_ascii_alphanumeric() || "_-$".contains(c));
                if !plain || names.contains(&**table) {
                    self.written.tables.insert(table.clone());
                }
            }
        }
    }
}

/// What comes behind "use `shop`; ".
fn behind_use(said: &str) -> &str {
    let Some(mut rest) = said.strip_prefix("use `") else { return said };
    while let Some((_, behind)) = rest.split_once('`') {
        match behind.strip_prefix('`') {
            Some(more) => rest = more,
            None => return behind.strip_prefix("; ").unwrap_or(said),
        }
    }
    said
}

/// And behind "set foreign_key_checks=0, unique_checks=0; ", by which the server says how the session was set.
fn behind_set(said: &str) -> &str {
    const SETTINGS: &[&str] =
        &["foreign_key_checks", "unique_checks", "check_constraint_checks", "sql_auto_is_null", "sql_if_exists"];
    let Some((settings, statement)) = said.strip_prefix("set ").and_then(|rest| rest.split_once("; ")) else {
        return said;
    };
    let own = |item: &str| {
        let name = item.split_once('=').map_or(item, |(name, _)| name);
        SETTINGS.contains(&name.trim_start_matches('@')) && item.len() <= name.len() + 2
    };
    if settings.split(", ").all(own) { statement } else { said }
}

/// All that may be a name, however it is quoted; with what is a part of one on either side of `-`.
fn names(text: &str) -> BTreeSet<&str> {
    let of_a_name = |c: char| c.is_alphanumeric() || "_$-".contains(c) || !c.is_ascii();
    let whole = text.split(|c| !of_a_name(c)).map(|name| name.trim_matches('-'));
    let mut names: BTreeSet<&str> = whole.clone().collect();
    // A comment behind `--`.
    names.extend(whole.filter_map(|name| name.split_once("--")).map(|(name, _)| name));
    names
}

/// `VALUES (…)`, but not the `VALUES IN (…)` of a partition.
fn values(statement: &str) -> bool {
    statement
        .match_indices("values")
        .any(|(at, word)| statement.get(at + word.len()..).is_some_and(|rest| rest.trim_start().starts_with('(')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &[(&str, &str)]) -> Written {
        let mut reading = Reading {
            databases: vec!["shop".into(), "backout_shop_7-shop".into()],
            tables: ["orders", "items", "größe"].map(str::to_owned).to_vec(),
            written: Written::default(),
            next: None,
        };
        events.iter().for_each(|(kind, said)| reading.event(kind, said));
        reading.written
    }

    #[test]
    fn rows_are_told_by_the_names_of_their_tables() {
        let tables = |said: &str| read(&[("Gtid", "BEGIN GTID 0-7-9"), ("Table_map", said)]);
        assert!(tables("table_id: 18 (shop.orders)").has("ORDERS"));
        assert!(tables("table_id: 18 (SHOP.größe)").has("größe"));
        assert!(tables("table_id: 18 (backout_shop_7-shop.items)").has("items"));
        for other in ["shop_2.orders", "shops.orders", "backout_shop_8-shop.orders", "other.shop.orders"] {
            assert_eq!(tables(&format!("table_id: 18 ({other})")), Written::default(), "{other}");
        }
        for unclear in ["table_id: 18 (shop.gr\u{fffd}e)", "table_id: 18 (shop.orde"] {
            assert!(tables(unclear).anything().is_some(), "{unclear}");
        }
    }

    #[test]
    fn statements_are_what_they_name_or_anything() {
        for nothing in [
            "BEGIN",
            "use `shop`; SAVEPOINT `orders`",
            "ROLLBACK TO `a`",
            "use `shop`; GRANT SELECT ON orders TO a@b",
            "use `other`; TRUNCATE orders",
            "CREATE TABLE `backout_shop_8-shop`.`orders` (a INT) PARTITION BY LIST (a) (PARTITION p VALUES IN (1))",
            "use `backout_shop_8-shop`; CREATE TABLE `orders` (`a` int)",
            "set password for a@b = 'x'",
        ] {
            assert_eq!(
                read(&[("Query", nothing)]),
                Written { tables: read(&[("Query", nothing)]).tables, anything: None }
            );
            assert!(!read(&[("Query", nothing)]).has("orders"), "{nothing}");
        }
        for named in [
            "use `shop`; truncate orders",
            "use `shop`; set foreign_key_checks=0, @@sql_if_exists; DROP TABLE orders",
            "use `other`; TRUNCATE/**/shop.`orders`",
            "use `other`; TRUNCATE shop.orders-- all of it",
            "use `shop`; RENAME TABLE o TO orders",
            "use `shop`; DROP TABLE `orders` /* generated by server */",
        ] {
            let written = read(&[("Query", named)]);
            assert!(written.has("orders") && !written.has("items") && written.anything().is_none(), "{named}");
            assert!(written.has("größe"), "its name may be written in another way");
        }
        for anything in [
            "use `other`; INSERT INTO a VALUES (1)",
            "use `shop`; /* fast */ TRUNCATE orders",
            "use `other`; TRUNCATE /*!50000shop.orders*/",
            "use `other`; create table a as select f()",
            "use `other`; create table a values (f())",
            "use `a``; BEGIN`; DELETE FROM a",
            "DROP DATABASE shop",
            "XA COMMIT X'71',X'',1",
            "set foreign_key_checks=0; DELETE FROM a",
            "set @a=f(); TRUNCATE b",
            "SET STATEMENT max_statement_time=5 FOR TRUNCATE shop.orders",
            "BEGIN NOT ATOMIC DELETE FROM a; END",
            "ANALYZE UPDATE a SET b = 1",
            "",
        ] {
            assert!(read(&[("Query", anything)]).anything().is_some(), "{anything}");
        }
        for kind in
            ["RAND", "User var", "Intvar", "Incident", "Unknown", "Execute_load_query", "Stop", "XA_prepare", ""]
        {
            assert!(read(&[(kind, "")]).anything().is_some(), "{kind}");
        }
        assert!(read(&[("Gtid", "XA START X'71',X'',1 GTID 0-7-18")]).anything().is_some());
    }
}
