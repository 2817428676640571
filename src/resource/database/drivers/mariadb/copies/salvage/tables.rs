//! What has to be known of tables to say statements on them.
use super::super::super::connection::{Session, literal, quoted};
use crate::resource::Failure;
use std::collections::BTreeMap;

/// How a value is read, said and compared so that nothing of it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Number,
    /// Read as its number: bits, and values of a list that only their numbers tell apart.
    Index,
    Single,
    Double,
    /// Dates, addresses: what is printed is all that there is.
    Plain,
    Text,
    /// Text in a coding that a way through another one would change.
    Coded,
    Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
    /// As it is declared.
    declared: String,
    pub coding: String,
    collation: String,
    pub form: Form,
    pub required: bool,
    /// Written by the server whenever a row changes.
    pub renewed: bool,
}

/// What Unicode says of a text, and the way back, is the same in them.
const SURE: [&str; 9] = ["utf8mb4", "utf8mb3", "utf8", "ascii", "latin1", "ucs2", "utf16", "utf16le", "utf32"];

fn form(kind: &str, declared: &str, coding: &str) -> Form {
    match kind {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" => Form::Number,
        "bit" => Form::Index,
        "float" => Form::Single,
        "double" => Form::Double,
        // What was no value of the list reads as the empty one.
        "enum" if declared.contains("(''") || declared.contains(",''") => Form::Index,
        "date" | "time" | "datetime" | "timestamp" | "year" | "uuid" | "inet4" | "inet6" => Form::Plain,
        _ if coding.is_empty() => Form::Bytes,
        _ if SURE.contains(&coding) => Form::Text,
        _ => Form::Coded,
    }
}

impl Column {
    /// Of a table that is called so.
    pub fn read(&self, table: &str) -> String {
        let name = format!("{table}.{}", quoted(&self.name));
        match self.form {
            Form::Index => format!("{name}+0"),
            Form::Single => format!("CAST({name} AS DOUBLE)"),
            Form::Text if self.coding != "utf8mb4" => format!("CONVERT({name} USING utf8mb4)"),
            _ => name,
        }
    }

    /// Within a key: what is not the same here cannot be the same row.
    fn class(&self) -> String {
        let integer = matches!(self.kind.as_str(), "tinyint" | "smallint" | "mediumint" | "int" | "bigint");
        let kind = if integer { "integer" } else { &self.kind };
        format!("{kind} {}", self.collation)
    }

    /// By numbers, or without another coding in between, only where both sides are declared the same.
    fn with(mut self, other: &Self) -> Self {
        let listed = self.kind == "enum" && self.form == Form::Index && self.declared != other.declared;
        if listed || self.form == Form::Coded && self.coding != other.coding {
            self.form = Form::Text;
        }
        self
    }
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// Those that are stored and not computed.
    pub columns: Vec<Column>,
    /// Of the primary key, if it is one of whole values that are stored: names, and what they are compared as.
    pub key: Vec<(String, String)>,
}

impl Table {
    pub fn within(&self, schema: &str) -> String {
        format!("{}.{}", quoted(schema), quoted(&self.name))
    }
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same(&column.name, name))
    }
}

/// Names of columns have no case.
pub fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

async fn texts(session: &mut Session, sql: String) -> Result<Vec<Vec<String>>, Failure> {
    let rows = session.rows(sql).await?;
    Ok(rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect())
}

