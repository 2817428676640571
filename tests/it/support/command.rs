//! The program as people call it.
use std::{
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// both outputs: what people see
    pub text: String,
    pub took: Duration,
}

/// Runs `backout`; nobody is at the terminal. A command that has not ended by then is killed, and the test fails.
pub fn backout(folder: &Path, arguments: &[&str], within: Duration) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backout"));
    command.args(arguments).current_dir(folder).env_remove("BACKOUT_SITE").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let outputs = [read(child.stderr.take().unwrap()), read(child.stdout.take().unwrap())];
    let status = wait(&mut child, began + within);
    let took = began.elapsed();
    let text: String = outputs.map(|output| output.join().unwrap()).concat();
    let status = status.unwrap_or_else(|| panic!("backout {arguments:?} did not end within {within:?}\n{text}"));
    Ended { code: status.code(), text, took }
}

fn wait(child: &mut Child, until: Instant) -> Option<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// In a thread of its own, so that a full pipe stops nobody.
fn read(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
