//! A real Alertmanager, one for all tests of this process, which ends with it. Alerts of a test have its own label.
use super::bench::wait_for;
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

pub struct Server {
    pub address: SocketAddr,
    /// With the other end of its standard input.
    _shell: Child,
}

pub fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    &SERVER
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("backout-alertmanager-").tempdir().unwrap().keep();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fs::write(folder.join("config"), "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
        let found = Command::new("prometheus-alertmanager").arg("--version").output();
        assert!(found.is_ok_and(|found| found.status.success()), "there is no Alertmanager: tests/run installs it");
        // The shell ends it when nobody holds the other end of its standard input any more.
        let keep = r#"exec 3<&0; "$@" 3<&- </dev/null & cat <&3; kill -9 $!; wait; rm -rf "$0""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", keep]).arg(&folder).arg("prometheus-alertmanager");
        shell.arg(format!("--config.file={}", folder.join("config").display()));
        shell.arg(format!("--storage.path={}", folder.join("data").display()));
        shell.arg(format!("--web.listen-address={address}")).arg("--cluster.listen-address=");
        let quiet = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { address, _shell: quiet.spawn().unwrap() };
        wait_for("Alertmanager", || server.get("/-/ready"));
        server
    }

    /// Those with this label.
    pub fn alerts(&self, label: &str, value: &str) -> Vec<Value> {
        let answer = wait_for("the alerts", || self.get(&format!("/api/v2/alerts?filter={label}%3D%22{value}%22")));
        serde_json::from_str(&answer).unwrap()
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }
}
