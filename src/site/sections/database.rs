//! `[database.NAME]`
use super::{KEEP_ASIDE, LINE, Reading, repository};
use crate::{
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::database::{self, Around, Driver, Host, Method, Pooler, Server, Tls},
    site::{path, secret},
};
use std::{str::FromStr, time::Duration};
use tokio_postgres::{Config, config};

/// The words of `method`.
#[derive(Clone, Copy)]
enum Word {
    StandBy,
    Archive,
    Clone,
    Auto,
}

/// Copies that the product waits for should be done before anybody notices.
const WINDOW: Duration = Duration::from_secs(30);

/// How long `auto` lets a copy take under the fence.
fn window(table: &Table<'_>, by: Option<Word>) -> Duration {
    let Some(item) = table.get("window") else { return WINDOW };
    let said = item.duration().map_or(WINDOW, |at| at.value);
    if !matches!(by, Some(Word::Auto) | None) {
        let mistake = Mistake::new(format!("`{}` is of no meaning without `method = \"auto\"`", item.name));
        item.mistake(mistake.hint("say the method, or leave it out"));
    }
    said
}

impl Reading<'_> {
    pub(super) fn database(&self, table: Table<'_>) -> Option<database::Section> {
        let keep_aside = table.duration("keep-aside").unwrap_or(KEEP_ASIDE);
        let exclusive = table.boolean("exclusive").unwrap_or(true);
        let word = table.get("method");
        let words =
            [("stand-by", Word::StandBy), ("archive", Word::Archive), ("clone", Word::Clone), ("auto", Word::Auto)];
        let method = match &word {
            Some(item) => item.word(&words),
            None => Some(Word::StandBy),
        };
        let window = window(&table, method);
        let drivers = [("sqlite", "sqlite"), ("postgresql", "postgresql"), ("mariadb", "mariadb")];
        // Where it is not said, the rest can be read all the same; where another one is said, the keys mean nothing.
        let said = match table.required("driver", "\"sqlite\"") {
            Some(item) => Some(item.word(&drivers)?),
            None => None,
        };
        let driver = match said {
            Some("postgresql") => self.server(&table).map(Driver::Postgres),
            Some("mariadb") => self.mariadb(&table).map(Driver::MariaDb),
            _ => self.path(&table).map(|path| Driver::Sqlite { path }),
        };
        // Each method reads the keys that go with it.
        if method.is_none() {
            // Which one is meant nobody knows, so it is not wrong.
            let _ = table.get("repository");
        }
        let method = method.and_then(|by| {
            let method = match by {
                Word::Archive => return repository::named(&table, self.repositories).map(Method::Archive),
                Word::StandBy => Method::StandBy,
                Word::Clone => Method::Clone,
                Word::Auto => Method::Auto { window },
            };
            repository::none_named(&table).then_some(method)
        });
        if let (Some(item), Some(Method::Clone | Method::Auto { .. }), Some("sqlite" | "mariadb")) =
            (&word, &method, said)
        {
            let mistake = Mistake::new(format!("`{}` is not possible with this driver", item.name));
            item.mistake(mistake.hint("databases of `postgresql` can be cloned"));
        }
        table.finish();
        said?;
        Some(database::Section { driver: driver?, keep_aside, exclusive, method: method? })
    }

    fn server(&self, table: &Table<'_>) -> Option<Server> {
        let server = table.required("url", EXAMPLE).and_then(|item| server(&item));
        let password = table.get("password").map(|item| secret::kept(&item, self.dir));
        let roles = table.get("fence-roles").map(|item| item.strings());
        let allow_superuser = table.boolean("allow-superuser").unwrap_or(false);
        let tools = table.get("tools").and_then(|item| item.text());
        let password: Option<Option<String>> = password.map_or(Some(None), |password| password.map(Some));
        let server = server.map(|server| Server { password: password.clone().flatten(), ..server });
        let around = self.around(table, server.as_ref());
        password?;
        Some(Server {
            around: around?,
            tools: tools.map(|at| path::absolute(self.dir, &at.value)),
            fence_roles: roles.map_or(Some(Vec::new()), |roles| {
                Some(roles?.into_iter().map(|role| role.value).collect::<Vec<_>>())
            })?,
            allow_superuser,
            ..server?
        })
    }

    /// What an exchange has to see to besides the database. Replicas are reached with the password of the database.
    fn around(&self, table: &Table<'_>, of: Option<&Server>) -> Option<Around> {
        let leave_behind = table.strings("leave-behind").unwrap_or_default().into_iter().map(|at| at.value).collect();
        let pooler = table.table("pooler").map(|pooler| {
            let line = |name| pooler.required(name, LINE).and_then(|item| self.words(&item));
            let (pause, resume) = (line("pause"), line("resume"));
            let timeout = pooler.duration("timeout").unwrap_or(Duration::from_secs(30));
            pooler.finish();
            Some(Pooler { pause: pause?, resume: resume?, timeout })
        });
        let replica = |item: &Item<'_>| {
            let (of, replica) = (of?, server(item)?);
            if replica.database != of.database {
                let hint = "a replica has the databases of its server, under the same names";
                item.mistake(Mistake::new("a replica of another database").hint(hint));
                return None;
            }
            Some(Server { password: of.password.clone(), ..replica })
        };
        let replicas: Option<Vec<Server>> = match table.get("replicas") {
            Some(item) => item.array()?.iter().map(replica).collect(),
            None => Some(Vec::new()),
        };
        Some(Around {
            leave_behind,
            replicas: replicas?,
            pooler: pooler.map_or(Some(None), |pooler| pooler.map(Some))?,
        })
    }
}

