//! Whether an upgrade has brought the schemas where its package says.
use super::{Halt, Run};
use crate::{capability::database::ops::CheckRevision, gate::Error, resource::run::RUN};

impl Run {
    /// Looks when everything is done, as the last part of the verification.
    pub(super) async fn check_schemas(&self) -> Result<(), Halt> {
        let Some(run) = self.resources().run.0.get(RUN) else { return Ok(()) };
        let schemas = run.access.observer.facts.schemas.clone();
        // A database that the script can do without may not be lent.
        for (database, revisions) in schemas {
            let Some(lend) = self.resources().database.0.get(&database) else { continue };
            let step = format!("the schema of {} {}", lend.id.kind, lend.id.name);
            let check = CheckRevision { database, revision: revisions.query, to: revisions.to };
            let verdict = self.host_gate("schema").perform(self.resources(), check).await;
            let passed = verdict.and_then(|verdict| Ok(verdict.answer()?));
            passed.map_err(|error| match error {
                Error::Answer(failure) => Halt::Failed { step, failure },
                Error::Stop(stop) => Halt::Stopped { step, stop },
            })?;
        }
        Ok(())
    }
}
