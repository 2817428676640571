//! Reads TOML with a place for every value, and goes on after a mistake. A key is known because it was asked for, so
//! `Table::finish` finds the others by itself.
use super::{Location, Mistake, Mistakes, Source, shown, units};
use std::{
    cell::RefCell,
    fs::File,
    io::Read,
    ops::{Range, RangeInclusive},
    path::Path,
    sync::Arc,
    time::Duration,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The largest file that people write.
pub const MAX_FILE: u64 = 1 << 20;

/// The most that a table or a list may hold. What looks at every two of them stays quick.
pub const MAX_ENTRIES: usize = 1000;

/// Beyond this many mistakes nothing more is told.
const MAX_MISTAKES: usize = 1000;
/// Of slips in the syntax: what stands behind the first ones is guesswork.
const MAX_SLIPS: usize = 20;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    pub value: T,
    pub location: Location,
}

/// The bytes of a file that is at most this large; never a device, never a pipe that does not end.
pub fn read_bounded(path: &Path, max: u64, what: &str) -> Result<Vec<u8>, Mistake> {
    let failed = |error: std::io::Error| Mistake::io(what, path, &error);
    // A pipe without a writer would block the open itself.
    let metadata = path.metadata().map_err(failed)?;
    let name = || shown(&path.display().to_string());
    if !metadata.is_file() {
        return Err(Mistake::new(format!("{what} {}: it is not a regular file", name())));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > max {
        let max = units::show_bytes(max);
        return Err(Mistake::new(format!("{what} {}: it is larger than {max}", name())));
    }
    Ok(bytes)
}

/// Reads a whole document. What `read` finds counts only when the file is TOML at all: after a slip in the syntax
/// half of the rest would be reported as missing.
pub fn read<T>(source: &Arc<Source>, read: impl FnOnce(Table<'_>) -> T) -> (Option<T>, Vec<Mistake>) {
    if let Some(at) = source.broken() {
        let mistake = Mistake::new("this is not UTF-8").at(&Location::new(source, at..at + 1));
        return (None, vec![mistake.hint("save the file as UTF-8")]);
    }
    let (root, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        return (None, slips(source, errors));
    }
    if root.get_ref().len() > MAX_ENTRIES {
        let mistake = Mistake::new(format!("there are more than {MAX_ENTRIES} entries at the top of the file"));
        return (None, vec![mistake.at(&Location::new(source, 0..0))]);
    }
    let pass = Pass { source: source.clone(), mistakes: RefCell::default() };
    let table =
        Table { pass: &pass, entries: root.get_ref(), span: 0..0, name: String::new(), asked: RefCell::default() };
    let value = read(table);
    (Some(value), pass.mistakes.into_inner())
}

/// One for each line: the parser stumbles on over what it could not understand.
fn slips(source: &Arc<Source>, errors: Vec<toml::de::Error>) -> Vec<Mistake> {
    let end = source.text().len();
    let mut slips: Vec<(Range<usize>, Mistake)> = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(end..end);
        let location = Location::new(source, span.clone());
        let mistake = Mistake::new(format!("not TOML: {}", shown(error.message()))).at(&location);
        // Where it does not go deeper it sees no end either.
        if error.message().contains("recurs") {
            let mistake = Mistake::new("tables or lists are nested too deep").at(&location);
            return vec![mistake.hint("a few levels are all that is ever meant")];
        }
        slips.push((span, mistake));
    }
    slips.sort_by_key(|(span, _)| span.start);
    let one_slip = |earlier: &(Range<usize>, Mistake), later: &(Range<usize>, Mistake)| {
        let text = source.text();
        let between = text.get(earlier.0.start..later.0.start).unwrap_or_default();
        // What stands in a section that is there twice is there twice too.
        let line = text.get(..earlier.0.start).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
        let section = line.trim_start().starts_with('[') && earlier.1.message == later.1.message;
        !between.contains('\n') || section && !between.contains("\n[")
    };
    slips.dedup_by(|later, earlier| one_slip(earlier, later));
    slips.into_iter().take(MAX_SLIPS).map(|(_, mistake)| mistake).collect()
}

struct Pass {
    source: Arc<Source>,
    mistakes: RefCell<Vec<Mistake>>,
}

impl Pass {
    fn mistake(&self, mistake: Mistake) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MAX_MISTAKES {
            mistakes.push(mistake);
        }
    }
    /// Whether somebody may have written so many by hand.
    fn bounded(&self, entries: usize, name: &str, span: &Range<usize>) -> bool {
        if entries > MAX_ENTRIES {
            let mistake = Mistake::new(format!("`{name}` has more than {MAX_ENTRIES} entries"));
            self.mistake(mistake.at(&Location::new(&self.source, span.clone())));
        }
        entries <= MAX_ENTRIES
    }
}

