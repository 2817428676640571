//! The demo's product on a host of its own, with 1.0 running under Backout's supervision.
use super::{
    bench::{BACKOUT, Bench, PATIENCE},
    call,
};
use backout::{
    cli::demo::{
        client::Client,
        folder::{Folder, PACKAGE, Wanted},
        proof::Proof,
        releases::Version,
    },
    resource::service,
    site::Site,
};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

pub struct Shop {
    pub folder: Folder,
    /// Ends what the host has started, when the test ends.
    bench: Bench,
    /// Customers, without whom there is nothing to measure.
    client: Option<Client>,
}

impl Shop {
    pub fn new(upgrade: Version) -> Self {
        let bench = Bench::new();
        let folder = Folder::make(&bench.join("host"), &Wanted { upgrade, granted: true }).unwrap();
        let shop = Self { folder, bench, client: None };
        // The demo names the program that runs it as the product's runtime; here that is not the test.
        let own = std::env::current_exe().unwrap();
        shop.edit_site(own.to_str().unwrap(), BACKOUT);
        shop
    }

    /// With 1.0 serving.
    pub fn running(upgrade: Version) -> Self {
        let mut shop = Self::new(upgrade);
        shop.open();
        shop
    }

    /// Starts 1.0, and lets customers in.
    pub fn open(&mut self) {
        self.start();
        self.client = Some(Client::start(self.folder.port).unwrap());
    }

    pub fn start(&self) {
        let site = Site::load(&self.site()).unwrap();
        let access = service::drivers::open_with("shop", &site.services["shop"], &site.state, BACKOUT.into());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(access.mutator.start(&call::call("test/start", PATIENCE))).unwrap();
        self.wait_until_it_answers();
    }

    pub fn site(&self) -> PathBuf {
        self.folder.path("backout.toml")
    }
    pub fn package(&self) -> PathBuf {
        self.folder.path(PACKAGE)
    }

    /// Replaces every occurrence; one that is not there is a mistake of the test.
    pub fn edit_site(&self, from: &str, to: &str) {
        edit(&self.site(), from, to);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BACKOUT);
        command.args(args).env("BACKOUT_SITE", self.site()).current_dir(&self.folder.root).stdin(Stdio::null());
        command
    }

    pub fn backout(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Its exit code must be this one.
    #[track_caller]
    pub fn expect(&self, code: i32, args: &[&str]) -> String {
        let output = self.backout(args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "backout {}\n{err}\n{out}", args.join(" "));
        format!("{out}\n{err}")
    }

    /// What it says on standard output.
    pub fn expect_out(&self, args: &[&str]) -> String {
        let output = self.backout(args);
        assert!(output.status.success(), "backout {}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Those that were started for it, but for the test itself.
    pub fn processes(&self) -> Vec<i32> {
        self.bench.processes()
    }

    pub fn version(&self) -> Option<String> {
        let health: Value = serde_json::from_str(&self.get("/health")?).ok()?;
        health["version"].as_str().map(ToOwned::to_owned)
    }

    fn get(&self, path: &str) -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.folder.port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    pub fn wait_until_it_answers(&self) {
        super::bench::wait_for("an answer of the shop", || self.version());
    }

    /// The state by means that are not Backout's.
    pub fn proof(&self) -> Proof {
        let (app, config) = (self.folder.path("srv/app"), self.folder.path("srv/config"));
        Proof::take(&self.folder.database(), &[("app", &app), ("config", &config)]).unwrap()
    }

    /// Rows, files and links are those of then, and 1.0 serves them.
    #[track_caller]
    pub fn is_as(&self, before: &Proof) {
        assert_eq!(self.proof().differences(before), [""; 0]);
        assert_eq!(self.version().as_deref(), Some("1.0.0"));
    }

    /// What lies beside the database and the trees for restore points.
    pub fn copies(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path("srv")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("standby") || name.starts_with("aside") {
                    found.push(entry.path().display().to_string());
                } else if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        found
    }
}

pub fn edit(file: &std::path::Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {}", file.display());
    fs::write(file, text.replace(from, to)).unwrap();
}
