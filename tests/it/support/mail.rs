//! A mail server of its own for a test: aiosmtpd, as Debian has it.
use super::guests::root;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

pub struct MailServer {
    process: Child,
    pub port: u16,
    dir: TempDir,
}

impl MailServer {
    /// `arguments` as `mail.py` has them.
    pub fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new("/usr/bin/python3");
        server.arg(root().join("tests/it/support/mail.py")).arg(dir.path().join("mail")).args(arguments);
        let mut process = server.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the mail server has started; tests/run installs it");
        Self { process, port, dir }
    }

    /// Every message that was handed over, also those that it put off.
    pub fn handed(&self) -> Vec<Mail> {
        let lines = fs::read_to_string(self.dir.path().join("mail")).unwrap_or_default();
        lines.lines().map(|line| Mail(serde_json::from_str(line).unwrap())).collect()
    }

    /// The messages that it has taken.
    pub fn mails(&self) -> Vec<Mail> {
        self.handed().into_iter().filter(|mail| mail.0["taken"] == true).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
pub struct Mail(Value);

impl Mail {
    /// As it came.
    pub fn raw(&self) -> &str {
        self.0["data"].as_str().unwrap()
    }
    pub fn to(&self) -> String {
        self.0["to"].to_string()
    }
    pub fn headers(&self) -> Vec<(String, String)> {
        let head = self.raw().split("\r\n\r\n").next().unwrap().replace("\r\n ", " ").replace("\r\n\t", " ");
        head.lines().filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers().into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }
    /// As a mail program shows it, by Python's own reader of mails.
    pub fn read(&self) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let file: PathBuf = dir.path().join("mail");
        fs::write(&file, self.raw()).unwrap();
        let script = "import email, email.policy, json, sys
mail = email.message_from_bytes(open(sys.argv[1], 'rb').read(), policy=email.policy.default)
print(json.dumps([mail['subject'], mail.get_content()]))";
        let read = Command::new("/usr/bin/python3").args(["-c", script]).arg(&file).output().unwrap();
        let (subject, text): (String, String) = serde_json::from_slice(&read.stdout).unwrap();
        (subject, text.replace("\r\n", "\n"))
    }
}
