//! The copy becomes what a moment shows, table by table, and is proven.
use super::super::{
    MariaDb,
    connection::{Session, Use},
};
use super::{
    content::{self, News, Sum, Table},
    fill, pair,
};
use crate::resource::{CallCtx, Failure, copies::Part};

/// What is to be done for a table.
pub enum Todo {
    /// Nothing was written to it since it was this.
    Keep(Part),
    /// It has rows, which may be others.
    Compare,
    /// It is empty.
    Fill,
}

#[derive(Default)]
pub struct Brought {
    pub parts: Vec<Part>,
    /// Rows.
    pub copied: u64,
    /// Tables that were not the same already.
    pub touched: Vec<String>,
}

/// One session has the moment to copy, one looks at the copy, and one writes.
struct Sides<'a> {
    maria: &'a MariaDb,
    left: &'a mut Session,
    right: Session,
    writer: Session,
    standby: &'a str,
}

/// `reader` has the moment.
pub async fn bring(
    maria: &MariaDb,
    reader: &mut Session,
    standby: &str,
    tables: &[Table],
    todo: &[Todo],
    (what, call): (&'static str, &CallCtx),
) -> Result<Brought, Failure> {
    let mut right = maria.connect(Use::Looking, call).await?;
    content::moment(&mut right).await?;
    let mut writer = maria.connect(Use::Writing, call).await?;
    writer.run("SET NAMES binary").await?;
    let mut sides = Sides { maria, left: reader, right, writer, standby };
    let mut news = News::new(what, tables, call);
    let (mut brought, mut again) = (Brought::default(), Vec::new());
    for (table, todo) in tables.iter().zip(todo) {
        let (sum, copied) = match todo {
            Todo::Keep(part) => {
                brought.parts.push(part.clone());
                continue;
            }
            Todo::Compare => sides.compare(table, &mut news).await?,
            Todo::Fill => sides.fill(table, &mut news).await?,
        };
        if let Some(rows) = copied {
            brought.copied += rows;
            brought.touched.push(table.name.clone());
            again.push((table, sum));
        }
        brought.parts.push(sum.part(table.name.clone()));
    }
    for session in [sides.right, sides.writer] {
        session.close().await;
    }
    // What was the same was read on both sides; what was written to is read again.
    let mut looking = maria.connect(Use::Looking, call).await?;
    content::moment(&mut looking).await?;
    for (table, sum) in &again {
        if content::sum(&mut looking, standby, table, &mut news).await? != *sum {
            return Err(Failure::unproven(format!("the copy of {} is not what was copied", table.name)));
        }
    }
    looking.close().await;
    Ok(brought)
}

impl Sides<'_> {
    /// What a table holds at the moment; and how many rows were copied, where it was not in the copy already.
    async fn compare(&mut self, table: &Table, news: &mut News<'_>) -> Result<(Sum, Option<u64>), Failure> {
        let key = table.places();
        let found = {
            let left = table.select(&self.maria.server.database);
            let left = pair::Side { session: &mut *self.left, select: left };
            let right = pair::Side { session: &mut self.right, select: table.select(self.standby) };
            let patched = if key.is_empty() { None } else { Some(table) };
            pair::difference(left, right, &key, patched, news).await.map_err(|e| fill::dropped(table, e))?
        };
        if let Some(found) = found {
            if found.left == found.right && (found.rows, found.changed, found.missing) == (0, 0, 0) {
                return Ok((found.left, None));
            }
            if !key.is_empty() {
                let copied = found.rows + found.changed + found.missing;
                fill::patch(&mut self.writer, self.standby, table, &found.delete, found.put).await?;
                return Ok((found.left, Some(copied)));
            }
        }
        // Without a key, or with too many differences: all of it.
        self.writer.run(format!("DELETE FROM {}", table.within(self.standby))).await?;
        self.fill(table, news).await
    }

    async fn fill(&mut self, table: &Table, news: &mut News<'_>) -> Result<(Sum, Option<u64>), Failure> {
        let call = news.call.clone();
        let names = (&*self.maria.server.database, self.standby);
        let sums = fill::fill(self.maria, self.left, names, &[table], news, &call).await?;
        let sum = sums.first().copied().unwrap_or_default();
        Ok((sum, Some(sum.rows)))
    }
}
