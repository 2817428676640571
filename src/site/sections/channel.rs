//! `[channel.NAME]`
use super::{Reading, url};
use crate::{
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::channel::{self, Driver, Occasion, Smtp, Tls},
    site::secret,
};
use std::{collections::BTreeMap, time::Duration};

/// Longer would keep a script, or the end of a run, waiting.
const LONGEST: Duration = Duration::from_secs(600);

impl Reading<'_> {
    pub(super) fn channel(&self, table: Table<'_>) -> Option<channel::Section> {
        const DRIVERS: [&str; 5] = ["webhook", "slack", "smtp", "alertmanager", "command"];
        let driver =
            table.required("driver", "\"smtp\"").and_then(|item| item.word(&DRIVERS.map(|word| (word, word))))?;
        let driver = match driver {
            "webhook" => {
                let url = table.required("url", "\"https://…\"").and_then(|item| self.address(&item));
                let secret = table.required("secret", "{ file = \"secrets/…\" }").and_then(|item| self.secret(&item));
                let headers = self.headers(&table);
                url.zip(secret).map(|(url, secret)| Driver::Webhook { url, secret, headers })
            }
            "slack" => {
                let url = table.required("url", "{ file = \"secrets/…\" }").and_then(|item| self.secret(&item));
                url.map(|url| Driver::Slack { url })
            }
            "alertmanager" => {
                let url = table.required("url", "\"http://localhost:9093\"").and_then(|item| url(&item));
                let labels = table.table("labels");
                let texts = |labels: &Table<'_>| {
                    let entries = labels.entries().into_iter();
                    entries.filter_map(|item| Some((item.key.clone(), item.text()?.value))).collect()
                };
                let labels: BTreeMap<String, String> = labels.as_ref().map(texts).unwrap_or_default();
                let headers = self.headers(&table);
                url.map(|url| Driver::Alertmanager { url, headers, labels })
            }
            "command" => {
                let command = self.command(&table);
                command.map(|command| {
                    let super::Command { run, surroundings: super::Surroundings { dir, env, user } } = command;
                    Driver::Command(channel::Command { run, dir, env, user })
                })
            }
            _ => self.smtp(&table).map(Driver::Smtp),
        };
        let [timeout, within] = [("timeout", 5), ("within", 20)].map(|(key, usual)| {
            let time = table.duration(key).unwrap_or(Duration::from_secs(usual));
            if time.is_zero() || time > LONGEST {
                let mistake = Mistake::new(format!("`{key}` is more than nothing and at most 10m"));
                table.mistake(mistake.at(&table.location()));
            }
            time
        });
        let words: Vec<(&str, Occasion)> = Occasion::ALL.iter().map(|on| (on.as_str(), *on)).collect();
        let on = table.get("on").and_then(|item| item.array()).unwrap_or_default();
        let on = on.iter().filter_map(|item| item.word(&words)).collect();
        let section = driver.map(|driver| channel::Section { driver, timeout, within, on });
        if let Some(Err(failure)) = section.as_ref().map(channel::drivers::understood) {
            table.mistake(Mistake::new(failure.message).at(&table.location()));
        }
        table.finish();
        section
    }

    fn smtp(&self, table: &Table<'_>) -> Option<Smtp> {
        let tls = [("tls", Tls::Always), ("starttls", Tls::Starttls), ("none", Tls::Never)];
        let tls = table.get("tls").and_then(|item| item.word(&tls)).unwrap_or(Tls::Starttls);
        let usual = match tls {
            Tls::Always => 465,
            Tls::Starttls => 587,
            Tls::Never => 25,
        };
        let server = table.required("server", "\"mail.example.org\"").and_then(|item| server(&item, usual));
        let from = table.required("from", "\"Backout <backout@example.org>\"").and_then(|item| item.text());
        let to = table.required("to", "[\"ops@example.org\"]").and_then(|item| item.strings());
        let user = table.get("user").and_then(|item| item.text());
        let password = table.get("password").and_then(|item| self.secret(&item));
        let login = match (user, password) {
            (Some(user), Some(password)) => Some((user.value, password)),
            (Some(user), None) if table.get("password").is_none() => {
                let mistake = Mistake::new("there is a `user`, and no `password`").at(&user.location);
                table.mistake(mistake.hint("add `password = { file = \"secrets/…\" }`"));
                None
            }
            (None, Some(_)) => {
                let mistake = Mistake::new("there is a `password`, and no `user`").at(&table.location());
                table.mistake(mistake.hint("say whose it is: `user = \"…\"`"));
                None
            }
            _ => None,
        };
        let ((host, port), to) = (server?, to?.into_iter().map(|at| at.value).collect());
        Some(Smtp { host, port, tls, login, from: from?.value, to })
    }

    /// In plain sight, or from where secrets are kept.
    fn address(&self, item: &Item<'_>) -> Option<String> {
        if item.is_table() { secret::value(item, self.dir).map(|value| value.text) } else { url(item) }
    }

    fn secret(&self, item: &Item<'_>) -> Option<String> {
        if !item.is_table() {
            let mistake = Mistake::new(format!("`{}` is a secret, and the site file holds none", item.name));
            item.mistake(mistake.hint("write `{ file = \"secrets/name\" }` or `{ env = \"NAME\" }`"));
            return None;
        }
        secret::value(item, self.dir).map(|value| value.text)
    }
}

/// `mail.example.org`, `mail.example.org:587`, `[::1]:25`
fn server(item: &Item<'_>, usual: u16) -> Option<(String, u16)> {
    let text = item.text()?.value;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host.to_owned(), port.parse().ok()),
        _ => (text.clone(), Some(usual)),
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match port {
        Some(port) if !host.is_empty() && host.chars().all(fine) => Some((host, port)),
        _ => {
            let mistake = Mistake::new(format!("`{}` is no mail server", shown(&text)));
            item.mistake(mistake.hint("write `host` or `host:port`"));
            None
        }
    }
}