pub async fn tables(session: &mut Session, schema: &str) -> Result<Vec<Table>, Failure> {
    let name = literal(schema);
    let mut columns: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, LOWER(DATA_TYPE), COLUMN_TYPE, COALESCE(CHARACTER_SET_NAME, ''), \
         COALESCE(COLLATION_NAME, ''), IS_NULLABLE, LOWER(EXTRA) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {name} AND IS_GENERATED = 'NEVER' ORDER BY TABLE_NAME, ORDINAL_POSITION"
    );
    for row in texts(session, sql).await? {
        let [table, name, kind, declared, coding, collation, nullable, extra] = row.as_slice() else { continue };
        columns.entry(table.clone()).or_default().push(Column {
            name: name.clone(),
            form: form(kind, declared, coding),
            kind: kind.clone(),
            declared: declared.clone(),
            coding: coding.clone(),
            collation: collation.clone(),
            required: nullable == "NO",
            renewed: extra.contains("on update"),
        });
    }
    let mut keys: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, SUB_PART IS NULL FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {name} AND INDEX_NAME = 'PRIMARY' ORDER BY TABLE_NAME, SEQ_IN_INDEX"
    );
    for row in texts(session, sql).await? {
        let [table, column, whole] = row.as_slice() else { continue };
        keys.entry(table.clone()).or_default().push((column.clone(), whole == "1"));
    }
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name} AND TABLE_TYPE = 'BASE TABLE'"
    );
    let mut found = Vec::new();
    for name in session.list(sql).await? {
        let mut table = Table { columns: columns.remove(&name).unwrap_or_default(), key: Vec::new(), name };
        let key = keys.remove(&table.name).unwrap_or_default();
        let whole = |(column, whole): &(String, bool)| {
            let column = table.column(column).filter(|_| *whole)?;
            Some((column.name.clone(), column.class()))
        };
        table.key = key.iter().map(whole).collect::<Option<Vec<_>>>().unwrap_or_default();
        found.push(table);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// A foreign key: columns of a table that name a row of another one.
pub struct Reference {
    pub child: String,
    pub columns: Vec<String>,
    pub schema: String,
    pub parent: String,
    pub parent_columns: Vec<String>,
}

/// Columns of which only one row may have the same values.
pub struct Unique {
    pub table: String,
    pub columns: Vec<String>,
}

/// What holds between the rows of a database.
pub struct Rules {
    pub references: Vec<Reference>,
    pub unique: Vec<Unique>,
    pub triggered: Vec<String>,
}

impl Rules {
    pub async fn of(session: &mut Session, schema: &str) -> Result<Self, Failure> {
        let name = literal(schema);
        let sql = format!(
            "SELECT CONSTRAINT_NAME, TABLE_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, \
             REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = {name} \
             AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
        );
        let mut references: Vec<(String, Reference)> = Vec::new();
        for row in texts(session, sql).await? {
            let [constraint, child, column, schema, parent, parent_column] = row.as_slice() else { continue };
            match references.last_mut() {
                Some((name, last)) if name == constraint && last.child == *child => {
                    last.columns.push(column.clone());
                    last.parent_columns.push(parent_column.clone());
                }
                _ => references.push((
                    constraint.clone(),
                    Reference {
                        child: child.clone(),
                        columns: vec![column.clone()],
                        schema: schema.clone(),
                        parent: parent.clone(),
                        parent_columns: vec![parent_column.clone()],
                    },
                )),
            }
        }
        let sql = format!(
            "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART IS NULL FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = {name} AND NON_UNIQUE = 0 AND INDEX_NAME <> 'PRIMARY' \
             ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
        );
        let mut unique: Vec<(String, bool, Unique)> = Vec::new();
        for row in texts(session, sql).await? {
            let [table, index, column, whole] = row.as_slice() else { continue };
            match unique.last_mut() {
                Some((name, all, last)) if name == index && last.table == *table => {
                    last.columns.push(column.clone());
                    *all &= whole == "1";
                }
                _ => {
                    let first = Unique { table: table.clone(), columns: vec![column.clone()] };
                    unique.push((index.clone(), whole == "1", first));
                }
            }
        }
        let triggered = format!(
            "SELECT DISTINCT EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {name} ORDER BY 1"
        );
        Ok(Self {
            references: references.into_iter().map(|(_, reference)| reference).collect(),
            unique: unique.into_iter().filter(|(_, whole, _)| *whole).map(|(.., unique)| unique).collect(),
            triggered: session.list(triggered).await?,
        })
    }
}

/// A table of the old schema and its counterpart of the new one.
pub struct Subject {
    pub live: Table,
    pub aside: Table,
    /// Those that both have, as the live one has them.
    pub columns: Vec<Column>,
    /// The same, as the other one has them.
    pub theirs: Vec<Column>,
    /// Places of the key among them; empty: it has none.
    pub key: Vec<usize>,
    /// Those that only the live table has.
    pub rest: Vec<Column>,
}

impl Subject {
    pub fn new(live: Table, aside: Table) -> Self {
        let (mut columns, mut theirs, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for column in &live.columns {
            match aside.column(&column.name) {
                Some(other) => {
                    columns.push(column.clone().with(other));
                    theirs.push(other.clone().with(column));
                }
                None => rest.push(column.clone()),
            }
        }
        let place = |name: &String| columns.iter().position(|column: &Column| column.name == *name);
        let key = live.key.iter().filter_map(|(name, _)| place(name)).collect();
        Self { live, aside, columns, theirs, key, rest }
    }

    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| same(&column.name, name))
    }

    pub fn places(&self, names: &[String]) -> Option<Vec<usize>> {
        names.iter().map(|name| self.place(name)).collect()
    }

    /// That the keys of two tables are the same, by their names in a statement.
    pub fn joined(&self, one: &str, other: &str) -> String {
        let term = |&place: &usize| {
            let name = quoted(&self.columns[place].name);
            format!("{one}.{name} = {other}.{name}")
        };
        self.key.iter().map(term).collect::<Vec<_>>().join(" AND ")
    }
}

pub fn list(columns: &[Column]) -> String {
    columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}
