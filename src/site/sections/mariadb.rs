//! `[database.NAME]` with `driver = "mariadb"`
use super::{Reading, secret};
use crate::{
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::database::{Host, Server, Tls},
};
use reqwest::Url;
use std::path::PathBuf;

impl Reading<'_> {
    pub(super) fn mariadb(&self, table: &Table<'_>) -> Option<Server> {
        let url = table.required("url", "\"mysql://user@host:port/database\"");
        let password = table.get("password").map(|item| secret::kept(&item, self.dir));
        let accounts = table.get("fence-accounts");
        let mut wrong = false;
        let fence_roles = accounts.as_ref().and_then(Item::strings).unwrap_or_default();
        for at in &fence_roles {
            let whole = at.value.rsplit_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
            if let (false, Some(item)) = (whole, &accounts) {
                let mistake = Mistake::new(format!("`{}` is no account", shown(&at.value)));
                item.mistake_at(mistake.hint("write `user@host`, as in `shop@%`"), &at.location);
                wrong = true;
            }
        }
        let (url, password) = (address(&url?)?, password.map_or(Some(None), |secret| secret.map(Some))?);
        let fence_roles = fence_roles.into_iter().map(|at| at.value).collect();
        (!wrong).then_some(Server { password, fence_roles, ..url })
    }
}

/// `mysql://user@host:port/database`, with `socket` and `sslmode` behind it. Never with a password in it.
fn address(item: &Item<'_>) -> Option<Server> {
    let text = item.text()?.value;
    let refuse = |what: &str| {
        let mistake = Mistake::new(format!("`{}` {what}", item.name));
        item.mistake(mistake.hint(
            "write `mysql://user@host:port/database`, or `mysql://user@localhost/database?socket=/run/mysqld/mysqld.sock`",
        ));
        None
    };
    let Ok(url) = Url::parse(&text) else { return refuse("is no address of a database") };
    if !matches!(url.scheme(), "mysql" | "mariadb") {
        return refuse("is no address of a database");
    }
    if url.password().is_some() {
        let mistake = Mistake::new(format!("`{}` has a password in it", item.name));
        item.mistake(mistake.hint("say `password = { file = \"secrets/…\" }`"));
        return None;
    }
    let user = plain(url.username())?;
    let database = plain(url.path().trim_start_matches('/'))?;
    let fits = |name: &str| {
        (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-$".contains(c))
    };
    if user.is_empty() {
        return refuse("names no user");
    }
    if !fits(&database) {
        return refuse("names no database, or one whose name is not made of ASCII letters, digits, `_`, `-` and `$`");
    }
    if matches!(&*database.to_lowercase(), "mysql" | "sys" | "information_schema" | "performance_schema" | "backout") {
        return refuse("names a database that belongs to no product");
    }
    let (mut socket, mut tls) = (None, Tls::Prefer);
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("socket", path) if path.starts_with('/') => socket = Some(PathBuf::from(path)),
            ("sslmode", word) if Tls::named(word).is_some() => tls = Tls::named(word)?,
            _ => return refuse("says more than `socket` and `sslmode`, or something that they cannot be"),
        }
    }
    let host = match (socket, url.host_str()) {
        (Some(socket), _) => Host::Socket(socket),
        (None, Some(host)) => Host::Name(host.trim_matches(['[', ']']).to_owned()),
        (None, None) => return refuse("names no host"),
    };
    let port = url.port().unwrap_or(3306);
    Some(Server {
        host,
        port,
        user,
        password: None,
        database,
        tls,
        fence_roles: Vec::new(),
        allow_superuser: false,
        tools: None,
        around: crate::resource::database::Around::default(),
    })
}

/// Without what an address has to write in another way.
fn plain(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}
