//! Whether a table of the old schema would take a row. Nobody writes into it for that: values are tried on an empty table of the
//! same shape that only this connection sees, and what holds between rows is looked up.
use super::super::super::{
    connection::{Session, quoted},
    error::told,
};
use super::{
    say::{MODE, Say, literal},
    tables::{Column, Rules, Subject, list},
};
use crate::{
    plain::shown,
    resource::{
        Failure,
        database::salvage::{
            words,
            work::{Answers, Candidate, Cell, Made, Name, Says, Tongue, Wait, name},
        },
    },
};
use mysql_async::{Error, prelude::Queryable};
use std::collections::HashMap;

/// Connections by which things are asked while rows are read.
pub struct Asks {
    /// Of both databases.
    pub lookup: Session,
    /// Where values are tried; nothing that it does stays.
    pub trial: Session,
    pub live: String,
    pub aside: String,
    /// Bytes of a statement.
    pub most: usize,
    /// Some tables cannot be made for one connection alone: what is said on them the server judges when it is said.
    pub tries: bool,
}

/// One table, as it is asked about, and what is said on it.
pub struct Asking<'s> {
    pub asks: &'s mut Asks,
    pub rules: &'s Rules,
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
        self.say.subject.live.name.clone()
    }
    async fn ask(&mut self, candidates: &[Candidate], made: &Made) -> Result<Answers, Failure> {
        let mut answers = Answers::none_of(candidates);
        self.tried(candidates, &mut answers).await?;
        self.taken(candidates, &mut answers).await?;
        self.orphans(candidates, made, &mut answers).await?;
        Ok(answers)
    }
}

const TRIAL: &str = "`backout_trial`";

