//! The difference of two tables, row by row, in one pass over both.
//!
//! Both sides come in the order of their key, so equal rows arrive together; a row whose partner has not come yet waits. As
//! many rows wait as there are differences, so what waits is bounded, and nobody here has to know the order itself.
use super::{
    super::{connection::Session, error::told},
    content::{News, RowDigest, Sum, Table, Values, digest, values},
};
use crate::resource::Failure;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;

/// Bytes of rows that wait, and of a patch.
const MOST: usize = 256 << 20;

#[derive(Default)]
pub struct Difference {
    pub left: Sum,
    pub right: Sum,
    /// only left
    pub rows: u64,
    /// both have them, with different content
    pub changed: u64,
    /// only right
    pub missing: u64,
    /// What makes right equal to left, where it was asked for: conditions of rows to delete, and rows to put.
    pub delete: Vec<Vec<u8>>,
    pub put: Vec<Values>,
}

pub struct Side<'a> {
    pub session: &'a mut Session,
    pub select: String,
}

/// `key`: which of the columns; none: a row is known by all that it holds. `None`: too many rows differ. `patched`: the table
/// whose rows are read.
pub async fn difference(
    left: Side<'_>,
    right: Side<'_>,
    key: &[usize],
    patched: Option<&Table>,
    news: &mut News<'_>,
) -> Result<Option<Difference>, Failure> {
    let mut found = Difference::default();
    let mut waiting = Waiting::default();
    let mut left = left.session.raw().query_iter(left.select).await.map_err(told)?;
    let mut right = right.session.raw().query_iter(right.select).await.map_err(told)?;
    let (mut more_left, mut more_right) = (true, true);
    let mut over = false;
    while more_left || more_right {
        let (a, b) =
            tokio::join!(async { if more_left { left.next().await.map_err(told) } else { Ok(None) } }, async {
                if more_right { right.next().await.map_err(told) } else { Ok(None) }
            },);
        let (a, b) = (a?.map(values), b?.map(values));
        (more_left, more_right) = (a.is_some(), b.is_some());
        if let (Some(row), true) = (&a, a == b) {
            news.read(row);
            let digest = digest(row);
            found.left.add_digest(&digest);
            found.right.add_digest(&digest);
            continue;
        }
        let a = a.map(|row| {
            news.read(&row);
            let digest = digest(&row);
            found.left.add_digest(&digest);
            (row, digest)
        });
        let b = b.map(|row| {
            let digest = digest(&row);
            found.right.add_digest(&digest);
            (row, digest)
        });
        // Read on all the same: an answer that is left in the middle would be read by whoever asks next.
        over |= waiting.bytes > MOST;
        if over {
            continue;
        }
        if let Some((row, digest)) = a {
            waiting.come(row, digest, key, true, patched.is_some());
        }
        if let Some((row, digest)) = b {
            waiting.come(row, digest, key, false, patched.is_some());
        }
    }
    drop((left, right));
    if over {
        return Ok(None);
    }
    found.changed = waiting.changed.len() as u64 + waiting.counted;
    for (row, on_left) in waiting.left() {
        if on_left {
            found.rows += row.count;
        } else {
            found.missing += row.count;
        }
        if let (Some(table), Some(values)) = (patched, &row.values) {
            if on_left {
                found.put.push(values.clone());
            } else {
                found.delete.push(table.found_by(values));
            }
        }
    }
    if patched.is_some() {
        found.put.append(&mut waiting.changed);
    }
    Ok(Some(found))
}

struct Row {
    digest: RowDigest,
    /// More than one where there is no key.
    count: u64,
    size: usize,
    values: Option<Values>,
}

#[derive(Default)]
struct Waiting {
    rows: [HashMap<Vec<u8>, Row>; 2],
    /// As they are on the left.
    changed: Vec<Values>,
    counted: u64,
    bytes: usize,
}

impl Waiting {
    fn come(&mut self, values: Values, digest: RowDigest, key: &[usize], on_left: bool, keep: bool) {
        let name = if key.is_empty() {
            digest.to_vec()
        } else {
            let parts: Values = key.iter().map(|place| values.get(*place).cloned().flatten()).collect();
            super::content::digest(&parts).to_vec()
        };
        let [left, right] = &mut self.rows;
        let (own, other) = if on_left { (left, right) } else { (right, left) };
        if let Some(partner) = other.get_mut(&name) {
            partner.count -= 1;
            let (same, gone) = (partner.digest == digest, partner.count == 0);
            let was = if gone { other.remove(&name) } else { None };
            self.bytes -= was.as_ref().map_or(0, |row| row.size);
            if !same && keep {
                let values = if on_left { Some(values) } else { was.and_then(|row| row.values) };
                self.changed.extend(values);
            } else if !same {
                self.counted += 1;
            }
            return;
        }
        if let Some(row) = own.get_mut(&name) {
            row.count += 1;
            return;
        }
        let kept = if keep { values.iter().flatten().map(|value| value.len() + 32).sum() } else { 0 };
        let size = name.len() + 150 + kept;
        self.bytes += size;
        own.insert(name, Row { digest, count: 1, size, values: keep.then_some(values) });
    }

    fn left(&self) -> impl Iterator<Item = (&Row, bool)> {
        let [left, right] = &self.rows;
        left.values().map(|row| (row, true)).chain(right.values().map(|row| (row, false)))
    }
}
