//! What a terminal or a page may be shown of a text from anybody.

/// A text without what the log of a pipeline takes for its own commands: a line that begins with `::`, and `##[…]` or `##vso[…]`
/// anywhere.
pub fn no_commands(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let words = line.trim_start();
        plain.push_str(&line[..line.len() - words.len()]);
        let mut rest = match words.strip_prefix("::") {
            Some(rest) => {
                plain.push_str(": :");
                rest
            }
            None => words,
        };
        while let Some(at) = rest.find("##") {
            let name = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            plain.push_str(&rest[..=at]);
            if name.starts_with('[') {
                plain.push(' ');
            }
            rest = &rest[at + 1..];
        }
        plain.push_str(rest);
    }
    plain
}

/// Whether a character does something there instead of showing itself: control and format characters, those that turn the
/// direction of writing, and those of which nothing is seen.
pub fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A name from a file that may come from anybody, as it may be shown: one line, short, nothing a terminal acts on.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut out: String = text.chars().take(LONGEST).map(|c| if hidden(c) { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::no_commands;

    #[test]
    fn a_pipeline_is_commanded_by_nobody() {
        let hostile = "::error::a\n \u{2003}::add-mask::b\n:::stop-commands::c\na ##[set-env]b ###[x]\n##vso[task.x]y";
        let plain =
            ": :error::a\n \u{2003}: :add-mask::b\n: ::stop-commands::c\na # #[set-env]b ## #[x]\n# #vso[task.x]y";
        assert_eq!(no_commands(hostile), plain);
        for text in ["", "## Heading [1]", "a::b\n", "a: ::b", "####", "\n\n#"] {
            assert_eq!(no_commands(text), text);
        }
    }
}
