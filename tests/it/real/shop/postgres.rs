//! The shop's data in PostgreSQL.
use super::{Data, Idle, NewOrder, text};
use async_trait::async_trait;
use tokio_postgres::{Client, Error, NoTls};

pub struct Postgres {
    address: String,
    idle: Idle<Client>,
}

impl Postgres {
    pub fn new(address: String) -> Self {
        Self { address, idle: Idle::new() }
    }

    async fn client(&self) -> Result<Client, String> {
        while let Some(client) = self.idle.take() {
            if !client.is_closed() {
                return Ok(client);
            }
        }
        let (client, connection) = tokio_postgres::connect(&self.address, NoTls).await.map_err(text)?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// What an order is to people.
fn asked(state: &str, which: &str) -> String {
    format!(
        "SELECT row_to_json(t)::text FROM (
           SELECT o.id, c.name AS customer, o.placed, o.{state} AS state, o.total / 100.0 AS total
           FROM orders o JOIN customers c ON c.id = o.customer {which}) t"
    )
}

#[async_trait]
impl Data for Postgres {
    async fn schema(&self) -> Result<i32, String> {
        let client = self.client().await?;
        let exists = client.query_one("SELECT to_regclass('schema_revision') IS NOT NULL", &[]).await.map_err(text)?;
        let mut found = 0;
        if exists.get(0) {
            found = client.query_one("SELECT max(revision) FROM schema_revision", &[]).await.map_err(text)?.get(0);
        }
        self.idle.give(client);
        Ok(found)
    }

    /// In one transaction, as PostgreSQL can.
    async fn migrate(&self, revisions: &[(i32, String)]) -> Result<(), String> {
        let mut client = self.client().await?;
        let work = async {
            let transaction = client.transaction().await?;
            for (to, sql) in revisions {
                transaction.batch_execute(sql).await?;
                transaction.execute("INSERT INTO schema_revision VALUES ($1)", &[to]).await?;
            }
            transaction.commit().await
        };
        work.await.map_err(|e: Error| text(e))
    }

    async fn orders(&self, state: &str, page: i64) -> Result<Vec<String>, String> {
        let client = self.client().await?;
        let sql = asked(state, "ORDER BY o.id DESC LIMIT 20 OFFSET $1");
        let rows = client.query(&sql, &[&(page * 20)]).await.map_err(text)?;
        self.idle.give(client);
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn order(&self, state: &str, id: i64) -> Result<Option<String>, String> {
        let client = self.client().await?;
        let row = client.query_opt(&asked(state, "WHERE o.id = $1"), &[&id]).await.map_err(text)?;
        self.idle.give(client);
        Ok(row.map(|row| row.get(0)))
    }

    async fn place(&self, (column, state): (&str, &str), new: &NewOrder) -> Result<i64, String> {
        let mut client = self.client().await?;
        let sql = format!("INSERT INTO orders (customer, placed, {column}) VALUES ($1, now(), {state}) RETURNING id");
        let work = async {
            let transaction = client.transaction().await?;
            let id: i64 = transaction.query_one(&sql, &[&new.customer]).await?.get(0);
            for (line, item) in (1i64..).zip(&new.items) {
                let sql = "INSERT INTO items SELECT $1, $2, id, $4, price FROM products WHERE id = $3";
                transaction.execute(sql, &[&id, &line, &item.product, &item.quantity]).await?;
            }
            transaction.commit().await?;
            Ok(id)
        };
        let id = work.await.map_err(|e: Error| text(e))?;
        self.idle.give(client);
        Ok(id)
    }
}
