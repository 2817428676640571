//! Damage to what was whole.
use proptest::{prelude::*, sample::Index};
use std::fmt;

/// What is damaged, as one can read it when it has made a test fail.
#[derive(Clone)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes: b\"{}\"", self.0.len(), self.0[..self.0.len().min(4000)].escape_ascii())
    }
}

/// Longer than this nothing becomes.
const LONGEST: usize = 64 << 10;

#[derive(Clone, Debug)]
enum Damage<W> {
    /// One becomes another.
    Set(Index, W),
    Insert(Index, W),
    Remove(Index, usize),
    /// The rest is gone.
    Cut(Index),
    /// What stands at one place stands at another too.
    Copy(Index, usize, Index),
    Repeat(Index, usize, usize),
}

fn damage<W: Clone + std::fmt::Debug + 'static>(
    word: impl Strategy<Value = W> + Clone + 'static,
) -> impl Strategy<Value = Damage<W>> {
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), word.clone()).prop_map(|(at, word)| Damage::Set(at, word)),
        3 => (at(), word).prop_map(|(at, word)| Damage::Insert(at, word)),
        2 => (at(), 1_usize..8).prop_map(|(at, length)| Damage::Remove(at, length)),
        1 => at().prop_map(Damage::Cut),
        3 => (at(), 1_usize..30, at()).prop_map(|(from, length, to)| Damage::Copy(from, length, to)),
        1 => (at(), 1_usize..6, 2_usize..400).prop_map(|(at, length, times)| Damage::Repeat(at, length, times)),
    ]
}

/// To a text this is done by tokens, to bytes by bytes.
fn apply<W: Clone>(whole: &[W], damages: &[Damage<W>]) -> Vec<W> {
    let mut parts = whole.to_vec();
    for damage in damages {
        let length = parts.len();
        if length == 0 {
            break;
        }
        let span = |at: &Index, count: usize| at.index(length)..(at.index(length) + count).min(length);
        match damage {
            Damage::Set(at, word) => parts[at.index(length)] = word.clone(),
            Damage::Insert(at, word) => parts.insert(at.index(length + 1), word.clone()),
            Damage::Remove(at, count) => drop(parts.drain(span(at, *count))),
            Damage::Cut(at) => parts.truncate(at.index(length)),
            Damage::Copy(from, count, to) => {
                let copied = parts[span(from, *count)].to_vec();
                let to = to.index(length + 1);
                parts.splice(to..to, copied);
            }
            Damage::Repeat(at, count, times) => {
                let copied = parts[span(at, *count)].to_vec();
                let to = at.index(length);
                parts.splice(to..to, std::iter::repeat_n(copied, *times).flatten().take(LONGEST));
            }
        }
        parts.truncate(LONGEST);
    }
    parts
}

/// One of these, with a few damages in it.
pub fn damaged_bytes(wholes: Vec<Vec<u8>>) -> impl Strategy<Value = Bytes> {
    // Ends of ranges are where readers go wrong.
    let byte = prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xff])];
    (prop::sample::select(wholes), prop::collection::vec(damage(byte), 1..6))
        .prop_map(|(whole, damages)| Bytes(apply(&whole, &damages)))
}

/// The same for texts: tokens become others, of the text itself or of these words.
pub fn damaged_text(wholes: Vec<String>, words: &[&str]) -> impl Strategy<Value = Bytes> {
    let own = wholes.iter().flat_map(|whole| tokens(whole));
    let mut known: Vec<String> = own.chain(words.iter().chain(WORDS).map(ToString::to_string)).collect();
    known.sort();
    known.dedup();
    let word = prop_oneof![4 => prop::sample::select(known), 1 => "\\PC{1,4}"];
    let wholes: Vec<Vec<String>> = wholes.iter().map(|whole| tokens(whole)).collect();
    let broken = prop::option::weighted(0.1, (any::<Index>(), any::<u8>()));
    (prop::sample::select(wholes), prop::collection::vec(damage(word), 1..6), broken).prop_map(
        |(whole, damages, broken)| {
            let mut bytes = apply(&whole, &damages).concat().into_bytes();
            // What is not text at all.
            if let Some((at, byte)) = broken.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(LONGEST);
            Bytes(bytes)
        },
    )
}

/// What has confused readers before.
const WORDS: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e999",
    "nan",
    "-inf",
    "0x7f",
    "1979-05-27T07:32:00Z",
    "true",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "'",
    "'''",
    "\\",
    "\\u0000",
    "\\uD800",
    "=",
    ".",
    "..",
    "/",
    "//",
    ",",
    ":",
    "*",
    "**",
    "?",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\0",
    "\u{1b}[2J",
    "\u{feff}",
    "\u{202e}",
    "\u{200b}",
    "é",
    "🙂",
    "日本",
    "é\u{301}",
    "\u{10ffff}",
    " ",
    "%",
    "{ file = \"secrets/key\" }",
    "{ env = \"HOME\" }",
    "~",
];

/// Words, and each other character for itself.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for c in text.chars() {
        match tokens.last_mut() {
            Some(last) if of_a_word(c) && last.ends_with(of_a_word) => last.push(c),
            _ => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// A list with some of its parts gone, doubled or in another order.
pub fn damaged<W: Clone + std::fmt::Debug + 'static>(list: Vec<W>) -> impl Strategy<Value = Vec<W>> {
    let part = prop::sample::select(list.clone());
    prop::collection::vec(damage(part), 1..5).prop_map(move |damages| apply(&list, &damages))
}

/// The same for bytes that have parts.
pub fn damaged_list(list: Vec<Vec<u8>>) -> impl Strategy<Value = Bytes> {
    damaged(list).prop_map(|parts| {
        let mut bytes = parts.concat();
        bytes.truncate(1 << 20);
        Bytes(bytes)
    })
}
