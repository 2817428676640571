use crate::journal::{Place, Recorded};
use tokio::sync::broadcast;

/// What goes on, for displays and logs. A display that falls behind loses events, the journal never does.
#[derive(Clone, Debug)]
pub enum Event {
    Recorded(Box<Recorded>),
    Progress { place: Place, operation: String, text: String, done: u64, total: u64 },
}

#[derive(Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(4096).0)
    }
}

impl Events {
    pub fn send(&self, event: Event) {
        // No display is fine.
        let _ = self.0.send(event);
    }
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
