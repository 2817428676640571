//! Pages with commands are played: what they tell people to type is typed, what they show is what comes.
//!
//! A block of `console` has commands behind `$ ` and their output below; `…` stands for any text in a line, a line of `…` for any
//! lines, and columns may be wider or narrower. A block whose fence names a file behind its language is written into that file.
//! All blocks of a page are played in their order, in one shell and one new folder. A command that fails must be followed by
//! `echo $?`.
use super::markdown::{Block, blocks, pages};
use crate::support::{
    bench::{BACKOUT, Bench},
    guests,
};
use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// A build of the first script, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// What pages tell people to do that no test does to the machine it runs on.
const PASSED_OVER: &[(&str, &str)] = &[
    ("rustup target add ", "tests/run does it"),
    ("cargo install ", "installs on the machine"),
    ("tests/run", "runs this test"),
    ("cargo test ", "runs this test"),
    ("UPDATE_EXPECT=1 cargo test ", "writes into the checkout"),
    ("cargo bench ", "a benchmark is no test"),
    ("cargo deny check", "tests/run does it"),
    ("mdbook ", "tests/run builds the book"),
];

/// The port that pages use; another one is taken when they are played.
const PORT: &str = "8123";

#[derive(Debug)]
struct Typed {
    command: String,
    expected: Vec<String>,
    at: String,
}

fn typed(block: &Block) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    for (index, line) in block.text.lines().enumerate() {
        let at = format!("{}:{}", block.page, block.line + 1 + index);
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push(Typed { command: command.to_owned(), expected: Vec::new(), at }),
            (None, Some(last)) if last.command.ends_with('\\') => {
                last.command.pop();
                last.command += line.trim_start();
            }
            (None, Some(last)) => last.expected.push(line.trim_end().to_owned()),
            (None, None) => panic!("{at}: output before the first command"),
        }
    }
    all
}

/// One shell for a page, as a person would have it.
struct Shell {
    bench: Bench,
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
    folder: PathBuf,
    status: i32,
}

const MARK: &str = "--played--";

impl Shell {
    fn open() -> Self {
        let bench = Bench::new();
        let bin = bench.join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(BACKOUT, bin.join("backout")).unwrap();
        let folder = bench.join("page");
        fs::create_dir(&folder).unwrap();
        let mut command = Command::new("bash");
        command.arg("--norc").current_dir(&folder).env_clear();
        for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "LANG", "USER", "LOGNAME", "PYENV_ROOT"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        let path = env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", bin.display())).env("TMPDIR", bench.path());
        // What a page calls the checkout.
        command.env("BACKOUT_SOURCE", guests::root()).env("RUSTUP_TOOLCHAIN", guests::toolchain());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "exec 2>&1").unwrap();
        let (lines, output) = channel();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
                bytes.clear();
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Self { bench, child, input, output, folder, status: 0 }
    }

    /// Its output line by line; nobody is at the keyboard.
    fn run(&mut self, command: &str) -> Vec<String> {
        let status = self.status;
        writeln!(self.input, "{{ (exit {status})\n{command}\n}} </dev/null; printf '\\n{MARK} %d %s\\n' $? \"$PWD\"")
            .unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.output.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("`{command}` does not end: {}", lines.join("\n"));
            });
            if let Some((status, folder)) = line.strip_prefix(&format!("{MARK} ")).and_then(|l| l.split_once(' ')) {
                self.status = status.parse().unwrap();
                self.folder = folder.into();
                break;
            }
            lines.push(line);
        }
        // The mark stands on a line of its own.
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// One command of a page; the folder of this shell is `~`.
    fn type_in(&mut self, command: &str) -> Vec<String> {
        let lines = match command.strip_prefix("wasm-tools component new ") {
            Some(words) => self.component(&words.split(' ').collect::<Vec<_>>()),
            None => {
                share_what_is_built(&self.folder, command);
                self.run(&command.replacen("cargo run -- ", "backout ", 1))
            }
        };
        let place = format!("{}/page", self.bench.path().canonicalize().unwrap().display());
        lines.iter().map(|line| line.replace(&place, "~").trim_end().to_owned()).collect()
    }

    /// What `wasm-tools` does, by the crate that does it there.
    fn component(&mut self, words: &[&str]) -> Vec<String> {
        let [module, "-o", component] = words else { panic!("{words:?}") };
        let module = fs::read(self.folder.join(module)).unwrap();
        fs::write(self.folder.join(component), guests::component(&module)).unwrap();
        self.status = 0;
        Vec::new()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Below those that the system gives to others who ask for any, so that it is still free when the page gets there.
fn free_port() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    (first..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// What differs is told at the end, with the place of the page as it would be.
fn play(page: &str) {
    let port = free_port().to_string();
    let mut shell = Shell::open();
    let (mut wrong, mut played) = (Vec::new(), String::new());
    for block in blocks(page) {
        if block.language == "console" {
            for typed in typed(&block) {
                writeln!(played, "$ {}", typed.command).unwrap();
                if PASSED_OVER.iter().any(|(start, _)| typed.command.starts_with(start)) {
                    continue;
                }
                let lines = shell.type_in(&typed.command.replace(PORT, &port));
                let lines: Vec<String> = lines.iter().map(|line| line.replace(&port, PORT)).collect();
                lines.iter().for_each(|line| writeln!(played, "{line}").unwrap());
                let [expected, said] =
                    [&typed.expected, &lines].map(|lines| lines.iter().map(|l| narrow(l)).collect::<Vec<_>>());
                if let Some(line) = unmatched(&expected, &said) {
                    wrong.push(format!("{}: `{}` does not say: {line}", typed.at, typed.command));
                }
                if shell.status != 0 && !block.text.contains("\n$ echo $?\n") {
                    wrong.push(format!("{}: `{}` ends with {}", typed.at, typed.command, shell.status));
                }
            }
        } else if !block.rest.is_empty() && block.rest.contains('.') {
            let path = shell.folder.join(&block.rest);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, block.text.replace(PORT, &port)).unwrap();
        }
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("played-{}", page.replace('/', "-")));
    fs::write(&file, played).unwrap();
    assert!(wrong.is_empty(), "{}\nwhat the commands said is in {}", wrong.join("\n"), file.display());
}

/// Crates that several guests need are built once.
fn share_what_is_built(folder: &Path, command: &str) {
    if command.starts_with("cargo build ") && !folder.join("target").exists() {
        let target = guests::target("rust");
        fs::create_dir_all(&target).unwrap();
        symlink(target, folder.join("target")).unwrap();
    }
}

fn matches(expected: &[String], lines: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "…" => (0..=lines.len()).any(|skip| matches(rest, &lines[skip..])),
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, more)| line_matches(first, line) && matches(rest, more))
        }
    }
}

