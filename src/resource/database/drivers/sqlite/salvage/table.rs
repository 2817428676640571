//! What has to be known of a table to say statements on it: key, references, what is unique, whether a row fits.
use super::literal::Cell;
use crate::resource::database::drivers::sqlite::{
    connection::quoted,
    fingerprint::{Column, Table},
    loss::{common, declared_key},
};
use rusqlite::{Connection, OptionalExtension, config::DbConfig, params_from_iter};
use std::collections::BTreeMap;

/// A foreign key: columns of a table that name a row of another one.
pub struct Reference {
    pub child: String,
    pub columns: Vec<String>,
    pub parent: String,
    pub parent_columns: Vec<String>,
}

/// All of a database, also to tables that are not there.
pub fn references(connection: &Connection, tables: &[Table]) -> rusqlite::Result<Vec<Reference>> {
    let mut all = Vec::new();
    for table in tables {
        let sql = "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1, 'main') ORDER BY id, seq";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([&table.name])?;
        let mut found: BTreeMap<i64, Reference> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (parent, from, to): (String, String, Option<String>) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let parent =
                tables.iter().find(|t| t.name.eq_ignore_ascii_case(&parent)).map_or(parent, |t| t.name.clone());
            let reference = found.entry(row.get(0)?).or_insert_with(|| Reference {
                child: table.name.clone(),
                columns: Vec::new(),
                parent,
                parent_columns: Vec::new(),
            });
            reference.columns.push(from);
            reference.parent_columns.extend(to);
        }
        all.extend(found.into_values());
    }
    for reference in &mut all {
        // Without a name, it is the key that is meant.
        if reference.parent_columns.len() != reference.columns.len() {
            let parent = tables.iter().find(|table| table.name == reference.parent);
            let key = parent.map(|table| table.key().iter().map(|c| c.name.clone()).collect());
            reference.parent_columns = key.unwrap_or_default();
        }
    }
    all.retain(|reference| reference.parent_columns.len() == reference.columns.len());
    Ok(all)
}

/// A table of the old schema and its counterpart of the new one.
pub struct Subject<'t> {
    pub live: &'t Table,
    pub aside: &'t Table,
    /// Those that both have, without computed ones.
    pub columns: Vec<&'t Column>,
    /// Places of the key among them; `None`: there is none, or another one.
    pub key: Option<Vec<usize>>,
    /// Whether rows may have NULLs in their key.
    pub nullable: bool,
    /// Sets of columns that only one row may have, beside the key.
    unique: Vec<Vec<usize>>,
    /// Columns that only the live table has, without computed ones.
    rest: Vec<String>,
    trial: Option<Connection>,
}

