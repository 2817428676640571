//! What Backout costs, each thing against a baseline in the same run: `cargo bench --profile dev`. Names of rows choose some of
//! them; `-- --save` writes `docs/benchmarks.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]
mod again;
mod audit;
mod calls;
mod canned;
mod databases;
mod fixture;
#[path = "../../tests/it/support/guests.rs"]
#[allow(dead_code)]
mod guests;
mod machine;
#[path = "../../tests/it/support/mariadb.rs"]
#[allow(dead_code)]
mod mariadb;
mod memory;
mod on_mariadb;
mod on_postgres;
mod page;
#[path = "../../tests/it/support/postgres.rs"]
#[allow(dead_code)]
mod postgres;
mod processes;
mod raw;
mod rows;
mod sample;
mod shop;
mod start;
mod taken_back;

use page::Measured;
use rows::ROWS;
use std::time::Instant;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if let [product, port, connection] = args.as_slice()
        && product == "--product"
    {
        return taken_back::product(port, connection);
    }
    // Cargo says so; without it this is `cargo test`, which wants to know that it builds.
    let Some(at) = args.iter().position(|arg| arg == "--bench") else { return };
    args.remove(at);
    let save = args.iter().position(|arg| arg == "--save").map(|at| args.remove(at)).is_some();
    if let Some(unknown) = args.iter().find(|arg| !ROWS.iter().any(|row| row.name == **arg)) {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        eprintln!("error: there is no row `{unknown}`; there are {}, and the option --save", names.join(", "));
        std::process::exit(2);
    }
    if save && !args.is_empty() {
        eprintln!("error: a page has all rows; leave the names away");
        std::process::exit(2);
    }
    let began = Instant::now();
    let mut measured: Vec<Measured> = Vec::new();
    for row in ROWS.iter().filter(|row| args.is_empty() || args.iter().any(|arg| arg == row.name)) {
        let pairs = match row.name {
            "start" => start::start(),
            "observe" => calls::observe(),
            "change" => calls::change(),
            "at-once" => calls::at_once(),
            "inspect" | "check" => processes::command(row.name),
            "plan" => processes::plan(),
            "explore" => processes::explore(),
            "scenarios" => processes::scenarios(),
            "exchange" => databases::exchange(),
            "refresh" => databases::refresh(),
            "replay" => again::replay(),
            "resume" => again::resume(),
            "audit" => audit::audit(),
            "memory" => memory::memory(),
            "postgres-take" => on_postgres::take(),
            "postgres-compare" => on_postgres::compare(),
            "postgres-window" => on_postgres::window(),
            "mariadb-take" => on_mariadb::take(),
            "rollback-size" => taken_back::against_size(),
            "rollback-restore" => taken_back::against_restore(),
            "rollback-ansible" => taken_back::against_ansible(),
            "rollback-bash" => taken_back::against_bash(),
            other => panic!("nothing measures the row `{other}`"),
        };
        let row = Measured::new(row, &pairs);
        println!("{}\n", row.lines());
        measured.push(row);
    }
    let seconds = began.elapsed().as_secs();
    if save {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks.md");
        std::fs::write(path, page::page(&measured, seconds)).unwrap();
        println!("written: {path}");
    }
    let missed: Vec<&str> = measured.iter().filter(|row| !row.met()).map(|row| row.row.name).collect();
    match missed.as_slice() {
        [] => println!("All aims are met, after {seconds} s."),
        missed => println!("Missed: {}, after {seconds} s.", missed.join(", ")),
    }
}
