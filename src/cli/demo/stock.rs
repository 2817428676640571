//! What is in the shop before: some thousands of rows, the same ones each time.
use rusqlite::{Connection, Transaction, params};
use std::path::Path;

pub const CUSTOMERS: u32 = 800;
pub const PRODUCTS: u32 = 240;
pub const ORDERS: u32 = 4_000;
/// The last order that waits for stock: the shop has not let anybody wait since.
const LAST_BACKORDER: u32 = 3_400;

const FIRST: &[&str] =
    &["Ada", "Bela", "Carmen", "Dao", "Emil", "Fatou", "Grete", "Hugo", "Ines", "Jun", "Kofi", "Lea"];
const LAST: &[&str] = &["Adler", "Brandt", "Costa", "Dimov", "Eze", "Ferro", "Gomez", "Holm", "Ito", "Jansen", "Kaya"];
const CITIES: &[&str] = &["Bremen", "Gdańsk", "Leuven", "Málaga", "Oulu", "Porto", "Tartu", "Zürich"];
const MAKES: &[&str] = &["oak", "steel", "linen", "cork", "glass", "brass"];
const THINGS: &[&str] = &["chair", "lamp", "shelf", "kettle", "blanket", "mirror", "stool", "clock", "vase", "desk"];
const NOTES: &[&str] = &[
    "Please ring twice.",
    "Leave it with the neighbour on the left.",
    "A present: no invoice in the parcel, please.",
    "Third floor, no lift. Sorry!",
];

/// Numbers that look like chance and are not.
struct Dice(u64);
impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }
    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len() as u32) as usize]
    }
}

/// Fills a database of schema 1.
pub fn fill(database: &Path) -> anyhow::Result<()> {
    let mut db = Connection::open(database)?;
    let dice = &mut Dice(1);
    let transaction = db.transaction()?;
    customers(&transaction, dice)?;
    products(&transaction, dice)?;
    orders(&transaction, dice)?;
    transaction.commit()?;
    Ok(())
}

fn customers(db: &Transaction<'_>, dice: &mut Dice) -> rusqlite::Result<()> {
    let mut insert = db.prepare("INSERT INTO customers (id, name, email, city) VALUES (?1, ?2, ?3, ?4)")?;
    for id in 1..=CUSTOMERS {
        let (first, last) = (dice.pick(FIRST), dice.pick(LAST));
        let email = format!("{}.{}{id}@example.com", first.to_lowercase(), last.to_lowercase());
        insert.execute(params![id, format!("{first} {last}"), email, dice.pick(CITIES)])?;
    }
    Ok(())
}

fn products(db: &Transaction<'_>, dice: &mut Dice) -> rusqlite::Result<()> {
    let mut insert = db.prepare("INSERT INTO products (id, code, title, price, stock) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for id in 1..=PRODUCTS {
        let (make, thing) = (dice.pick(MAKES), dice.pick(THINGS));
        let code = format!("{}-{id:04}", &thing[..3].to_uppercase());
        insert.execute(params![id, code, format!("{make} {thing}"), 500 + dice.below(40_000), 2_000])?;
    }
    Ok(())
}

fn orders(db: &Transaction<'_>, dice: &mut Dice) -> rusqlite::Result<()> {
    let mut order =
        db.prepare("INSERT INTO orders (id, customer, placed, status, note) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut item = db.prepare(
        "INSERT INTO items (order_id, line, product, quantity, price)
         SELECT ?1, ?2, id, ?4, price FROM products WHERE id = ?3",
    )?;
    for id in 1..=ORDERS {
        // Some twelve orders a day, the last one on 2025-12-14.
        let day = id / 12;
        let (month, day) = (1 + day / 28, 1 + day % 28);
        let placed = format!("2025-{month:02}-{day:02}T{:02}:{:02}:00Z", 8 + dice.below(12), dice.below(60));
        let status = match id {
            id if id <= LAST_BACKORDER && id % 13 == 0 => "backorder",
            id if id > ORDERS - 40 => "new",
            id if id > ORDERS - 200 => "paid",
            _ if dice.below(20) == 0 => "returned",
            _ => "sent",
        };
        let note = if dice.below(9) == 0 { dice.pick(NOTES) } else { "" };
        order.execute(params![id, 1 + dice.below(CUSTOMERS), placed, status, note])?;
        for line in 1..=1 + dice.below(4) {
            item.execute(params![id, line, 1 + dice.below(PRODUCTS), 1 + dice.below(3)])?;
        }
    }
    Ok(())
}
