//! Builds the guests from source, each at most once in a test run.
// The benchmarks take this file as a module of theirs, too.
#[path = "guests/text.rs"]
mod text;

use sha2::{Digest, Sha256};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};
use wit_component::ComponentEncoder;

/// A component that was built now, and the folder of the package that it belongs to.
pub struct Guest {
    pub folder: PathBuf,
    /// The name that the manifest has for it.
    pub script: &'static str,
    pub component: Vec<u8>,
}

impl Guest {
    /// Manifest and component; payloads are for the caller to add.
    pub fn copy_to(&self, folder: &Path) {
        let script = folder.join(self.script);
        fs::create_dir_all(script.parent().unwrap()).unwrap();
        fs::copy(self.folder.join("package.toml"), folder.join("package.toml")).unwrap();
        fs::write(script, &self.component).unwrap();
    }
}

pub fn rust_shop() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("guest-examples/rust-shop");
        let component = component(&rust_module(&folder, "shop"));
        Guest { folder, script: "shop.wasm", component }
    })
}

/// The attack of this name: a program of `tests/attacks/src/bin`, or a module of `tests/attacks/wat`.
pub fn attack(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = root().join("tests/attacks");
    match fs::read_to_string(folder.join(format!("wat/{name}.wat"))) {
        Ok(text) => text::script(&text),
        Err(_) => {
            let built = BUILT.get_or_init(|| rust_build(&folder));
            component(&fs::read(built.join(format!("{name}.wasm"))).unwrap())
        }
    }
}

/// An honest script that does nothing.
pub fn plain() -> Vec<u8> {
    text::script("")
}

/// A script that makes every call that there is.
pub fn every_call() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/every-call");
        let component = component(&rust_module(&folder, "every_call"));
        Guest { folder, script: "every-call.wasm", component }
    })
}

/// A script that asks people.
pub fn people() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/people");
        let component = component(&rust_module(&folder, "people"));
        Guest { folder, script: "people.wasm", component }
    })
}

/// A script that makes the one call that its settings name.
pub fn one_call() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/one-call");
        let component = component(&rust_module(&folder, "one_call"));
        Guest { folder, script: "one-call.wasm", component }
    })
}

/// A script that does very much in small steps.
pub fn migrating() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/migrating");
        let component = component(&rust_module(&folder, "migrating"));
        Guest { folder, script: "migrating.wasm", component }
    })
}

/// A script that leaves a fence behind.
pub fn forgetful() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/forgetful");
        let component = component(&rust_module(&folder, "forgetful"));
        Guest { folder, script: "forgetful.wasm", component }
    })
}

/// A script that takes an upgrade back as runbooks have it.
pub fn seven_steps() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/seven-steps");
        let component = component(&rust_module(&folder, "seven_steps"));
        Guest { folder, script: "seven-steps.wasm", component }
    })
}

/// A script that is right or has one fault, as its setting says.
pub fn faulty() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/faulty");
        let component = component(&rust_module(&folder, "faulty"));
        Guest { folder, script: "faulty.wasm", component }
    })
}

/// A script that does what its settings say.
pub fn scripted() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("tests/guests/scripted");
        let component = component(&rust_module(&folder, "scripted"));
        Guest { folder, script: "scripted.wasm", component }
    })
}

/// With componentize-py from the example's requirements, in a virtual environment of its own.
pub fn python_shop() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let folder = root().join("guest-examples/python-shop");
        let target = target("python-shop");
        let (venv, script) = (target.join("venv"), target.join("shop.wasm"));
        let requirements = folder.join("requirements.txt");
        fs::create_dir_all(&target).unwrap();
        once_for(&target.join("venv.of"), &digest(&[&requirements]), || {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
            run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&requirements));
        });
        // Two builds differ, and what was compiled is kept by digest: the same source is not built twice.
        let wit = root().join("wit");
        let sources = [folder.join("shop.py"), folder.join("backout.py"), requirements.clone(), wit.clone()];
        once_for(&target.join("shop.wasm.of"), &digest(&sources), || {
            let mut build = Command::new(venv.join("bin/componentize-py"));
            build.arg("-d").arg(&wit).args(["-w", "script", "componentize", "shop", "-o"]).arg(&script);
            run(build.current_dir(&folder).env("TMPDIR", &target));
        });
        Guest { folder, script: "target/shop.wasm", component: fs::read(script).unwrap() }
    })
}