const EXAMPLE: &str = "\"postgresql://user@host:5432/name\"";

/// `postgresql://user@host:port/name?sslmode=…`. The mistakes do not repeat it: it may hold a password all the same.
fn server(item: &Item<'_>) -> Option<Server> {
    let text = item.text()?.value;
    let wrong = |what: &str, hint: &str| {
        item.mistake(Mistake::new(format!("`{}` {what}", item.name)).hint(hint));
        None
    };
    let form = format!("write `{}`", EXAMPLE.trim_matches('"'));
    if !text.starts_with("postgresql://") && !text.starts_with("postgres://") {
        return wrong("is no address of a PostgreSQL database", &form);
    }
    let (address, options) = text.split_once('?').unwrap_or((&text, ""));
    let mut tls = Tls::Prefer;
    for option in options.split('&').filter(|option| !option.is_empty()) {
        tls = match option.split_once('=').unwrap_or((option, "")) {
            ("sslmode", word) => match Tls::named(word) {
                Some(tls) => tls,
                None => {
                    let known = "one of `disable`, `prefer`, `require`, `verify-full`";
                    return wrong("has an `sslmode` that is not known", known);
                }
            },
            ("password", _) => return wrong("has a password in it", PASSWORD),
            (other, _) => {
                let hint = "`sslmode` is the only one; the rest stands before the `?`";
                return wrong(&format!("has an option `{}` that is not known", shown(other)), hint);
            }
        };
    }
    let Ok(config) = Config::from_str(address) else {
        return wrong("is no address of a PostgreSQL database", &form);
    };
    if config.get_password().is_some() {
        return wrong("has a password in it", PASSWORD);
    }
    let host = match config.get_hosts() {
        [config::Host::Tcp(name)] => Host::Name(name.clone()),
        [config::Host::Unix(folder)] => Host::Socket(folder.clone()),
        [] => {
            let hint =
                "a socket's folder is written with `%2F` for each `/`: `postgresql://user@%2Frun%2Fpostgresql/name`";
            return wrong("names no host", hint);
        }
        _ => return wrong("names more than one host", "name the server itself: a copy of it cannot take its place"),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let Some(user) = config.get_user() else { return wrong("names no user", &form) };
    let Some(database) = config.get_dbname() else { return wrong("names no database", &form) };
    if ["postgres", "template0", "template1"].contains(&database) {
        let hint = "it is the server's own, and no product's; give the product a database of its own";
        return wrong(&format!("names the database `{database}`"), hint);
    }
    if database.len() > 63 || database.contains('\0') || user.contains('\0') {
        return wrong("names a database that no server can have", "names have at most 63 bytes");
    }
    let (user, database) = (user.to_owned(), database.to_owned());
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
        around: Around::default(),
    })
}

const PASSWORD: &str = "say it apart: `password = { file = \"secrets/…\" }`";