/// The first line of a page that does not come, or the first that comes and is not on it.
fn unmatched(expected: &[String], said: &[String]) -> Option<String> {
    if matches(expected, said) {
        return None;
    }
    let begins = |count: usize| {
        let mut beginning = expected[..count].to_vec();
        beginning.push("…".to_owned());
        matches(&beginning, said)
    };
    let missing = (1..=expected.len()).find(|count| !begins(*count)).map(|count| expected[count - 1].clone());
    missing.or_else(|| Some(format!("nothing more, but {} lines", said.len())))
}

/// How wide a column is hangs on what is in it.
fn narrow(line: &str) -> String {
    let mut narrow = line.to_owned();
    while narrow.contains("   ") {
        narrow = narrow.replace("   ", "  ");
    }
    narrow
}

fn line_matches(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| line_matches(rest, &tail[at..]))
        }),
    }
}

#[test]
fn what_varies_and_nothing_else_may_differ() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (expected, said, same) in [
        ("a\n…\nd", "a\nb\nc\nd", true),
        ("a\n…\nd", "a\nd", true),
        ("a\n…\nd", "a\nb", false),
        ("took … s", "took 0.3 s", true),
        ("took … s, … rows", "took 3 s, 4 rows", true),
        ("took … s", "took 3 ms", false),
        ("a", "a\nb", false),
        ("", "", true),
    ] {
        assert_eq!(matches(&lines(expected), &lines(said)), same, "{expected:?} {said:?}");
    }
}

macro_rules! played { ($($name:ident = $page:literal,)*) => {
    $(#[test] fn $name() { play($page); })*
    pub const PLAYED: &[&str] = &[$($page),*];
}; }
played! {
    the_readme = "README.md",
    the_contributing_page = "CONTRIBUTING.md",
    the_page_of_dry_runs = "docs/dry-runs.md",
    the_first_run = "docs/first-run.md",
    the_page_for_who_was_woken = "docs/trouble.md",
}

#[test]
fn every_page_with_commands_is_played() {
    let with = pages().into_iter().filter(|page| blocks(page).iter().any(|block| block.language == "console"));
    assert_eq!(with.collect::<Vec<_>>(), {
        let mut played = PLAYED.to_vec();
        played.sort_unstable();
        played
    });
    let commands: Vec<String> = PLAYED
        .iter()
        .flat_map(|page| blocks(page))
        .filter(|b| b.language == "console")
        .flat_map(|b| typed(&b))
        .map(|t| t.command)
        .collect();
    for (start, why) in PASSED_OVER {
        assert!(commands.iter().any(|command| command.starts_with(start)), "no page has `{start}` ({why})");
    }
}