/// Does it unless the stamp says that it was done for the same thing.
pub fn once_for(stamp: &Path, what: &str, work: impl FnOnce()) {
    if fs::read_to_string(stamp).ok().as_deref() != Some(what) {
        let _ = fs::remove_file(stamp);
        work();
        fs::write(stamp, what).unwrap();
    }
}

/// Over files, and the files in folders.
pub fn digest(paths: &[impl AsRef<Path>]) -> String {
    let mut hash = Sha256::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let mut files = match path.is_dir() {
            true => fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect(),
            false => vec![path.to_owned()],
        };
        files.sort();
        for file in files {
            hash.update(format!("{}\0", file.display()));
            hash.update(fs::read(file).unwrap());
        }
    }
    format!("{:x}", hash.finalize())
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where guests are built; it outlives a test run, so that only what changed is built again.
pub fn target(guest: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests").join(guest)
}

/// What `wasm-tools component new` does.
pub fn component(module: &[u8]) -> Vec<u8> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module).expect("the module is no guest");
    encoder.encode().expect("the module does not become a component")
}

/// What `cargo build --release --target wasm32-unknown-unknown` makes of the crate, wherever checkout, Cargo's folder and
/// toolchain lie: paths of this machine are not in it.
pub fn rust_module(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(rust_build(folder).join(format!("{name}.wasm"))).unwrap()
}

/// The folder with all that the crate makes.
fn rust_build(folder: &Path) -> PathBuf {
    // One for all of them: what they are built with is built once.
    let target = target("rust");
    let mut flags = vec![format!("--remap-path-prefix={}=/guest", folder.display())];
    for (path, name) in dependencies(folder) {
        flags.push(format!("--remap-path-prefix={}=/deps/{name}", path.display()));
    }
    let sysroot = run(rustc(folder).args(["--print", "sysroot"]));
    let commit = run(rustc(folder).arg("-vV"));
    let commit = commit.lines().find_map(|l| l.strip_prefix("commit-hash: ")).expect("rustc names its commit");
    // Otherwise the standard library's paths depend on whether its source is installed.
    flags.push(format!("--remap-path-prefix={}/lib/rustlib/src/rust=/rustc/{commit}", sysroot.trim()));

    let mut build = cargo(folder);
    build.args(["build", "--locked", "--release", "--target", "wasm32-unknown-unknown"]);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_TARGET_DIR", &target);
    run(&mut build);
    target.join("wasm32-unknown-unknown/release")
}

/// Folder, name and version of every crate that the guest needs.
fn dependencies(folder: &Path) -> Vec<(PathBuf, String)> {
    let metadata = run(cargo(folder).args(["metadata", "--locked", "--format-version", "1"]));
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| !package["source"].is_null())
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap();
            let manifest = Path::new(text("manifest_path"));
            (manifest.parent().unwrap().to_owned(), format!("{}-{}", text("name"), text("version")))
        })
        .collect()
}

fn cargo(folder: &Path) -> Command {
    tool("cargo", folder)
}

fn rustc(folder: &Path) -> Command {
    tool("rustc", folder)
}

/// The repository's compiler, without what the environment would add to it.
fn tool(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).env("RUSTUP_TOOLCHAIN", toolchain());
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        let foreign = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_ENCODED_", "RUSTC", "RUSTFLAGS"];
        if foreign.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&variable);
        }
    }
    command
}

/// The compiler's version that the repository asks for.
pub fn toolchain() -> OsString {
    let file: toml::Table = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap().parse().unwrap();
    file["toolchain"]["channel"].as_str().unwrap().into()
}

/// Standard output of a command that must be there and must work.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{} cannot be started ({error}); tests/run installs what is missing", command.get_program().display())
    });
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(
        output.status.success(),
        "{command:?} failed ({}); is a tool missing? tests/run installs it\n{out}\n{err}",
        output.status
    );
    out
}