pub struct Table<'d> {
    pass: &'d Pass,
    entries: &'d DeTable<'d>,
    /// where its name stands
    span: Range<usize>,
    /// `tree.app`; empty for the document
    name: String,
    asked: RefCell<Vec<String>>,
}

/// A value that has not been looked at, under its full name.
pub struct Item<'d> {
    pass: &'d Pass,
    value: &'d DeValue<'d>,
    key_span: Range<usize>,
    span: Range<usize>,
    /// the last part of its name; empty in an array
    pub key: String,
    pub name: String,
}

impl<'d> Table<'d> {
    pub fn location(&self) -> Location {
        Location::new(&self.pass.source, self.span.clone())
    }
    pub fn name(&self) -> &str {
        &self.name
    }
    pub fn mistake(&self, mistake: Mistake) {
        self.pass.mistake(mistake);
    }

    pub fn get(&self, key: &str) -> Option<Item<'d>> {
        self.asked.borrow_mut().push(key.to_owned());
        self.entries
            .iter()
            .find(|(k, _)| k.get_ref() == key)
            .map(|(k, v)| item(self.pass, &self.name, k.get_ref(), k.span(), v))
    }

    /// All entries in the order of the file. None of them is unknown any more.
    pub fn entries(&self) -> Vec<Item<'d>> {
        let mut items: Vec<_> =
            self.entries.iter().map(|(k, v)| item(self.pass, &self.name, k.get_ref(), k.span(), v)).collect();
        self.asked.borrow_mut().extend(self.entries.keys().map(|key| key.get_ref().clone().into_owned()));
        items.sort_by_key(|item| item.key_span.start);
        items
    }

    /// The value of a key that must be there.
    pub fn required(&self, key: &str, example: &str) -> Option<Item<'d>> {
        let item = self.get(key);
        if item.is_none() {
            let mistake = if self.name.is_empty() {
                Mistake::new(format!("`{key}` is missing"))
            } else {
                Mistake::new(format!("`{}` has no `{key}`", self.name))
            };
            self.mistake(mistake.at(&self.location()).hint(format!("add `{key} = {example}`")));
        }
        item
    }

    pub fn string(&self, key: &str) -> Option<At<String>> {
        self.get(key)?.string()
    }
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key)?.boolean()
    }
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.get(key)?.duration().map(|at| at.value)
    }
    pub fn bytes(&self, key: &str) -> Option<u64> {
        self.get(key)?.bytes()
    }
    pub fn integer(&self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.get(key)?.integer(range)
    }
    pub fn table(&self, key: &str) -> Option<Table<'d>> {
        self.get(key)?.table()
    }
    /// The entries of the table under a key that have names, in the order of the file; other keys there are mistakes.
    pub fn named(&self, key: &str) -> Vec<Item<'d>> {
        let Some(table) = self.table(key) else { return Vec::new() };
        let named = |item: &Item<'d>| match name(&item.key) {
            Ok(()) => true,
            Err(why) => {
                let mistake = Mistake::new(format!("`{}` cannot be a name", item.key));
                table.mistake(mistake.at(&item.key_location()).hint(why));
                false
            }
        };
        table.entries().into_iter().filter(named).collect()
    }

    /// A section that must be there.
    pub fn section(&self, key: &str) -> Option<Table<'d>> {
        match self.get(key) {
            Some(item) => item.table(),
            None => {
                let mistake = Mistake::new(format!("there is no section `[{key}]`"));
                self.mistake(mistake.at(&self.location()).hint(format!("add `[{key}]`")));
                None
            }
        }
    }
    pub fn strings(&self, key: &str) -> Option<Vec<At<String>>> {
        self.get(key)?.strings()
    }

    /// Every key that nobody asked for is a mistake.
    pub fn finish(self) {
        let mut asked = self.asked.take();
        // Some are asked for more than once.
        let mut seen = std::collections::BTreeSet::new();
        asked.retain(|key| seen.insert(key.clone()));
        for (key, value) in self.entries.iter() {
            if asked.iter().any(|a| a == key.get_ref()) {
                continue;
            }
            let item = item(self.pass, &self.name, key.get_ref(), key.span(), value);
            let within = if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let mistake = Mistake::new(format!("unknown key `{}`{within}", item.key));
            self.mistake(mistake.at(&item.key_location()).known(key.get_ref(), asked.iter().map(String::as_str)));
        }
    }
}

