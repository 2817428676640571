//! What is told. Whoever says it, no driver sees what could do something where it is shown.
use crate::plain::hidden;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bytes.
pub const MAX_TITLE: usize = 200;
/// Bytes; chats cut what is much longer.
pub const MAX_TEXT: usize = 8 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same when the same thing is told again.
    pub key: String,
    pub by: By,
    /// `message` of a script, else what has happened: `failed`.
    pub event: String,
    /// `acme/shop 2.0.0`
    pub package: String,
    /// 0: of no run
    pub run: u64,
    pub host: String,
    title: String,
    text: String,
    markdown: Option<String>,
    asked: Option<Asked>,
}

/// What somebody has to answer, for receivers that answer by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub id: String,
    pub role: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    Backout,
    Script,
}

/// From what makes a message the one that it is.
pub fn key(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Message {
    pub fn new(key: String, by: By, event: &str, title: &str, text: &str) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            key,
            by,
            event: event.to_owned(),
            package: String::new(),
            run: 0,
            host: line(&host),
            title: line(title),
            text: lines(text),
            markdown: None,
            asked: None,
        }
    }

    pub fn of(self, package: &str, run: u64) -> Self {
        Self { package: line(package), run, ..self }
    }

    /// The text in Markdown, for those who can show it. Of Backout alone: its reports escape what others have said.
    pub fn markdown(self, text: &str) -> Self {
        let markdown = (self.by == By::Backout).then(|| lines(text));
        Self { markdown, ..self }
    }

    pub fn asking(self, asked: &Asked) -> Self {
        let asked = Asked { id: asked.id.clone(), role: line(&asked.role), text: lines(&asked.text) };
        Self { asked: Some(asked), ..self }
    }

    pub fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    pub fn as_markdown(&self) -> Option<&str> {
        self.markdown.as_deref()
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// One line that says what it is about. A script cannot speak as if it were Backout.
    pub fn headline(&self) -> String {
        match self.by {
            By::Backout => self.title.clone(),
            By::Script => format!("[{}] {}", self.package, self.title),
        }
    }

    /// Who says it, and where.
    pub fn signature(&self) -> String {
        let run = if self.run == 0 { String::new() } else { format!(", run {}", self.run) };
        match self.by {
            By::Backout => format!("Backout on {}{run}", self.host),
            By::Script => format!("said by the script of {}{run}, on {}", self.package, self.host),
        }
    }

    /// The whole of it, without its headline.
    pub fn body(&self) -> String {
        let text = self.text.trim_end();
        let gap = if text.is_empty() { "" } else { "\n\n" };
        format!("{text}{gap}-- \n{}\n", self.signature())
    }
}

fn line(text: &str) -> String {
    let words: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter_map(shown).collect();
    words.trim().to_owned()
}

fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\t', "    ");
    text.chars().filter_map(|c| if c == '\n' { Some(c) } else { shown(c) }).collect()
}

/// What commands a terminal is seen as a mark, what nothing is seen of is left out.
fn shown(c: char) -> Option<char> {
    if c.is_control() {
        Some(char::REPLACEMENT_CHARACTER)
    } else if hidden(c) {
        None
    } else {
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_it_does_anything() {
        let message = Message::new(
            String::new(),
            By::Script,
            "message",
            "a\r\nBcc: x@y\u{202e}z\u{200b}\u{1b}[2J",
            "one\r\ntwo\rthree\u{1b}[31m\tfour\u{2066}\n\u{7}",
        )
        .of("acme/shop\n2", 3)
        .markdown("[all is well](http://elsewhere)");
        assert_eq!(message.title(), "a  Bcc: x@yz\u{fffd}[2J");
        assert_eq!(message.text(), "one\ntwo\u{fffd}three\u{fffd}[31m    four\n\u{fffd}");
        assert_eq!(message.headline(), "[acme/shop 2] a  Bcc: x@yz\u{fffd}[2J");
        assert_eq!(message.as_markdown(), None);
    }

    #[test]
    fn a_key_is_of_its_parts_alone() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_eq!(key(&["a"]).len(), 32);
    }
}