impl<'t> Subject<'t> {
    pub fn new(connection: &Connection, live: &'t Table, aside: &'t Table) -> rusqlite::Result<Self> {
        let sql = "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden IN (2, 3)";
        let computed: Vec<String> =
            connection.prepare_cached(sql)?.query_map([&live.name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut columns = common(live, aside);
        columns.retain(|column| !computed.contains(&column.name));
        let place = |name: &str| columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        let key = declared_key(live, aside);
        let number = key
            .as_deref()
            .is_some_and(|key| matches!(key, [one] if !live.without_rowid && one.kind.eq_ignore_ascii_case("integer")));
        let nullable = !live.without_rowid && !number && key.iter().flatten().any(|column| !column.not_null);
        let key = key.and_then(|key| key.iter().map(|column| place(&column.name)).collect::<Option<Vec<usize>>>());
        let sql = "SELECT name FROM pragma_index_list(?1, 'main') WHERE \"unique\" AND NOT partial AND origin <> 'pk'";
        let indices: Vec<String> =
            connection.prepare_cached(sql)?.query_map([&live.name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut unique = Vec::new();
        for index in indices {
            let sql = "SELECT name FROM pragma_index_info(?1, 'main')";
            let mut statement = connection.prepare_cached(sql)?;
            // An expression has no name.
            let names = statement.query_map([&index], |row| row.get::<_, Option<String>>(0))?;
            let names: Vec<Option<String>> = names.collect::<Result<_, _>>()?;
            unique.extend(names.iter().map(|name| place(name.as_deref()?)).collect::<Option<Vec<usize>>>());
        }
        let trial = trial(connection, &live.name);
        let rest = live.columns.iter().filter(|c| place(&c.name).is_none() && !computed.contains(&c.name));
        let rest = rest.map(|column| column.name.clone()).collect();
        Ok(Self { rest, live, aside, columns, key, nullable, unique, trial })
    }

    pub fn names(&self) -> String {
        self.columns.iter().map(|c| quoted(&c.name)).collect::<Vec<_>>().join(", ")
    }

    /// Each of them as a term on a row of this name.
    pub fn columns_of(&self, row: &str) -> String {
        self.columns.iter().map(|c| format!("{row}.{}", quoted(&c.name))).collect::<Vec<_>>().join(", ")
    }

    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// What the live row of this key has in the columns that the new schema does not have.
    pub fn rest(&self, connection: &Connection, row: &[Cell]) -> rusqlite::Result<Vec<Cell>> {
        let key = self.key.as_deref().unwrap_or_default();
        if self.rest.is_empty() || key.is_empty() {
            return Ok(Vec::new());
        }
        let rest: Vec<String> = self.rest.iter().map(|name| quoted(name)).collect();
        let terms: Vec<String> = key.iter().map(|&i| format!("{} = ?", quoted(&self.columns[i].name))).collect();
        let (table, terms) = (quoted(&self.live.name), terms.join(" AND "));
        let sql = format!("SELECT {} FROM main.{table} WHERE {terms}", rest.join(", "));
        let mut statement = connection.prepare_cached(&sql)?;
        let key = params_from_iter(key.iter().map(|&i| &row[i]));
        Ok(statement.query_row(key, |row| Cell::of(row, 0, rest.len())).optional()?.unwrap_or_default())
    }

    /// Why the table would not take such a row, whatever else is in it. `rest`: as above, of a row that is there.
    pub fn misfit(&self, row: &[Cell], rest: &[Cell]) -> Option<String> {
        let trial = self.trial.as_ref()?;
        let more = self.rest.iter().take(rest.len()).map(|name| format!(", {}", quoted(name)));
        let columns = self.names() + &more.collect::<String>();
        let places = vec!["?"; row.len() + rest.len()].join(", ");
        let sql = format!("INSERT INTO main.{} ({columns}) VALUES ({places})", quoted(&self.live.name));
        let say = |sql: &str| trial.prepare_cached(sql)?.execute([]);
        let tried = say("SAVEPOINT trial")
            .and_then(|_| trial.prepare_cached(&sql)?.execute(params_from_iter(row.iter().chain(rest))));
        let undone = say("ROLLBACK TO trial").and_then(|_| say("RELEASE trial"));
        match (tried, undone) {
            (Err(error), _) | (Ok(_), Err(error)) => Some(words(&error)),
            (Ok(_), Ok(_)) => None,
        }
    }

    /// The names of columns whose values another live row has, where only one may. `changed`: only where one of these is
    /// among them.
    pub fn taken(
        &self,
        connection: &Connection,
        row: &[Cell],
        changed: Option<&[usize]>,
    ) -> rusqlite::Result<Option<String>> {
        for unique in &self.unique {
            let concerned = changed.is_none_or(|changed| unique.iter().any(|place| changed.contains(place)));
            if !concerned || unique.iter().any(|&place| row[place] == Cell::Null) {
                continue;
            }
            let mut terms: Vec<String> =
                unique.iter().map(|&i| format!("{} = ?", quoted(&self.columns[i].name))).collect();
            let mut values: Vec<&Cell> = unique.iter().map(|&i| &row[i]).collect();
            if let Some(key) = self.key.as_ref().filter(|_| changed.is_some()) {
                let other: Vec<String> =
                    key.iter().map(|&i| format!("{} IS NOT ?", quoted(&self.columns[i].name))).collect();
                terms.push(format!("({})", other.join(" OR ")));
                values.extend(key.iter().map(|&i| &row[i]));
            }
            let sql = format!("SELECT 1 FROM main.{} WHERE {}", quoted(&self.live.name), terms.join(" AND "));
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_row(params_from_iter(values), |_| Ok(())).optional()?;
            if found.is_some() {
                let names: Vec<&str> = unique.iter().map(|&i| self.columns[i].name.as_str()).collect();
                return Ok(Some(names.join(", ")));
            }
        }
        Ok(None)
    }
}

/// The same table without any rows, to try rows on. One that is declared with functions of the product cannot be made.
fn trial(connection: &Connection, table: &str) -> Option<Connection> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1";
    let declared: String = connection.query_row(sql, [table], |row| row.get(0)).ok()?;
    let trial = Connection::open_in_memory().ok()?;
    trial.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).ok()?;
    trial.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).ok()?;
    let declares = declared.get(..12).is_some_and(|begin| begin.eq_ignore_ascii_case("create table"));
    declares.then(|| trial.execute(&declared, []).ok()).flatten()?;
    Some(trial)
}

/// What SQLite says, without what it says of a row's values: it says none.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(words)) => words.clone(),
        other => other.to_string(),
    }
}
