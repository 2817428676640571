//! What the host itself tells people of a run, beside it: nothing of the run waits for a mail server, but its end, for a while.
//! The journal remembers what was told where, so that nobody hears of one thing twice.
use super::{Before, Run};
use crate::{
    journal::{Entry, Header, Journal, Level, Place, RunId},
    plain::hidden,
    resource::{
        Access, CallCtx, Channel, Failure,
        channel::{Asked, By, MAX_TEXT, Message, Occasion, key},
        run::{Answered, Approver, Listener, Question},
    },
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Behind the time of a channel, for writing down what came of it.
const SLACK: Duration = Duration::from_secs(2);
/// The end of a run waits no longer, whatever the site says.
const LONGEST: Duration = Duration::from_secs(60);
/// A report may be long; its beginning says what people need.
const MAX_MARKDOWN: usize = 64 << 10;

/// A channel on which the site has runs told of.
pub struct Audience {
    pub name: String,
    pub on: BTreeSet<Occasion>,
    pub within: Duration,
    pub access: Access<Channel>,
}

/// Something that has happened to a run.
pub struct News<'a> {
    /// What it counts as; where a channel wants several of them, it is told once.
    pub occasions: &'a [Occasion],
    /// Which thing it is, of all that may happen to the run.
    pub about: String,
    pub title: String,
    pub text: String,
    pub markdown: Option<String>,
    /// What somebody has to answer.
    pub asked: Option<Asked>,
}

/// Of one thing and one channel; and whether what came of it is known.
type Past = BTreeMap<(String, String), bool>;

#[derive(Clone)]
pub(super) struct Telling(Arc<Inner>);

struct Inner {
    run: RunId,
    seed: u64,
    package: String,
    journal: Arc<Journal>,
    audience: OnceLock<Vec<Audience>>,
    told: Mutex<Past>,
    going_on: Mutex<Vec<GoingOn>>,
    /// Ends with what was last to be told on a channel.
    queues: Mutex<BTreeMap<String, oneshot::Receiver<()>>>,
    /// What only was planned is nobody's business.
    begun: AtomicBool,
    /// Earlier ends of the run.
    ends: usize,
}

struct GoingOn {
    channel: String,
    event: &'static str,
    about: String,
    until: Instant,
    task: JoinHandle<()>,
}

impl Telling {
    pub fn new(run: RunId, header: &Header, journal: Arc<Journal>, before: Option<&Before>) -> Self {
        Self(Arc::new(Inner {
            run,
            seed: header.seed,
            package: header.package.clone(),
            journal,
            audience: OnceLock::new(),
            told: Mutex::new(before.map(|before| before.told.clone()).unwrap_or_default()),
            going_on: Mutex::default(),
            queues: Mutex::default(),
            begun: AtomicBool::new(before.is_some_and(|before| before.started)),
            ends: before.map_or(0, |before| before.ends),
        }))
    }

