//! Whether a table of the old schema would take a row. Nobody writes into it for that: values are tried on an empty table of the
//! same shape that only this connection sees, and what holds between rows is looked up.
use super::super::super::error::told;
use super::super::mark::{hex, quoted};
use super::{
    Sides,
    say::{Say, literal},
    stream::Cell,
    tables::{Column, Compare, Reference, Subject, Table, list},
};
use crate::{
    plain::shown,
    resource::{
        Failure,
        database::salvage::{
            words,
            work::{Answers, Candidate, Made, Tongue, Wait, name},
        },
    },
};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

/// One table, as it is asked about, and what is said on it.
pub struct Asking<'s> {
    pub sides: &'s Sides,
    pub say: Say<'s>,
    /// All that are compared.
    pub subjects: &'s [Subject],
}

impl<'s> Tongue for Asking<'s> {
    type Say = Say<'s>;
    fn say(&self) -> &Say<'s> {
        &self.say
    }
    fn id(&self) -> String {
        self.say.subject.live.oid.to_string()
    }
    async fn ask(&mut self, candidates: &[Candidate], made: &Made) -> Result<Answers, Failure> {
        self.sides.asked(&self.say, self.subjects, candidates, made).await
    }
}

/// `('1'::integer, 'a'::text)`, each with its number before it.
fn values(candidates: &[(usize, Vec<&Cell>)], columns: &[&Column]) -> String {
    let row = |(number, cells): &(usize, Vec<&Cell>)| {
        let cells = cells.iter().zip(columns);
        let cells = cells.map(|(cell, column)| format!(", {}::{}", literal(cell, Compare::Plain), column.plain_kind));
        format!("({number}{})", cells.collect::<String>())
    };
    candidates.iter().map(row).collect::<Vec<_>>().join(", ")
}

async fn numbers(session: &Client, query: &str) -> Result<Vec<usize>, Failure> {
    let rows = session.query(query, &[]).await.map_err(told)?;
    Ok(rows.iter().filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok()).collect())
}

impl Sides {
    /// Whether the table would take each of them.
    async fn asked(
        &self,
        say: &Say<'_>,
        subjects: &[Subject],
        candidates: &[Candidate],
        made: &Made,
    ) -> Result<Answers, Failure> {
        let subject = say.subject;
        let mut answers = Answers::none_of(candidates);
        if !self.rules.harmless(&subject.live) {
            return Ok(answers);
        }
        self.tried(subject, candidates, &mut answers.refused).await?;
        for unique in self.rules.unique.iter().filter(|unique| unique.table == subject.live.oid) {
            let Some(places) = subject.places(&unique.columns) else { continue };
            let asked = answers.open(candidates, &places);
            if asked.is_empty() {
                continue;
            }
            // The row itself does not count; it is the one that has its key.
            let all: Vec<usize> = places.iter().chain(&subject.key).copied().collect();
            let columns: Vec<&Column> = all.iter().map(|&place| &subject.columns[place]).collect();
            let named: Vec<(usize, Vec<&Cell>)> = asked
                .iter()
                .map(|&number| (number, all.iter().map(|&place| &candidates[number].row[place]).collect()))
                .collect();
            let names: Vec<String> = (0..all.len()).map(|i| format!("c{i}")).collect();
            let mut terms: Vec<String> = unique
                .columns
                .iter()
                .zip(&unique.operators)
                .enumerate()
                .map(|(i, (column, operator))| format!("t.{} {operator} v.c{i}", quoted(column)))
                .collect();
            let own: Vec<String> = subject
                .key
                .iter()
                .enumerate()
                .map(|(i, &place)| {
                    let column = quoted(&subject.columns[place].name);
                    format!("t.{column}::text IS DISTINCT FROM v.c{}::text", places.len() + i)
                })
                .collect();
            if !own.is_empty() {
                terms.push(format!("({})", own.join(" OR ")));
            }
            let query = format!(
                "SELECT v.i FROM (VALUES {}) v(i, {}) WHERE EXISTS (SELECT FROM {} t WHERE {})",
                values(&named, &columns),
                names.join(", "),
                subject.live.rows(),
                terms.join(" AND ")
            );
            for number in numbers(self.lookup(), &query).await? {
                answers.refused[number] = Some(words::taken(&unique.columns.join(", ")));
            }
        }
        self.orphans(subject, subjects, candidates, made, &mut answers).await?;
        Ok(answers)
    }

