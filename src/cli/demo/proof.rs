//! The demo's own look at the state, with nothing of Backout: what every table holds, what every file is.
use anyhow::Context;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

/// What was looked at, by name, as a digest or a text; two are equal when nothing differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    facts: BTreeMap<String, String>,
    pub tables: usize,
    pub rows: u64,
    pub files: usize,
    pub links: usize,
}

impl Proof {
    /// `trees` by the name that they get in the proof.
    pub fn take(database: &Path, trees: &[(&str, &Path)]) -> anyhow::Result<Self> {
        let mut proof = Self::default();
        proof.database(database).with_context(|| format!("cannot look at {}", database.display()))?;
        for (name, path) in trees {
            proof.tree(name, path).with_context(|| format!("cannot look at {}", path.display()))?;
        }
        Ok(proof)
    }

    /// A line for everything that differs.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut names: Vec<&String> = self.facts.keys().chain(before.facts.keys()).collect();
        names.sort();
        names.dedup();
        let mut lines = Vec::new();
        for name in names {
            match (before.facts.get(name), self.facts.get(name)) {
                (Some(then), Some(now)) if then == now => {}
                (Some(then), Some(now)) => lines.push(format!("{name}: was {then}, is {now}")),
                (Some(_), None) => lines.push(format!("{name} is missing")),
                (None, _) => lines.push(format!("{name} is new")),
            }
        }
        lines
    }

    /// One digest over all of it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, fact) in &self.facts {
            feed(&mut hash, name.as_bytes());
            feed(&mut hash, fact.as_bytes());
        }
        hex(hash)
    }

    pub fn counts(&self) -> String {
        let Self { tables, rows, files, links, .. } = self;
        format!("{tables} tables with {rows} rows, {files} files, {links} link{}", if *links == 1 { "" } else { "s" })
    }

    fn database(&mut self, path: &Path) -> anyhow::Result<()> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // One moment for all tables.
        db.execute_batch("BEGIN")?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        self.facts.insert("schema version".to_owned(), version.to_string());
        let mut statement = db.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
        let mut rows = statement.query([])?;
        let mut tables = Vec::new();
        while let Some(row) = rows.next()? {
            let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
            let sql: Option<String> = row.get(2)?;
            self.facts.insert(format!("{kind} {name}"), sql.unwrap_or_default());
            if kind == "table" {
                tables.push(name);
            }
        }
        for table in tables {
            let (rows, digest) = content(&db, &table)?;
            self.facts.insert(format!("rows of {table}"), format!("{rows} rows, {digest}"));
            self.tables += 1;
            self.rows += rows;
        }
        Ok(())
    }

    fn tree(&mut self, name: &str, path: &Path) -> anyhow::Result<()> {
        let about = fs::symlink_metadata(path)?;
        let (mode, owner) = (about.permissions().mode(), (about.uid(), about.gid()));
        let fact = if about.is_symlink() {
            self.links += 1;
            format!("link to {}", fs::read_link(path)?.display())
        } else if about.is_dir() {
            format!("folder {mode:o} {owner:?}")
        } else {
            self.files += 1;
            let mut hash = Sha256::new();
            hash.update(fs::read(path)?);
            format!("file {mode:o} {owner:?} changed at {}.{:09} {}", about.mtime(), about.mtime_nsec(), hex(hash))
        };
        self.facts.insert(name.to_owned(), fact);
        if about.is_dir() {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                self.tree(&format!("{name}/{}", entry.file_name().to_string_lossy()), &entry.path())?;
            }
        }
        Ok(())
    }
}

/// How many rows of a table that nobody uses have a greater `id`. Leaves no trace beside the file.
pub fn rows_after(database: &Path, table: &str, id: i64) -> anyhow::Result<u64> {
    let path = std::path::absolute(database)?;
    let escaped: String = path.as_os_str().as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let db = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
        .with_context(|| format!("cannot open {}", database.display()))?;
    let count: i64 = db.query_row(&format!("SELECT count(*) FROM \"{table}\" WHERE id > ?1"), [id], |r| r.get(0))?;
    Ok(u64::try_from(count)?)
}

/// All rows of a table, in the order of their values: where SQLite keeps them does not matter.
fn content(db: &Connection, table: &str) -> anyhow::Result<(u64, String)> {
    let table = table.replace('"', "\"\"");
    let columns = db.prepare(&format!("SELECT * FROM \"{table}\""))?.column_count();
    let order: Vec<String> = (1..=columns).map(|n| n.to_string()).collect();
    let mut statement = db.prepare(&format!("SELECT * FROM \"{table}\" ORDER BY {}", order.join(", ")))?;
    let mut rows = statement.query([])?;
    let (mut count, mut hash) = (0, Sha256::new());
    while let Some(row) = rows.next()? {
        count += 1;
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Null => feed(&mut hash, b"n"),
                ValueRef::Integer(number) => feed(&mut hash, format!("i{number}").as_bytes()),
                ValueRef::Real(number) => feed(&mut hash, format!("r{:x}", number.to_bits()).as_bytes()),
                ValueRef::Text(text) => feed(&mut hash, &[b"t", text].concat()),
                ValueRef::Blob(blob) => feed(&mut hash, &[b"b", blob].concat()),
            }
        }
    }
    Ok((count, hex(hash)))
}

/// With its length, so that no two lists of values look the same.
fn feed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Every single change is seen, and named.
    #[test]
    fn nothing_escapes_the_proof() {
        let folder = tempfile::tempdir().unwrap();
        let (database, tree) = (folder.path().join("x.db"), folder.path().join("tree"));
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("sub/file"), "content").unwrap();
        symlink("sub/file", tree.join("link")).unwrap();
        let db = Connection::open(&database).unwrap();
        db.execute_batch("CREATE TABLE a (x, y); INSERT INTO a VALUES (1, '2'), (2, NULL); CREATE TABLE b (z)")
            .unwrap();
        let look = || Proof::take(&database, &[("tree", &tree)]).unwrap();
        let before = look();
        assert_eq!((before.tables, before.rows, before.files, before.links), (2, 2, 1, 1));
        assert_eq!(look().differences(&before), Vec::<String>::new());
        assert_eq!(look().digest(), before.digest());

        let changes: &[(&str, &str)] = &[
            ("UPDATE a SET y = 2 WHERE x = 1", "rows of a"),
            ("DELETE FROM a WHERE x = 2", "rows of a"),
            ("CREATE INDEX i ON a (x)", "index i is new"),
            ("DROP TABLE b", "rows of b is missing"),
            ("PRAGMA user_version = 3", "schema version: was 0, is 3"),
        ];
        for (sql, expected) in changes {
            let before = look();
            db.execute_batch(sql).unwrap();
            let lines = look().differences(&before);
            assert!(lines.iter().any(|line| line.contains(expected)), "{sql}: {lines:?}");
        }

        let change = |what: &dyn Fn(), expected: &str| {
            let before = look();
            what();
            let lines = look().differences(&before);
            assert!(lines.len() == 1 && lines[0].contains(expected), "{expected}: {lines:?}");
        };
        change(&|| fs::set_permissions(tree.join("sub/file"), fs::Permissions::from_mode(0o600)).unwrap(), "sub/file");
        change(&|| fs::write(tree.join("sub/file"), "contemt").unwrap(), "tree/sub/file: was file");
        change(&|| fs::write(tree.join("sub/new"), "").unwrap(), "tree/sub/new is new");
        let relink = || {
            fs::remove_file(tree.join("link")).unwrap();
            symlink("sub/new", tree.join("link")).unwrap();
        };
        change(&relink, "tree/link: was link to sub/file, is link to sub/new");
    }
}
