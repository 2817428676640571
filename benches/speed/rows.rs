//! What is measured, against what, and the aim. The bench fills these rows in; a test holds the saved page against them.

pub struct Row {
    /// Chooses it on the command line.
    pub name: &'static str,
    pub what: &'static str,
    pub baseline: &'static str,
    pub aim: Aim,
    /// How it is measured, and what is in it.
    pub how: &'static str,
    /// Why the aim is missed. A page that misses an aim without a word about it fails the tests.
    pub why_missed: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// ours : baseline, at most
    AtMost(f64),
    /// baseline : ours, at least
    TimesAsFast(f64),
    /// microseconds that ours may take more than the baseline
    MicrosMore(f64),
    /// milliseconds that ours may take; there is no baseline
    Millis(f64),
}

impl Aim {
    pub fn text(self) -> String {
        match self {
            Self::AtMost(n) => format!("≤ {n} ×"),
            Self::TimesAsFast(n) => format!("≥ {n} × as fast"),
            Self::MicrosMore(n) => format!("≤ {n} µs more"),
            Self::Millis(n) => format!("≤ {n} ms"),
        }
    }

    /// What is held against the aim, from one pair of samples in seconds or bytes.
    pub fn result(self, baseline: f64, ours: f64) -> f64 {
        match self {
            Self::AtMost(_) => ours / baseline,
            Self::TimesAsFast(_) => baseline / ours,
            Self::MicrosMore(_) => (ours - baseline) * 1e6,
            Self::Millis(_) => ours * 1e3,
        }
    }

    pub fn shown(self, result: f64) -> String {
        match self {
            Self::AtMost(_) | Self::TimesAsFast(_) => format!("{result:.2} ×"),
            Self::MicrosMore(_) => format!("{result:.1} µs"),
            Self::Millis(_) => format!("{result:.1} ms"),
        }
    }

    /// Of a result as it is shown, so that the page cannot say one thing and its numbers another.
    pub fn met(self, shown: &str) -> Option<bool> {
        let number: f64 = shown.split_whitespace().next()?.parse().ok()?;
        Some(match self {
            Self::AtMost(n) | Self::MicrosMore(n) | Self::Millis(n) => number <= n,
            Self::TimesAsFast(n) => number >= n,
        })
    }
}

pub const MET: &str = "met";
pub const MISSED: &str = "**missed**";

