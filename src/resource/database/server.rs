//! How a database of a server is reached.
use std::{fmt, path::PathBuf};

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

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, password, database, tls, fence_roles, allow_superuser } = self;
        f.debug_struct("Server")
            .field("host", host)
            .field("port", port)
            .field("user", user)
            .field("password", &password.as_ref().map(|_| "…"))
            .field("database", database)
            .field("tls", tls)
            .field("fence_roles", fence_roles)
            .field("allow_superuser", allow_superuser)
            .finish()
    }
}