impl Asking<'_> {
    fn trial(&self) -> String {
        format!("{}.{TRIAL}", quoted(&self.asks.aside))
    }

    /// The empty table: what each row has to be.
    pub async fn make_trial(&mut self) -> Result<(), Failure> {
        let (trial, table) = (self.trial(), self.say.subject.live.within(&self.asks.live));
        let session = &mut self.asks.trial;
        session.run(MODE).await?;
        session.run(format!("DROP TEMPORARY TABLE IF EXISTS {trial}")).await?;
        // One that only a connection sees has no partitions.
        let shown = session.rows(format!("SHOW CREATE TABLE {table}")).await?.pop().unwrap_or_default();
        let declared = shown.into_iter().nth(1).flatten().unwrap_or_default();
        let partitions = declared.rfind("\n) ENGINE=").and_then(|end| {
            let behind = declared.get(end..)?.find("\n PARTITION BY")?;
            declared.get(..end + behind)
        });
        let made = match partitions {
            Some(without) => {
                let begin = format!("CREATE TABLE {} ", quoted(&self.say.subject.live.name));
                without.replacen(&begin, &format!("CREATE TEMPORARY TABLE {trial} "), 1)
            }
            None => format!("CREATE TEMPORARY TABLE {trial} LIKE {table}"),
        };
        self.asks.tries = match session.raw().query_drop(made).await {
            Ok(()) => true,
            Err(Error::Server(_)) => false,
            Err(error) => return Err(told(error)),
        };
        Ok(())
    }

    pub async fn drop_trial(&mut self) -> Result<(), Failure> {
        let drop = format!("DROP TEMPORARY TABLE IF EXISTS {}", self.trial());
        self.asks.trial.run(drop).await.map(|_| ())
    }

    /// Values that columns do not take, or that break what is asked of each row. What was taken stays there, so that of two
    /// rows that exclude each other the first one comes.
    async fn tried(&mut self, candidates: &[Candidate], answers: &mut Answers) -> Result<(), Failure> {
        let subject = self.say.subject;
        for changes in [false, true] {
            let rest: &[Column] = if changes { &subject.rest } else { &[] };
            let columns = list(&[&subject.columns, rest].concat());
            let begin = format!("INSERT INTO {} ({columns}) VALUES ", self.trial());
            let mut some: Vec<(usize, String)> = Vec::new();
            for (number, candidate) in candidates.iter().enumerate() {
                if candidate.live.is_some() != changes {
                    continue;
                }
                let others = candidate.live.iter().flat_map(|(_, others)| others.iter().zip(rest));
                let cells = candidate.row.iter().zip(&subject.columns).chain(others);
                let cells: Vec<String> = cells.map(|(cell, column)| literal(cell, column)).collect();
                let values = format!("({})", cells.join(", "));
                // With room for what is said besides.
                if begin.len() + values.len().saturating_mul(2) > self.asks.most {
                    answers.refused[number] = Some(TOO_LONG.to_owned());
                    continue;
                }
                let size: usize = some.iter().map(|(_, values)| values.len() + 1).sum();
                if !self.asks.tries {
                    continue;
                }
                if begin.len() + size + values.len() > self.asks.most / 2 {
                    self.try_all(&begin, &std::mem::take(&mut some), answers).await?;
                }
                some.push((number, values));
            }
            self.try_all(&begin, &some, answers).await?;
        }
        Ok(())
    }

    async fn try_all(&mut self, begin: &str, some: &[(usize, String)], answers: &mut Answers) -> Result<(), Failure> {
        let values: Vec<&str> = some.iter().map(|(_, values)| values.as_str()).collect();
        if values.is_empty() || self.try_one(&format!("{begin}{}", values.join(","))).await?.is_none() {
            return Ok(());
        }
        for (number, values) in some {
            answers.refused[*number] = self.try_one(&format!("{begin}{values}")).await?;
        }
        Ok(())
    }

    /// What the server has against it.
    async fn try_one(&mut self, insert: &str) -> Result<Option<String>, Failure> {
        const NO_DEFAULT: u16 = 1364;
        match self.asks.trial.raw().query_drop(insert).await {
            Ok(()) => Ok(None),
            Err(Error::Server(said))
                if matches!(said.state.get(..2), Some("01" | "22" | "23")) || said.code == NO_DEFAULT =>
            {
                Ok(Some(shown(&said.message)))
            }
            Err(error) => Err(told(error)),
        }
    }

    /// Those with values that another live row has, and only one may have.
    async fn taken(&mut self, candidates: &[Candidate], answers: &mut Answers) -> Result<(), Failure> {
        let subject = self.say.subject;
        let table = subject.live.within(&self.asks.live);
        for unique in self.rules.unique.iter().filter(|unique| unique.table == subject.live.name) {
            let Some(places) = subject.places(&unique.columns) else { continue };
            let open = answers.open(candidates, &places);
            let ask = |&number: &usize| {
                let candidate = &candidates[number];
                let mut terms = terms(subject, &places, &unique.columns, &candidate.named(&places));
                // The row itself does not count.
                if let Some((live, _)) = candidate.live.as_ref().filter(|_| !subject.key.is_empty()) {
                    terms += &format!(" AND NOT ({})", self.say.is_key(live));
                }
                (number, format!("EXISTS (SELECT 1 FROM {table} WHERE {terms})"))
            };
            let asked: Vec<(usize, String)> = open.iter().map(ask).collect();
            for number in numbers(&mut self.asks.lookup, &asked, self.asks.most).await? {
                answers.refused[number] = Some(words::taken(&unique.columns.join(", ")));
            }
        }
        Ok(())
    }

    /// Those that refer to a row that is not there.
    async fn orphans(&mut self, candidates: &[Candidate], made: &Made, answers: &mut Answers) -> Result<(), Failure> {
        let subject = self.say.subject;
        for reference in self.rules.references.iter().filter(|reference| reference.child == subject.live.name) {
            let Some(places) = subject.places(&reference.columns) else { continue };
            let columns = &reference.parent_columns;
            let parent = |number: usize| name(&reference.parent, columns, &candidates[number].named(&places));
            let inside = reference.schema == self.asks.live;
            let itself = inside && reference.parent == subject.live.name;
            let asked = |numbers: &[usize], table: &str| -> Vec<(usize, String)> {
                let ask = |&number: &usize| {
                    let terms = terms(subject, &places, columns, &candidates[number].named(&places));
                    (number, format!("NOT EXISTS (SELECT 1 FROM {table} WHERE {terms})"))
                };
                numbers.iter().map(ask).collect()
            };
            let unknown = |number: &usize| made.row(&parent(*number)).is_none();
            let open: Vec<usize> = answers.open(candidates, &places).into_iter().filter(unknown).collect();
            let table = format!("{}.{}", quoted(&reference.schema), quoted(&reference.parent));
            let missing = numbers(&mut self.asks.lookup, &asked(&open, &table), self.asks.most).await?;
            let other = self.subjects.iter().find(|other| inside && other.live.name == reference.parent);
            let other = other.filter(|other| !made.is_done(&other.live.name) && other.places(columns).is_some());
            let gone = match other {
                Some(other) => {
                    let table = other.aside.within(&self.asks.aside);
                    let asked = asked(if itself { &missing } else { &open }, &table);
                    numbers(&mut self.asks.lookup, &asked, self.asks.most).await?
                }
                None => open.clone(),
            };
            let until: Vec<usize> = places
                .iter()
                .copied()
                .filter(|&place| !subject.columns[place].required && !subject.key.contains(&place))
                .collect();
            // Rows of the table itself that come before, in what is asked about at once.
            let mut before: HashMap<Name, bool> = HashMap::new();
            let open = answers.open(candidates, &places);
            for (number, candidate) in candidates.iter().enumerate() {
                let own = |refused: bool| {
                    let names = if itself { self.say.names(&candidate.row) } else { Vec::new() };
                    names.into_iter().map(move |name| (name, !refused))
                };
                if open.contains(&number) {
                    let parent = parent(number);
                    let of_itself = itself && self.say.names(&candidate.row).contains(&parent);
                    match before.get(&parent).copied().or_else(|| made.row(&parent)) {
                        _ if of_itself => {}
                        Some(true) => {}
                        Some(false) => {
                            answers.refused[number] = Some(words::parent_in_conflict(&reference.parent));
                        }
                        None => {
                            let (there, comes) = (!missing.contains(&number), !gone.contains(&number));
                            let shown = reference.parent.clone();
                            if there && (itself || !comes) {
                                // It belongs to what it belonged to.
                            } else if comes && (!until.is_empty() || candidate.live.is_some()) {
                                answers.waits[number].push(Wait { parent, there, shown, until: until.clone() });
                            } else {
                                let why = if comes { words::circle(&shown) } else { words::no_parent(&shown) };
                                answers.refused[number] = Some(why);
                            }
                        }
                    }
                }
                if candidate.live.is_none() {
                    before.extend(own(answers.refused[number].is_some()));
                }
            }
        }
        Ok(())
    }
}

