//! The shop's data in MariaDB.
use super::{Data, Idle, NewOrder, text};
use async_trait::async_trait;
use mysql_async::{Conn, Error, Opts, TxOpts, prelude::Queryable};

pub struct MariaDb {
    address: String,
    idle: Idle<Conn>,
}

impl MariaDb {
    pub fn new(address: String) -> Self {
        Self { address, idle: Idle::new() }
    }

    async fn client(&self) -> Result<Conn, String> {
        while let Some(mut client) = self.idle.take() {
            if client.ping().await.is_ok() {
                return Ok(client);
            }
        }
        Conn::new(Opts::from_url(&self.address).map_err(text)?).await.map_err(text)
    }
}

/// What an order is to people.
fn asked(state: &str, which: &str) -> String {
    format!(
        "SELECT JSON_OBJECT('id', o.id, 'customer', c.name, 'placed', o.placed, 'state', o.{state}, 'total', o.total / 100)
         FROM orders o STRAIGHT_JOIN customers c ON c.id = o.customer {which}"
    )
}

#[async_trait]
impl Data for MariaDb {
    async fn schema(&self) -> Result<i32, String> {
        let mut client = self.client().await?;
        let exists: Option<String> = client.query_first("SHOW TABLES LIKE 'schema_revision'").await.map_err(text)?;
        let mut found = None;
        if exists.is_some() {
            found = client.query_first("SELECT max(revision) FROM schema_revision").await.map_err(text)?;
        }
        self.idle.give(client);
        Ok(found.unwrap_or(0))
    }

    /// One after the other: what declares something stands in no transaction.
    async fn migrate(&self, revisions: &[(i32, String)]) -> Result<(), String> {
        let mut client = self.client().await?;
        for (to, sql) in revisions {
            client.query_drop(sql).await.map_err(text)?;
            client.exec_drop("INSERT INTO schema_revision VALUES (?)", (to,)).await.map_err(text)?;
        }
        Ok(())
    }

    async fn orders(&self, state: &str, page: i64) -> Result<Vec<String>, String> {
        let mut client = self.client().await?;
        let sql = asked(state, "ORDER BY o.id DESC LIMIT 20 OFFSET ?");
        let found = client.exec(&sql, (page * 20,)).await.map_err(text)?;
        self.idle.give(client);
        Ok(found)
    }

    async fn order(&self, state: &str, id: i64) -> Result<Option<String>, String> {
        let mut client = self.client().await?;
        let found = client.exec_first(asked(state, "WHERE o.id = ?"), (id,)).await.map_err(text)?;
        self.idle.give(client);
        Ok(found)
    }

    async fn place(&self, (column, state): (&str, &str), new: &NewOrder) -> Result<i64, String> {
        let mut client = self.client().await?;
        let sql = format!("INSERT INTO orders (customer, placed, {column}) VALUES (?, now(), {state}) RETURNING id");
        let work = async {
            let mut transaction = client.start_transaction(TxOpts::default()).await?;
            let id: i64 = transaction.exec_first(&sql, (new.customer,)).await?.unwrap_or_default();
            for (line, item) in (1i64..).zip(&new.items) {
                // Asked before: a statement that reads a table keeps the trigger from changing it.
                let sql = "SELECT price FROM products WHERE id = ?";
                let price: Option<i64> = transaction.exec_first(sql, (item.product,)).await?;
                let sql = "INSERT INTO items VALUES (?, ?, ?, ?, ?)";
                transaction.exec_drop(sql, (id, line, item.product, item.quantity, price)).await?;
            }
            transaction.commit().await?;
            Ok(id)
        };
        let id = work.await.map_err(|e: Error| text(e))?;
        self.idle.give(client);
        Ok(id)
    }
}
