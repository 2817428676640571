//! What must not come back to a script, by a page that shows the request's headers.

/// Shorter values are words that would be found everywhere, and protect nothing.
const SHORTEST: usize = 6;

#[derive(Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The value, and without its scheme: `Bearer abc` may come back as `abc`.
    pub fn add(&mut self, value: &str) {
        let credential = value.split_once(' ').map(|(_, rest)| rest.trim());
        let parts = [Some(value.trim()), credential].into_iter().flatten();
        self.0.extend(parts.filter(|part| part.len() >= SHORTEST).map(ToOwned::to_owned));
    }

    pub fn longest(&self) -> usize {
        self.0.iter().map(String::len).max().unwrap_or(0)
    }

    /// The first `end` bytes of a text. A secret that begins there and ends behind is withheld as a whole, so the text has to
    /// be longer than `end` by the longest of them where there was more.
    pub fn withhold(&self, text: &str, end: usize) -> String {
        let end = text.floor_char_boundary(end);
        let found = |secret| text.match_indices(secret).map(|(at, found): (usize, &str)| (at, at + found.len()));
        let mut found: Vec<(usize, usize)> = self.0.iter().flat_map(found).filter(|(at, _)| *at < end).collect();
        found.sort_unstable();
        let (mut kept, mut told) = (String::with_capacity(end), 0);
        for (from, until) in found {
            // One that lies in another, or overlaps it, is withheld with it.
            if from >= told {
                kept.push_str(&text[told..from]);
                kept.push_str("[withheld]");
            }
            told = told.max(until);
        }
        kept.push_str(text.get(told..end).unwrap_or_default());
        kept
    }
}
