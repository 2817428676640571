//! A terminal with somebody at it. `script`, of every Debian, lends it.
use super::bench::{BACKOUT, PATIENCE};
use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Instant,
};

pub struct Terminal {
    script: Child,
    keys: ChildStdin,
    screen: Receiver<String>,
    /// All that was shown, and how much of it was read.
    shown: String,
    read: usize,
}

impl Terminal {
    /// Runs `backout` there. Words of the arguments must not need quotes.
    pub fn backout(folder: &Path, arguments: &str) -> Self {
        let mut script = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--echo",
                "never",
                "--command",
                // A shell that waits beside it would be interrupted too, and end as it likes.
                &format!("exec {BACKOUT} {arguments}"),
                "/dev/null",
            ])
            .current_dir(folder)
            .env_remove("BACKOUT_SITE")
            .env("NO_COLOR", "1")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` is in every Debian (bsdutils)");
        let (sender, screen) = channel();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                let _ = sender.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            }
        });
        Self { script, keys, screen, shown: String::new(), read: 0 }
    }

    /// Waits for the text, and gives what came since what was last waited for.
    #[track_caller]
    pub fn shows(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.shown[self.read..].find(text) {
                let end = self.read + found + text.len();
                let new = self.shown[self.read..end].to_owned();
                self.read = end;
                return new;
            }
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.shown.push_str(&more),
                Err(error) => panic!("`{text}` is not shown ({error})\n{}", self.end_of_screen()),
            }
        }
    }

    pub fn types(&mut self, line: &str) {
        self.keys.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn presses(&mut self, key: char) {
        self.keys.write_all(key.to_string().as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end of the command: all that was shown, and the exit code.
    #[track_caller]
    pub fn ends(mut self) -> (String, i32) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.shown.push_str(&more),
                Err(RecvTimeoutError::Disconnected) => break self.script.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end\n{}", self.end_of_screen()),
            }
        };
        (std::mem::take(&mut self.shown), status.code().unwrap())
    }

    /// A living line is shown many times.
    fn end_of_screen(&self) -> String {
        let lines: Vec<_> = self.shown.rsplit(['\r', '\n']).take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
