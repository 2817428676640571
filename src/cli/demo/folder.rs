//! The folder of a demo: a host in small, with a product, a site file and a package.
use super::{releases::Version, shop, stock};
use crate::cli::Refused;
use anyhow::Context;
use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// Says that a folder was made by a demo, and may be replaced by the next one.
const MARK: &str = ".backout-demo";
/// All that a demo puts into its folder. With anything else in it, it is no longer only a demo's.
const OWN: &[&str] = &[MARK, "backout.toml", "packages", "srv", "state"];

const SITE: &str = include_str!("site/backout.toml");
const GRANTS: &str = include_str!("site/grants.toml");
const GRANTS_DENIED: &str = include_str!("site/grants-denied.toml");
const ROOT: &str = "allow-root = true                        # the demo was started as root\n";

const MANIFEST: &str = include_str!("../../../guest-examples/rust-shop/package.toml");
const SCRIPT: &[u8] = include_bytes!("../../../guest-examples/rust-shop/shop.wasm");
pub const PACKAGE: &str = "packages/shop-2.0";

pub struct Folder {
    pub root: PathBuf,
    pub port: u16,
    /// Keeps other demos from the port also while the shop is down.
    _reserved: UdpSocket,
}

/// What differs from one scenario to another in what is there at first.
pub struct Wanted {
    pub upgrade: Version,
    pub granted: bool,
}

/// What is in the way of a demo, if anything.
pub enum Found {
    Nothing,
    /// Of an earlier demo, whose service may still run.
    Demo,
}

/// Whether a demo may be made here.
pub fn look(root: &Path) -> anyhow::Result<Found> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error).with_context(|| format!("cannot look into {}", root.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let foreign: Vec<&str> = names.iter().map(String::as_str).filter(|name| !OWN.contains(name)).collect();
    if names.is_empty() {
        return Ok(Found::Nothing);
    }
    let hint = "name another folder: backout demo --dir DIR";
    if !names.iter().any(|name| name == MARK) {
        return Err(Refused::new(format!("{} is not empty, and no demo made it", root.display())).hint(hint).into());
    }
    if !foreign.is_empty() {
        let message = format!("{} holds what no demo put there: {}", root.display(), foreign.join(", "));
        return Err(Refused::new(message).hint(hint).into());
    }
    Ok(Found::Demo)
}

/// Removes an earlier demo; its service has been stopped. The mark goes last, so that what is left of it can be removed too.
pub fn clear(root: &Path) -> anyhow::Result<()> {
    for name in OWN.iter().rev() {
        let path = root.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Folder {
    /// Everything but a running shop.
    pub fn make(root: &Path, wanted: &Wanted) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        let (port, reserved) = free_port()?;
        let folder = Self { root: root.canonicalize()?, port, _reserved: reserved };
        folder.write(MARK, "This folder was made by `backout demo`, and the next one replaces it.\n")?;
        folder.product()?;
        folder.write("backout.toml", folder.site(wanted.granted)?)?;
        folder.package(wanted.upgrade)?;
        Ok(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
    pub fn database(&self) -> PathBuf {
        self.path("srv/data/shop.db")
    }

    fn product(&self) -> anyhow::Result<()> {
        let port = self.port.to_string();
        self.write("srv/config/shop.toml", include_str!("config/shop.toml").replace("@PORT@", &port))?;
        self.write("srv/config/vat.toml", include_str!("config/vat.toml"))?;
        self.write("srv/config/mail/confirmation.txt", include_str!("config/mail/confirmation.txt"))?;
        // As in life, not everybody may read everything.
        fs::set_permissions(self.path("srv/config/shop.toml"), fs::Permissions::from_mode(0o640))?;
        let release = self.path("srv/app/versions/1.0");
        Version::V1.write(&release)?;
        symlink("versions/1.0", self.path("srv/app/current"))?;
        fs::create_dir_all(self.path("srv/data"))?;
        shop::migrate(&shop::Release::open(&release)?, &self.database())?;
        stock::fill(&self.database())
    }

    fn site(&self, granted: bool) -> anyhow::Result<String> {
        let runtime = std::env::current_exe().context("cannot find out where this program lies")?;
        let runtime = runtime.to_str().context("this program lies in a folder whose name is no text")?;
        let runtime = runtime.replace('\\', "\\\\").replace('"', "\\\"");
        let root = if rustix::process::geteuid().is_root() { ROOT } else { "" };
        Ok(SITE
            .replace("@PORT@", &self.port.to_string())
            .replace("@RUNTIME@", &runtime)
            .replace("@ROOT@\n", &format!("{root}\n"))
            .replace("@GRANTS@\n", if granted { GRANTS } else { GRANTS_DENIED }))
    }

    fn package(&self, version: Version) -> anyhow::Result<()> {
        let manifest = MANIFEST.replace("version = \"2.0.0\"", &format!("version = \"{}\"", version.name()));
        self.write(&format!("{PACKAGE}/package.toml"), manifest)?;
        self.write(&format!("{PACKAGE}/shop.wasm"), SCRIPT)?;
        self.write(&format!("{PACKAGE}/dist/shop-2.0.tar.zst"), version.payload()?)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A port below those that the system gives to outgoing connections: while the shop is down, a client that asks again and
/// again could otherwise be given the shop's own port, and the shop could not come back. A demo holds the port of the same number
/// for datagrams, of which nobody else makes use.
fn free_port() -> anyhow::Result<(u16, UdpSocket)> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_given = range.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(32_768);
    let (low, high) = if first_given > 12_000 { (10_000, first_given) } else { (first_given, u16::MAX) };
    let ports = high - low;
    // Demos that are made at the same time begin to look in different places.
    let start = (RandomState::new().build_hasher().finish() % u64::from(ports)) as u16;
    (0..ports)
        .map(|n| low + ((u32::from(start) + u32::from(n)) % u32::from(ports)) as u16)
        .find_map(|port| {
            let reserved = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some((port, reserved))
        })
        .context("no port is free")
}
