//! A copy in a repository. A stand-by is made and proven as ever, dumped into the repository by the server's own tool, and dropped;
//! what is restored from there is compared with what the stand-by held, and dropped as well. When it is needed it is restored once
//! more, compared again, and exchanged as any other.
//!
//! On the server only a role stays that nobody can be, whose comment is the mark by which all archives of the copy are known in the
//! repository. Whatever a killed process leaves is found by it.
use super::super::{
    super::archives::{self, Note, joined, known, open},
    Postgres,
    connection::{Session, Use},
    error::told,
};
use super::{
    beside, closed, content, detector,
    exchange::{nobody, possible},
    mark::{self, Is, Mark, Names, Stand, literal, quoted},
    standby::{self, Held},
    tools::Tools,
    turn, whose,
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Lost, Snapshot},
    process::blocking,
    repository::{Archive, For, Opened, Repository, file::Bytes, id_of},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, PipeReader, PipeWriter, Write},
    sync::Arc,
};
use tokio_postgres::Client;

/// What no dump has.
#[derive(Clone, Serialize, Deserialize)]
struct Around {
    /// Statements that make the database, and settle what it has as a whole.
    create: String,
    settings: Vec<String>,
    grants: Vec<String>,
    allowed: Vec<(String, String, bool)>,
    comment: Option<String>,
    /// The schema and the language that an empty database has.
    has: (bool, bool),
    sequences: String,
}

fn file(names: &Names) -> String {
    format!("{}.dump", names.live.replace('/', "_"))
}

/// The comment of the role begins so.
const BEGIN: &str = "Kept by Backout, which drops it, for a copy in a repository: ";

async fn mark_of(admin: &Client, names: &Names) -> Result<Option<String>, Failure> {
    let comment = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
    let Some(row) = admin.query_opt(comment, &[&names.standby]).await.map_err(told)? else { return Ok(None) };
    let comment: Option<String> = row.get(0);
    Ok(comment.and_then(|comment| comment.strip_prefix(BEGIN).map(str::to_owned)))
}

async fn write_mark(admin: &Client, names: &Names, mark: &str) -> Result<(), Failure> {
    let (role, comment) = (quoted(&names.standby), literal(&format!("{BEGIN}{mark}")));
    let make = format!("CREATE ROLE {role} NOLOGIN; COMMENT ON ROLE {role} IS {comment}");
    admin.batch_execute(&make).await.map_err(told)
}

/// Only of one that was found by its mark.
async fn drop_mark(admin: &Client, names: &Names) -> Result<(), Failure> {
    admin.batch_execute(&format!("DROP ROLE IF EXISTS {}", quoted(&names.standby))).await.map_err(told)
}

/// `again`: the journal names an earlier archive until this one is written down, so that stays until the copy is freed.
pub async fn take(
    postgres: &Postgres,
    id: &str,
    again: bool,
    repository: &Repository,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    // Before anything is read: it may be away, or its password another.
    let opened = open(repository, For::Writing).await?;
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, id);
    let before = mark_of(&admin, &names).await?;
    let fresh = before.is_none();
    let mark = archives::marked(&opened, before).await?;
    if fresh {
        write_mark(&admin, &names, &mark).await?;
    }
    let taken = Box::pin(standby::take_as(postgres, &admin, &names, postgres.exclusive, call)).await;
    // Nobody looks for changes of it.
    detector::forget(&admin, &names).await;
    let made = match taken {
        Ok(taken) => {
            let made = Box::pin(make(postgres, (&admin, &names), &opened, &mark, &taken, call)).await;
            made.map(|archive| (archive, taken))
        }
        Err(failure) => Err(failure),
    };
    let dropped = drop_standby(&admin, &names).await;
    if made.is_err() && fresh && archives::none_left(&opened, &mark).await {
        drop_mark(&admin, &names).await?;
    }
    let (archive, taken) = made?;
    dropped?;
    Ok(archives::snapshot(taken, &archive, repository, again))
}

async fn drop_standby(admin: &Client, names: &Names) -> Result<(), Failure> {
    if let Stand::By(found) | Stand::Half(found) = mark::stand(admin, names, "").await? {
        mark::drop(admin, &found).await?;
    }
    Ok(())
}

