use crate::journal::{Place, Recorded};
use tokio::sync::broadcast;

/// What goes on, for displays and logs. A display that falls behind loses events, the journal never does. Small, because there is
/// room for thousands of them from the start.
#[derive(Clone, Debug)]
pub enum Event {
    Recorded(Box<Recorded>),
    Progress(Box<Work>),
}

/// How far an operation is; `total` 0: not known.
#[derive(Clone, Debug)]
pub struct Work {
    pub place: Place,
    pub operation: String,
    pub text: String,
    pub done: u64,
    pub total: u64,
}

#[derive(Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(4096).0)
    }
}

impl Events {
    /// Of a run that nobody watches, which needs no room for what has not been looked at.
    pub fn unwatched() -> Self {
        Self(broadcast::channel(1).0)
    }
    pub fn send(&self, event: Event) {
        // No display is fine.
        let _ = self.0.send(event);
    }
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
