//! Those at the other end: real servers, and what they have got.
use super::SECRET;
use crate::support::{alertmanager::server, bench::Bench, hook::Hook, mail::MailServer};
use async_trait::async_trait;
use backout::resource::{
    Header,
    channel::{Command, Driver, Smtp, Tls},
};
use std::{collections::BTreeMap, fs, net::SocketAddr};

fn authorised() -> BTreeMap<String, Header> {
    let value = format!("Bearer {SECRET}");
    BTreeMap::from([("authorization".to_owned(), Header { value, secret: true })])
}

#[derive(Debug)]
pub struct Heard {
    /// None: there is no place for it.
    pub key: Option<String>,
    pub headline: String,
    /// All that stands beside it.
    pub text: String,
    pub raw: String,
}

#[async_trait]
pub trait Receiver: Sized {
    async fn new() -> Self;
    /// None: it is not asked over a network.
    fn address(&self) -> Option<SocketAddr>;
    /// By way of another address.
    fn driver(&self, by: Option<SocketAddr>) -> Driver;
    async fn heard(&self) -> Vec<Heard>;
    fn is_harmless(&self, heard: &Heard);
    /// For one without an address.
    fn failing(&self) -> Driver {
        unreachable!("it has an address")
    }
}

pub struct Webhook(Hook);
#[async_trait]
impl Receiver for Webhook {
    async fn new() -> Self {
        Self(Hook::answering(&[]).await)
    }
    fn address(&self) -> Option<SocketAddr> {
        Some(self.0.server.address)
    }
    fn driver(&self, by: Option<SocketAddr>) -> Driver {
        let url = format!("http://{}/hook", by.unwrap_or(self.0.server.address));
        let headers = authorised();
        Driver::Webhook { url, secret: SECRET.to_owned(), headers }
    }
    async fn heard(&self) -> Vec<Heard> {
        let heard = self.0.posted().into_iter().map(|posted| {
            let data = posted.json()["data"].clone();
            let text = |name: &str| data[name].as_str().unwrap().to_owned();
            assert_eq!((posted.json()["type"].as_str(), text("by").as_str()), (Some("backout.message"), "script"));
            assert_eq!(posted.header("authorization"), format!("Bearer {SECRET}"));
            let by = format!("said by the {} of {}, run {}", text("by"), text("package"), data["run"]);
            let headline = format!("[{}] {}", text("package"), text("title"));
            let raw = String::from_utf8(posted.body.clone()).unwrap();
            let text = format!("{}\n{by}", text("text"));
            Heard { key: Some(posted.header("webhook-id").to_owned()), headline, text, raw }
        });
        heard.collect()
    }
    /// What its text means, the receiver has to know; it is one text, and escaped as JSON has it.
    fn is_harmless(&self, heard: &Heard) {
        assert!(heard.text.contains("<!channel> <@U024BE7LH> @here\n.\nMAIL FROM"), "{heard:?}");
        assert!(!heard.raw.contains(|c: char| c.is_control()), "{heard:?}");
    }
}

pub struct Slack(Hook);
#[async_trait]
impl Receiver for Slack {
    async fn new() -> Self {
        Self(Hook::answering(&[]).await)
    }
    fn address(&self) -> Option<SocketAddr> {
        Some(self.0.server.address)
    }
    fn driver(&self, by: Option<SocketAddr>) -> Driver {
        let address = by.unwrap_or(self.0.server.address);
        Driver::Slack { url: format!("http://{address}/services/T0/B0/{SECRET}") }
    }
    async fn heard(&self) -> Vec<Heard> {
        let heard = self.0.posted().into_iter().map(|posted| {
            assert!(posted.path.ends_with(SECRET));
            let json = posted.json();
            for off in ["link_names", "unfurl_links", "unfurl_media"] {
                assert_eq!(json[off], false);
            }
            let raw = json["text"].as_str().unwrap().to_owned();
            let headline = raw.lines().next().unwrap().to_owned();
            Heard { key: None, text: raw[headline.len()..].to_owned(), headline, raw }
        });
        heard.collect()
    }
    /// `<…>` is how Slack calls people and hides links; nothing ends the code marks but themselves.
    fn is_harmless(&self, heard: &Heard) {
        assert!(!heard.raw.contains(['<', '>']), "{heard:?}");
        let marks: Vec<&str> = heard.raw.matches('`').collect();
        assert_eq!(marks.len(), 2 + 6 + 2, "{heard:?}");
        assert!(heard.raw.contains("&lt;!channel&gt;") && heard.raw.contains("&amp;amp;"), "{heard:?}");
        assert!(heard.headline.starts_with('`') && heard.headline.ends_with('`'), "{heard:?}");
    }
}

