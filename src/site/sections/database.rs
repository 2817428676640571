//! `[database.NAME]`
use super::{KEEP_ASIDE, Reading};
use crate::{
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::database::{self, Driver, Host, Server, Tls},
    site::secret,
};
use std::str::FromStr;
use tokio_postgres::{Config, config};

impl Reading<'_> {
    pub(super) fn database(&self, table: Table<'_>) -> Option<database::Section> {
        let keep_aside = table.duration("keep-aside").unwrap_or(KEEP_ASIDE);
        let exclusive = table.boolean("exclusive").unwrap_or(true);
        let drivers = [("sqlite", "sqlite"), ("postgresql", "postgresql")];
        // Where it is not said, the rest can be read all the same; where another one is said, the keys mean nothing.
        let said = match table.required("driver", "\"sqlite\"") {
            Some(item) => Some(item.word(&drivers)?),
            None => None,
        };
        let driver = match said {
            Some("postgresql") => self.server(&table).map(Driver::Postgres),
            _ => self.path(&table).map(|path| Driver::Sqlite { path }),
        };
        table.finish();
        said?;
        Some(database::Section { driver: driver?, keep_aside, exclusive })
    }

    fn server(&self, table: &Table<'_>) -> Option<Server> {
        let server = table.required("url", EXAMPLE).and_then(|item| server(&item));
        let password = table.get("password").map(|item| secret::kept(&item, self.dir));
        let roles = table.get("fence-roles").map(|item| item.strings());
        let allow_superuser = table.boolean("allow-superuser").unwrap_or(false);
        Some(Server {
            password: password.map_or(Some(None), |password| password.map(Some))?,
            fence_roles: roles.map_or(Some(Vec::new()), |roles| {
                Some(roles?.into_iter().map(|role| role.value).collect::<Vec<_>>())
            })?,
            allow_superuser,
            ..server?
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
            ("sslmode", "disable") => Tls::Disable,
            ("sslmode", "prefer") => Tls::Prefer,
            ("sslmode", "require") => Tls::Require,
            ("sslmode", "verify-full") => Tls::VerifyFull,
            ("sslmode", _) => {
                return wrong(
                    "has an `sslmode` that is not known",
                    "one of `disable`, `prefer`, `require`, `verify-full`",
                );
            }
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
    Some(Server { host, port, user, password: None, database, tls, fence_roles: Vec::new(), allow_superuser: false })
}

const PASSWORD: &str = "say it apart: `password = { file = \"secrets/…\" }`";
