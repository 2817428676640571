macro_rules! exits { ($($name:ident = $code:literal,)*) => {
    /// The exit codes; `docs/exit-codes.md` says what a caller does with each.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Exit { $($name = $code,)* }
    impl Exit {
        pub const ALL: &'static [Self] = &[$(Self::$name),*];
    }
}; }
exits! {
    Done = 0,
    Error = 1,
    Usage = 2,
    Refused = 3,
    RolledBack = 4,
    Stopped = 5,
    InDoubt = 6,
    Findings = 10,
}

/// Nothing was changed, because something is wrong with what was asked. `hint` says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    pub message: String,
    pub hint: Option<String>,
}

impl Refused {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
