//! Settings: typed values that a package declares and a site may override.
use crate::diagnostic::{
    Location, Mistake,
    reader::{Item, Table},
    units,
};
use std::{fmt, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Duration,
    Integer,
    Number,
    String,
    Boolean,
}

const TYPES: &[(&str, Type)] = &[
    ("duration", Type::Duration),
    ("integer", Type::Integer),
    ("number", Type::Number),
    ("string", Type::String),
    ("boolean", Type::Boolean),
];

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// whole seconds
    Duration(u64),
    Integer(i64),
    Number(f64),
    String(String),
    Boolean(bool),
}

/// As a script reads it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(seconds) => write!(f, "{seconds}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::String(text) => f.write_str(text),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

impl Value {
    /// As a person writes it.
    pub fn written(&self) -> String {
        match self {
            Self::Duration(seconds) => units::show_duration(Duration::from_secs(*seconds)),
            Self::String(text) => format!("{text:?}"),
            other => other.to_string(),
        }
    }

    fn below(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Duration(a), Self::Duration(b)) => a < b,
            (Self::Integer(a), Self::Integer(b)) => a < b,
            (Self::Number(a), Self::Number(b)) => a < b,
            _ => false,
        }
    }
}

/// `watch = { type = "duration", default = "10m", max = "1h", about = "…" }`
#[derive(Clone, Debug)]
pub struct Setting {
    pub kind: Type,
    /// Without one the site must say the value.
    pub default: Option<Value>,
    pub min: Option<Value>,
    pub max: Option<Value>,
    pub about: String,
    pub location: Location,
}

impl Setting {
    /// The value for what was written, of this type and within the bounds; or why it is none.
    pub fn accept(&self, written: &Written) -> Result<Value, String> {
        let value = written.typed(self.kind)?;
        match (&self.min, &self.max) {
            (Some(min), _) if value.below(min) => Err(format!("must be at least {}", min.written())),
            (_, Some(max)) if max.below(&value) => Err(format!("must be at most {}", max.written())),
            _ => Ok(value),
        }
    }
}

/// A value whose type is not known yet: the site writes it, the package says what it must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    Text(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

impl Written {
    pub fn read(item: &Item<'_>) -> Option<Self> {
        if item.is_string() {
            item.string().map(|at| Self::Text(at.value))
        } else if item.is_boolean() {
            item.boolean().map(Self::Boolean)
        } else if item.is_integer() {
            item.integer(i64::MIN..=i64::MAX).map(Self::Integer)
        } else if item.is_number() {
            item.number().map(Self::Number)
        } else {
            item.mistake(Mistake::new(format!("`{}` must be a text, a number, `true` or `false`", item.name)));
            None
        }
    }

    fn typed(&self, kind: Type) -> Result<Value, String> {
        match (kind, self) {
            (Type::Duration, Self::Text(text)) => match units::duration(text) {
                Ok(time) if time.subsec_nanos() != 0 => Err("must be whole seconds".to_owned()),
                Ok(time) => Ok(Value::Duration(time.as_secs())),
                Err(why) => Err(format!("must be a length of time: {why}")),
            },
            (Type::Duration, _) => Err("must be a length of time in quotes, as `\"10m\"`".to_owned()),
            (Type::Integer, Self::Integer(number)) => Ok(Value::Integer(*number)),
            (Type::Integer, _) => Err("must be an integer".to_owned()),
            (Type::Number, Self::Integer(number)) => Ok(Value::Number(*number as f64)),
            (Type::Number, Self::Number(number)) => Ok(Value::Number(*number)),
            (Type::Number, _) => Err("must be a number".to_owned()),
            (Type::String, Self::Text(text)) => Ok(Value::String(text.clone())),
            (Type::String, _) => Err("must be a string".to_owned()),
            (Type::Boolean, Self::Boolean(value)) => Ok(Value::Boolean(*value)),
            (Type::Boolean, _) => Err("must be `true` or `false`".to_owned()),
        }
    }
}

pub fn setting(item: &Item<'_>) -> Option<Setting> {
    let table: Table<'_> = item.table()?;
    let Some(kind) = table.required("type", "\"duration\"").and_then(|item| item.word(TYPES)) else {
        // Without its type no value can be judged; the keys are known all the same.
        for key in ["default", "min", "max", "about"] {
            table.get(key);
        }
        table.finish();
        return None;
    };
    let wrong = |item: &Item<'_>, why: String| item.mistake(Mistake::new(format!("`{}` {why}", item.name)));
    let bound = |key| {
        let item = table.get(key)?;
        if !matches!(kind, Type::Duration | Type::Integer | Type::Number) {
            wrong(&item, "has no meaning for this type".to_owned());
            return None;
        }
        Written::read(&item)?.typed(kind).map_err(|why| wrong(&item, why)).ok()
    };
    let (min, max) = (bound("min"), bound("max"));
    if let (Some(min), Some(max)) = (&min, &max)
        && max.below(min)
    {
        let message = format!("`{}`: min {} is above max {}", table.name(), min.written(), max.written());
        table.mistake(Mistake::new(message).at(&table.location()));
    }
    let about = table.required("about", "\"what it is for\"").and_then(|item| item.text());
    let mut setting = Setting { kind, default: None, min, max, about: String::new(), location: table.location() };
    if let Some(item) = table.get("default") {
        let value = Written::read(&item)?;
        setting.default = setting.accept(&value).map_err(|why| wrong(&item, why)).ok();
    }
    setting.about = about.map(|at| at.value).unwrap_or_default();
    table.finish();
    Some(setting)
}
