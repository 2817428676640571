//! Copies of a database on its own server.
use super::Postgres;
use crate::resource::{
    CallCtx, Failure,
    copies::{Exchange, Fingerprint, Lost, Restored, Snapshot},
};
use serde_json::Value;

fn absent<T>() -> Result<T, Failure> {
    Err(Failure::failed("this build makes no copies of PostgreSQL databases"))
}

pub async fn schema(_: &Postgres, _: &CallCtx) -> Result<String, Failure> {
    absent()
}
pub async fn fingerprint(_: &Postgres, _: &CallCtx) -> Result<Fingerprint, Failure> {
    absent()
}
pub async fn loss(_: &Postgres, _: &Snapshot, _: &CallCtx) -> Result<Vec<Lost>, Failure> {
    absent()
}
pub async fn inspect(_: &Postgres, _: &Snapshot, _: &CallCtx) -> Result<(), Failure> {
    absent()
}
pub async fn quiet(_: &Postgres, _: &CallCtx) -> Result<(), Failure> {
    absent()
}
pub async fn exchanged(_: &Postgres, _: &Snapshot, _: &[Value], _: &CallCtx) -> Result<Exchange, Failure> {
    absent()
}
pub async fn take(_: &Postgres, _: &str, _: &CallCtx) -> Result<Snapshot, Failure> {
    absent()
}
pub async fn refresh(_: &Postgres, _: &Snapshot, _: &CallCtx) -> Result<Snapshot, Failure> {
    absent()
}
pub async fn exchange(_: &Postgres, _: &Snapshot, _: &CallCtx) -> Result<Restored, Failure> {
    absent()
}
pub async fn discard(_: &Postgres, _: &Snapshot, _: &CallCtx) -> Result<u64, Failure> {
    absent()
}
