//! A real Prometheus and a real Alertmanager, one each for all tests of this process, which end with it. Each test shows
//! metrics of its own names on the page that they gather.
use axum::{Router, routing::get};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of a series that was there before the server was.
pub const HISTORY: Duration = Duration::from_secs(3000);

pub struct Servers {
    prometheus: SocketAddr,
    alertmanager: SocketAddr,
    lines: Arc<Mutex<BTreeMap<String, String>>>,
    /// Their inputs are closed when this process has ended, in whatever way.
    _running: [Child; 2],
}

/// They take some seconds to start, so that all tests share them.
pub fn servers() -> &'static Servers {
    static SERVERS: LazyLock<Servers> = LazyLock::new(Servers::start);
    &SERVERS
}

impl Servers {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("backout-prometheus-").tempdir().unwrap().keep();
        let lines: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let page = exporter(lines.clone());
        let (prometheus, alertmanager) = (free(), free());
        fs::write(
            folder.join("alertmanager.yml"),
            "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n",
        )
        .unwrap();
        fs::write(folder.join("rules.yml"), RULES).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             alerting: {{alertmanagers: [{{static_configs: [{{targets: [\"{alertmanager}\"]}}]}}]}}\n\
             scrape_configs: [{{job_name: app, static_configs: [{{targets: [\"{page}\"]}}]}}]\n"
        );
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        past(&folder, page);
        let path = |name: &str| folder.join(name).display().to_string();
        let manager = serve(
            &folder,
            "prometheus-alertmanager",
            &[
                format!("--config.file={}", path("alertmanager.yml")),
                format!("--storage.path={}", path("alerts")),
                format!("--web.listen-address={alertmanager}"),
                "--cluster.listen-address=".to_owned(),
            ],
        );
        let server = serve(
            &folder,
            "prometheus",
            &[
                format!("--config.file={}", path("prometheus.yml")),
                format!("--storage.tsdb.path={}", path("data")),
                format!("--web.listen-address={prometheus}"),
                "--log.level=warn".to_owned(),
            ],
        );
        let servers = Self { prometheus, alertmanager, lines, _running: [manager, server] };
        // A target is found after five seconds at the most, and then asked every second.
        servers.shown("up{job=\"app\"}", |value| value == Some(1.0));
        servers
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.prometheus)
    }

    pub fn alertmanager(&self) -> String {
        format!("http://{}", self.alertmanager)
    }

    /// What the page shows of one series from now on, such as `x_total{code="200"}`.
    pub fn show(&self, series: &str, value: &str) {
        self.lines.lock().unwrap().insert(series.to_owned(), value.to_owned());
    }

    pub fn hide(&self, series: &str) {
        self.lines.lock().unwrap().remove(series);
    }

    /// Waits until Prometheus itself says so.
    pub fn shown(&self, query: &str, wanted: impl Fn(Option<f64>) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let answer = request(self.prometheus, "GET", &format!("/api/v1/query?query={query}"), "");
            let value = answer.and_then(|answer| {
                let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
                answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
            });
            if wanted(value) {
                return;
            }
            assert!(Instant::now() < until, "Prometheus does not show it: {value:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A request to the Alertmanager, which takes it.
    pub fn manage(&self, path: &str, body: &str) {
        let until = Instant::now() + PATIENCE;
        while request(self.alertmanager, "POST", path, body).is_none() {
            assert!(Instant::now() < until, "Alertmanager does not take it");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

const RULES: &str = r#"groups:
- name: tests
  rules:
  - {alert: TooSlow, expr: "alarm_slow == 1", labels: {severity: critical}}
  - {alert: SoonFull, expr: "alarm_full == 1", for: 1h, labels: {severity: warning}}
"#;

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Has a runtime of its own: that of a test ends with it.
fn exporter(lines: Arc<Mutex<BTreeMap<String, String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let page = move || {
        let lines = lines.lock().unwrap();
        let text: String = lines.iter().map(|(series, value)| format!("{series} {value}\n")).collect();
        async move { text }
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().route("/metrics", get(page))).await.unwrap();
        });
    });
    address
}

/// A series that goes on every second until now: 0.1, but 0.3 in every tenth second.
fn past(folder: &Path, page: SocketAddr) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut text = "# TYPE past_seconds gauge\n".to_owned();
    for at in now - HISTORY.as_secs()..now {
        let value = if at % 10 == 0 { 0.3 } else { 0.1 };
        writeln!(text, "past_seconds{{instance=\"{page}\",job=\"app\"}} {value} {at}").unwrap();
    }
    text.push_str("# EOF\n");
    fs::write(folder.join("past"), text).unwrap();
    let mut command = Command::new("promtool");
    command.args(["tsdb", "create-blocks-from", "openmetrics", "past", "data"]).current_dir(folder);
    let made = command.output().unwrap_or_else(|why| panic!("promtool: {why}; tests/run installs it"));
    assert!(made.status.success(), "{made:?}");
}

/// The shell that starts a server reads from this process, and ends the server when there is nothing more to read.
fn serve(folder: &Path, program: &str, arguments: &[String]) -> Child {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found, "{program} does not run: tests/run installs it");
    let log = fs::File::create(folder.join(format!("{program}.log"))).unwrap();
    let keep = r#"exec 3<&0; "$@" 3<&- </dev/null & cat <&3; kill -9 $!; wait; rm -rf "$0""#;
    let mut command = Command::new("sh");
    command.args(["-c", keep]).arg(folder).arg(program).args(arguments).stdin(Stdio::piped());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// The body of an answer that is none of an error.
fn request(server: SocketAddr, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nhost: {server}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
}