    /// Those that refer to a row that is not there.
    async fn orphans(
        &self,
        subject: &Subject,
        subjects: &[Subject],
        candidates: &[Candidate],
        made: &Made,
        answers: &mut Answers,
    ) -> Result<(), Failure> {
        for reference in self.rules.references.iter().filter(|reference| reference.child == subject.live.oid) {
            let Some(places) = subject.places(&reference.columns) else { continue };
            let Some(parent) = self.live_tables.iter().find(|table| table.oid == reference.parent) else { continue };
            let id = parent.oid.to_string();
            let mut open = Vec::new();
            for number in answers.open(candidates, &places) {
                let named = candidates[number].named(&places);
                match made.row(&name(&id, &reference.parent_columns, &named)) {
                    Some(true) => {}
                    Some(false) => answers.refused[number] = Some(words::parent_in_conflict(&parent.shown())),
                    None => open.push((number, named)),
                }
            }
            let mut missing = open.clone();
            self.not_in((self.lookup(), parent), (subject, &places), reference, &mut missing).await?;
            // Of a table that refers to itself, a row may come after the one that refers to it; and of one that comes later in
            // a circle, all do.
            let itself = parent.oid == subject.live.oid;
            let comes = subjects.iter().find(|other| other.live.oid == parent.oid);
            let comes = comes.filter(|other| !made.is_done(&id) && other.places(&reference.parent_columns).is_some());
            let mut gone = if itself { missing.clone() } else { open.clone() };
            if let Some(other) = comes {
                self.not_in((self.lookup_aside(), &other.aside), (subject, &places), reference, &mut gone).await?;
            }
            let until: Vec<usize> = places
                .iter()
                .copied()
                .filter(|&place| !subject.columns[place].required && !subject.key.contains(&place))
                .collect();
            let among = |some: &[(usize, Vec<&Cell>)], number: usize| some.iter().any(|(other, _)| *other == number);
            for (number, named) in open {
                let (there, comes) = (!among(&missing, number), !among(&gone, number));
                let shown = parent.shown();
                let fine = if itself { there || comes } else { there && !comes };
                if fine {
                    // It belongs to what it belonged to, or to what comes in the same statement.
                } else if comes && (!until.is_empty() || candidates[number].live.is_some()) {
                    let parent = name(&id, &reference.parent_columns, &named);
                    answers.waits[number].push(Wait { parent, there, shown, until: until.clone() });
                } else {
                    let why = if comes { words::circle(&shown) } else { words::no_parent(&shown) };
                    answers.refused[number] = Some(why);
                }
            }
        }
        Ok(())
    }

    /// Keeps those whose row is not in this table.
    async fn not_in(
        &self,
        (session, table): (&Client, &Table),
        (subject, places): (&Subject, &[usize]),
        reference: &Reference,
        missing: &mut Vec<(usize, Vec<&Cell>)>,
    ) -> Result<(), Failure> {
        if missing.is_empty() {
            return Ok(());
        }
        let columns: Vec<&Column> = places.iter().map(|&place| &subject.columns[place]).collect();
        let names: Vec<String> = (0..places.len()).map(|i| format!("c{i}")).collect();
        let terms: Vec<String> = reference
            .parent_columns
            .iter()
            .zip(&reference.operators)
            .enumerate()
            .map(|(i, (column, operator))| format!("t.{} {operator} v.c{i}", quoted(column)))
            .collect();
        let query = format!(
            "SELECT v.i FROM (VALUES {}) v(i, {}) WHERE NOT EXISTS (SELECT FROM {} t WHERE {})",
            values(missing, &columns),
            names.join(", "),
            table.rows(),
            terms.join(" AND ")
        );
        let left = numbers(session, &query).await?;
        missing.retain(|(number, _)| left.contains(number));
        Ok(())
    }

