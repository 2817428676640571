//! A small component can cost any amount of memory and time to compile. So another process of this executable does it, which the
//! kernel ends at its bounds; what is wrong with the compiler itself stays in there too.
use super::{Error, engine};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{ChildStderr, Command, Stdio},
    time::Duration,
};

/// A component of 18 MB with Python in it takes a fifth of this.
pub const MEMORY: u64 = 2 << 30;
/// The same takes half a minute on a slow machine.
pub const CPU: Duration = Duration::from_secs(300);
/// Twice the room of WebAssembly is usual.
const MAX_COMPILED: u64 = 256 << 20;
/// Each thread has some functions in memory at once.
const THREADS: &str = "8";
/// Of what the other process says.
const MAX_SAID: u64 = 4096;

pub struct Compiler {
    pub program: PathBuf,
    cpu: Duration,
}

impl Compiler {
    pub fn new(program: PathBuf, cpu: Option<Duration>) -> Self {
        Self { program, cpu: cpu.unwrap_or(CPU) }
    }

    /// The compiled component.
    #[expect(clippy::disallowed_methods, reason = "it starts nothing else, and is waited for")]
    pub fn compile(&self, component: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |error: io::Error| Error::Compile(format!("the compiler cannot be started: {error}"));
        let (mut here, there) = UnixStream::pair().map_err(failed)?;
        let mut child = Command::new(&self.program)
            .arg0("backout")
            .args(["supervise", "compile", "--cpu"])
            .arg(self.cpu.as_secs().max(1).to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS)
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // One that has ended by now says why.
        let mut compiled = Vec::new();
        let _ = here.write_all(component).and_then(|()| here.shutdown(Shutdown::Write));
        let _ = here.take(MAX_COMPILED).read_to_end(&mut compiled);
        let said = child.stderr.take().map(said).unwrap_or_default();
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(compiled);
        }
        let signal = status.signal().and_then(Signal::from_named_raw);
        let why = if signal == Some(Signal::XCPU) || signal == Some(Signal::KILL) {
            let cpu = self.cpu.as_secs().max(1);
            format!("that takes more than {cpu}s of processor time (`compile` in the site's `[limits]`)")
        } else if said.contains("memory allocation of") || said.contains("out of memory") {
            format!("that takes more than {} MiB of memory", MEMORY >> 20)
        } else if let Some(signal) = status.signal() {
            format!("the compiler was ended by signal {signal}")
        } else {
            // It has said the same as is said here.
            let begin = ["error: ", "the script cannot be compiled: "];
            begin.iter().fold(said.trim(), |said, begin| said.trim_start_matches(begin)).to_owned()
        };
        Err(Error::Compile(why))
    }
}

/// Bounded, and read to its end, so that the other process never waits for a reader.
fn said(mut from: ChildStderr) -> String {
    let mut said = Vec::new();
    let _ = Read::by_ref(&mut from).take(MAX_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

/// The other process, with a socket as its standard input: a component comes in, and goes back compiled.
pub fn run(cpu: u64) -> Result<(), Error> {
    bound(cpu).map_err(|error| Error::Engine(error.to_string()))?;
    let failed = |error: io::Error| Error::Compile(error.to_string());
    let mut wire = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let mut component = Vec::new();
    wire.read_to_end(&mut component).map_err(failed)?;
    let compiled = engine::compiler()?.precompile_component(&component);
    let compiled = compiled.map_err(|error| Error::Compile(format!("{error:#}")))?;
    if compiled.len() as u64 > MAX_COMPILED {
        return Err(Error::Compile(format!("that makes more than {} MiB of it", MAX_COMPILED >> 20)));
    }
    wire.write_all(&compiled).map_err(failed)
}

fn bound(cpu: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Data, limit(MEMORY))?;
    // One second from the signal that says so to the one that cannot be overheard.
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu), maximum: Some(cpu + 1) })?;
    Ok(())
}
