//! What is declared in a database: the tables, and around them what refers to them by name.
use super::super::{
    connection::{Session, literal, quoted},
    own,
    query::hex,
};
use crate::resource::Failure;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// All but the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    pub charset: String,
    pub collation: String,
    /// In the order in which they are made; triggers of a table in the order in which they act.
    pub objects: Vec<Object>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sort {
    Function,
    Procedure,
    View,
    Trigger,
    Event,
}

impl Sort {
    fn word(self) -> &'static str {
        match self {
            Self::Function => "FUNCTION",
            Self::Procedure => "PROCEDURE",
            Self::View => "VIEW",
            Self::Trigger => "TRIGGER",
            Self::Event => "EVENT",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub sort: Sort,
    pub name: String,
    /// As the server says it, with its definer.
    pub sql: String,
    /// What has to be set for the text to mean the same.
    pub mode: String,
    pub client: String,
    pub connection: String,
    /// The database's when it was made.
    pub collation: String,
    /// Of an event: where its times are meant.
    pub time_zone: String,
}

/// How the text of an event goes on behind its schedule. An event that a fence holds is written down as one that acts.
const ACTS: &str = " PRESERVE ENABLE";
const RESTS: &str = " PRESERVE DISABLE";

impl Object {
    /// What stands of an event between its name and what it does.
    fn schedule(&self) -> &str {
        let name = quoted(&self.name);
        let behind = self.sql.find(&name).map_or(0, |at| at + name.len());
        let rest = self.sql.get(behind..).unwrap_or_default();
        rest.split_once(" ON COMPLETION ").map_or(rest, |(schedule, _)| schedule)
    }

    fn with_status(&self, from: &str, to: &str) -> Option<String> {
        let name = quoted(&self.name);
        let behind = self.sql.find(&name)? + name.len();
        let at = behind + self.sql.get(behind..)?.find(" PRESERVE ")?;
        let rest = self.sql.get(at..)?.strip_prefix(from)?;
        // `DISABLE ON SLAVE` is another word.
        rest.starts_with([' ', '\n']).then(|| format!("{}{to}{rest}", self.sql.get(..at).unwrap_or_default()))
    }

    /// It does something by itself, when no fence holds it.
    pub fn acts(&self) -> bool {
        self.sort == Sort::Event && self.with_status(ACTS, RESTS).is_some()
    }
}

async fn object(session: &mut Session, schema: &str, sort: Sort, name: &str) -> Result<Object, Failure> {
    let sql = format!("SHOW CREATE {} {}.{}", sort.word(), quoted(schema), quoted(name));
    let row = session.rows(sql).await?.into_iter().next().unwrap_or_default();
    let get = |at: usize| row.get(at).cloned().flatten();
    let lacks = || {
        Failure::denied("Backout's user may not see what is declared in the database")
            .hint("GRANT SELECT ON mysql.proc TO the user in `url`; SHOW VIEW, TRIGGER and EVENT on the database")
    };
    // name, text, client, connection; name, mode, text, client, connection, collation; an event has its time zone before it
    let (mode, text, at) = match sort {
        Sort::View => (String::new(), get(1), 2),
        Sort::Event => (get(1).unwrap_or_default(), get(3), 4),
        _ => (get(1).unwrap_or_default(), get(2), 3),
    };
    let (client, connection) = (get(at).unwrap_or_default(), get(at + 1).unwrap_or_default());
    let collation = if sort == Sort::View { String::new() } else { get(at + 2).unwrap_or_default() };
    let time_zone = if sort == Sort::Event { get(2).unwrap_or_default() } else { String::new() };
    let sql = text.ok_or_else(lacks)?;
    Ok(Object { sort, name: name.to_owned(), sql, mode, client, connection, collation, time_zone })
}

pub async fn declared(session: &mut Session, schema: &str) -> Result<Declared, Failure> {
    let name = literal(schema);
    let sql = format!(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
         WHERE BINARY SCHEMA_NAME = {name}"
    );
    let mut row = session.rows(sql).await?.into_iter().next().unwrap_or_default().into_iter().flatten();
    let (Some(charset), Some(collation)) = (row.next(), row.next()) else {
        return Err(Failure::not_found("the server has no such database"));
    };
    let mut objects = Vec::new();
    for (sort, list) in [
        (
            Sort::Function,
            format!(
                "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {name} AND ROUTINE_TYPE = 'FUNCTION' ORDER BY 1"
            ),
        ),
        (
            Sort::Procedure,
            format!(
                "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {name} AND ROUTINE_TYPE = 'PROCEDURE' ORDER BY 1"
            ),
        ),
        (
            Sort::View,
            format!(
                "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name} AND TABLE_TYPE = 'VIEW' ORDER BY 1"
            ),
        ),
        (
            Sort::Trigger,
            format!(
                "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {name} ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
            ),
        ),
        (
            Sort::Event,
            format!("SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {name} ORDER BY 1"),
        ),
    ] {
        for item in session.list(list).await? {
            objects.push(object(session, schema, sort, &item).await?);
        }
    }
    for event in own::events(session, schema).await? {
        if let Some(object) = objects.iter_mut().find(|o: &&mut Object| o.sort == Sort::Event && o.name == event)
            && let Some(acts) = object.with_status(RESTS, ACTS)
        {
            object.sql = acts;
        }
    }
    Ok(Declared { charset, collation, objects })
}

/// A table's text as the server says it, without the number that its next row gets: that is no declaration.
pub async fn tables(session: &mut Session, schema: &str) -> Result<Vec<(String, String)>, Failure> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} \
         AND TABLE_TYPE NOT IN ('VIEW', 'SYSTEM VIEW', 'TEMPORARY') ORDER BY TABLE_NAME",
        literal(schema)
    );
    let mut names = session.list(sql).await?;
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let sql = format!("SHOW CREATE TABLE {}.{}", quoted(schema), quoted(&name));
        let row = session.rows(sql).await?.into_iter().next().unwrap_or_default();
        let text = row.into_iter().nth(1).flatten().unwrap_or_default();
        found.push((name, text));
    }
    Ok(found)
}