    /// Values that columns do not take, or that break what is asked of each row.
    async fn tried(
        &self,
        subject: &Subject,
        candidates: &[Candidate],
        refused: &mut [Option<String>],
    ) -> Result<(), Failure> {
        let insert = |some: &[&Candidate]| {
            let rows: Vec<String> = some
                .iter()
                .map(|candidate| {
                    let rest = candidate.live.iter().flat_map(|(_, rest)| rest.iter().zip(&subject.rest));
                    let cells = candidate.row.iter().zip(&subject.columns).chain(rest);
                    let cells = cells.map(|(cell, column)| literal(cell, column.compare));
                    format!("({})", cells.collect::<Vec<_>>().join(", "))
                })
                .collect();
            let changes = some.first().is_some_and(|candidate| candidate.live.is_some());
            let rest = if changes { subject.rest.clone() } else { Vec::new() };
            let columns = list(&[subject.columns.clone(), rest].concat());
            format!(
                "SAVEPOINT trial; INSERT INTO pg_temp.{} ({columns}) VALUES {}; ROLLBACK TO SAVEPOINT trial",
                trial(subject),
                rows.join(", ")
            )
        };
        for changes in [false, true] {
            let some: Vec<(usize, &Candidate)> =
                candidates.iter().enumerate().filter(|(_, candidate)| candidate.live.is_some() == changes).collect();
            let all: Vec<&Candidate> = some.iter().map(|(_, candidate)| *candidate).collect();
            if all.is_empty() || self.trial(&insert(&all)).await?.is_none() {
                continue;
            }
            for (number, candidate) in some {
                refused[number] = self.trial(&insert(&[candidate])).await?;
            }
        }
        Ok(())
    }

    /// What the server has against it.
    async fn trial(&self, insert: &str) -> Result<Option<String>, Failure> {
        let Err(error) = self.trial.batch_execute(insert).await else { return Ok(None) };
        let Some(said) = error.as_db_error() else { return Err(told(error)) };
        let class = said.code().code().get(..2).unwrap_or_default();
        if !matches!(class, "22" | "23" | "42") {
            return Err(told(error));
        }
        let why = shown(said.message());
        self.trial.batch_execute("ROLLBACK TO SAVEPOINT trial").await.map_err(told)?;
        Ok(Some(why))
    }

    /// The empty table: what each row has to be, and nothing that the product has written as code.
    pub async fn make_trial(&self, subject: &Subject) -> Result<(), Failure> {
        if !self.rules.harmless(&subject.live) {
            return Ok(());
        }
        let name = trial(subject);
        let mut made = format!("CREATE TEMP TABLE {name} (LIKE {} INCLUDING CONSTRAINTS)", subject.live.quoted());
        for constraint in self.rules.calling(&subject.live) {
            made += &format!("; ALTER TABLE pg_temp.{name} DROP CONSTRAINT {}", quoted(constraint));
        }
        for column in subject.live.columns.iter().filter(|column| column.computed) {
            made += &format!("; ALTER TABLE pg_temp.{name} ALTER {} DROP NOT NULL", quoted(&column.name));
        }
        for column in subject.rest.iter().filter(|column| column.given) {
            made += &format!("; ALTER TABLE pg_temp.{name} ALTER {} DROP NOT NULL", quoted(&column.name));
        }
        self.trial.batch_execute(&made).await.map_err(told)
    }

    pub async fn drop_trial(&self, subject: &Subject) -> Result<(), Failure> {
        self.trial.batch_execute(&format!("DROP TABLE IF EXISTS pg_temp.{}", trial(subject))).await.map_err(told)
    }
}

/// Of its own, so that nothing of the live table can be meant.
fn trial(subject: &Subject) -> String {
    let digest = Sha256::digest(subject.live.quoted());
    quoted(&format!("trial_{}", hex(digest.get(..8).unwrap_or_default())))
}