fn item<'d>(
    pass: &'d Pass,
    within: &str,
    key: &str,
    key_span: Range<usize>,
    value: &'d Spanned<DeValue<'d>>,
) -> Item<'d> {
    let key = shown(key);
    let quoted = if !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        key.clone()
    } else {
        format!("\"{key}\"")
    };
    let name = if within.is_empty() { quoted } else { format!("{within}.{quoted}") };
    Item { pass, value: value.get_ref(), key_span, span: value.span(), key, name }
}

impl<'d> Item<'d> {
    /// Where the value stands.
    pub fn location(&self) -> Location {
        Location::new(&self.pass.source, self.span.clone())
    }
    pub fn key_location(&self) -> Location {
        Location::new(&self.pass.source, self.key_span.clone())
    }
    pub fn mistake(&self, mistake: Mistake) {
        self.pass.mistake(mistake.at(&self.location()));
    }
    pub fn mistake_at(&self, mistake: Mistake, location: &Location) {
        self.pass.mistake(mistake.at(location));
    }
    fn expected(&self, what: &str) {
        self.mistake(Mistake::new(format!("`{}` must be {what}, not {}", self.name, self.kind())));
    }
    fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
    pub fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }
    pub fn is_string(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }
    pub fn is_integer(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }
    pub fn is_number(&self) -> bool {
        matches!(self.value, DeValue::Integer(_) | DeValue::Float(_))
    }
    pub fn is_boolean(&self) -> bool {
        matches!(self.value, DeValue::Boolean(_))
    }
    fn at<T>(&self, value: T) -> At<T> {
        At { value, location: self.location() }
    }

    /// Text of at most 4 KiB without control characters: nothing that is read here is ever more.
    pub fn string(&self) -> Option<At<String>> {
        let DeValue::String(text) = self.value else {
            self.expected("a string");
            return None;
        };
        if text.len() > 4096 {
            self.mistake(Mistake::new(format!("`{}` is longer than 4 KiB", self.name)));
            return None;
        }
        if let Some(c) = text.chars().find(|c| crate::plain::hidden(*c)) {
            let mistake = Mistake::new(format!("`{}` holds the character {}", self.name, c.escape_unicode()));
            self.mistake(mistake.hint("write one line of plain text"));
            return None;
        }
        Some(self.at(text.clone().into_owned()))
    }

    /// A string that says something.
    pub fn text(&self) -> Option<At<String>> {
        let text = self.string()?;
        if text.value.trim().is_empty() {
            self.mistake(Mistake::new(format!("`{}` is empty", self.name)));
            return None;
        }
        Some(text)
    }

    pub fn boolean(&self) -> Option<bool> {
        let DeValue::Boolean(value) = self.value else {
            self.expected("`true` or `false`");
            return None;
        };
        Some(*value)
    }

    pub fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let DeValue::Integer(number) = self.value else {
            self.expected("an integer");
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| range.contains(n));
        if value.is_none() {
            let (low, high) = (range.start(), range.end());
            let bounds = match (*low, *high) {
                (_, i64::MAX) => format!("at least {low}"),
                (low, high) => format!("from {low} to {high}"),
            };
            self.mistake(Mistake::new(format!("`{}` must be {bounds}", self.name)));
        }
        value
    }

    /// A finite number, with or without a fraction.
    pub fn number(&self) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
            DeValue::Float(n) => n.as_str().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => {
                self.expected("a number");
                return None;
            }
        };
        if number.is_none() {
            self.mistake(Mistake::new(format!("`{}` must be a finite number", self.name)));
        }
        number
    }

    pub fn duration(&self) -> Option<At<Duration>> {
        let DeValue::String(text) = self.value else {
            self.expected("a length of time in quotes");
            return None;
        };
        match units::duration(text) {
            Ok(time) => Some(self.at(time)),
            Err(why) => {
                self.mistake(Mistake::new(format!("`{}`: {why}", self.name)));
                None
            }
        }
    }

    pub fn bytes(&self) -> Option<u64> {
        let size = match self.value {
            DeValue::String(text) => units::bytes(text),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .ok()
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(|| "a size cannot be negative".to_owned()),
            _ => {
                self.expected("a size in quotes");
                return None;
            }
        };
        size.map_err(|why| self.mistake(Mistake::new(format!("`{}`: {why}", self.name)))).ok()
    }

    pub fn table(&self) -> Option<Table<'d>> {
        let DeValue::Table(entries) = self.value else {
            self.expected("a table");
            return None;
        };
        let span = if self.key_span.is_empty() { self.span.clone() } else { self.key_span.clone() };
        if !self.pass.bounded(entries.len(), &self.name, &span) {
            return None;
        }
        Some(Table { pass: self.pass, entries, span, name: self.name.clone(), asked: RefCell::default() })
    }

    pub fn array(&self) -> Option<Vec<Item<'d>>> {
        let DeValue::Array(values) = self.value else {
            self.expected("a list");
            return None;
        };
        if !self.pass.bounded(values.len(), &self.name, &self.span) {
            return None;
        }
        let element = |value: &'d Spanned<DeValue<'d>>| Item {
            pass: self.pass,
            value: value.get_ref(),
            key_span: 0..0,
            span: value.span(),
            key: String::new(),
            name: self.name.clone(),
        };
        Some(values.iter().map(element).collect())
    }

    /// A list of strings, all of them without a mistake.
    pub fn strings(&self) -> Option<Vec<At<String>>> {
        let items = self.array()?;
        let strings: Vec<_> = items.iter().map(Item::string).collect();
        strings.into_iter().collect()
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.string()?.value;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let mistake = Mistake::new(format!("`{}` cannot be `{}`", self.name, shown(&text)));
            self.mistake(mistake.known(&text, words.iter().map(|(word, _)| *word)));
        }
        found
    }
}

/// Opens and reads a file that people wrote.
pub fn open(path: &Path, what: &str) -> Result<Arc<Source>, Mistakes> {
    let bytes = read_bounded(path, MAX_FILE, what)?;
    Ok(Source::new(path.display().to_string(), bytes))
}

/// Names of resources and labels of packages: letters, digits, `-`, `_` and `.`, at most 64, beginning with a letter or
/// digit. The error is a fragment.
pub fn name(text: &str) -> Result<(), &'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 {
        Err("a name has 1 to 64 characters")
    } else if !text.chars().all(fine) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Err("a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit")
    } else {
        Ok(())
    }
}
