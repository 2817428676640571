//! What people answer from elsewhere than the terminal: by a file in a folder, or by a signed POST. Both are open only while somebody
//! is asked, and an answer names the one asking that it is for: late, again or for another question it does nothing.
mod answer;
mod folder;
mod listener;

pub use folder::usable;

use super::{
    Failure,
    run::{Answered, Listener, Question, Way},
    signing::Signing,
};
use folder::Folder;
use listener::Desk;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Between two looks into the folder.
const LOOK: Duration = Duration::from_millis(250);
/// Of one question: who sends rubbish does not fill the journal.
const MOST_TROUBLE: usize = 20;

/// `[answers]` of the site.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Where files with answers are put.
    pub folder: Option<PathBuf>,
    /// Where signed answers are posted to, and the channel with whose secret they are signed.
    pub listen: Option<(SocketAddr, String)>,
    /// How long somebody is asked.
    pub within: Option<Duration>,
}

/// Somebody whom the site knows.
#[derive(Clone, Debug, Default)]
pub struct Person {
    pub roles: BTreeSet<String>,
    /// The account whose files are theirs.
    pub uid: Option<u32>,
}

pub struct Answers {
    folder: Option<PathBuf>,
    desk: Option<Arc<Desk>>,
    people: Arc<BTreeMap<String, Person>>,
}

impl Answers {
    /// `secret`: what posted answers are signed with. `None`: the site has no such place.
    pub fn new(
        section: &Section,
        secret: Option<&str>,
        people: BTreeMap<String, Person>,
    ) -> Result<Option<Self>, Failure> {
        let people = Arc::new(people);
        let desk = match (&section.listen, secret) {
            (Some((address, _)), Some(secret)) => {
                Some(Arc::new(Desk::new(*address, Signing::new(secret)?, people.clone())))
            }
            _ => None,
        };
        let folder = section.folder.clone();
        Ok((folder.is_some() || desk.is_some()).then_some(Self { folder, desk, people }))
    }

    /// In words, for whoever is asked.
    pub fn ways(&self, question: &Question) -> String {
        let Question { id, run, .. } = question;
        let answer = format!(r#"{{"question":"{id}","run":{run},"answer":"yes","by":"NAME"}}"#);
        let folder = self
            .folder
            .as_ref()
            .map(|folder| format!("a file {id}.json in {} with {answer}, or with \"no\"", folder.display()));
        let post = self.desk.as_ref().map(|_| "a signed webhook answer".to_owned());
        let ways: Vec<String> = folder.into_iter().chain(post).collect();
        format!("To answer question {id} of run {run}: {}.", ways.join("; or "))
    }

    /// The first answer that counts.
    pub async fn first(&self, question: &Question, listener: &dyn Listener) -> Answered {
        let mut told = 0;
        let mut trouble = |why: String| {
            told += 1;
            match told {
                0..MOST_TROUBLE => listener.trouble(&why),
                MOST_TROUBLE => {
                    listener.trouble(&format!("{why}; what else is no answer to this question is not told"))
                }
                _ => {}
            }
        };
        let mut open = self.desk.as_ref().map(|desk| desk.open(question));
        let (found, mut finding) = mpsc::channel(1);
        // Ends with the receiver. A disk that hangs holds up nobody else.
        if let Some(path) = &self.folder {
            let (mut folder, question) = (Folder::new(path, self.people.clone()), question.clone());
            tokio::task::spawn_blocking(move || {
                while !found.is_closed() {
                    for one in folder.look(&question) {
                        let _ = found.blocking_send(one);
                    }
                    std::thread::sleep(LOOK);
                }
            });
        }
        loop {
            let posted = async {
                match &mut open {
                    Some(open) => open.next().await,
                    None => std::future::pending().await,
                }
            };
            let found = tokio::select! {
                biased;
                posted = posted => posted,
                Some(found) = finding.recv() => found,
            };
            match found {
                Ok(answered) => return answered,
                Err(why) => trouble(why),
            }
        }
    }
}

/// An answer that counts, or why this is none.
type Found = Result<Answered, String>;

fn answered(yes: bool, by: &str, way: Way) -> Answered {
    Answered { yes, by: by.to_owned(), way }
}