pub const ROWS: &[Row] = &[
    Row {
        name: "start",
        what: "Cached start of a Rust script: load, instantiate, first call",
        baseline: "wasmtime alone: its compiled file, the same imports, the same call",
        aim: Aim::AtMost(1.5),
        how: "The script is the one of `guest-examples/rust-shop`, the call is `plan`. Engine and linker stand already, on both \
              sides; ours also looks whether the compiled file is the script's, and limits memory, time and stack.",
        why_missed: None,
    },
    Row {
        name: "observe",
        what: "A host call that observes, without the driver's time",
        baseline: "the same host call of wasmtime alone",
        aim: Aim::MicrosMore(5.0),
        how: "Of 10,000 calls in a row, by a driver that answers at once; grant, limits, deadline and the note for the journal \
              are in it.",
        why_missed: None,
    },
    Row {
        name: "change",
        what: "A host call that changes something, without the driver's time",
        baseline: "two durable commits of SQLite alone",
        aim: Aim::AtMost(1.3),
        how: "Call by call: the driver makes the two commits of the baseline, and what passes from there to its next call is \
              one whole call through the gate, its outcome and the next intent being made durable one by one. The journal makes room \
              in its log before it needs it; the baseline's log grows with each commit at first, as SQLite has it.",
        why_missed: None,
    },
    Row {
        name: "at-once",
        what: "Two steps that change things, at once",
        baseline: "the same two, one after the other",
        aim: Aim::TimesAsFast(1.7),
        how: "Ten calls in each step, by a driver that takes no time: nothing but the journal's durable commits, which the two \
              steps share.",
        why_missed: Some(
            "From one run of the bench to the next it lies between 1.5 × and 1.8 ×. There are half as many commits, which a test counts; \
             where a commit takes a tenth of a millisecond, writing two entries and waking two steps takes nearly as long as the \
             commit that they share.",
        ),
    },
    Row {
        name: "inspect",
        what: "`backout inspect` of a Rust script, the whole process",
        baseline: "",
        aim: Aim::Millis(50.0),
        how: "The demo's package, beside the demo's site.",
        why_missed: None,
    },
    Row {
        name: "check",
        what: "`backout check` of a Rust script, the whole process",
        baseline: "",
        aim: Aim::Millis(50.0),
        how: "The demo's package against the demo's site.",
        why_missed: None,
    },
    Row {
        name: "plan",
        what: "`backout plan --offline` of 50 steps and 500 operations, the whole process",
        baseline: "",
        aim: Aim::Millis(100.0),
        how: "Of a Rust script that was compiled before. It is played twice: as all goes well, and with a rollback after the last call.",
        why_missed: None,
    },
    Row {
        name: "explore",
        what: "`backout explore --offline`, 1,000 paths of a Rust script, the whole process",
        baseline: "",
        aim: Aim::Millis(1000.0),
        how: "The demo's package, with up to two failures or a cancellation on a path, on one processor. A path goes on from the last step \
              that it shares with the one that it comes from.",
        why_missed: None,
    },
    Row {
        name: "scenarios",
        what: "`backout test`, 100 scenarios of a Rust script, the whole process",
        baseline: "",
        aim: Aim::Millis(1000.0),
        how: "The demo's package with one scenario a hundred times: an upgrade that is taken back, with numbers, rows and a condition. \
              Of the rules one path is played.",
        why_missed: None,
    },
    Row {
        name: "exchange",
        what: "Exchange at rollback, an SQLite database of 1 GB",
        baseline: "the same of 10 MB",
        aim: Aim::AtMost(1.2),
        how: "From the order to the durable exchange: who has it open, that the copy still is what was proven, the lock, the \
              evidence, the exchange. What was set aside is counted afterwards.",
        why_missed: Some(
            "From one run of the bench to the next it lies between 0.9 × and 1.3 ×. An exchange is some ten milliseconds, most of it what the \
             disk takes to make four names durable, and a disk that is busy with a file of 1 GB takes a millisecond or two more.",
        ),
    },
    Row {
        name: "refresh",
        what: "Refresh of a stand-by after 1 % of 1 GB has changed",
        baseline: "a full copy",
        aim: Aim::AtMost(0.25),
        how: "Both end with a proven stand-by that was compared with the database, whole. The full copy is read again from the \
              disk once it is durable; of a refreshed one, what was written to it, for the rest was when it was proven. Nobody may write while a stand-by is refreshed, so what takes the processors goes on beside what takes the disk.",
        why_missed: None,
    },
    Row {
        name: "replay",
        what: "Replay of a run with 100,000 operations",
        baseline: "wasmtime alone: the same component, the recorded answers from memory",
        aim: Aim::AtMost(3.0),
        how: "A script in Rust that migrates orders: of twenty operations sixteen read a page of five rows (an entry of 500 bytes), two \
              go into the report, one changes the rows, one remembers how far it came. Ours goes from the first entry to the last, as \
              `backout replay` does it: entries are read from the journal, each request is compared with the recorded one, each \
              answer is given again. The baseline takes the same arguments in the same types and gives a copy of the same answers, \
              one after the other; it looks at no request, and reads no journal.",
        why_missed: None,
    },
    Row {
        name: "resume",
        what: "Resume after 10,000 finished operations, to the first new one",
        baseline: "",
        aim: Aim::Millis(500.0),
        how: "Of a step that was cut off in the midst of its changes, each with an intent and an outcome: the script is loaded, the \
              journal read, the step told its 10,000 answers, and the clock stops when the driver is called for the next operation.",
        why_missed: None,
    },
    Row {
        name: "audit",
        what: "Audit of 100,000 entries",
        baseline: "hashing the same file once",
        aim: Aim::AtMost(3.0),
        how: "Entries of queries with their rows, about 500 bytes each. SQLite's own check of the file, the chain, the order, and that \
              each entry can be read.",
        why_missed: Some(
            "Two processors share reading of rows, hashing (each entry, then the chain), what the entries say, and SQLite's own check of \
             the file. From run to run it lies between 2.5 × and 4 ×: the baseline is a fifth of a tenth of a second, and with other \
             work on the machine it gets what the two threads would need.",
        ),
    },
    Row {
        name: "memory",
        what: "Resident memory while a script waits in `clock.sleep`",
        baseline: "a process of wasmtime alone, with the same component, waiting",
        aim: Aim::AtMost(1.5),
        how: "The process's resident set, of a script of one page: with a larger one the two come closer. Both processes have \
              compiled nothing, and the baseline is a program of its own with nothing else in it. Who waits for a second or more gives \
              the program's text and constants back to the kernel, in whose file cache they stay while there is room; before that, \
              or without it, ours has some 26 MB: nearly all of one large program.",
        why_missed: None,
    },
    Row {
        name: "postgres-take",
        what: "Snapshot and proof of a PostgreSQL database of 1 GB",
        baseline: "`pg_dump` and `pg_restore` by hand, two jobs",
        aim: Aim::AtMost(1.2),
        how: "Two tables, 1.25 million orders of 400 bytes and five million lines of 40. By hand: into a folder, with nothing compressed \
              (with it, as the tool does it by itself, it takes longer), into an empty database, then `ANALYZE`, and nobody looks \
              whether both are alike. Ours ends with a copy that is closed to everybody and was read and compared, whole.",
        why_missed: Some(
            "From one run of the bench to the next it lies between 1.1 × and 1.4 ×: what the copy holds is read once more out of it, and each \
             row is digested both times. By hand nobody looks.",
        ),
    },
    Row {
        name: "postgres-compare",
        what: "Comparison of two equal PostgreSQL databases of 1 GB, row by row",
        baseline: "reading one after the other by `COPY` to nowhere",
        aim: Aim::AtMost(1.5),
        how: "What a rollback would set aside, when nothing has changed. What the copy holds is known from its proof for as long as nobody can \
              have been in it, so of the two what is live is read; tables that differ would be told apart row by row. The baseline \
              is `COPY … TO '/dev/null'` at the server, table by table, of two databases.",
        why_missed: None,
    },
    Row {
        name: "postgres-window",
        what: "Fence, refresh and proof after 1 % of 1 GB in PostgreSQL has changed",
        baseline: "a full copy, proven",
        aim: Aim::AtMost(0.2),
        how: "As long as a product is closed for one cut. Of each table the newest 1 % of the rows were updated.",
        why_missed: Some(
            "Everything is compared: the database is read whole, of the tables that differ both sides row by row, and then the copy once more.",
        ),
    },
    Row {
        name: "mariadb-take",
        what: "Snapshot and proof of a MariaDB database of 200 MB",
        baseline: "`mariadb-dump` and load by hand",
        aim: Aim::AtMost(0.6),
        how: "Tables as on PostgreSQL, a fifth of them: loading a whole gigabyte by hand takes minutes. By hand: into a file, and from there \
              into an empty database, and nobody looks whether both are alike.",
        why_missed: Some(
            "One connection reads and two write, and then the copy is read once more: on two processors, which the server needs too, loading \
             at once wins what the proof costs, and no more.",
        ),
    },
    Row {
        name: "rollback-size",
        what: "`backout rollback` of a product with 1 GB in PostgreSQL, from the decision to a product that answers",
        baseline: "the same with 10 MB",
        aim: Aim::AtMost(1.2),
        how: "It stops a product, fences its database, exchanges it and a folder, lifts the fence, starts the product \
              and asks it until it answers as the old release. The copies were proven when they were made. What was set aside is \
              counted then.",
        why_missed: None,
    },
    Row {
        name: "rollback-restore",
        what: "`backout rollback` of a product with 1 GB in PostgreSQL, from the decision to a product that answers",
        baseline: "`pg_restore` alone, two jobs, into an empty database",
        aim: Aim::TimesAsFast(10.0),
        how: "As above; the baseline neither stops nor starts anything, and reads a dump that is not compressed.",
        why_missed: None,
    },
    Row {
        name: "rollback-ansible",
        what: "`backout rollback` in seven steps, 10 MB in PostgreSQL, the whole process",
        baseline: "`ansible-playbook` with seven tasks",
        aim: Aim::AtMost(0.1),
        how: "Stop, fence, data, files, unfence, start, verify; by the same tools, on a host that is there already (no facts are gathered). \
              The playbook renames databases and folders that somebody has copied before; it writes no journal, and does not ask \
              whether the copies are good.",
        why_missed: Some(
            "A playbook takes some seconds, ours half of one: two durable entries of the journal for each of its operations, and an \
             exchange of a folder that waits for the disk.",
        ),
    },
    Row {
        name: "rollback-bash",
        what: "`backout rollback` in seven steps, 10 MB in PostgreSQL, the whole process",
        baseline: "a script for bash with `psql`, `mv` and `curl`",
        aim: Aim::AtMost(2.0),
        how: "The same seven steps. Ours writes a durable journal, and looks whether the copies still are what was proven.",
        why_missed: Some(
            "The script waits for no disk and writes nothing down. Ours makes two entries of the journal durable for each of its operations, \
             and waits until the exchange of the folder is on the disk.",
        ),
    },
];
