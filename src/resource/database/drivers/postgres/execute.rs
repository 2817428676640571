//! What scripts change in SQL.
use super::Postgres;
use crate::resource::{CallCtx, Failure, database::Executed};
use serde_json::Value;
pub async fn execute(_: &Postgres, _: &str, _: &CallCtx) -> Result<u64, Failure> { Err(Failure::failed("not here")) }
pub async fn executed(_: &Postgres, _: &[Value], _: &CallCtx) -> Result<Executed, Failure> { Err(Failure::failed("not here")) }
