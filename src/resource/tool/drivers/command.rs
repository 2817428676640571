//! A command line without a shell. A guard runs it (see `guard`), so that nothing of it goes on when nobody waits any more.
use super::{
    super::{Check, Looked, MAX_OUTPUT, Mutate, Observe, SCRATCH, Section},
    guard::{GRACE, Order, Report},
};
use crate::resource::{
    CallCtx, Failure,
    process::{Collected, Ended, Helper, Identity, Program, Redaction, Stream, blocking, bounded, end, marked, moment},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    io,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::time::{interval, sleep, sleep_until};

/// The variable by which everything that a run of a tool has started is found, its guard included.
const MARK: &str = "BACKOUT_KEY";
/// How much longer than Backout the guard waits before it ends the tool by itself.
const MARGIN: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 10;

pub struct Command {
    name: String,
    section: Section,
    executable: PathBuf,
    redaction: Redaction,
    /// Runs of different sites on one machine may have the same number.
    site: String,
}

impl Command {
    pub fn new(name: &str, section: &Section, executable: PathBuf) -> Self {
        let mut site = Sha256::new();
        site.update(section.dir.as_os_str().as_encoded_bytes());
        for argument in &section.run {
            site.update([0]);
            site.update(argument);
        }
        // A rehearsal's runs have the numbers that real ones have.
        if let Some(scratch) = section.env.get(SCRATCH) {
            site.update([0]);
            site.update(scratch);
        }
        Self {
            name: name.to_owned(),
            section: section.clone(),
            executable,
            redaction: Redaction::new(&section.env),
            site: site.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    fn mark(&self, key: &str) -> String {
        format!("{}/{}/{key}", self.site, self.name)
    }

    fn find(&self, key: &str) -> impl Fn() -> io::Result<Vec<Identity>> + Clone + Send + 'static {
        let mark = self.mark(key);
        move || marked(MARK, &mark)
    }

    /// What a run under this key has left, because its guard was killed or has not finished yet.
    async fn end_leftovers(&self, call: &CallCtx) -> Result<(), Failure> {
        let unseen = |e: io::Error| Failure::failed(format!("what runs of it cannot be seen: {e}"));
        // A guard that lives knows better how to end what it has started.
        let patience = call.deadline.min(Instant::now() + 2 * GRACE);
        while Instant::now() < patience {
            let find = self.find(&call.key);
            let guarded = blocking(move || Ok(find()?.into_iter().any(is_guard))).await?;
            if !guarded.map_err(unseen)? {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        match end(self.find(&call.key), GRACE, call.deadline).await.map_err(unseen)? {
            Ok(()) => Ok(()),
            Err(left) => {
                let left: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
                Err(Failure::timed_out(format!("an earlier run of it cannot be ended: process {}", left.join(", "))))
            }
        }
    }

    fn program(&self, run: &[String], key: &str, told: &[(&str, &str)]) -> Result<Program, Failure> {
        let Section { dir, env, user, .. } = &self.section;
        let mut env = env.clone();
        env.extend(told.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Program::new(run, dir, &env, user.as_deref(), (MARK, &self.mark(key)))
    }

    /// With what it reads, and variables that say more about the call.
    pub async fn run_with(
        &self,
        input: Option<&str>,
        told: &[(&str, &str)],
        call: &CallCtx,
    ) -> Result<String, Failure> {
        self.end_leftovers(call).await?;
        let program = self.program(&self.section.run, &call.key, told)?.reading(input);
        let evidence = serde_json::to_value(Evidence { began: moment() });
        call.evidence(evidence.map_err(|e| Failure::failed(e.to_string()))?).await?;
        let ran = self.guarded(program, call).await?;
        let words = |how: &str| self.words(&format!("`{}`", self.name), how, &ran);
        match ran.end {
            End::Late(how) => {
                Err(Failure::timed_out(format!("`{}` did not end in its time, and was ended with {how}", self.name)))
            }
            End::Itself(how, left) if how.well() => {
                if left > 0 {
                    call.progress(&format!("ended {left} processes that `{}` had left behind", self.name), 0, 0);
                }
                Ok(ran.outputs[0].text(&self.redaction))
            }
            End::Itself(how, _) => Err(Failure::failed(words(&format!("failed with {how}")))),
            End::Unguarded => Err(Failure::inconclusive(words("was ended, because its guard was"))),
        }
    }

    /// Until everything of it is gone.
    async fn guarded(&self, program: Program, call: &CallCtx) -> Result<Ran, Failure> {
        let failed = |e: io::Error| Failure::failed(format!("`{}` cannot be run: {e}", self.name));
        let mark = self.mark(&call.key);
        let order = Order { program, limit: call.remaining() + MARGIN };
        let output = [Stdio::piped(), Stdio::piped()];
        let arguments = [OsStr::new("tool")];
        // From here on a dropped future hangs up, and the guard ends what it has started.
        let mut guard =
            Helper::start(&self.executable, &arguments, Some((MARK, &mark)), &order, output).await.map_err(failed)?;
        let mut streams = [
            Stream::new(guard.process.stdout.take().map(|s| Box::new(s) as _), MAX_OUTPUT),
            Stream::new(guard.process.stderr.take().map(|s| Box::new(s) as _), MAX_OUTPUT),
        ];
        let (mut report, mut closed, mut late) = (None, None, false);
        let mut news = interval(Duration::from_millis(250));
        let mut told = String::new();
        loop {
            let [out, err] = &mut streams;
            if closed.is_some() && !out.open() && !err.open() {
                break;
            }
            tokio::select! {
                () = out.read() => {}
                () = err.read() => {}
                answer = guard.report::<Report>(), if closed.is_none() => {
                    if !matches!(answer, Ok(Some(_))) {
                        closed = Some(Instant::now());
                    }
                    report = answer.unwrap_or(None).or(report);
                }
                // Everything is gone, so an output that is still open was handed to a stranger.
                () = sleep_until((closed.unwrap_or(call.deadline) + GRACE).into()), if closed.is_some() => break,
                () = sleep_until(call.deadline.into()), if !late => {
                    late = true;
                    guard.hang_up().await;
                }
                _ = news.tick() => {
                    let last = [&*out, &*err].into_iter().max_by_key(|s| s.last).map(|s| &s.collected);
                    let line = last.and_then(|c| c.last_lines(1, &self.redaction).pop()).unwrap_or_default();
                    if !line.is_empty() && line != told {
                        call.progress(&bounded(&line, 200), 0, 0);
                        told = line;
                    }
                }
            }
        }
        let _ = guard.process.wait().await;
        let end = match report {
            Some(Report::Ended { how: Some(how), .. }) if late => End::Late(how),
            Some(Report::Ended { how: Some(how), left }) => End::Itself(how, left),
            Some(Report::Failed(why)) => return Err(Failure::failed(format!("`{}` cannot be run: {why}", self.name))),
            Some(Report::Ended { how: None, .. }) | None => {
                // Its guard was killed, and the program with it; what that had started may go on.
                self.end_leftovers(&CallCtx { deadline: Instant::now() + 2 * GRACE, ..call.clone() }).await?;
                End::Unguarded
            }
        };
        Ok(Ran { end, outputs: streams.map(|stream| stream.collected) })
    }

    /// What `subject` came to, with its last words.
    fn words(&self, subject: &str, how: &str, ran: &Ran) -> String {
        let mut text = format!("{subject} {how}");
        for (what, output) in [("standard error", &ran.outputs[1]), ("standard output", &ran.outputs[0])] {
            let lines = output.last_lines(LAST_LINES, &self.redaction);
            if !lines.is_empty() {
                text.push_str(&format!("; the last of its {what}: {}", bounded(&lines.join(" | "), 2000)));
            }
        }
        text
    }

    async fn check(&self, check: &Check, call: &CallCtx) -> Result<Looked, Failure> {
        call.progress(&format!("asking the check of `{}`", self.name), 0, 0);
        let call = CallCtx { deadline: Instant::now() + check.timeout, ..call.clone() };
        let ran = self.guarded(self.program(&check.run, &call.key, &[])?, &call).await?;
        let how = match ran.end {
            End::Itself(Ended::Code(0), _) => return Ok(Looked::Done(ran.outputs[0].text(&self.redaction))),
            End::Itself(Ended::Code(1), _) => return Ok(Looked::NotDone),
            End::Itself(how, _) => format!("cannot say, with {how}"),
            End::Late(_) => "did not end in its time".to_owned(),
            End::Unguarded => "was ended by somebody".to_owned(),
        };
        Ok(Looked::Unclear(self.words("its check", &how, &ran)))
    }
}

/// What makes it decidable that it was never begun, and tells people when it was.
#[derive(Serialize, Deserialize)]
struct Evidence {
    began: String,
}

/// How a program came to its end.
enum End {
    Itself(Ended, usize),
    Late(Ended),
    /// By somebody else, who killed the guard.
    Unguarded,
}

struct Ran {
    end: End,
    /// standard output, standard error
    outputs: [Collected; 2],
}

fn is_guard(process: Identity) -> bool {
    const GUARD: &[u8] = b"backout\0supervise\0tool\0";
    std::fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|line| line == GUARD)
}

#[async_trait]
impl Observe for Command {
    async fn running(&self, key: &str) -> Result<bool, Failure> {
        let found = blocking(self.find(key)).await?;
        Ok(!found.map_err(|e| Failure::failed(format!("what runs of it cannot be seen: {e}")))?.is_empty())
    }

    async fn end(&self, call: &CallCtx) -> Result<(), Failure> {
        self.end_leftovers(call).await
    }

    async fn look(&self, evidence: &[Value], call: &CallCtx) -> Result<Looked, Failure> {
        let Some(last) = evidence.last() else { return Ok(Looked::NotDone) };
        let began =
            Evidence::deserialize(last).map_or_else(|_| "an unknown time".to_owned(), |evidence| evidence.began);
        let why = match &self.section.check {
            Some(check) => match self.check(check, call).await {
                Ok(Looked::Unclear(why)) => why,
                Err(failure) => format!("its check: {failure}"),
                looked => return looked,
            },
            None => "the site has no `check` for it".to_owned(),
        };
        let command = bounded(&self.section.run.join(" "), 200);
        let uses: Vec<String> = self.section.uses.iter().map(ToString::to_string).collect();
        let uses = if uses.is_empty() { String::new() } else { format!(": {}", uses.join(", ")) };
        Ok(Looked::Unclear(format!(
            "`{}` ({command}) was started at {began} and runs no more; {why}: look at what it should have changed{uses}",
            self.name
        )))
    }
}

#[async_trait]
impl Mutate for Command {
    async fn run(&self, call: &CallCtx) -> Result<String, Failure> {
        self.run_with(None, &[], call).await
    }
}
