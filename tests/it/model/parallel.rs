//! Steps that run at the same time, killed at many moments, and gone on with: none disturbs what another one is told again.
use super::{
    judge::{Judge, Seen},
    life::{Host, Life, Stop},
    plot::{Act, Plot, Step},
    world::Death,
};
use crate::support::packages::Folder;
use crate::support::{bench::BACKOUT, guests};
use backout::{
    journal::{Entry, Place, Reader, Recorded},
    run::life_cycle::Outcome,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

const STEPS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn plot() -> Plot {
    let step = |name: &str| Step {
        name: name.to_owned(),
        attempts: 1,
        after: Some(Vec::new()),
        acts: vec![
            Act::Set(name.to_owned()),
            Act::Tool("once"),
            Act::Get(name.to_owned()),
            Act::Set(name.to_owned()),
            Act::Tool("checked"),
            Act::Sleep,
            Act::Tool("again"),
            Act::Get(name.to_owned()),
        ],
    };
    let mut upgrade: Vec<Step> = STEPS.iter().map(|name| step(name)).collect();
    let after = Some((0..STEPS.len()).collect());
    let last = STEPS.iter().map(|name| Act::Get((*name).to_owned())).collect();
    upgrade.push(Step { name: "last".to_owned(), attempts: 1, after, acts: last });
    Plot { upgrade, ..Plot::default() }
}

/// What each step has asked for, in its order.
fn asked(entries: &[Recorded]) -> BTreeMap<Place, Vec<(String, String)>> {
    let mut asked: BTreeMap<Place, Vec<(String, String)>> = BTreeMap::new();
    for recorded in entries {
        if let Entry::Intent(request) | Entry::Observed { request, .. } = &recorded.entry
            && recorded.place.phase == "upgrade"
        {
            let what = match request.operation.as_str() {
                // What a tool answered may be told by its check instead, and with it what is written.
                "store.set" => request.request["key"].to_string(),
                _ => request.request.to_string(),
            };
            asked.entry(recorded.place.clone()).or_default().push((request.operation.clone(), what));
        }
    }
    asked
}

#[test]
fn steps_at_once_are_killed_at_every_effect_and_go_on() {
    let plot = plot();
    let undisturbed = Host::new(&plot);
    assert_eq!(undisturbed.live(&Life::WHOLE), Some(Outcome::Upgraded));
    let wanted = asked(&undisturbed.entries());
    assert_eq!(wanted.len(), STEPS.len() + 2, "five, the last and the plan");
    let whole: BTreeSet<String> = undisturbed.world.effects().into_iter().map(|effect| effect.key).collect();
    assert_eq!(whole.len(), STEPS.len() * 3);
    // Two moments for each effect, and some between two entries.
    let deaths = (1..=whole.len() * 2).map(|moment| Stop::Death(Death { moment, lands: moment % 3 == 0 }));
    let stops: Vec<Stop> = deaths.chain((20..110).step_by(6).map(Stop::DeathAfter)).collect();
    let (mut died, mut seen) = (0, Seen::new());
    for (at, stop) in stops.iter().enumerate() {
        let mut host = Host::new(&plot);
        host.threads = at % 2 == 0;
        let mut outcomes = Vec::new();
        // Once more while it goes on, and then to its end.
        let again = Stop::Death(Death { moment: 1 + at % 11, lands: false });
        for stop in [Some(*stop), Some(again), None] {
            let ended = host.live(&Life { stop, people: true, lost: at % 4 });
            died += usize::from(ended.is_none());
            let finished = ended.is_some();
            outcomes.extend(ended.map(|outcome| (host.entries().len(), outcome)));
            assert_eq!(host.replay().differences, [], "{stop:?}");
            if finished {
                break;
            }
        }
        assert!(matches!(outcomes.as_slice(), [(_, Outcome::Upgraded)]), "{stop:?}: {outcomes:?}");
        let entries = host.entries();
        Judge { plot: &plot, at_once: 8, world: &host.world }.judge(&entries, &outcomes, &mut seen);
        assert_eq!(asked(&entries), wanted, "{stop:?}");
        let effects: BTreeSet<String> = host.world.effects().into_iter().map(|effect| effect.key).collect();
        assert_eq!(effects, whole, "{stop:?}");
    }
    assert!(died > stops.len(), "{died} deaths");
    println!("{} stops, {died} deaths, {seen:?}", stops.len());
}

const SITE: &str = r#"
[tool.once]
run = ["/bin/sh", "-c", "echo $BACKOUT_KEY >> done"]

[tool.again]
run = ["/bin/sh", "-c", "echo $BACKOUT_KEY >> done"]
idempotent = true

[service.shop]
driver = "process"
run = ["/bin/sleep", "1000"]

[allow."test/scripted"]
tool.once = { may = ["run"] }
tool.again = { may = ["run"] }
service.shop = { may = ["control"] }
"#;

/// Some of the same as real processes, which are killed.
#[test]
fn processes_with_steps_at_once_are_killed_and_go_on() {
    let points = [9, 23, 37, 51, 65];
    std::thread::scope(|scope| {
        for point in points {
            scope.spawn(move || killed_at(point));
        }
    });
}

fn killed_at(point: usize) {
    let host = Folder::new();
    let root = if rustix::process::geteuid().is_root() { "allow-root = true\n" } else { "" };
    host.write("backout.toml", SITE.replace("run = [\"/bin", &format!("{root}run = [\"/bin")));
    let package = host.folder("package");
    guests::scripted().copy_to(&package);
    let steps: Vec<String> =
        STEPS.iter().map(|name| format!("{name} 1 - set:{name} tool:once get:{name} tool:again set:{name}")).collect();
    let manifest = host.read("package/package.toml");
    let set = |phase: &str, steps: &str, manifest: String| {
        let line = manifest.lines().find(|line| line.starts_with(phase)).unwrap().to_owned();
        manifest.replace(&line, &line.replace("default = \"\"", &format!("default = \"{steps}\"")))
    };
    let manifest = set("upgrade", &steps.join(";"), manifest);
    host.write("package/package.toml", set("rollback", "back 1 - now", manifest));
    let run = |point: usize, args: &[String]| {
        let mut command = Command::new(BACKOUT);
        command.args(args).current_dir(host.path()).env_remove("BACKOUT_SITE").stdin(Stdio::null());
        command.env("BACKOUT_CRASH_AT", point.to_string()).output().unwrap()
    };
    let said = |output: &std::process::Output| {
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let output = run(point, &["upgrade".into(), "--yes".into(), "package".into()]);
    assert_eq!(output.status.signal(), Some(9), "point {point}: {}", said(&output));
    let entries = || Reader::open(&host.at("state/journal.db")).unwrap().entries(1).unwrap();
    let done = || fs::read_to_string(host.at("done")).unwrap_or_default();
    // Killed once more on the way; then as often as somebody has to be asked.
    let mut decided: Vec<String> = Vec::new();
    for life in 0..20 {
        let mut args: Vec<String> = vec!["resume".into(), "--yes".into()];
        for decision in &decided {
            args.extend(["--decide".to_owned(), decision.clone()]);
        }
        let output = run(if life == 0 { 7 + point / 4 } else { usize::MAX }, &args);
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => break,
            (None, Some(9)) if life == 0 => {}
            // Only now is it certain that nothing of it goes on, so that one can look.
            (Some(6), _) => {
                decided = in_doubt(&entries()).iter().map(|(number, key)| decision(*number, key, &done())).collect();
            }
            _ => panic!("point {point}, life {life}: {}", said(&output)),
        }
        assert!(life < 19, "point {point}: {}", said(&output));
    }
    let entries = entries();
    for (place, asked) in asked(&entries).into_iter().filter(|(place, _)| STEPS.contains(&place.step.as_str())) {
        let operations: Vec<&str> = asked.iter().map(|(operation, _)| operation.as_str()).collect();
        let wanted = ["context.setting", "store.set", "tool.run", "store.get", "tool.run", "store.set"];
        assert_eq!(operations, wanted, "{place:?}");
    }
    for step in STEPS {
        let times =
            |seq: u32| done().lines().filter(|line| line.ends_with(&format!("/upgrade/{step}/1/{seq}"))).count();
        assert_eq!(times(3), 1, "point {point}: {step}\n{}", done());
        assert!(times(5) >= 1, "point {point}: {step}\n{}", done());
    }
    let replayed: Value = serde_json::from_slice(&run(usize::MAX, &["--json".into(), "replay".into()]).stdout).unwrap();
    assert_eq!(replayed[0]["equal"], true, "{replayed:#}");
}

/// What a person would find out about an operation, and say.
fn decision(number: i64, key: &str, done: &str) -> String {
    let happened = done.lines().any(|line| line.ends_with(key));
    format!("{number}={}", if happened { "done" } else { "not-done" })
}

/// Operations that must not be done twice, and of which the journal has no end: number and key.
fn in_doubt(entries: &[Recorded]) -> Vec<(i64, String)> {
    let mut open = BTreeMap::new();
    for recorded in entries {
        let at = (recorded.place.clone(), recorded.seq);
        match &recorded.entry {
            Entry::Intent(request) if request.class == "once" => {
                let place = &recorded.place;
                let key = format!("/{}/{}/{}", place.title(), place.attempt, recorded.seq);
                open.insert(at, (recorded.id, key));
            }
            Entry::Outcome { .. } => drop(open.remove(&at)),
            _ => {}
        }
    }
    open.into_values().collect()
}