/// Splits a table's text before and after the number of its next row.
pub fn next_row(text: &str) -> (String, Option<u64>) {
    // Line feeds in comments are escaped, so this is where the columns end.
    const END: &str = "\n) ENGINE=InnoDB AUTO_INCREMENT=";
    let Some((before, after)) = text.split_once(END) else { return (text.to_owned(), None) };
    let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = after.split_at(digits);
    (format!("{before}\n) ENGINE=InnoDB{rest}"), number.parse().ok())
}

/// Digest of all that is declared, of the tables and around them.
pub fn schema(tables: &[(String, String)], declared: &Declared) -> Result<String, Failure> {
    let tables: Vec<(&str, String)> = tables.iter().map(|(name, text)| (name.as_str(), next_row(text).0)).collect();
    let text = serde_json::to_vec(&(tables, declared)).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(hex(&Sha256::digest(text)))
}

/// What cannot be copied so that it is the same again. Said before anything is made.
pub async fn supported(session: &mut Session, schema: &str, declared: &Declared) -> Result<(), Failure> {
    let name = literal(schema);
    let refuse = |what: String| Err(Failure::unproven(what));
    let sql = format!(
        "SELECT TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, '') FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name} \
         AND (TABLE_TYPE IN ('SEQUENCE', 'SYSTEM VERSIONED') OR TABLE_TYPE = 'BASE TABLE' AND COALESCE(ENGINE, '') <> 'InnoDB') \
         ORDER BY 1 LIMIT 1"
    );
    if let Some(row) = session.rows(sql).await?.into_iter().next() {
        let row: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        let [table, kind, engine] = row.as_slice() else { return refuse("a table cannot be read".to_owned()) };
        return match kind.as_str() {
            "SEQUENCE" => refuse(format!("{table} is a sequence, which the driver cannot copy yet")),
            "SYSTEM VERSIONED" => refuse(format!("{table} keeps its own history, which a copy would lose")),
            _ => refuse(format!(
                "{table} is kept by the engine {engine}, which has no transactions: no moment of it can be had"
            ))
            .map_err(|e| e.hint(format!("ALTER TABLE {} ENGINE = InnoDB", quoted(table)))),
        };
    }
    let packages = format!(
        "SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {name} \
         AND ROUTINE_TYPE NOT IN ('FUNCTION', 'PROCEDURE')"
    );
    if session.number(packages).await? > 0 {
        return refuse("the database has packages, which the driver cannot copy yet".to_owned());
    }
    for object in &declared.objects {
        let Object { sort, name, sql, client, collation, .. } = object;
        let word = sort.word().to_lowercase();
        if let Some(why) = unrepeatable(object) {
            return refuse(why);
        }
        if !sql.is_ascii() && !client.starts_with("utf8") {
            return refuse(format!("the {word} {name} was written in {client}, which cannot be written again"));
        }
        if !collation.is_empty() && *collation != declared.collation {
            return refuse(format!("the {word} {name} is older than the collation of the database"));
        }
        if *sort == Sort::View {
            let look = format!("SELECT 1 FROM {}.{} WHERE FALSE", quoted(schema), quoted(name));
            session
                .run(look)
                .await
                .map_err(|_| Failure::unproven(format!("the view {name} cannot be made: it is broken")))?;
        }
    }
    Ok(())
}

