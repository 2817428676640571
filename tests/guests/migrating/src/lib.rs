//! A migration in many small steps: reads the orders a page at a time, looks at them, changes them, and remembers how far it came.
//! `move-N` does so with N operations, `ask-N` only asks the store as often.
wit_bindgen::generate!({ path: "../../../wit", world: "script" });

use backout::host::{report::Area, types::*, *};
use exports::backout::host::life_cycle::{Guest, Risk, Step};

type Result<T = ()> = std::result::Result<T, Error>;

struct Migrating;
export!(Migrating);

impl Guest for Migrating {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        let name = match phase {
            Phase::Upgrade => context::setting("step"),
            Phase::Rollback => "ask-1".to_owned(),
            Phase::Prepare | Phase::Verify => return Ok(vec![]),
        };
        Ok(vec![Step { title: format!("Do {name}"), name, estimate: 1, roles: vec![], after: None, attempts: 1 }])
    }

    fn run(_: Phase, step: String) -> Result {
        let (what, operations) = step.split_once('-').expect("what is done, and how often");
        let operations = operations.parse().expect("a number");
        match what {
            "move" => migrate(operations),
            _ => ask(operations),
        }
    }
}

fn ask(operations: u32) -> Result {
    (0..operations).for_each(|n| drop(store::get(&format!("order-{n}"))));
    Ok(())
}

/// How far it has come.
#[derive(Default)]
struct Moved {
    first: u64,
    last: u64,
    customers: u64,
    nameless: u64,
}

/// Of twenty operations sixteen read a page, two go into the report, one changes what was read, one remembers it.
fn migrate(operations: u32) -> Result {
    let mut moved = Moved::default();
    for n in 0..operations {
        match n % 20 {
            0..16 => moved.read()?,
            16 => report::note(&format!("{} orders read", moved.last)),
            17 => {
                let detail = format!("{} of {} have none", moved.nameless, moved.customers + moved.nameless);
                report::check(Area::Data, "every order has a customer", moved.nameless == 0, &detail);
            }
            18 => moved.change()?,
            _ => store::set("moved", &moved.last.to_string()),
        }
    }
    Ok(())
}

impl Moved {
    fn read(&mut self) -> Result {
        let sql = format!("SELECT id, customer, state FROM orders WHERE id > {} ORDER BY id LIMIT 5", self.last);
        for row in database::query("orders", &sql)? {
            self.last = row[0].parse().expect("a number");
            *if row[1].is_empty() { &mut self.nameless } else { &mut self.customers } += 1;
        }
        Ok(())
    }

    fn change(&mut self) -> Result {
        let Self { first, last, .. } = *self;
        let sql = format!("UPDATE orders SET state = 'moved' WHERE id > {first} AND id <= {last}");
        if database::execute("orders", &sql)? != last - first {
            return Err(Error { kind: Kind::Failed, message: format!("not all orders up to {last} were moved") });
        }
        self.first = last;
        Ok(())
    }
}
