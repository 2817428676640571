//! Values as SQL says them, so that what is applied is to the last bit what was there.
use crate::plain;
use rusqlite::{
    Connection, Row, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use std::fmt::Write as _;

/// A value as SQLite keeps it. Text is whatever bytes stand there.
#[derive(Clone, Debug)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// To the last bit, and of the same type.
impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) | (Self::Blob(a), Self::Blob(b)) => a == b,
            _ => false,
        }
    }
}

impl Cell {
    /// So many of a row, from a place on.
    pub fn of(row: &Row<'_>, from: usize, count: usize) -> rusqlite::Result<Vec<Self>> {
        (from..from + count)
            .map(|i| {
                Ok(match row.get_ref(i)? {
                    ValueRef::Null => Self::Null,
                    ValueRef::Integer(i) => Self::Integer(i),
                    ValueRef::Real(r) => Self::Real(r),
                    ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
                    ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
                })
            })
            .collect()
    }

    /// Whether a comparison could take one for the other, so that their types have to tell them apart.
    pub fn number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Real(_))
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Integer(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(i) => ValueRef::Integer(*i),
            Self::Real(r) => ValueRef::Real(*r),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// How bytes become text in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16le,
    Utf16be,
}

pub struct Literals {
    pub encoding: Encoding,
    /// Reads reals as whoever applies the statements will.
    scratch: Connection,
}

impl Literals {
    pub fn new(connection: &Connection) -> rusqlite::Result<Self> {
        let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
        let encoding = match encoding.as_str() {
            "UTF-16le" => Encoding::Utf16le,
            "UTF-16be" => Encoding::Utf16be,
            _ => Encoding::Utf8,
        };
        Ok(Self { encoding, scratch: Connection::open_in_memory()? })
    }

    /// One line, without anything that a terminal would act on.
    pub fn of(&self, cell: &Cell) -> String {
        match cell {
            Cell::Null => "NULL".to_owned(),
            // Its number without the sign would be read as a real.
            Cell::Integer(i64::MIN) => "(-9223372036854775807 - 1)".to_owned(),
            Cell::Integer(i) => i.to_string(),
            Cell::Real(r) => self.real(*r),
            Cell::Text(bytes) => self.text(bytes),
            Cell::Blob(bytes) => hex(bytes),
        }
    }

    fn real(&self, real: f64) -> String {
        if real.is_infinite() {
            return if real > 0.0 { "9e999" } else { "-9e999" }.to_owned();
        }
        let read = |text: &str| self.scratch.query_row(&format!("SELECT {text}"), [], |row| row.get::<_, f64>(0));
        let right =
            |text: &String| read(text).is_ok_and(|read| read.to_bits() == real.to_bits() || read == 0.0 && real == 0.0);
        let shortest = format!("{real:?}");
        if right(&shortest) {
            return shortest;
        }
        // SQLite does not read every number as the nearest one. Products of powers of two are exact.
        let exact = in_powers(real);
        if right(&exact) { exact } else { shortest }
    }

    fn text(&self, bytes: &[u8]) -> String {
        const MOST_HIDDEN: usize = 50;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') && text.chars().filter(|c| plain::hidden(*c)).count() <= MOST_HIDDEN => {
                text
            }
            Ok(text) => return format!("CAST({} AS TEXT)", hex(&self.encoded(text))),
            Err(_) => return format!("CAST({} AS TEXT)", hex(bytes)),
        };
        if !text.contains(plain::hidden) {
            return format!("'{}'", text.replace('\'', "''"));
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(plain::hidden) {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(format!("'{}'", before.replace('\'', "''")));
            }
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                parts.push(format!("char({})", u32::from(c)));
            }
            rest = chars.as_str();
        }
        if !rest.is_empty() {
            parts.push(format!("'{}'", rest.replace('\'', "''")));
        }
        format!("({})", parts.join(" || "))
    }

    fn encoded(&self, text: &str) -> Vec<u8> {
        match self.encoding {
            Encoding::Utf8 => text.as_bytes().to_vec(),
            Encoding::Utf16le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Encoding::Utf16be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + 3);
    text.push_str("X'");
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

/// `(4503599627370497 * 1.0 / 1073741824.0 / 4.0)`
fn in_powers(real: f64) -> String {
    const STEP: i64 = 30;
    let bits = real.to_bits();
    let (exponent, fraction) = (i64::try_from(bits >> 52 & 0x7ff).unwrap_or(0), bits & ((1 << 52) - 1));
    let (mantissa, mut power) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    let sign = if real < 0.0 { "-" } else { "" };
    let mut text = format!("({sign}{mantissa} * 1.0");
    let operator = if power < 0 { '/' } else { '*' };
    while power != 0 {
        let step = power.abs().min(STEP);
        let _ = write!(text, " {operator} {}.0", 1_u64 << step);
        power -= step * power.signum();
    }
    text + ")"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_as_it_was() {
        let connection = Connection::open_in_memory().unwrap();
        let literals = Literals::new(&connection).unwrap();
        let mut cells = vec![
            Cell::Null,
            Cell::Integer(i64::MIN),
            Cell::Integer(i64::MAX),
            Cell::Integer(-1),
            Cell::Blob(Vec::new()),
            Cell::Blob((0..=255).collect()),
            Cell::Text(b"it's\r\n\x1b[31m \xe2\x80\xae x".to_vec()),
            Cell::Text(b"a\0b'c".to_vec()),
            Cell::Text(b"\xff\xfe no text".to_vec()),
            Cell::Text("\n".repeat(5_000).into_bytes()),
            Cell::Text(Vec::new()),
        ];
        let special =
            [f64::MAX, f64::MIN_POSITIVE, 5e-324, -5e-324, 0.1, 1e23, 2.0_f64.powi(70), f64::INFINITY, 0.1 + 0.2];
        cells.extend(special.map(Cell::Real));
        // Numbers from all over, the same in each run.
        let mut bits = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let real = f64::from_bits(bits);
            cells.extend((!real.is_nan()).then_some(Cell::Real(real)));
        }
        for cell in cells {
            let literal = literals.of(&cell);
            assert!(!literal.contains(plain::hidden), "{literal}");
            let read = connection.query_row(&format!("SELECT {literal}"), [], |row| Cell::of(row, 0, 1)).unwrap();
            assert_eq!(read, [cell], "{literal}");
        }
    }

    #[test]
    fn text_keeps_the_encoding_of_its_database() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a)").unwrap();
        let literals = Literals::new(&connection).unwrap();
        assert_eq!(literals.encoding, Encoding::Utf16le);
        let cell = Cell::Text("ü\0ж".as_bytes().to_vec());
        let sql = format!("SELECT {}", literals.of(&cell));
        assert_eq!(connection.query_row(&sql, [], |row| Cell::of(row, 0, 1)).unwrap(), [cell]);
    }
}
