//! How a database of a server is reached.
use std::{fmt, path::PathBuf, time::Duration};

#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    pub tls: Tls,
    /// Roles of the applications. Only where the server keeps nobody out by itself have they to be known.
    pub fence_roles: Vec<String>,
    /// Scripts may say SQL although the user is a superuser, who can do anything on the server and run programs there.
    pub allow_superuser: bool,
    /// The folder of the server's own tools, where they are not in a usual place.
    pub tools: Option<PathBuf>,
    pub around: Around,
}

/// What an exchange has to see to besides the database itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Names of replication slots and subscriptions that an exchange may leave behind with what it sets aside.
    pub leave_behind: Vec<String>,
    /// Servers that follow this one, and let people read.
    pub replicas: Vec<Server>,
    pub pooler: Option<Pooler>,
}

/// Command lines that hold back the clients of a database, and let them go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooler {
    pub pause: Vec<String>,
    pub resume: Vec<String>,
    /// For each of them.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Name(String),
    /// The folder in which the server's socket is.
    Socket(PathBuf),
}

/// The words are those of the server's own tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    Disable,
    /// Encrypted where the server can do it; keeps out who only listens.
    Prefer,
    /// Encrypted, or not at all; does not ask who the server is.
    Require,
    /// Encrypted, with a certificate that this host trusts and that bears the host's name.
    VerifyFull,
}

impl Tls {
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "disable" => Some(Self::Disable),
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, password, database, tls, fence_roles, allow_superuser, tools, around } = self;
        f.debug_struct("Server")
            .field("host", host)
            .field("port", port)
            .field("user", user)
            .field("password", &password.as_ref().map(|_| "…"))
            .field("database", database)
            .field("tls", tls)
            .field("fence_roles", fence_roles)
            .field("allow_superuser", allow_superuser)
            .field("tools", tools)
            .field("around", around)
            .finish()
    }
}
