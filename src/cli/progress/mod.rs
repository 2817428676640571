//! What goes on while it goes on: a line for each step, what is news of it, how long it takes. Listens to the gate's events
//! on a thread of its own; a display that falls behind or a terminal that is gone holds up nothing.
mod board;
mod layout;
mod plan;

pub use board::{Board, Live, Mark, Row};
pub use layout::Paper;
pub use plan::plan;

use super::{Refused, moment, ui};
use crate::{
    gate::{Event, Events},
    report::text,
    run::life_cycle::Plans,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::{
    broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    oneshot,
};
use tokio_util::sync::CancellationToken;

/// Between two pictures of what changes.
const TICK: Duration = Duration::from_millis(100);

/// The display of one command. Ends with its last clone, or when it is told to.
#[derive(Clone)]
pub struct Display(Arc<Inner>);

struct Inner {
    thread: Mutex<Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>>,
}

impl Display {
    pub fn start(events: &Events, verbose: u8) -> Self {
        let receiver = events.subscribe();
        let (stop, stopped) = oneshot::channel();
        let show = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
            runtime.block_on(show(receiver, stopped, verbose));
        };
        // Without a thread there is no display; the run does not depend on it.
        let thread = thread::Builder::new().name("display".into()).spawn(show).ok();
        Self(Arc::new(Inner { thread: Mutex::new(thread.map(|thread| (stop, thread))) }))
    }

    pub fn plan(&self, plans: &Plans) {
        ui::say(&plan(plans, ui::paper()));
    }

    pub fn confirm(&self, question: &str, moot: &CancellationToken) -> anyhow::Result<bool> {
        nobody_to_ask()?;
        Ok(ui::confirm(question, moot))
    }

    /// Who approves; `None` when nobody does. The whole question is shown: nobody approves what they cannot see.
    pub fn approval(&self, question: &str, role: &str, moot: &CancellationToken) -> anyhow::Result<Option<String>> {
        nobody_to_ask()?;
        let (question, role) = (text::line(question, usize::MAX), text::line(role, usize::MAX));
        let prompt = format!("? {question}\n  your name, if you approve as {role}; nothing for no: ");
        match ui::ask(&prompt, moot) {
            Some(name) => Ok(Some(name).filter(|name| !name.is_empty())),
            None => Err(Refused::new("the terminal is gone").into()),
        }
    }

    /// Whether an operation has happened; `None` when nobody can or wants to say.
    pub fn decision(&self, doubt: &str, moot: &CancellationToken) -> Option<bool> {
        if !ui::interactive() {
            return None;
        }
        let doubt = text::line(doubt, usize::MAX);
        let prompt = format!("? {doubt}\n  has it happened? `done`, `not-done`, or nothing to stop here: ");
        match ui::ask(&prompt, moot)?.as_str() {
            "done" => Some(true),
            "not-done" => Some(false),
            _ => None,
        }
    }

    /// Shows what was heard until now, and nothing after it.
    pub fn finish(&self) {
        self.0.finish();
    }
}

fn nobody_to_ask() -> anyhow::Result<()> {
    if ui::interactive() {
        return Ok(());
    }
    Err(Refused::new("there is no terminal to ask on").hint("decide beforehand, with `--yes` or `--approve`").into())
}

impl Inner {
    fn finish(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = thread {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn show(mut events: Receiver<Event>, mut stopped: oneshot::Receiver<()>, verbose: u8) {
    let mut board = Board::new(verbose, moment::time_of_day);
    let mut ticks = tokio::time::interval(TICK);
    for tick in 0.. {
        // All that waits is heard before the next picture.
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Ok(event) => tell(&board.hear(&event, moment::now())),
                    Err(RecvError::Lagged(lost)) => tell(&board.lagged(lost)),
                    Err(RecvError::Closed) => return end(&mut board),
                },
                _ = &mut stopped => {
                    drain(&mut events, &mut board);
                    return end(&mut board);
                }
                _ = ticks.tick() => break,
            }
        }
        let paper = ui::paper();
        if ui::is_live() {
            ui::live(&board.live(moment::now()).iter().map(|live| paper.live(live, tick)).collect::<Vec<_>>());
        } else {
            tell(&board.plain_news(moment::now()));
        }
    }
}

fn drain(events: &mut Receiver<Event>, board: &mut Board) {
    loop {
        match events.try_recv() {
            Ok(event) => tell(&board.hear(&event, moment::now())),
            Err(TryRecvError::Lagged(lost)) => tell(&board.lagged(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

fn end(board: &mut Board) {
    ui::live(&[]);
    tell(&board.end(moment::now()));
}

fn tell(rows: &[Row]) {
    // On a terminal the line that lives says that a step has begun.
    let told = |row: &&Row| row.mark != Mark::Started || !ui::is_live();
    for line in rows.iter().filter(told).flat_map(|row| ui::paper().row(row)) {
        ui::say(&line);
    }
}
