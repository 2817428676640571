//! Packages: bytes that may come from anybody → a manifest, a component that can be a script, and their digest. Nothing
//! is compiled or executed here.
mod component;
mod digest;
mod manifest;
mod schema;
mod setting;
pub mod world;

pub use component::Imports;
pub use digest::sha256;
pub use manifest::{Manifest, Need, needable, package_name, requirement, rights, valid_package_name};
pub use schema::Schema;
pub use setting::{Setting, Type, Value, Written};

use crate::{
    diagnostic::{
        Mistake, Mistakes,
        reader::{self, At},
        shown, units,
    },
    resource::{Right, tree::Archive},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub const MAX_SCRIPT: u64 = 64 << 20;
pub const MAX_PAYLOAD: u64 = 16 << 30;
const MAX_UNPACKED: u64 = 64 << 30;
const MAX_ENTRIES: u64 = 1_000_000;

/// A package that was read whole: everything in it is what its digest says.
#[derive(Debug)]
pub struct Package {
    pub manifest: Manifest,
    /// Where it lies, without links.
    pub dir: PathBuf,
    /// As whoever opened it named it.
    pub named: String,
    /// The component.
    pub script: Vec<u8>,
    /// lower-case hexadecimal SHA-256 of the component alone
    pub script_digest: String,
    /// `sha256:…` over manifest, script and payloads
    pub digest: String,
    pub payloads: BTreeMap<String, Archive>,
    /// Bytes of each payload as it lies in the package.
    pub payload_bytes: BTreeMap<String, u64>,
    /// Interfaces of `backout:host` that the component imports: an upper bound of what it can call.
    pub imports: BTreeSet<String>,
    /// Interfaces of WASI that it imports; behind them is nothing.
    pub wasi: BTreeSet<String>,
}

impl Package {
    /// Opens a folder with a `package.toml`, or that file.
    pub fn open(path: &Path) -> Result<Self, Mistakes> {
        let file = if path.is_dir() { path.join("package.toml") } else { path.to_owned() };
        if !path.exists() {
            let mistake = Mistake::new(format!("there is no package {}", shown(&path.display().to_string())));
            return Err(mistake.hint("name a folder with a `package.toml`").into());
        }
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = parent.canonicalize().map_err(|e| Mistake::io("the package's folder", parent, &e))?;
        let source = reader::open(&file, "the package's manifest")?;
        if file.canonicalize().is_ok_and(|real| !real.starts_with(&dir)) {
            let name = shown(&file.display().to_string());
            let mistake = Mistake::new(format!("the package's manifest {name}: a link leads out of the package"));
            return Err(mistake.hint("put the file itself into the package").into());
        }
        let (draft, mistakes) = manifest::parse(&source);
        let mut mistakes = Mistakes(mistakes);
        let mut payloads = BTreeMap::new();
        let mut payload_bytes = BTreeMap::new();
        // Together: one file of this size may have a thousand names.
        let mut left = MAX_PAYLOAD;
        for (name, path) in &draft.payload {
            match payload(&dir, path, left) {
                Ok((archive, bytes)) => {
                    left -= bytes;
                    payloads.insert(name.clone(), archive);
                    payload_bytes.insert(name.clone(), bytes);
                }
                Err(mistake) => mistakes.0.push(mistake),
            }
        }
        let component = draft.script.as_ref().and_then(|path| match script(&dir, path) {
            Ok((script, imports)) => {
                mistakes.0.extend(unusable(&draft.needs, &draft.schemas, &imports));
                Some((script, imports))
            }
            Err(wrong) => {
                mistakes.0.extend(wrong);
                None
            }
        });
        let manifest = draft.finish();
        mistakes.none_or()?;
        let (Some(manifest), Some((script, imports))) = (manifest, component) else {
            return Err(Mistake::new("the manifest says too little").into());
        };
        let script_digest = sha256(&script);
        let digests = payloads.iter().map(|(name, archive)| (name.as_str(), archive.sha256.as_str()));
        let digest = digest::package(&sha256(source.text().as_bytes()), &script_digest, digests);
        Ok(Self {
            manifest,
            dir,
            named: path.display().to_string(),
            script,
            script_digest,
            digest,
            payloads,
            payload_bytes,
            imports: imports.host,
            wasi: imports.wasi,
        })
    }

    /// `acme/shop 2.0.0`
    pub fn title(&self) -> String {
        format!("{} {}", self.manifest.name, self.manifest.version)
    }

    /// Interfaces on resources that it imports without needing any resource of their kinds: it could call them in vain.
    pub fn unneeded_imports(&self) -> Vec<&str> {
        let needed = |interface: &str| {
            let kinds = world::kinds(interface);
            kinds.is_empty() || self.manifest.needs.iter().any(|need| kinds.contains(&need.kind.as_str()))
        };
        self.imports.iter().map(String::as_str).filter(|interface| !needed(interface)).collect()
    }
}

/// A file of the package: inside its folder also after all links were followed.
fn inside(dir: &Path, path: &At<PathBuf>, what: &str) -> Result<PathBuf, Mistake> {
    let found = dir.join(&path.value);
    let name = shown(&path.value.display().to_string());
    let wrong = |why: String| Mistake::new(format!("the {what} `{name}`: {why}")).at(&path.location);
    let real = found.canonicalize().map_err(|e| wrong(crate::diagnostic::io_reason(&e)))?;
    if !real.starts_with(dir) {
        let mistake = wrong("a link leads out of the package".to_owned());
        return Err(mistake.hint("put the file itself into the package"));
    }
    if !real.is_file() {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    Ok(real)
}

fn script(dir: &Path, path: &At<PathBuf>) -> Result<(Vec<u8>, Imports), Vec<Mistake>> {
    let bytes = inside(dir, path, "script")
        .and_then(|real| reader::read_bounded(&real, MAX_SCRIPT, "the script"))
        .map_err(|mistake| vec![mistake.at(&path.location)])?;
    let imports = component::decode(&bytes);
    let imports =
        imports.map_err(|wrong| wrong.into_iter().map(|mistake| mistake.at(&path.location)).collect::<Vec<_>>())?;
    Ok((bytes, imports))
}

fn payload(dir: &Path, path: &At<PathBuf>, left: u64) -> Result<(Archive, u64), Mistake> {
    let real = inside(dir, path, "payload")?;
    let wrong = |why: String| {
        Mistake::new(format!("the payload `{}`: {why}", shown(&path.value.display().to_string()))).at(&path.location)
    };
    // Before it is read, which takes its time.
    if real.metadata().is_ok_and(|file| file.len() > left) {
        let most = units::show_bytes(MAX_PAYLOAD);
        return Err(wrong(format!("with it the payloads are larger than {most}")));
    }
    let (sha256, bytes) = digest::sha256_file(&real, left).map_err(wrong)?;
    // Programs compress to a fifth, text to a twentieth. An archive that promises far more is not one of a product.
    let max_unpacked = bytes.saturating_mul(200).clamp(64 << 20, MAX_UNPACKED);
    Ok((Archive { path: real, sha256, max_unpacked, max_entries: MAX_ENTRIES }, bytes))
}

/// Rights that the script could not use, because it does not import the interface for them.
fn unusable(needs: &[Need], schemas: &[Schema], imports: &Imports) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for need in needs {
        let served = |right: &Right| {
            world::serving(&need.kind, *right).iter().any(|i| imports.host.contains(*i))
                || schemas.iter().any(|schema| schema.reads(need, *right))
        };
        let unserved: Vec<Right> = need.may.iter().filter(|right| !served(right)).collect();
        if let Some(right) = unserved.first() {
            let interfaces = world::serving(&need.kind, *right).join("` or `");
            let words: Vec<&str> = unserved.iter().map(|right| right.as_str()).collect();
            let message = format!(
                "{} {} needs {}, but the script does not import `{interfaces}`",
                need.kind,
                need.label,
                words.join(", ")
            );
            let hint = "ask only for what the script uses, or build the script again";
            mistakes.push(Mistake::new(message).at(&need.location).hint(hint));
        }
    }
    mistakes
}
