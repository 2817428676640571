//! One run over several lives: each begins or goes on with it in this process, and ends with it, or in the midst of it.
use super::{
    plot::Plot,
    world::{Death, People, World},
};
use crate::support::{guests, run::load};
use backout::{
    gate::{Event, Events},
    journal::{self, Entry, Header, Lines, Reader, Recorded, Resumption, RunId},
    resource::run::{Facts, Memory},
    run::{
        Error, Hold, Phase, Run, Setup,
        life_cycle::Outcome,
        replay::{self, Replayed},
    },
    session::{Limits, Script},
};
use std::{path::PathBuf, sync::Arc};
use tokio::{
    runtime::Builder,
    sync::{
        Notify,
        broadcast::{Receiver, error::RecvError},
    },
};
use tokio_util::sync::CancellationToken;

pub const RUN: RunId = 1;

/// How a life ends before the run does.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    Death(Death),
    /// As soon as so many entries of this life are seen.
    DeathAfter(usize),
    CancelAfter(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub stop: Option<Stop>,
    /// Whether somebody is there who can be asked.
    pub people: bool,
    /// Of what was not yet durable at the death, so many entries are gone.
    pub lost: usize,
}

impl Life {
    pub const WHOLE: Self = Self { stop: None, people: true, lost: 0 };
}

pub struct Host {
    dir: tempfile::TempDir,
    pub world: Arc<World>,
    settings: Vec<(&'static str, String)>,
    pub script: Script,
    pub limits: Limits,
    pub threads: bool,
}

impl Host {
    pub fn new(plot: &Plot) -> Self {
        Self::with(plot.settings())
    }

    pub fn with(settings: Vec<(&'static str, String)>) -> Self {
        // A disk would only make it slower: that what is durable stays is for others to show.
        let memory = PathBuf::from("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let script = load(&guests::scripted().component);
        Self { dir, world: Arc::default(), settings, script, limits: Limits::default(), threads: false }
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal.db")
    }

    pub fn entries(&self) -> Vec<Recorded> {
        Reader::open(&self.journal()).unwrap().entries(RUN).unwrap()
    }

    fn facts(&self) -> Facts {
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Facts { settings, ..Facts::default() }
    }

    async fn run(&self, people: bool, events: Events, cancel: CancellationToken) -> Result<Run, Error> {
        let going_on = self.journal().exists();
        let header = match going_on {
            true => Reader::open(&self.journal())?.run(RUN)?.header,
            false => Header { command: "upgrade".to_owned(), seed: 1, ..Header::default() },
        };
        let setup = Setup {
            header,
            facts: self.facts(),
            memory: if going_on { Memory::of(RUN) } else { Memory::default() },
            hold: Hold::take(self.dir.path(), self.world.resources()).await.unwrap(),
            script: Some(self.script.clone()),
            limits: self.limits,
            approver: Arc::new(People { world: self.world.clone(), journal: self.journal(), there: people }),
            events,
            cancel,
        };
        match going_on {
            true => Run::resume(self.dir.path(), RUN, Resumption::default(), setup),
            false => Run::begin(self.dir.path(), setup),
        }
    }

    /// `None`: it ended in the midst of it.
    pub fn live(&self, life: &Life) -> Option<Outcome> {
        self.try_to_live(life).map(Result::unwrap)
    }

    pub fn try_to_live(&self, life: &Life) -> Option<Result<Outcome, Error>> {
        let runtime = match self.threads {
            true => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
            false => Builder::new_current_thread().enable_all().build(),
        };
        let (events, cancel) = (Events::default(), CancellationToken::new());
        let news = events.subscribe();
        let died = self.world.live(match life.stop {
            Some(Stop::Death(death)) => Some(death),
            _ => None,
        });
        let death = death(life.stop, died, news, cancel.clone());
        let ended = runtime.as_ref().unwrap().block_on(async {
            tokio::select! {
                biased;
                () = death => None,
                outcome = self.upgrade(life.people, events, cancel) => Some(outcome),
            }
        });
        // All that still worked for it is gone with it, and what it had noted is on disk.
        drop(runtime);
        if ended.is_none() {
            self.lose(life.lost);
        }
        ended
    }

    /// As the command does it.
    async fn upgrade(&self, people: bool, events: Events, cancel: CancellationToken) -> Result<Outcome, Error> {
        let run = self.run(people, events, cancel).await?;
        let outcome = match run.plans(&[Phase::Prepare, Phase::Upgrade, Phase::Verify, Phase::Rollback]).await {
            Ok(plans) => run.upgrade(&plans).await,
            Err(halt) => run.before_anything(halt),
        };
        let (outcome, written) = run.finish(outcome).await;
        written?;
        Ok(outcome)
    }

    /// Entries that no later durable one had taken along: a kill within the moment in which they wait loses them.
    fn lose(&self, most: usize) {
        if !self.journal().exists() {
            return;
        }
        let lasting = |recorded: &Recorded, all: &[Recorded]| {
            let begun = |r: &&Recorded| r.place == recorded.place && r.seq == recorded.seq;
            all.iter().find(begun).is_some_and(|r| matches!(&r.entry, Entry::Intent(q) if q.class == "observe"))
        };
        let entries = self.entries();
        let noted = entries.iter().rev().take_while(|recorded| match &recorded.entry {
            Entry::Observed { .. } | Entry::Denied { .. } => true,
            Entry::Outcome { .. } => lasting(recorded, &entries),
            _ => false,
        });
        if let Some(first) = noted.take(most).last() {
            let db = rusqlite::Connection::open(self.journal()).unwrap();
            db.execute("DELETE FROM entry WHERE id >= ?1", [first.id]).unwrap();
        }
    }

    pub fn replay(&self) -> Replayed {
        self.replay_with(&self.script, |_| ()).unwrap()
    }

    /// With another script, with other limits, or from a journal that somebody has had his hands in.
    pub fn replay_with(
        &self,
        script: &Script,
        other: impl FnOnce(&mut journal::Limits),
    ) -> Result<Replayed, journal::Error> {
        let path = self.journal();
        let mut header = Reader::open(&path)?.run(RUN)?.header;
        other(&mut header.limits);
        let entries = |from: i64| -> Result<Lines, journal::Error> { Ok(Reader::open(&path)?.lines(RUN, from)) };
        let setup = replay::Setup {
            run: RUN,
            header,
            facts: Facts::default(),
            memory: Memory::of(RUN),
            script: script.clone(),
            entries: &entries,
        };
        Builder::new_current_thread().enable_all().build().unwrap().block_on(replay::replay(setup))
    }
}

async fn death(stop: Option<Stop>, died: Arc<Notify>, mut news: Receiver<Event>, cancel: CancellationToken) {
    let mut seen = 0;
    loop {
        tokio::select! {
            () = died.notified() => return,
            event = news.recv() => match event {
                Ok(Event::Recorded(_)) => seen += 1,
                Err(RecvError::Lagged(entries)) => seen += entries as usize,
                _ => {}
            },
        }
        match stop {
            Some(Stop::DeathAfter(entries)) if seen >= entries => return,
            Some(Stop::CancelAfter(entries)) if seen >= entries => cancel.cancel(),
            _ => {}
        }
    }
}
