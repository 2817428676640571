//! Mistakes in what people write: what is wrong, where, and what to do. All mistakes of a file are found in one pass.
mod nearest;
pub mod reader;
mod source;
pub mod units;

pub use crate::plain::shown;
pub use nearest::nearest;
pub use source::{Location, Source};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::{fmt, path::Path};

/// One mistake. `message` is a lowercase fragment; `hint` says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub location: Option<Location>,
    pub hint: Option<String>,
}

impl Mistake {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), location: None, hint: None }
    }
    pub fn at(mut self, location: &Location) -> Self {
        self.location = Some(location.clone());
        self
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// The hint that helps against a slip of the pen, else the list of what there is.
    pub fn known<'a>(self, found: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(found, known.iter().copied()) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            None => {
                let list: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
                self.hint(format!("there {} {}", if list.len() == 1 { "is" } else { "are" }, list.join(", ")))
            }
        }
    }

    /// An error of the operating system about a path.
    pub fn io(what: &str, path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{what} {}: {}", shown(&path.display().to_string()), io_reason(error)))
    }
}

/// The reason without the number of the error, as a fragment.
pub fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "not allowed to read it".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        std::io::ErrorKind::NotADirectory => "a part of the path is no folder".to_owned(),
        _ => error.to_string(),
    }
}

/// `file:line:column: message`, the line with a caret, the hint.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(location) = &self.location else {
            write!(f, "{}", self.message)?;
            return match &self.hint {
                Some(hint) => write!(f, "\n  = {hint}"),
                None => Ok(()),
            };
        };
        let (line, column) = location.line_and_column();
        writeln!(f, "{}:{line}:{column}: {}", location.source.name(), self.message)?;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let (text, before, width) = location.excerpt();
        writeln!(f, " {margin} |")?;
        writeln!(f, "{}", format!(" {number} | {text}").trim_end())?;
        write!(f, " {margin} | {}{}", " ".repeat(before), "^".repeat(width))?;
        match &self.hint {
            Some(hint) => write!(f, "\n {margin} = {hint}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Mistake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = self.location.as_ref().map(Location::line_and_column);
        let mut fields = serializer.serialize_struct("Mistake", 5)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("file", &self.location.as_ref().map(|l| l.source.name()))?;
        fields.serialize_field("line", &at.map(|(line, _)| line))?;
        fields.serialize_field("column", &at.map(|(_, column)| column))?;
        fields.serialize_field("hint", &self.hint)?;
        fields.end()
    }
}

/// All mistakes that were found, in the order of the file. As an error: nothing was changed because of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mistakes(pub Vec<Mistake>);

/// Beyond this many, the rest is only counted.
const SHOWN: usize = 50;

impl Mistakes {
    /// `Ok` when there are none.
    pub fn none_or(mut self) -> Result<(), Self> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.sort();
        Err(self)
    }

    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| {
            let key = |m: &Mistake| m.location.as_ref().map(|l| (l.source.name().to_owned(), l.span.start));
            key(a).cmp(&key(b))
        });
        self.0.dedup();
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{mistake}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}
