//! A step that a limit ended is replayed up to its last operation, on whatever machine; and a script that never ends is told as such.
use super::life::{Host, Life, RUN, Stop};
use super::world::Death;
use crate::support::{guests, run::load};
use backout::{
    journal::{Entry, Reader},
    run::{life_cycle::Outcome, replay::Difference},
    session::Limits,
};
use std::time::Duration;

/// An upgrade whose one step does this, and fails by it.
fn ended_by_a_limit(does: &str, limit: impl FnOnce(&mut Limits)) -> Host {
    let mut host = host(does);
    limit(&mut host.limits);
    let outcome = host.live(&Life::WHOLE);
    assert!(matches!(outcome, Some(Outcome::TurnedBack(_))), "{does}: {outcome:?}");
    let ended = host.entries().into_iter().find(|r| r.place.step == "a" && matches!(r.entry, Entry::StepEnded { .. }));
    assert!(matches!(ended.unwrap().entry, Entry::StepEnded { limit: true, .. }), "{does}");
    host
}

fn host(does: &str) -> Host {
    let phases = [("prepare", ""), ("rollback", "back 1 - tool:again"), ("verify", "")];
    let mut settings = phases.map(|(phase, steps)| (phase, steps.to_owned())).to_vec();
    settings.push(("upgrade", format!("a 1 - tool:once {does}")));
    Host::with(settings)
}

#[test]
fn what_a_limit_ended_is_replayed_as_equal() {
    type Limit = fn(&mut Limits);
    let limits: &[(&str, Limit)] = &[
        ("ask", |limits| limits.quota.calls = 50),
        ("log", |limits| limits.quota.log_bytes = 2_000),
        ("store", |limits| limits.quota.store_bytes = 5_000),
        ("ask", |limits| limits.quota.journal_bytes = 5_000),
        ("ask", |limits| limits.quota.journal_bytes_of_phase = 5_000),
        ("allocate", |limits| limits.memory = 8 << 20),
        ("recurse", |_| ()),
        ("compute", |limits| limits.cpu = Duration::from_millis(100)),
        // A replay has all the time that there is: there it is the processor's that ends it.
        ("now compute", |limits| {
            limits.quota.wall = Duration::from_secs(1);
            limits.cpu = Duration::from_millis(1_100);
        }),
        ("ask", |limits| limits.cpu = Duration::from_millis(200)),
    ];
    for (does, limit) in limits {
        let host = ended_by_a_limit(does, limit);
        let effects = host.world.effects();
        let replayed = host.replay();
        assert_eq!(replayed.differences, [], "{does}");
        assert!(replayed.operations > 2, "{does}: {replayed:?}");
        assert_eq!(host.world.effects(), effects);
    }
}

/// The same script needs more of the processor there, or less, than it was given here.
#[test]
fn a_slower_machine_and_a_quicker_one_find_no_difference() {
    for does in ["compute", "ask"] {
        let host = ended_by_a_limit(does, |limits| limits.cpu = Duration::from_millis(400));
        for cpu in [0, 20, 800] {
            let replayed = host.replay_with(&host.script, |limits| limits.cpu_millis = cpu).unwrap();
            let of_the_step = |difference: &&Difference| difference.to_string().starts_with("upgrade/a");
            assert_eq!(replayed.differences.iter().find(of_the_step), None, "{does}, {cpu} ms");
        }
    }
}

#[test]
fn a_script_that_never_ends_cannot_be_told() {
    let mut host = host("now");
    host.limits.cpu = Duration::from_millis(50);
    assert_eq!(host.live(&Life::WHOLE), Some(Outcome::Upgraded));
    for attack in ["loop_in_plan", "loop_at_the_start"] {
        let replayed = host.replay_with(&load(&guests::attack(attack)), |_| ()).unwrap();
        let never_ends = replayed.differences.iter().find(|d| matches!(d, Difference::Limit { .. }));
        let words = never_ends.unwrap_or_else(|| panic!("{attack}: {replayed:?}")).to_string();
        assert!(words.contains("cannot be told"), "{words}");
    }
}

/// Nor does it take the time of a step for each of its calls.
#[test]
fn a_script_that_only_loops_comes_to_its_end() {
    let steps: String = (1..=12).map(|n| format!("p{n} 1 - now;")).collect();
    let phases =
        [("prepare", steps), ("upgrade", "a 1 - now".into()), ("rollback", "r 1 - now".into()), ("verify", "".into())];
    let mut host = Host::with(phases.to_vec());
    host.limits.cpu = Duration::from_millis(50);
    assert_eq!(host.live(&Life::WHOLE), Some(Outcome::Upgraded));
    assert_eq!(host.replay().differences, []);
    let calls = host.replay().calls;
    let replayed = host.replay_with(&load(&guests::attack("loop_for_ever")), |_| ()).unwrap();
    let last = replayed.differences.last().unwrap();
    assert!(matches!(last, Difference::Limit { .. }), "{replayed:?}");
    assert!(last.to_string().contains("the processor time that a replay of this run may take in all"), "{last}");
    assert!(replayed.calls < calls - 8, "{} of {calls}", replayed.calls);
}

/// Before it comes again to what it was about when it was cut off.
#[test]
fn a_limit_ends_a_step_that_goes_on() {
    let mut host = host("tool:once now");
    host.limits.steps_at_once = 1;
    let stop = Some(Stop::Death(Death { moment: 2, lands: false }));
    assert_eq!(host.live(&Life { stop, people: true, lost: 0 }), None);
    let begun = |entry: &Entry| matches!(entry, Entry::Intent(request) if request.operation == "tool.run");
    assert!(
        host.entries().iter().any(|r| begun(&r.entry))
            && host.entries().iter().all(|r| r.place.step.is_empty() || !matches!(r.entry, Entry::Outcome { .. }))
    );
    // No instance of it has so little.
    let usual = std::mem::replace(&mut host.limits.memory, 1 << 16);
    let outcome = host.live(&Life::WHOLE).unwrap();
    assert!(matches!(&outcome, Outcome::Stopped(why) if why.contains("of memory, the limit is 0 MiB")), "{outcome:?}");
    let ended = host.entries().into_iter().find(|r| r.place.step == "a" && matches!(r.entry, Entry::StepEnded { .. }));
    assert!(matches!(ended.unwrap().entry, Entry::StepEnded { limit: true, .. }));
    // The rollback had no more room than that.
    host.limits.memory = usual;
    assert!(matches!(host.live(&Life::WHOLE), Some(Outcome::TurnedBack(_))));
    assert!(backout::journal::audit(&host.journal(), &[]).unwrap().is_clean());
    assert_eq!(host.replay().differences, []);
}

/// What it has put there later than it was at that moment takes no room from it when it is told again.
#[test]
fn a_store_that_was_never_full_is_not_full_when_a_step_goes_on() {
    let mut host = host("keep:a:700 keep:a:1 keep:b:700 tool:checked now");
    host.limits.quota.store_bytes = 1_000;
    let stop = Some(Stop::Death(Death { moment: 3, lands: false }));
    assert_eq!(host.live(&Life { stop, people: true, lost: 0 }), None);
    assert_eq!(host.live(&Life::WHOLE), Some(Outcome::Upgraded));
    assert_eq!(host.replay().differences, []);
    assert!(Reader::open(&host.journal()).unwrap().run(RUN).unwrap().ending.is_some());
}