pub struct Mailbox(MailServer);
#[async_trait]
impl Receiver for Mailbox {
    async fn new() -> Self {
        Self(MailServer::start(&["--login", &format!("backout:{SECRET}")]))
    }
    fn address(&self) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], self.0.port).into())
    }
    fn driver(&self, by: Option<SocketAddr>) -> Driver {
        Driver::Smtp(Smtp {
            host: "127.0.0.1".into(),
            port: by.map_or(self.0.port, |by| by.port()),
            tls: Tls::Never,
            login: Some(("backout".into(), SECRET.into())),
            from: "Backout <backout@example.org>".into(),
            to: vec!["ops@example.org".into()],
        })
    }
    async fn heard(&self) -> Vec<Heard> {
        let heard = self.0.mails().into_iter().map(|mail| {
            let id = mail.header("Message-ID").unwrap();
            let key = id.strip_prefix('<').and_then(|id| id.strip_suffix("@example.org>")).unwrap().to_owned();
            assert_eq!(mail.to(), r#"["ops@example.org"]"#);
            let (headline, text) = mail.read();
            Heard { key: Some(key), headline, text, raw: mail.raw().to_owned() }
        });
        heard.collect()
    }
    fn is_harmless(&self, heard: &Heard) {
        let mail = &self.0.mails()[0];
        let names: Vec<String> = mail.headers().into_iter().map(|(name, _)| name).collect();
        let mut own = ["From", "To", "Date", "Subject", "Message-ID", "Auto-Submitted", "Content-Type", "MIME-Version"]
            .map(str::to_owned)
            .to_vec();
        own.push("Content-Transfer-Encoding".to_owned());
        assert!(names.iter().all(|name| own.contains(name)), "{names:?}");
        assert_eq!(mail.header("Content-Type").unwrap(), "text/plain; charset=utf-8");
        assert_eq!(mail.header("Auto-Submitted").unwrap(), "auto-generated");
        assert!(heard.text.contains("@here\n.\nMAIL FROM:<mallory@example.org>"), "{heard:?}");
    }
}

/// Its alerts are told by the label of the test.
pub struct Alertmanager(Bench);
#[async_trait]
impl Receiver for Alertmanager {
    async fn new() -> Self {
        Self(Bench::new())
    }
    fn address(&self) -> Option<SocketAddr> {
        Some(server().address)
    }
    fn driver(&self, by: Option<SocketAddr>) -> Driver {
        Driver::Alertmanager {
            url: format!("http://{}", by.unwrap_or(server().address)),
            headers: authorised(),
            labels: BTreeMap::from([
                ("severity".to_owned(), "warning".to_owned()),
                ("bench".to_owned(), self.0.tag.clone()),
            ]),
        }
    }
    async fn heard(&self) -> Vec<Heard> {
        let heard = server().alerts("bench", &self.0.tag).into_iter().map(|alert| {
            let text = |kind: &str, name: &str| alert[kind][name].as_str().unwrap_or_default().to_owned();
            assert_eq!(text("labels", "alertname"), "backout");
            assert_eq!((text("labels", "severity"), text("labels", "event")), ("warning".into(), "message".into()));
            let key = Some(text("labels", "key"));
            let texts = format!("{}\n{}", text("annotations", "description"), text("annotations", "by"));
            Heard { key, headline: text("annotations", "summary"), text: texts, raw: alert.to_string() }
        });
        heard.collect()
    }
    /// Its templates hand it on as it is, to Slack among others.
    fn is_harmless(&self, heard: &Heard) {
        assert!(!heard.raw.contains(['<', '>']) && heard.text.contains("‹!channel›"), "{heard:?}");
        assert!(heard.text.contains("{{ .ExternalURL }}"), "it is no template: {heard:?}");
    }
}

/// A command that writes down what it is told.
pub struct Pager(Bench);
impl Pager {
    fn command(&self, script: &str) -> Driver {
        let env = [("BACKOUT_TEST", self.0.tag.as_str()), ("TOKEN", SECRET)];
        Driver::Command(Command {
            run: ["sh", "-c", script].map(str::to_owned).into(),
            dir: self.0.path().to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            user: None,
        })
    }
}
#[async_trait]
impl Receiver for Pager {
    async fn new() -> Self {
        Self(Bench::new())
    }
    fn address(&self) -> Option<SocketAddr> {
        None
    }
    fn driver(&self, _: Option<SocketAddr>) -> Driver {
        self.command("cat > $BACKOUT_MESSAGE.$BACKOUT_EVENT")
    }
    async fn heard(&self) -> Vec<Heard> {
        let files = fs::read_dir(self.0.path()).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "message"));
        let heard = files.map(|file| {
            let raw = fs::read_to_string(&file).unwrap();
            let (headline, text) = raw.split_once("\n\n").unwrap();
            let key = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            Heard { key, headline: headline.to_owned(), text: text.to_owned(), raw: raw.clone() }
        });
        heard.collect()
    }
    fn is_harmless(&self, heard: &Heard) {
        assert!(heard.text.contains("$(touch /tmp/x)"), "no shell sees it: {heard:?}");
        assert!(!heard.raw.replace('\n', "").contains(|c: char| c.is_control()), "{heard:?}");
    }
    fn failing(&self) -> Driver {
        self.command("echo \"no pager: $TOKEN\" >&2; exit 9")
    }
}