    fn audience(&self) -> &[Audience] {
        self.0.audience.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Begins to tell it wherever it is wanted and was not told before.
    pub fn tell(&self, news: &News<'_>) {
        for channel in self.audience() {
            let Some(event) = news.occasions.iter().find(|occasion| channel.on.contains(occasion)) else { continue };
            let what = (channel.name.clone(), news.about.clone());
            let before = lock(&self.0.told).insert(what, true);
            match before {
                Some(true) => continue,
                // It may have been told: again only where whoever hears it knows that it is the same.
                Some(false) if !channel.access.observer.tells_apart() => continue,
                _ => self.begin(channel, event.as_str(), news),
            }
        }
    }

    fn begin(&self, channel: &Audience, event: &'static str, news: &News<'_>) {
        let Inner { run, seed, package, .. } = &*self.0;
        let key = key(&[&seed.to_string(), &run.to_string(), &news.about, &channel.name]);
        let text = &news.text[..news.text.floor_char_boundary(MAX_TEXT)];
        let mut message = Message::new(key, By::Backout, event, &news.title, text).of(package, *run);
        if let Some(markdown) = &news.markdown {
            message = message.markdown(&markdown[..markdown.floor_char_boundary(MAX_MARKDOWN)]);
        }
        if let Some(asked) = &news.asked {
            message = message.asking(asked);
        }
        let (telling, name, about) = (self.clone(), channel.name.clone(), news.about.clone());
        let (access, within) = (channel.access.clone(), channel.within + SLACK);
        let until = Instant::now() + within;
        let (done, next) = oneshot::channel::<()>();
        let before = lock(&self.0.queues).insert(name.clone(), next);
        let task = tokio::spawn(async move {
            // Goes with this task, however it ends: then it is the next one's turn.
            let _done = done;
            // On one channel nothing overtakes what was to be told earlier.
            if let Some(before) = before {
                let _ = before.await;
            }
            let (channel, event) = (name.clone(), event.to_owned());
            let (same, was) = (about.clone(), event.clone());
            // What cannot be written down is told all the same: a full disk is what people should hear of.
            let _ = telling.append(Entry::Telling { channel, event, about }).await;
            let began = Instant::now();
            // Whoever had to wait for one that nobody heard gets a try all the same.
            let left = until.saturating_duration_since(began).max(SLACK);
            let call = CallCtx::aside(format!("{}/told/{name}/{same}", telling.0.run), left);
            let result = access.mutator.send(&message, &call).await;
            telling.record(name, was, same, result, began).await;
        });
        let (channel, about, until) = (channel.name.clone(), news.about.clone(), until + SLACK);
        lock(&self.0.going_on).push(GoingOn { channel, event, about, until, task });
    }

    async fn record(&self, channel: String, event: String, about: String, result: Result<(), Failure>, began: Instant) {
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = self.append(Entry::Told { channel, event, about, result, millis }).await;
    }

    fn said(&self, level: Level, text: String) {
        self.0.journal.note(self.0.run, &Place::new("", false, "", 0), 0, Entry::Said { level, text });
    }

    async fn append(&self, entry: Entry) -> Result<(), crate::journal::Error> {
        self.0.journal.append(self.0.run, &Place::new("", false, "", 0), 0, entry).await.map(drop)
    }

    /// Waits for what is still being told, for as long as the channels have; whoever wants to stop waits no longer.
    async fn finish(&self, cancel: &CancellationToken) {
        let end = Instant::now() + LONGEST;
        let going_on: Vec<GoingOn> = std::mem::take(&mut *lock(&self.0.going_on));
        for GoingOn { channel, event, about, until, mut task } in going_on {
            let over = tokio::select! {
                biased;
                _ = &mut task => false,
                () = tokio::time::sleep_until(until.min(end).into()) => true,
                () = cancel.cancelled() => true,
            };
            if over {
                task.abort();
                // It may have come to its end at this very moment.
                if task.await.is_err() {
                    let failure = Failure::unavailable("not told when the run had ended");
                    self.record(channel, event.to_owned(), about, Err(failure), Instant::now()).await;
                }
            }
        }
    }
}

impl Run {
    /// From here on it is told of there.
    pub fn tell_on(&self, audience: Vec<Audience>) {
        let _ = self.0.telling.0.audience.set(audience);
    }

    /// Whether anybody is told of it.
    pub fn is_told(&self) -> bool {
        !self.0.telling.audience().is_empty()
    }

    /// It begins to change things.
    pub fn tell_start(&self) {
        self.0.telling.0.begun.store(true, Ordering::Relaxed);
        let news = News {
            occasions: &[Occasion::Start],
            about: "start".to_owned(),
            title: format!("{} begins", self.words()),
            text: String::new(),
            markdown: None,
            asked: None,
        };
        self.0.telling.tell(&news);
    }