/// Dumps the stand-by, and has it back from the repository.
async fn make(
    postgres: &Postgres,
    (admin, names): (&Client, &Names),
    opened: &Arc<Opened>,
    mark: &str,
    taken: &Snapshot,
    call: &CallCtx,
) -> Result<Archive, Failure> {
    let tools = Tools::of(postgres, admin, call).await?;
    // Superusers alone can come in, for the limit is 0.
    closed::open(admin, &names.standby, true).await?;
    let session = content::comparing(postgres, &names.standby, Use::Looking, call).await?;
    let coding = content::coding(&session).await?;
    let note = Note::new(&taken.fingerprint, around(admin, names, &session).await?)?;
    drop(session);
    call.progress("archiving", 0, 0);
    let (reader, writer) = pipe()?;
    let file = file(names);
    let writing = archives::writing(opened, &file, (&names.live, &names.id, mark, note.text()?), reader);
    let dumped = tools.dump(&names.standby, &coding, writer, call).await;
    let archive = archives::written(opened, writing, dumped).await?;
    // It takes the place of the stand-by, so that both never need room at once.
    let back = match drop_standby(admin, names).await {
        Ok(()) => {
            let found = (&archive, &note.of, &taken.fingerprint);
            Box::pin(bring_back(postgres, (admin, names), &tools, opened, found, call)).await
        }
        Err(failure) => Err(failure),
    };
    archives::proven(opened, &archive, note, back).await
}

fn pipe() -> Result<(PipeReader, PipeWriter), Failure> {
    io::pipe().map_err(|e| Failure::failed(format!("no pipe: {e}")))
}

async fn around(admin: &Client, names: &Names, session: &Session) -> Result<Around, Failure> {
    let name = &names.standby;
    let grants = whose::privileges(admin, name, name).await?.into_iter().filter(|say| say.starts_with("GRANT "));
    let live = mark::find(admin, &names.live).await?;
    Ok(Around {
        create: whose::create(admin, name, name).await?,
        settings: whose::settings(admin, name, name).await?,
        grants: grants.collect(),
        allowed: whose::allowed(admin, name).await?,
        comment: live.and_then(|live| live.comment),
        has: standby::has(session).await?,
        sequences: sequences(session).await?,
    })
}

/// Where all of them stand; no part of a fingerprint.
async fn sequences(session: &Client) -> Result<String, Failure> {
    use sha2::{Digest, Sha256};
    Ok(mark::hex(&Sha256::digest(format!("{:?}", beside::sequences(session).await?))))
}

/// To a tool, which may have heard enough.
struct ToTool(Option<PipeWriter>);

impl Write for ToTool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tool) = &mut self.0 else { return Ok(bytes.len()) };
        match tool.write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(bytes.len())
            }
            written => written,
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Restores an archive as the stand-by, which is not there, and proves it. What is live is not touched.
async fn bring_back(
    postgres: &Postgres,
    (admin, names): (&Client, &Names),
    tools: &Tools,
    opened: &Arc<Opened>,
    (archive, around, fingerprint): (&Archive, &Around, &Fingerprint),
    call: &CallCtx,
) -> Result<Bytes, Failure> {
    let (id, of, comment) = (names.id.clone(), names.live.clone(), around.comment.clone());
    let mut mark = Mark { is: Is::Making, id, of, proof: None, comment, pending: false, since: None };
    admin.batch_execute(&around.create).await.map_err(told)?;
    mark::write(admin, &names.standby, &mark).await?;
    closed::open(admin, &names.standby, true).await?;
    let target = content::comparing(postgres, &names.standby, Use::Writing, call).await?;
    standby::bare(around.has, &target).await?;
    call.progress("restoring from the archive", 0, 0);
    let (reader, writer) = pipe()?;
    let (file, archive) = (file(names), archive.clone());
    let pouring = {
        let opened = opened.clone();
        tokio::spawn(blocking(move || opened.contents()?.pour(&archive, &file, ToTool(Some(writer))).map(|(_, b)| b)))
    };
    let restored = tools.restore(&names.standby, reader, call).await;
    // The repository's words come first: the tool would only say that there is no more.
    let bytes = joined(pouring.await)?;
    restored?;
    call.progress("gathering statistics", 0, 0);
    target.batch_execute("ANALYZE").await.map_err(told)?;
    if sequences(&target).await? != around.sequences {
        return Err(Failure::unproven("a sequence of the archive does not stand where that of the database stood"));
    }
    drop(target);
    dress(admin, names, around).await?;
    let compare = |held: &Held| {
        let differences = held.fingerprint.differences(fingerprint);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(standby::unequal("what came back of the archive is not what was proven", differences)),
        }
    };
    standby::prove(postgres, admin, names, compare, &mut mark, call).await?;
    Ok(bytes)
}

