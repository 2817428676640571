//! A database on MariaDB.
use super::Data;
use crate::support::mariadb::{BACKOUT, PASSWORD, Server};
use std::{ops::Deref, process::Command};

pub struct Orders<S> {
    server: S,
    pub database: String,
}

const MIGRATIONS: [&str; 2] = [include_str!("mariadb/1.sql"), include_str!("mariadb/2.sql")];

impl<S: Deref<Target = Server>> Orders<S> {
    pub fn on(server: S) -> Self {
        let database = server.database();
        let orders = Self { server, database };
        orders.sql(&format!("DELIMITER //\n{}//", MIGRATIONS[0]));
        orders.sql(include_str!("mariadb/stock.sql"));
        // What hangs on it by name.
        orders.server.sql(&format!(
            "CREATE USER reader_{0}@localhost; GRANT SELECT ON {0}.sales TO reader_{0}@localhost",
            orders.database
        ));
        orders
    }

    fn sql(&self, sql: &str) {
        let output = self.server.client(&self.database, &self.database).args(["-e", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn dumped(&self, what: &[&str]) -> String {
        let mut dump = Command::new("mariadb-dump");
        dump.args(["--no-defaults", "--user=root", "--skip-comments", "--order-by-primary", "--single-transaction"]);
        let output = dump.arg("-S").arg(self.server.socket()).args(what).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl<S: Deref<Target = Server>> Data for Orders<S> {
    fn applies(&self) -> (&'static str, Command) {
        ("mariadb DATABASE < 1-inserts.sql", self.server.client(&self.database, &self.database))
    }
    fn migrations(&self) -> [&'static str; 2] {
        MIGRATIONS
    }
    fn section(&self) -> String {
        format!(
            "driver = \"mariadb\"\nurl = \"mysql://{BACKOUT}@localhost/{0}?socket={1}\"\n\
             password = {{ file = \"secrets/orders\" }}\nfence-accounts = [\"{0}@localhost\"]",
            self.database,
            self.server.socket().display()
        )
    }
    fn password(&self) -> &'static str {
        PASSWORD
    }
    fn address(&self) -> String {
        format!("mysql://{0}@localhost/{0}?socket={1}", self.database, self.server.socket().display())
    }
    fn ask(&self, sql: &str) -> String {
        self.server.ask(&self.database, sql).concat()
    }
    fn ask_aside(&self, sql: &str) -> String {
        let asides = self.server.ask("", &format!("SHOW DATABASES LIKE 'backout\\_{}\\_%\\_aside'", self.database));
        self.server.ask(asides.first().expect("what 2.0 wrote is not kept"), sql).concat()
    }
    fn dump(&self) -> String {
        let name = self.database.as_str();
        let declared = self.dumped(&["--no-data", "--routines", "--triggers", "--events", name]);
        // The number of the next row goes on.
        let declared = declared.lines().map(|line| match line.split_once(" AUTO_INCREMENT=") {
            Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
            None => line.to_owned(),
        });
        let mut text = declared.collect::<Vec<_>>().join("\n");
        // Whatever came later was bought by the shop's customers, and takes from the stock.
        for (table, those) in
            [("customers", "1"), ("orders", "id <= 4000"), ("items", "order_id <= 4000"), ("schema_revision", "1")]
        {
            text += &self.dumped(&["--no-create-info", "--skip-triggers", "--where", those, name, table]);
        }
        text += &self.server.ask("", &format!("SHOW GRANTS FOR reader_{name}@localhost")).join("\n");
        text
    }
}
