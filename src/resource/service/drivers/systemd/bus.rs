//! The manager of units, asked over D-Bus.
use super::super::super::{Manager, Systemd};
use crate::resource::{Failure, FailureKind, process::blocking};
use std::{collections::HashMap, io, os::unix::net::UnixStream, path::PathBuf, time::Duration};
use zbus::{Connection, DynamicType, OwnedObjectPath, OwnedVariant, fdo};

pub const DESTINATION: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub const SERVICE: &str = "org.freedesktop.systemd1.Service";
pub const JOB: &str = "org.freedesktop.systemd1.Job";
/// For one answer. To read all its units again takes a big manager seconds.
const ANSWER: Duration = Duration::from_secs(60);

/// The socket of the bus that the manager is on.
pub fn socket(section: &Systemd) -> PathBuf {
    match (&section.bus, section.manager) {
        (Some(bus), _) => bus.clone(),
        (None, Manager::System) => PathBuf::from("/run/dbus/system_bus_socket"),
        (None, Manager::User) => PathBuf::from(format!("/run/user/{}/bus", rustix::process::geteuid().as_raw())),
    }
}

/// A connection, for one operation: who keeps one finds it dead when the bus was started again.
pub struct Bus {
    pub connection: Connection,
}

impl Bus {
    pub async fn open(section: &Systemd) -> Result<Self, Failure> {
        let socket = socket(section);
        let manager = section.manager;
        let named = socket.display().to_string();
        let away = move |error: &io::Error| {
            let failure = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    Failure::denied(format!("the bus of its manager lets nobody in: {error}"))
                }
                _ => Failure::unavailable(format!("the bus of its manager is not there: {error}")),
            };
            failure.hint(match manager {
                Manager::System => format!("is systemd running, and dbus listening at {named}? `bus` in the site names another place"),
                Manager::User => format!(
                    "is the user logged in or lingering (`loginctl enable-linger`), and dbus listening at {named}? `bus` in the site names another place"
                ),
            })
        };
        let stream = blocking(move || UnixStream::connect(socket)).await?.map_err(|error| away(&error))?;
        let builder = zbus::connection::Builder::unix_stream(stream).method_timeout(ANSWER);
        let connection = tokio::time::timeout(ANSWER, builder.build())
            .await
            .map_err(|_| Failure::unavailable("the bus of its manager does not answer"))?
            .map_err(|error| failure("", error))?;
        Ok(Self { connection })
    }

    pub async fn call<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, Failure>
    where
        B: serde::Serialize + DynamicType,
        R: serde::de::DeserializeOwned + zbus::Type,
    {
        let reply = self.connection.call_method(Some(DESTINATION), path, Some(interface), method, body).await;
        let reply = reply.map_err(|error| failure(method, error))?;
        reply.body().deserialize().map_err(|error| failure(method, error))
    }

    /// A method of the manager itself.
    pub async fn ask<B, R>(&self, method: &str, body: &B) -> Result<R, Failure>
    where
        B: serde::Serialize + DynamicType,
        R: serde::de::DeserializeOwned + zbus::Type,
    {
        self.call(OBJECT, MANAGER, method, body).await
    }

    pub async fn properties(&self, path: &str, interface: &str) -> Result<Properties, Failure> {
        self.call(path, "org.freedesktop.DBus.Properties", "GetAll", &interface).await.map(Properties)
    }

    pub async fn property<T: TryFrom<OwnedVariant>>(
        &self,
        path: &str,
        interface: &str,
        name: &'static str,
    ) -> Result<T, Failure> {
        let value: OwnedVariant = self.call(path, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await?;
        T::try_from(value).map_err(|_| odd(name))
    }

    /// Reads all unit files again.
    pub async fn reload(&self) -> Result<(), Failure> {
        self.ask("Reload", &()).await
    }

    /// Where the unit is, read now if it was not: that changes nothing.
    pub async fn load(&self, unit: &str) -> Result<String, Failure> {
        let path: OwnedObjectPath = self.ask("LoadUnit", &unit).await?;
        Ok(path.to_string())
    }

    /// As whom the manager itself runs.
    pub async fn owner(&self) -> Result<u32, Failure> {
        let path = "/org/freedesktop/DBus";
        let bus = Some("org.freedesktop.DBus");
        let reply = self.connection.call_method(bus, path, bus, "GetConnectionUnixUser", &DESTINATION).await;
        let reply = reply.map_err(|error| failure("GetConnectionUnixUser", error))?;
        reply.body().deserialize().map_err(|error| failure("GetConnectionUnixUser", error))
    }
}

pub struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    pub fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &'static str) -> Result<T, Failure> {
        self.0.remove(name).and_then(|value| T::try_from(value).ok()).ok_or_else(|| odd(name))
    }

    /// One that older managers do not have.
    pub fn list(&mut self, name: &'static str) -> Vec<String> {
        self.take(name).unwrap_or_default()
    }
}

fn odd(name: &str) -> Failure {
    Failure::failed(format!("its manager does not say its `{name}` in a way that can be read"))
}

/// What has to be allowed for a method, by polkit or by being root.
fn right(method: &str) -> &'static str {
    match method {
        "MaskUnitFiles" | "UnmaskUnitFiles" => "org.freedesktop.systemd1.manage-unit-files",
        "Reload" => "org.freedesktop.systemd1.reload-daemon",
        _ => "org.freedesktop.systemd1.manage-units",
    }
}

fn failure(method: &str, error: zbus::Error) -> Failure {
    use fdo::Error as Standard;
    let denied = || {
        let right = right(method);
        Failure::denied(format!("the manager of units does not let Backout do it: it needs the right `{right}`"))
            .hint(format!("run Backout as root, or allow its user `{right}` by a rule of polkit"))
    };
    let away = |why: String| Failure::unavailable(format!("the manager of units does not answer: {why}"));
    match error {
        zbus::Error::MethodError(name, message, _) => {
            let message = message.unwrap_or_else(|| name.to_string());
            let message = message.trim_end_matches('.').to_owned();
            let message = message.replacen("Unit ", "unit ", 1);
            match name.as_str().rsplit('.').next().unwrap_or_default() {
                "NoSuchUnit" => Failure::not_found(message),
                "UnitMasked" | "OnlyByDependency" | "JobTypeNotApplicable" => Failure::conflict(message),
                "InteractiveAuthorizationRequired" => denied(),
                _ => Failure::failed(message),
            }
        }
        zbus::Error::FDO(error) => match *error {
            Standard::AccessDenied(_) | Standard::AuthFailed(_) => denied(),
            Standard::InteractiveAuthorizationRequired(_) => denied(),
            Standard::ServiceUnknown(why)
            | Standard::NameHasNoOwner(why)
            | Standard::NoReply(why)
            | Standard::NoServer(why)
            | Standard::Timeout(why)
            | Standard::TimedOut(why)
            | Standard::Disconnected(why) => away(why),
            Standard::UnknownObject(why) => Failure::not_found(why),
            Standard::FileNotFound(why) => Failure::not_found(why),
            other => Failure::failed(other.to_string()),
        },
        zbus::Error::InputOutput(error) => away(error.to_string()),
        zbus::Error::Handshake(why) => Failure::denied(format!("the bus of its manager lets nobody in: {why}")),
        other => Failure::failed(format!("the manager of units cannot be understood: {other}")),
    }
}

/// Whatever the manager no longer knows is not there, which is what was wanted.
pub fn unless_gone(result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if failure.kind == FailureKind::NotFound => Ok(()),
        other => other,
    }
}