/// What could not be made again later.
pub fn unrepeatable(object: &Object) -> Option<String> {
    let once =
        object.sort == Sort::Event && (!object.schedule().contains(" EVERY ") || object.schedule().contains(" ENDS "));
    once.then(|| format!("the event {} has an end, after which it cannot be made again", object.name))
}

/// Brings what is declared around the tables of a database to what it was: takes away, replaces, makes. Nothing that is as it
/// was already is touched, so what is granted on it stays. May be done again.
pub async fn bring(session: &mut Session, schema: &str, wanted: &Declared) -> Result<(), Failure> {
    let now = declared(session, schema).await?;
    if (&now.charset, &now.collation) != (&wanted.charset, &wanted.collation) {
        let sql = format!(
            "ALTER DATABASE {} CHARACTER SET {} COLLATE {}",
            quoted(schema),
            quoted(&wanted.charset),
            quoted(&wanted.collation)
        );
        session.run(sql).await?;
    }
    let same = |a: &Object, b: &Object| a.sort == b.sort && a.name == b.name;
    for object in &now.objects {
        let keep = wanted.objects.iter().any(|w| {
            // A routine that is replaced keeps what is granted on it.
            let replaced = matches!(w.sort, Sort::Function | Sort::Procedure) && same(w, object);
            *w == *object || replaced
        });
        if !keep {
            drop(session, schema, object).await?;
        }
    }
    session.run(format!("USE {}", quoted(schema))).await?;
    let mut left: Vec<&Object> = wanted.objects.iter().filter(|w| !now.objects.contains(w)).collect();
    // What refers to another one that is not made yet comes after it.
    while !left.is_empty() {
        let (before, mut later, mut why) = (left.len(), Vec::new(), None);
        for object in left {
            if let Err(e) = make(session, schema, object).await {
                later.push(object);
                why = why.or(Some((object, e)));
            }
        }
        left = later;
        if left.len() == before
            && let Some((object, e)) = why
        {
            let what =
                format!("the {} {} cannot be made: {}", object.sort.word().to_lowercase(), object.name, e.message);
            return Err(Failure { message: what, ..e });
        }
    }
    // Where a database is chosen, the server leaves its name out of what it says of a view.
    session.run("USE information_schema").await?;
    let now = declared(session, schema).await?;
    if now == *wanted {
        return Ok(());
    }
    let both = wanted.objects.iter().chain(&now.objects);
    let other = both.into_iter().find(|o| !wanted.objects.contains(o) || !now.objects.contains(o));
    let other = other.map_or("their order", |object| &object.name);
    Err(Failure::failed(format!("what is declared around the tables is not what it was: look at {other}")))
}

pub async fn drop(session: &mut Session, schema: &str, object: &Object) -> Result<(), Failure> {
    let sql = format!("DROP {} IF EXISTS {}.{}", object.sort.word(), quoted(schema), quoted(&object.name));
    session.run(sql).await.map(|_| ())
}

async fn make(session: &mut Session, schema: &str, object: &Object) -> Result<(), Failure> {
    let Object { sort, name, sql, mode, client, connection, time_zone, .. } = object;
    // Behind a fence an event rests until the fence is lifted.
    let rests = if *sort == Sort::Event && !own::fence(session, schema).await?.is_empty() {
        object.with_status(ACTS, RESTS)
    } else {
        None
    };
    if rests.is_some() {
        own::hold_event(session, schema, name).await?;
    } else if *sort == Sort::Event {
        // Another one may have had its name.
        own::release_event(session, schema, name).await?;
    }
    session
        .run(format!(
            "SET sql_mode = {}, character_set_client = {}, collation_connection = {}",
            literal(mode),
            quoted(client),
            quoted(connection)
        ))
        .await?;
    if *sort == Sort::Event {
        session.run(format!("SET time_zone = {}", literal(time_zone))).await?;
    }
    let sql = match sort {
        Sort::Event => rests.unwrap_or_else(|| sql.clone()),
        Sort::Function | Sort::Procedure => sql.replacen("CREATE ", "CREATE OR REPLACE ", 1),
        _ => sql.clone(),
    };
    let made = session.run(sql).await;
    session.run(format!("SET NAMES utf8mb4, {}", super::super::connection::OWN)).await?;
    made.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_of_a_table_is_no_declaration() {
        let text = "CREATE TABLE `t` (\n  `a` int COMMENT ') ENGINE=InnoDB AUTO_INCREMENT=9'\n) ENGINE=InnoDB AUTO_INCREMENT=1001 DEFAULT CHARSET=utf8mb4";
        let (rest, number) = next_row(text);
        assert_eq!(number, Some(1001));
        assert_eq!(rest, text.replace(" AUTO_INCREMENT=1001", ""));
        assert_eq!(next_row(&rest), (rest.clone(), None));
    }
}
