mod http;
mod load;
mod path;
pub mod simulated;

use super::{Failure, Probe, Section, Unchangeable};
use crate::resource::Access;
use std::sync::Arc;

pub fn open(section: &Section) -> Result<Access<Probe>, Failure> {
    Ok(Access { observer: Arc::new(http::Http::new(section)?), mutator: Arc::new(Unchangeable) })
}
