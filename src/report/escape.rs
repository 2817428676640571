//! How hostile text is written so that Markdown shows it as it is.
use super::text;

/// Longer texts are cut.
const MAX: usize = 1000;

/// One line that Markdown shows as it is.
pub fn md(text: &str) -> String {
    let line = text::line(text, MAX);
    let mut escaped = String::with_capacity(line.len());
    let mut before = ' ';
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let within_word = before.is_alphanumeric() && characters.peek().is_some_and(|next| next.is_alphanumeric());
        let special = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '|' | '~' | '&' => true,
            '_' => !within_word,
            '#' | '+' | '-' | '=' | '>' => escaped.is_empty(),
            '.' | ')' => {
                before.is_ascii_digit()
                    && escaped.chars().all(|c| c.is_ascii_digit())
                    && !within_line(characters.peek())
            }
            _ => false,
        };
        if special {
            escaped.push('\\');
        }
        escaped.push(c);
        before = c;
    }
    escaped
}

/// `1. ` begins a list, `1.4` does not.
fn within_line(next: Option<&char>) -> bool {
    next.is_some_and(|next| !next.is_whitespace())
}

/// Text that is known to be plain words, between backticks of the caller's.
pub fn code(text: &str) -> String {
    text::line(text, MAX).replace('`', "'").replace('|', "\\|")
}

/// A path, a digest, a command.
pub fn coded(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", code(text)) }
}