    /// It is taken back.
    pub(super) fn tell_turned_back(&self, because: &str) {
        let news = News {
            occasions: &[Occasion::Failed],
            about: "turned-back".to_owned(),
            title: format!("{} failed, rolling back", self.words()),
            text: because.to_owned(),
            markdown: None,
            asked: None,
        };
        self.0.telling.tell(&news);
    }

    /// How it ends: the last thing that is told of it, and waited for. What never began is told of only where it needs people.
    pub async fn tell_end(&self, occasions: &[Occasion], outcome: &str, text: String, markdown: Option<String>) {
        let needs_people = occasions.contains(&Occasion::NeedsPeople);
        if self.0.telling.0.begun.load(Ordering::Relaxed) || needs_people {
            let about = format!("end-{}:{outcome}", self.0.telling.0.ends + 1);
            let title = text.lines().next().unwrap_or_default().trim();
            let short: String = title.chars().take(160).collect();
            let title = if short.len() < title.len() { format!("{short}…") } else { short };
            self.0.telling.tell(&News { occasions, about, title, text, markdown, asked: None });
        }
        self.0.telling.finish(&self.0.cancel).await;
    }

    /// Everything that was noted can be read.
    pub async fn flush(&self) {
        // What cannot be written is found out by what is written next.
        let _ = self.0.journal.flush().await;
    }

    /// `acme/shop: upgrade 1.0 → 2.0`
    fn words(&self) -> String {
        let Header { package, command, from_version, to_version, .. } = self.header();
        let versions = match (command.as_str(), from_version.as_str()) {
            ("rollback", _) => format!(" {to_version} → {from_version}"),
            (_, "") => format!(" to {to_version}"),
            _ => format!(" {from_version} → {to_version}"),
        };
        format!("{package}: {command}{versions}")
    }
}

/// People, who hear of it on the channels that they are asked.
pub(super) struct Asking {
    pub people: Arc<dyn Approver>,
    pub telling: Telling,
}

#[async_trait]
impl Approver for Asking {
    async fn ask(&self, question: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
        let Question { id, role, text, .. } = question;
        if !self.people.knows(role) {
            let (package, ways) = (&self.telling.0.package, self.ways(question));
            let gap = if ways.is_empty() { "" } else { "\n\n" };
            self.telling.tell(&News {
                occasions: &[Occasion::NeedsPeople],
                about: format!("asked:{id}"),
                title: format!("{package}: somebody is asked to approve, as {role}"),
                text: format!("The script asks: {text}{gap}{ways}"),
                markdown: None,
                asked: Some(Asked { id: id.clone(), role: role.clone(), text: text.clone() }),
            });
            if !ways.is_empty() {
                self.telling.said(Level::Info, format!("somebody is asked to approve, as {}. {ways}", plainly(role)));
            }
        }
        let answered = self.people.ask(question, self).await?;
        let Answered { yes, by, way } = &answered;
        let (word, by) = (if *yes { "yes" } else { "no" }, if by.is_empty() { "somebody" } else { by });
        let said = format!("asked to approve as {}, {} says {word}, {}", plainly(role), plainly(by), way.words());
        // Who has answered is known before anything follows from it.
        let written = self.telling.append(Entry::Said { level: Level::Info, text: said }).await;
        written.map_err(|error| Failure::failed(format!("the journal cannot be written: {error}")))?;
        Ok(answered)
    }
    fn ways(&self, question: &Question) -> String {
        self.people.ways(question)
    }
    fn knows(&self, role: &str) -> bool {
        self.people.knows(role)
    }
    async fn decide(&self, number: i64, doubt: &str) -> Option<(bool, String)> {
        self.people.decide(number, doubt).await
    }
}

impl Listener for Asking {
    fn trouble(&self, why: &str) {
        self.telling.said(Level::Warn, plainly(why));
    }
}

/// On one line, whatever a script or a stranger has said.
fn plainly(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || hidden(c) { ' ' } else { c }).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
