//! What has to be known of tables to say statements on them.
use super::super::super::error::told;
use super::super::mark::quoted;
use super::base::SCHEMA;
use crate::resource::Failure;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// How a value is said to be the same, to the letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// `=`; needs no quotes
    Number,
    /// `=`
    Plain,
    /// `=` takes other letters for the same
    Loose,
    /// By its text: what is equal may have been written in another way, or there is no `=`.
    Text,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: String,
    /// What a domain is made of.
    pub plain_kind: String,
    pub compare: Compare,
    /// The server has something for it when nothing is said.
    pub given: bool,
    /// Nobody may change it.
    pub always: bool,
    pub computed: bool,
    /// Not NULL.
    pub required: bool,
    /// Of a type that the product may have made.
    foreign: bool,
}

/// A table that stands for itself: no partition.
#[derive(Clone, Debug)]
pub struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    partitioned: bool,
    pub columns: Vec<Column>,
    /// The columns of the primary key, and their types.
    pub key: Vec<(String, String)>,
    /// It is not asked for at each row, so it can decide nothing.
    pub late_key: bool,
}

impl Table {
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
    /// With what its partitions hold, without what tables that inherit from it hold.
    pub fn rows(&self) -> String {
        if self.partitioned { self.quoted() } else { format!("ONLY {}", self.quoted()) }
    }
    /// For people: `orders`, `audit.log`.
    pub fn shown(&self) -> String {
        if self.schema == "public" { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
    pub fn is(&self, other: &Self) -> bool {
        self.schema == other.schema && self.name == other.name
    }
    pub fn is_partitioned(&self) -> bool {
        self.partitioned
    }
}

const TABLES: &str = "
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p',
    array(SELECT a.attname::text FROM pg_index x, unnest(x.indkey) WITH ORDINALITY k(num, place), pg_attribute a
          WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.num
          ORDER BY k.place),
    array(SELECT format_type(a.atttypid, NULL) FROM pg_index x, unnest(x.indkey) WITH ORDINALITY k(num, place), pg_attribute a
          WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.num
          ORDER BY k.place),
    EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND NOT x.indimmediate)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname <> $1
ORDER BY CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname END COLLATE \"C\", c.relname COLLATE \"C\"";

/// By their numbers: integers; boolean, bytea, bpchar, varchar, text, dates and times, uuid, addresses.
const COLUMNS: &str = "
SELECT a.attrelid, a.attname::text, format_type(a.atttypid, a.atttypmod),
    CASE WHEN t.typbasetype = 0 THEN format_type(a.atttypid, a.atttypmod) ELSE format_type(t.typbasetype, t.typtypmod) END,
    CASE WHEN t.oid IN (20, 21, 23) THEN 'number'
         WHEN t.oid IN (25, 1042, 1043) AND NOT (SELECT collisdeterministic FROM pg_collation WHERE oid = a.attcollation) THEN 'loose'
         WHEN t.oid IN (16, 17, 25, 1042, 1043, 1082, 1083, 1114, 1184, 2950, 869, 650, 829, 774) THEN 'plain' ELSE 'text' END,
    a.atthasdef OR a.attidentity <> '', a.attidentity = 'a', a.attgenerated <> '', t.oid >= 16384, a.attnotnull OR t.typnotnull
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ANY($1) ORDER BY a.attrelid, a.attnum";

pub async fn tables(session: &Client) -> Result<Vec<Table>, Failure> {
    let rows = session.query(TABLES, &[&SCHEMA]).await.map_err(told)?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut columns: BTreeMap<u32, Vec<Column>> = BTreeMap::new();
    for row in session.query(COLUMNS, &[&oids]).await.map_err(told)? {
        columns.entry(row.get(0)).or_default().push(Column {
            name: row.get(1),
            kind: row.get(2),
            plain_kind: row.get(3),
            compare: match row.get(4) {
                "number" => Compare::Number,
                "plain" => Compare::Plain,
                "loose" => Compare::Loose,
                _ => Compare::Text,
            },
            given: row.get(5),
            always: row.get(6),
            computed: row.get(7),
            foreign: row.get(8),
            required: row.get(9),
        });
    }
    let table = |row: &tokio_postgres::Row| Table {
        oid: row.get(0),
        schema: row.get(1),
        name: row.get(2),
        partitioned: row.get(3),
        columns: columns.get(&row.get(0)).cloned().unwrap_or_default(),
        key: row.get::<_, Vec<String>>(4).into_iter().zip(row.get::<_, Vec<String>>(5)).collect(),
        late_key: row.get(6),
    };
    Ok(rows.iter().map(table).collect())
}

/// A foreign key: columns of a table that name a row of another one.
pub struct Reference {
    pub child: u32,
    pub columns: Vec<String>,
    pub parent: u32,
    pub parent_columns: Vec<String>,
    /// That say whether a column of the parent is one of the child.
    pub operators: Vec<String>,
    pub deferrable: bool,
}

/// Columns of which only one row may have the same values, with the operators that say so.
pub struct Unique {
    pub table: u32,
    pub columns: Vec<String>,
    pub operators: Vec<String>,
}

/// What holds between the rows of a database.
pub struct Rules {
    pub references: Vec<Reference>,
    pub unique: Vec<Unique>,
    pub triggered: Vec<u32>,
    /// Checks that call what the product has made, by table. It would do so as a superuser here.
    calling: Vec<(u32, String)>,
    /// So do values of some type.
    calling_types: bool,
}

const REFERENCES: &str = "
SELECT k.conrelid, k.confrelid,
    array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY c(num, place) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.num ORDER BY c.place),
    array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY c(num, place) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = c.num ORDER BY c.place),
    array(SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) FROM unnest(k.conpfeqop) WITH ORDINALITY e(op, place)
          JOIN pg_operator o ON o.oid = e.op JOIN pg_namespace n ON n.oid = o.oprnamespace ORDER BY e.place),
    k.condeferrable
FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY k.conrelid, k.conname";

const UNIQUE: &str = "
SELECT i.indrelid,
    array(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY c(num, place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = c.num
          WHERE c.place <= i.indnkeyatts ORDER BY c.place),
    array(SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) FROM unnest(i.indclass::oid[]) WITH ORDINALITY c(class, place)
          JOIN pg_opclass p ON p.oid = c.class
          JOIN pg_amop m ON m.amopfamily = p.opcfamily AND m.amoplefttype = p.opcintype AND m.amoprighttype = p.opcintype AND m.amopstrategy = 3
          JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace ORDER BY c.place)
FROM pg_index i WHERE i.indisunique AND NOT i.indisprimary AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indrelid >= 16384
ORDER BY i.indrelid, i.indexrelid";

const TRIGGERED: &str =
    "SELECT DISTINCT tgrelid FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') ORDER BY 1";

const CALLING: &str = "
SELECT k.conrelid, k.conname::text FROM pg_constraint k WHERE k.contype = 'c' AND EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND d.refobjid >= 16384
        AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'))";

impl Rules {
    pub async fn of(session: &Client) -> Result<Self, Failure> {
        let ask = async |query: &str| session.query(query, &[]).await.map_err(told);
        let reference = |row: &tokio_postgres::Row| Reference {
            child: row.get(0),
            parent: row.get(1),
            columns: row.get(2),
            parent_columns: row.get(3),
            operators: row.get(4),
            deferrable: row.get(5),
        };
        let unique =
            |row: &tokio_postgres::Row| Unique { table: row.get(0), columns: row.get(1), operators: row.get(2) };
        let calling: Vec<(u32, String)> = ask(CALLING).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
        Ok(Self {
            references: ask(REFERENCES).await?.iter().map(reference).collect(),
            unique: ask(UNIQUE).await?.iter().map(unique).filter(|u| u.columns.len() == u.operators.len()).collect(),
            triggered: ask(TRIGGERED).await?.iter().map(|row| row.get(0)).collect(),
            calling_types: calling.iter().any(|(table, _)| *table == 0),
            calling,
        })
    }

    /// Whether values of the table can be given to the server without calling anything of the product.
    pub fn harmless(&self, table: &Table) -> bool {
        !(self.calling_types && table.columns.iter().any(|column| column.foreign))
    }

    pub fn calling<'r>(&'r self, table: &Table) -> impl Iterator<Item = &'r String> {
        let oid = table.oid;
        self.calling.iter().filter(move |(of, _)| *of == oid).map(|(_, name)| name)
    }
}

/// A table of the old schema and its counterpart of the new one.
pub struct Subject {
    pub live: Table,
    pub aside: Table,
    /// Those that both have, without computed ones.
    pub columns: Vec<Column>,
    /// Places of the key among them; empty: it has none.
    pub key: Vec<usize>,
    /// Those that only the live table has, without computed ones.
    pub rest: Vec<Column>,
}

impl Subject {
    pub fn new(live: Table, aside: Table) -> Self {
        let stored = live.columns.iter().filter(|column| !column.computed);
        let (columns, rest): (Vec<Column>, Vec<Column>) =
            stored.cloned().partition(|column| aside.column(&column.name).is_some());
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key = live.key.iter().filter_map(|(name, _)| place(name)).collect();
        Self { live, aside, columns, key, rest }
    }

    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub fn places(&self, names: &[String]) -> Option<Vec<usize>> {
        names.iter().map(|name| self.place(name)).collect()
    }

    pub fn names(&self) -> String {
        list(&self.columns)
    }
}

pub fn list(columns: &[Column]) -> String {
    columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}