const TOO_LONG: &str = "its statement is longer than the server takes (max_allowed_packet)";

/// That columns have the values that a row has in these places.
fn terms(subject: &Subject, places: &[usize], columns: &[String], named: &[&Cell]) -> String {
    let terms = columns.iter().zip(places).zip(named);
    let terms = terms
        .map(|((column, &place), cell)| format!("{} = {}", quoted(column), literal(cell, &subject.columns[place])));
    terms.collect::<Vec<_>>().join(" AND ")
}

/// Of which of them the condition holds. Each is said by itself, so that a value takes the collation of its column.
async fn numbers(session: &mut Session, asked: &[(usize, String)], most: usize) -> Result<Vec<usize>, Failure> {
    let (mut found, mut query) = (Vec::new(), String::new());
    for (at, (number, condition)) in asked.iter().enumerate() {
        if !query.is_empty() {
            query += " UNION ALL ";
        }
        query += &format!("SELECT {number} FROM DUAL WHERE {condition}");
        let next = asked.get(at + 1).map(|(_, next)| next.len());
        if next.is_none_or(|next| query.len() + next > most / 4) {
            let numbers = session.list(std::mem::take(&mut query)).await?;
            found.extend(numbers.iter().filter_map(|number| number.parse::<usize>().ok()));
        }
    }
    Ok(found)
}
