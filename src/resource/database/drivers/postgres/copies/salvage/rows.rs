//! The rows of one table on three sides: at the restore point, as they were set aside, and live.
use super::super::merge::Key;
use super::{
    Sides,
    base::Base,
    check::Asking,
    stream::{Cell, Order, Row, Rows},
};
use crate::resource::{
    Failure,
    database::salvage::{Sheet, Was, work},
};

pub type Work<'w> = work::Work<'w, Asking<'w>>;

/// A row of what is live, and its columns that the new schema does not have.
type Live = (Vec<Cell>, Vec<Cell>);

/// One pass over all that can have something to say.
pub async fn keyed(work: &mut Work<'_>, sides: &Sides, base: &Base) -> Result<(), Failure> {
    let subject = work.table.say.subject;
    let order = Order::of(&subject.live);
    let mut kept = match base {
        Base::Same => return Ok(()),
        Base::Unknown => None,
        Base::Kept(part) => Some(part.read(sides.base(), &order, subject, &sides.coding).await?),
    };
    let mut new = order.read(sides.aside(), &subject.names(), &subject.aside.rows(), &sides.coding).await?;
    let all = super::tables::list(&[subject.columns.clone(), subject.rest.clone()].concat());
    let mut live = order.read(sides.live(), &all, &subject.live.rows(), &sides.coding).await?;
    let mut was = match &mut kept {
        Some(kept) => kept.next().await?,
        None => None,
    };
    let (mut a, mut l) = (new.next().await?, live.next().await?);
    loop {
        let key = match &kept {
            Some(_) => was.as_ref().map(|row| row.key.clone()),
            None => [&a, &l].into_iter().flatten().map(|row| &row.key).min().cloned(),
        };
        let Some(key) = key else { break };
        let aside = at(&mut new, &mut a, &key).await?;
        let now = at(&mut live, &mut l, &key).await?;
        let now = now.map(|mut cells| {
            let rest = cells.split_off(subject.columns.len().min(cells.len()));
            (cells, rest)
        });
        decide(work, base, was.take(), aside, now).await?;
        if let Some(kept) = &mut kept {
            was = kept.next().await?;
        }
    }
    Ok(())
}

async fn decide(
    work: &mut Work<'_>,
    base: &Base,
    was: Option<Row>,
    aside: Option<Vec<Cell>>,
    live: Option<Live>,
) -> Result<(), Failure> {
    let mut before;
    let was = match (was, base) {
        (Some(mut row), Base::Kept(part)) => {
            let kind = (!row.cells.is_empty()).then(|| row.cells.remove(0)).flatten();
            if kind.as_deref() == Some(b"new") {
                Was::New
            } else {
                before = row.cells;
                if let Some(other) = live.as_ref().map(|(row, _)| row).or(aside.as_ref()) {
                    part.fill(work.table.say.subject, &mut before, other);
                }
                Was::Other(before.as_slice())
            }
        }
        _ => Was::Unknown,
    };
    work.decide(was, aside, live).await
}

/// Those that have to come all in one.
pub fn together(work: &mut Work<'_>) -> Result<(), Failure> {
    let held = work.together.take().unwrap_or_default();
    if held.is_empty() {
        return Ok(());
    }
    let rows: Vec<&[Cell]> = held.iter().map(Vec::as_slice).collect();
    let statement = work.table.say.insert_all(&rows);
    work.write(Sheet::Inserts, &statement)
}

/// Rows without a key, compared by all that they hold: those that were set aside oftener than they are live.
pub async fn keyless(work: &mut Work<'_>, sides: &Sides) -> Result<(), Failure> {
    let subject = work.table.say.subject;
    let (order, coding) = (Order::whole(&subject.columns), &sides.coding);
    let mut new = order.read(sides.aside(), &subject.names(), &subject.aside.rows(), coding).await?;
    let mut live = order.read(sides.live(), "", &subject.live.rows(), coding).await?;
    let (mut a, mut l) = (new.next().await?, live.next().await?);
    while let Some(Row { key, cells }) = a.take() {
        let (mut there, mut now) = (1_u64, 0_u64);
        loop {
            a = new.next().await?;
            if a.as_ref().is_none_or(|row| row.key != key) {
                break;
            }
            there += 1;
        }
        while l.as_ref().is_some_and(|row| row.key <= key) {
            now += u64::from(l.as_ref().is_some_and(|row| row.key == key));
            l = live.next().await?;
        }
        if there > now {
            work.missing(cells, there, now).await?;
        }
    }
    Ok(())
}

/// The row of this key; those before it are of no interest.
async fn at(rows: &mut Rows, next: &mut Option<Row>, key: &Key) -> Result<Option<Vec<Cell>>, Failure> {
    while next.as_ref().is_some_and(|row| row.key < *key) {
        *next = rows.next().await?;
    }
    if next.as_ref().is_none_or(|row| row.key != *key) {
        return Ok(None);
    }
    let found = next.take().map(|row| row.cells);
    *next = rows.next().await?;
    Ok(found)
}
