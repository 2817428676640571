//! Keeping applications out.
use super::Postgres;
use crate::resource::{CallCtx, Failure};
use std::time::Duration;
pub async fn fenced(_: &Postgres, _: &CallCtx) -> Result<bool, Failure> { Err(Failure::failed("not here")) }
pub async fn hidden(_: &Postgres, _: &CallCtx) -> Result<bool, Failure> { Err(Failure::failed("not here")) }
pub async fn shut(_: &Postgres, _: &CallCtx) -> Result<bool, Failure> { Err(Failure::failed("not here")) }
pub async fn open(_: &Postgres, _: &CallCtx) -> Result<bool, Failure> { Err(Failure::failed("not here")) }
pub async fn raise(_: &Postgres, _: Duration, _: &CallCtx) -> Result<(), Failure> { Err(Failure::failed("not here")) }
pub async fn lift(_: &Postgres, _: &CallCtx) -> Result<(), Failure> { Err(Failure::failed("not here")) }
