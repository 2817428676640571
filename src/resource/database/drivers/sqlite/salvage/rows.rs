//! The rows of one table on three sides: at the restore point, as they were set aside, and live.
use super::{
    Sides3,
    literal::Cell,
    say::{Say, Sides},
    table::Reference,
};
use crate::resource::{
    Failure,
    database::{
        drivers::sqlite::{
            connection::{number, quoted, told},
            fingerprint::Column,
            loss::differ,
        },
        salvage::{Salvage, Sheet, Sheets, Verdict, Was, words},
    },
};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

/// What is kept of how a table was at the restore point.
pub enum Base {
    Unknown,
    /// Nothing of it differed then.
    Same,
    /// The number of its rows in the file, and the name there of each column, as far as it was there.
    Kept {
        number: i64,
        columns: Vec<Option<String>>,
    },
}

pub struct Rows<'r> {
    pub sides: &'r Sides3,
    pub say: Say<'r>,
    pub base: Base,
    /// Foreign keys of this table.
    pub outgoing: Vec<&'r Reference>,
    pub sheets: &'r mut Sheets,
    pub count: Salvage,
    /// How many rows have another value in a column, by its place.
    pub changed: Vec<u64>,
}

impl Rows<'_> {
    fn connection(&self) -> &Connection {
        &self.sides.connection
    }
    fn width(&self) -> usize {
        self.say.subject.columns.len()
    }
    fn live(&self) -> String {
        format!("main.{}", quoted(&self.say.subject.live.name))
    }
    fn aside(&self) -> String {
        format!("aside.{}", quoted(&self.say.subject.aside.name))
    }
    fn key(&self) -> Vec<String> {
        let subject = self.say.subject;
        subject.key.iter().flatten().map(|&place| quoted(&subject.columns[place].name)).collect()
    }
    fn same_key(&self, looked_up: &str, row: &str) -> String {
        let terms = self.key().into_iter().map(|c| format!("{looked_up}.{c} = {row}.{c}"));
        terms.collect::<Vec<_>>().join(" AND ")
    }
    fn same_as_kept(&self, row: &str) -> String {
        let terms = self.key().into_iter().enumerate().map(|(i, c)| format!("{row}.{c} = k.k{i}"));
        terms.collect::<Vec<_>>().join(" AND ")
    }
    fn kept_columns(columns: &[Option<String>]) -> String {
        columns
            .iter()
            .map(|c| c.as_ref().map_or("NULL".to_owned(), |c| format!("k.{c}")))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Rows that were set aside, in the order in which they lie there.
    pub fn aside_rows(&mut self) -> Result<(), Failure> {
        let (subject, width) = (self.say.subject, self.width());
        let (kept, join) = match &self.base {
            Base::Kept { number, columns } => {
                // What is kept has no type, and is found by its index only when nothing is to be made of the other side either.
                let on = self.key().into_iter().enumerate().map(|(i, c)| format!("k.k{i} = +a.{c}"));
                let on = on.collect::<Vec<_>>().join(" AND ");
                (format!("k.kind, {}", Self::kept_columns(columns)), format!("LEFT JOIN base.rows{number} k ON {on}"))
            }
            _ => (vec!["NULL"; width + 1].join(", "), String::new()),
        };
        let whole: Vec<String> = self.key().iter().map(|c| format!("a.{c} IS NOT NULL")).collect();
        let first = self.key().first().cloned().unwrap_or_default();
        let sql = format!(
            "SELECT {}, b.{first} IS NOT NULL, {}, {kept} FROM {} a LEFT JOIN {} b ON {} {join} \
             WHERE {} AND (b.{first} IS NULL OR {})",
            subject.columns_of("a"),
            subject.columns_of("b"),
            self.aside(),
            self.live(),
            self.same_key("b", "a"),
            whole.join(" AND "),
            differ(&subject.columns),
        );
        let sides = self.sides;
        let mut statement = sides.connection.prepare(&sql).map_err(told)?;
        let mut rows = statement.query([]).map_err(told)?;
        while let Some(row) = rows.next().map_err(told)? {
            let read = || -> rusqlite::Result<_> {
                let there: bool = row.get(width)?;
                let live = there.then(|| Cell::of(row, width + 1, width)).transpose()?;
                let kind: Option<String> = row.get(2 * width + 1)?;
                Ok((Cell::of(row, 0, width)?, live, kind, Cell::of(row, 2 * width + 2, width)?))
            };
            let (aside, live, kind, mut kept) = read().map_err(told)?;
            let was = match (&self.base, kind.as_deref()) {
                (Base::Unknown, _) => Was::Unknown,
                (_, Some("new")) => Was::New,
                (Base::Kept { columns, .. }, Some(_)) => {
                    // A column that the old version has added since cannot have been another one.
                    for place in (0..width).filter(|&place| columns[place].is_none()) {
                        kept[place] = live.as_ref().unwrap_or(&aside)[place].clone();
                    }
                    Was::Other(kept.as_slice())
                }
                _ => Was::Same,
            };
            self.decide(&aside, live.as_deref(), was)?;
        }
        Ok(())
    }

    fn decide(&mut self, aside: &[Cell], live: Option<&[Cell]>, was: Was<&[Cell]>) -> Result<(), Failure> {
        match (Verdict::of(was, Some(aside), live), live) {
            (Verdict::Insert, _) => self.insert(aside),
            (Verdict::Update, Some(live)) => self.update(live, aside),
            (Verdict::Conflict(why), _) => {
                let before = if let Was::Other(before) = was { Some(before) } else { None };
                if live.is_none() || was == Was::New {
                    self.record(aside, false)?;
                }
                let statement = live.map_or_else(|| self.say.insert(aside), |live| self.say.update(live, aside));
                self.conflict(why, &Sides { before, new: Some(aside), live }, &statement)
            }
            _ => Ok(()),
        }
    }

    fn insert(&mut self, row: &[Cell]) -> Result<(), Failure> {
        let statement = self.say.insert(row);
        let refused = self.refused(row, None)?;
        self.record(row, refused.is_none())?;
        match refused {
            None => {
                self.count.inserts += 1;
                self.sheets.write(Sheet::Inserts, &statement)
            }
            Some(why) => self.conflict(
                &words::refused(words::ONLY_MADE, &why),
                &Sides { new: Some(row), ..Sides::default() },
                &statement,
            ),
        }
    }

    fn update(&mut self, live: &[Cell], aside: &[Cell]) -> Result<(), Failure> {
        let statement = self.say.update(live, aside);
        let changed: Vec<usize> = (0..live.len()).filter(|&place| live[place] != aside[place]).collect();
        match self.refused(aside, Some(&changed))? {
            None => {
                self.count.updates += 1;
                changed.iter().for_each(|&place| self.changed[place] += 1);
                self.sheets.write(Sheet::Updates, &statement)
            }
            Some(why) => self.conflict(
                &words::refused(words::ONLY_CHANGED, &why),
                &Sides { before: Some(live), new: Some(aside), live: Some(live) },
                &statement,
            ),
        }
    }

    fn conflict(&mut self, why: &str, sides: &Sides, statement: &str) -> Result<(), Failure> {
        self.count.conflicts += 1;
        self.sheets.write(Sheet::Conflicts, &self.say.conflict(why, sides, statement))
    }

    /// Why the table would not take a row.
    fn refused(&self, row: &[Cell], changed: Option<&[usize]>) -> Result<Option<String>, Failure> {
        let rest = match changed {
            Some(_) => self.say.subject.rest(self.connection(), row).map_err(told)?,
            None => Vec::new(),
        };
        if let Some(why) = self.say.subject.misfit(row, &rest) {
            return Ok(Some(why));
        }
        let taken = self.say.subject.taken(self.connection(), row, changed).map_err(told)?;
        if let Some(columns) = taken {
            return Ok(Some(words::taken(&columns)));
        }
        for reference in &self.outgoing {
            let places: Option<Vec<usize>> =
                reference.columns.iter().map(|column| self.say.subject.place(column)).collect();
            let Some(places) = places else { continue };
            let concerned = changed.is_none_or(|changed| places.iter().any(|place| changed.contains(place)));
            let named: Vec<&Cell> = places.iter().map(|&place| &row[place]).collect();
            if !concerned || named.contains(&&Cell::Null) {
                continue;
            }
            let parent = &reference.parent;
            match self.recorded(parent, &reference.parent_columns, &named)? {
                Some(true) => continue,
                Some(false) => {
                    return Ok(Some(words::parent_in_conflict(parent)));
                }
                None => {}
            }
            let there = |schema: &str| -> Result<bool, Failure> {
                let terms: Vec<String> =
                    reference.parent_columns.iter().map(|column| format!("{} = ?", quoted(column))).collect();
                let sql = format!("SELECT 1 FROM {schema}.{} WHERE {}", quoted(parent), terms.join(" AND "));
                let mut statement = match self.connection().prepare_cached(&sql) {
                    Ok(statement) => statement,
                    // There is no such table, or no such column.
                    Err(_) => return Ok(false),
                };
                let found = statement.query_row(params_from_iter(&named), |_| Ok(())).optional().map_err(told)?;
                Ok(found.is_some())
            };
            // Of a table that refers to itself, a row may come after the one that refers to it.
            let own = *parent == self.say.subject.live.name;
            if !(there("main")? || own && there("aside")?) {
                return Ok(Some(words::no_parent(parent)));
            }
        }
        Ok(None)
    }

    /// Keeps in mind what has become of a row to which others may refer.
    fn record(&self, row: &[Cell], inserted: bool) -> Result<(), Failure> {
        for reference in &self.say.incoming {
            let columns = &reference.parent_columns;
            let places: Option<Vec<usize>> = columns.iter().map(|column| self.say.subject.place(column)).collect();
            let Some(places) = places else { continue };
            let named: Vec<&Cell> = places.iter().map(|&place| &row[place]).collect();
            let sql = "INSERT OR REPLACE INTO made VALUES (?1, ?2, ?3)";
            let mut statement = self.sides.scratch.prepare_cached(sql).map_err(told)?;
            let named = self.name(columns, &named);
            statement.execute((&self.say.subject.live.name, named, inserted)).map_err(told)?;
        }
        Ok(())
    }

    fn recorded(&self, table: &str, columns: &[String], named: &[&Cell]) -> Result<Option<bool>, Failure> {
        let sql = "SELECT inserted FROM made WHERE name = ?1 AND key = ?2";
        let mut statement = self.sides.scratch.prepare_cached(sql).map_err(told)?;
        let found = statement.query_row((table, self.name(columns, named)), |row| row.get(0));
        found.optional().map_err(told)
    }

    fn name(&self, columns: &[String], named: &[&Cell]) -> String {
        let values = columns.iter().zip(named).map(|(c, cell)| format!("{c}={}", self.say.literals.of(cell)));
        values.collect::<Vec<_>>().join("\n").to_lowercase()
    }

    /// Columns that the new version has changed in most rows, as a migration does: they may mean something else there.
    pub fn migrated(&self) -> Result<Vec<String>, Failure> {
        let sql = format!("SELECT count(*) FROM {}", self.live());
        let rows = self.connection().query_row(&sql, [], number).map_err(told)?;
        let most = self.changed.iter().zip(&self.say.subject.columns).filter(|(changed, _)| **changed > rows / 2);
        let table = &self.say.subject.live.name;
        let note = |(changed, column): (&u64, &&Column)| words::migrated(&column.name, table, *changed, rows);
        Ok(most.map(note).collect())
    }

    /// Rows without a key, compared by all that they hold: those that were set aside oftener than they are live.
    pub fn keyless_rows(&mut self) -> Result<(), Failure> {
        let (subject, width) = (self.say.subject, self.width());
        let filter = match &subject.key {
            None => String::new(),
            Some(_) => {
                let terms: Vec<String> = self.key().iter().map(|c| format!("{c} IS NULL")).collect();
                format!("WHERE {}", terms.join(" OR "))
            }
        };
        // Names of its own: the table may have any.
        let columns = subject.columns.iter().enumerate().map(|(i, c)| format!("{} AS c{i}", quoted(&c.name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let all = (0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
        let group = (0..width).map(|i| format!("c{i} COLLATE BINARY, typeof(c{i})")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT {all}, sum(a), sum(l) FROM (SELECT {columns}, 1 AS a, 0 AS l FROM {} {filter} \
             UNION ALL SELECT {columns}, 0, 1 FROM {} {filter}) GROUP BY {group} HAVING sum(a) > sum(l)",
            self.aside(),
            self.live(),
        );
        let sides = self.sides;
        let mut statement = sides.connection.prepare(&sql).map_err(told)?;
        let mut rows = statement.query([]).map_err(told)?;
        while let Some(row) = rows.next().map_err(told)? {
            let read = || Ok((Cell::of(row, 0, width)?, row.get::<_, i64>(width)?, row.get::<_, i64>(width + 1)?));
            let (cells, aside, live) = read().map_err(told)?;
            let statement = self.say.insert_counted(&cells, aside);
            let refused = self.refused(&cells, None)?;
            for _ in live..aside {
                match &refused {
                    None => {
                        self.count.inserts += 1;
                        self.sheets.write(Sheet::Inserts, &statement)?;
                    }
                    Some(why) => self.conflict(
                        &words::refused(words::ONLY_MADE, why),
                        &Sides { new: Some(&cells), ..Sides::default() },
                        &statement,
                    )?,
                }
            }
        }
        Ok(())
    }

    /// Rows that are live and were not set aside.
    pub fn live_rows(&mut self) -> Result<(), Failure> {
        let (subject, width) = (self.say.subject, self.width());
        let sql = match &self.base {
            Base::Same => return Ok(()),
            Base::Kept { number, columns } => format!(
                "SELECT {}, {} FROM base.rows{number} k CROSS JOIN {} b ON {} WHERE k.kind = 'missing'",
                subject.columns_of("b"),
                Self::kept_columns(columns),
                self.live(),
                self.same_as_kept("b"),
            ),
            Base::Unknown => format!(
                "SELECT {0}, {0} FROM {1} b WHERE NOT EXISTS (SELECT 1 FROM {2} a WHERE {3})",
                subject.columns_of("b"),
                self.live(),
                self.aside(),
                self.same_key("a", "b"),
            ),
        };
        let sides = self.sides;
        let mut statement = sides.connection.prepare(&sql).map_err(told)?;
        let mut rows = statement.query([]).map_err(told)?;
        while let Some(row) = rows.next().map_err(told)? {
            let read = || Ok((Cell::of(row, 0, width)?, Cell::of(row, width, width)?));
            let (live, mut before) = read().map_err(told)?;
            let was = if let Base::Kept { columns, .. } = &self.base {
                for place in (0..width).filter(|&place| columns[place].is_none()) {
                    before[place] = live[place].clone();
                }
                Was::Other(before.as_slice())
            } else {
                Was::Unknown
            };
            let statement = self.say.delete(&live);
            match Verdict::of(was, None, Some(live.as_slice())) {
                Verdict::Delete => {
                    self.count.deletes += 1;
                    self.sheets.write(Sheet::Deletes, &statement)?;
                }
                Verdict::Conflict(why) => {
                    let before = if let Was::Other(before) = was { Some(before) } else { None };
                    self.conflict(why, &Sides { before, new: None, live: Some(&live) }, &statement)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