async fn dress(admin: &Client, names: &Names, around: &Around) -> Result<(), Failure> {
    let name = quoted(&names.standby);
    let mut statements = around.settings.clone();
    for (role, _, _) in whose::allowed(admin, &names.standby).await? {
        let role = if role.is_empty() { "PUBLIC".to_owned() } else { quoted(&role) };
        statements.push(format!("REVOKE ALL ON DATABASE {name} FROM {role} CASCADE"));
    }
    statements.extend(around.grants.iter().cloned());
    admin.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await.map_err(told)?;
    if whose::allowed(admin, &names.standby).await? != around.allowed {
        return Err(Failure::unproven("the privileges of the database cannot be given to what came back"));
    }
    Ok(())
}

/// Whether the archive has not become a stand-by, which then is looked at as any other, and has not been one.
pub async fn is_away(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<bool, Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    away(&admin, &names, snapshot).await
}

async fn away(admin: &Client, names: &Names, snapshot: &Snapshot) -> Result<bool, Failure> {
    Ok(match mark::stand(admin, names, &snapshot.place).await? {
        Stand::By(found) => !closed::proven(admin, &found, &snapshot.fingerprint).await?,
        Stand::Live { .. } => false,
        Stand::Half(_) | Stand::Gone => true,
    })
}

pub async fn inspect(postgres: &Postgres, snapshot: &Snapshot, repository: &Repository) -> Result<(), Failure> {
    let file = file(&Names::of(postgres, &snapshot.id));
    archives::inspect::<Around>(repository, snapshot, file).await
}

pub async fn loss(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    Ok(archives::loss(&standby::fingerprint(postgres, call).await?, &snapshot.fingerprint))
}

/// Restores the archive as a stand-by, where it is none.
pub async fn stage(
    postgres: &Postgres,
    snapshot: &Snapshot,
    repository: Option<&Repository>,
    call: &CallCtx,
) -> Result<(), Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    if !away(&admin, &names, snapshot).await? {
        return Ok(());
    }
    // Before anything is read: somebody who is in the database keeps it from being exchanged.
    if mark::find(&admin, &names.live).await?.is_some() {
        possible(postgres, &admin, &names, true).await?;
        if postgres.server.around.pooler.is_none() {
            nobody(&admin, &names).await?;
        }
    }
    let (opened, archive, note) = archives::opened::<Around>(known(repository)?, snapshot).await?;
    let tools = Tools::of(postgres, &admin, call).await?;
    drop_standby(&admin, &names).await?;
    let found = (&archive, &note.of, &snapshot.fingerprint);
    let staged = Box::pin(bring_back(postgres, (&admin, &names), &tools, &opened, found, call)).await;
    if staged.is_err() {
        // It would only take room. What cannot be dropped now goes when it starts over.
        let _ = drop_standby(&admin, &names).await;
    }
    staged.map(drop)
}

/// Removes all archives of a copy from the repository.
pub async fn discard(
    postgres: &Postgres,
    snapshot: &Snapshot,
    repository: Option<&Repository>,
    call: &CallCtx,
) -> Result<(), Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    let mark = mark_of(&admin, &names).await?;
    if mark.is_none() && !snapshot.is_archived() {
        return Ok(());
    }
    let (repository, id) = (known(repository)?.clone(), id_of(&snapshot.place).to_owned());
    let marked = mark.is_some();
    blocking(move || repository.free(mark.as_deref(), &id)).await??;
    if marked { drop_mark(&admin, &names).await } else { Ok(()) }
}
