//! What a database holds beside its tables: sequences, large objects, materialised views.
use super::super::error::told;
use super::mark::quoted;
use crate::resource::{Failure, copies::Part};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::pin::pin;
use tokio_postgres::Client;

/// Where a sequence stands. It keeps to no transaction, so it is no part of a fingerprint: numbers are given out, and not
/// taken back when what they were for is rolled back; and after an exchange it goes on behind what was given out before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    name: String,
    last: i64,
    called: bool,
    rises: bool,
    within: (i64, i64),
    cycles: bool,
}

const SEQUENCES: &str = "SELECT n.nspname::text, c.relname::text, s.seqincrement > 0, s.seqmin, s.seqmax, s.seqcycle \
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relpersistence <> 't' AND n.nspname <> 'pg_catalog' ORDER BY 1, 2";

pub async fn sequences(session: &Client) -> Result<Vec<Sequence>, Failure> {
    let rows = session.query(SEQUENCES, &[]).await.map_err(told)?;
    const AT_ONCE: usize = 100;
    let mut all = Vec::new();
    for some in rows.chunks(AT_ONCE) {
        let names: Vec<String> =
            some.iter().map(|row| format!("{}.{}", quoted(row.get(0)), quoted(row.get(1)))).collect();
        let asked: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(i, name)| format!("SELECT {i}, last_value, is_called FROM {name}"))
            .collect();
        let stand = session.query(&asked.join(" UNION ALL "), &[]).await.map_err(told)?;
        for found in &stand {
            let place = usize::try_from(found.get::<_, i32>(0)).unwrap_or(usize::MAX);
            let (Some(row), Some(name)) = (some.get(place), names.get(place)) else { continue };
            all.push(Sequence {
                name: name.clone(),
                last: found.get(1),
                called: found.get(2),
                rises: row.get(2),
                within: (row.get(3), row.get(4)),
                cycles: row.get(5),
            });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub async fn set(session: &Client, sequences: &[Sequence]) -> Result<(), Failure> {
    const AT_ONCE: usize = 500;
    for some in sequences.chunks(AT_ONCE) {
        let names: Vec<&str> = some.iter().map(|s| &*s.name).collect();
        let (last, called): (Vec<i64>, Vec<bool>) = some.iter().map(|s| (s.last, s.called)).unzip();
        let set = "SELECT setval(name::regclass, last, called) FROM unnest($1::text[], $2::bigint[], $3::boolean[]) s(name, last, called)";
        session.query(set, &[&names, &last, &called]).await.map_err(told)?;
    }
    Ok(())
}

/// Those of `ours` that stand before what `theirs` have given out, moved behind it.
pub fn behind(ours: &[Sequence], theirs: &[Sequence]) -> Vec<Sequence> {
    let moved = ours.iter().filter_map(|own| {
        let other = theirs.iter().find(|other| other.name == own.name)?;
        let given = |s: &Sequence| (if s.rises { s.last } else { s.last.saturating_neg() }, s.called);
        let fits = other.rises == own.rises && (own.within.0..=own.within.1).contains(&other.last);
        // One that begins again at its end gives out what was given out before anyway.
        (fits && !own.cycles && given(other) > given(own)).then(|| Sequence {
            last: other.last,
            called: other.called,
            ..own.clone()
        })
    });
    moved.collect()
}

pub const LARGE_OBJECTS: &str = "(large objects)";

/// Large objects, each with its owner, its privileges and what is said of it; `None`: there are none.
pub async fn large_objects(session: &Client) -> Result<Option<Part>, Failure> {
    let mut sum = super::content::Sum::default();
    let whose = "COPY (SELECT m.oid, m.lomowner::regrole, \
            (SELECT string_agg(item::text, ' ' ORDER BY item::text) FROM unnest(coalesce(m.lomacl, acldefault('L', m.lomowner))) item), \
            obj_description(m.oid, 'pg_largeobject') FROM pg_largeobject_metadata m) TO STDOUT";
    // Where nothing is kept, zeros are read: neither holes nor zeros at the end of a page are anything that an application sees.
    let pages = "COPY (SELECT loid, pageno, data, size FROM (SELECT loid, pageno, rtrim(data, '\\x00'::bytea) AS data, \
                CASE WHEN lead(pageno) OVER (PARTITION BY loid ORDER BY pageno) IS NULL THEN length(data) END AS size \
            FROM pg_largeobject) p WHERE length(data) > 0 OR size IS NOT NULL) TO STDOUT";
    let mut objects = 0;
    for (i, query) in [whose, pages].into_iter().enumerate() {
        let mut rows = pin!(session.copy_out(query).await.map_err(told)?);
        while let Some(row) = rows.next().await {
            sum.add(&row.map_err(told)?);
            objects += u64::from(i == 0);
        }
    }
    Ok((objects > 0).then(|| Part { count: objects, ..sum.part(LARGE_OBJECTS.to_owned()) }))
}

const OBJECTS: &str = "SELECT m.oid, m.lomowner::regrole::text, m.lomacl IS NOT NULL, obj_description(m.oid, 'pg_largeobject') \
    FROM pg_largeobject_metadata m ORDER BY m.oid";
const PRIVILEGES: &str = "SELECT m.oid, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, a.privilege_type, \
    a.is_grantable FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a ORDER BY m.oid";

/// Puts the large objects of `from` in the place of those of `to`, in the transaction that `to` is in. Their pages are carried
/// over as they are, holes included.
pub async fn bring_large_objects(from: &Client, to: &Client) -> Result<(), Failure> {
    to.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", &[]).await.map_err(told)?;
    const AT_ONCE: usize = 1_000;
    let mut said = Vec::new();
    for row in from.query(OBJECTS, &[]).await.map_err(told)? {
        let (oid, owner, privileges): (u32, String, bool) = (row.get(0), row.get(1), row.get(2));
        said.push(format!("SELECT pg_catalog.lo_create({oid}); ALTER LARGE OBJECT {oid} OWNER TO {owner}"));
        if privileges {
            said.push(format!("REVOKE ALL ON LARGE OBJECT {oid} FROM {owner}"));
        }
        if let Some(comment) = row.get::<_, Option<String>>(3) {
            said.push(format!("COMMENT ON LARGE OBJECT {oid} IS {}", super::mark::literal(&comment)));
        }
    }
    for row in from.query(PRIVILEGES, &[]).await.map_err(told)? {
        let (oid, to, right): (u32, String, String) = (row.get(0), row.get(1), row.get(2));
        let option = if row.get(3) { " WITH GRANT OPTION" } else { "" };
        said.push(format!("GRANT {right} ON LARGE OBJECT {oid} TO {to}{option}"));
    }
    for some in said.chunks(AT_ONCE) {
        to.batch_execute(&some.join("; ")).await.map_err(told)?;
    }
    let mut pages =
        pin!(from.copy_out("COPY (SELECT loid, pageno, data FROM pg_largeobject) TO STDOUT").await.map_err(told)?);
    let mut sink =
        pin!(to.copy_in::<_, Bytes>("COPY pg_largeobject (loid, pageno, data) FROM STDIN").await.map_err(told)?);
    while let Some(page) = pages.next().await {
        sink.send(page.map_err(told)?).await.map_err(told)?;
    }
    sink.finish().await.map_err(told).map(|_| ())
}

const POPULATED: &str = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname <> 'pg_catalog' ORDER BY c.oid";

/// Fills in the copy what was filled at the source. One that is made of others comes after them.
pub async fn refresh_views(from: &Client, to: &Client) -> Result<(), Failure> {
    let mut left: Vec<String> = from.query(POPULATED, &[]).await.map_err(told)?.iter().map(|row| row.get(0)).collect();
    while !left.is_empty() {
        let (mut later, before) = (Vec::new(), left.len());
        let mut last = None;
        for view in left {
            match to.batch_execute(&format!("REFRESH MATERIALIZED VIEW {view}")).await {
                Ok(()) => {}
                // Another one, from which it reads, was not filled yet.
                Err(error) if error.code().is_some_and(|code| code.code() == "55000") => {
                    last = Some(told(error));
                    later.push(view);
                }
                Err(error) => {
                    let why = told(error).message;
                    return Err(Failure::unproven(format!("the materialised view {view} cannot be filled: {why}")));
                }
            }
        }
        if later.len() == before {
            return Err(last.unwrap_or_else(|| Failure::unproven("a materialised view cannot be filled")));
        }
        left = later;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(last: i64, called: bool, rises: bool) -> Sequence {
        Sequence { name: "s".into(), last, called, rises, within: (-1000, 1000), cycles: false }
    }

    #[test]
    fn sequences_only_go_on() {
        let moved = |own: Sequence, other: Sequence| behind(&[own], &[other]).first().map(|s| (s.last, s.called));
        assert_eq!(moved(sequence(5, true, true), sequence(9, true, true)), Some((9, true)));
        assert_eq!(moved(sequence(9, true, true), sequence(5, true, true)), None);
        assert_eq!(moved(sequence(1, false, true), sequence(1, true, true)), Some((1, true)));
        assert_eq!(moved(sequence(-5, true, false), sequence(-9, true, false)), Some((-9, true)));
        assert_eq!(moved(sequence(5, true, true), sequence(2000, true, true)), None);
        let circle = Sequence { cycles: true, ..sequence(5, true, true) };
        assert_eq!(moved(circle, sequence(9, true, true)), None);
    }
}
