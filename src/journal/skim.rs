//! Whether the body of an operation's entry is, word for word, as Backout writes one. That is said of some that can be read, and of
//! none that cannot: whatever is written in another way is left to a reader of all that JSON may be. It takes a third of the time.
use memchr::memchr2;
use std::ops::Range;

/// What is nested deeper is left to the other.
const DEEPEST: u8 = 60;

/// Digits of a number that fits into any kind of number.
const DIGITS: usize = 15;

pub fn reads_as(kind: &[u8], body: &[u8]) -> bool {
    let mut text = Text(body);
    no_control(body) && std::str::from_utf8(body).is_ok() && text.entry(kind).is_some() && text.0.is_empty()
}

/// Where in the text of an observed operation its parts stand: the words without their quotes, the rest as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    pub operation: Range<usize>,
    pub label: Range<usize>,
    pub request: Range<usize>,
    pub answer: Range<usize>,
}

/// The parts of an operation that was observed and answered; `None` as above.
pub fn observed(body: &str) -> Option<Parts> {
    let bytes = body.as_bytes();
    // Most of what is none is known at once.
    let mut text = Text(bytes.strip_prefix(b"{\"entry\":\"observed\",")?);
    if !no_control(bytes) {
        return None;
    }
    let [operation, _, label, _] = text.names(bytes.len())?;
    let request = text.asked(bytes.len())?;
    text.byte(b',')?;
    let answer = text.result(bytes.len())?;
    text.byte(b'}')?;
    let unquoted = |word: Range<usize>| word.start + 1..word.end - 1;
    text.0.is_empty().then(|| Parts { operation: unquoted(operation), label: unquoted(label), request, answer })
}

/// JSON without whitespace has no byte below the space, within texts or between them.
fn no_control(body: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = body.as_chunks::<8>();
    let below_space = |word: u64| word.wrapping_sub(ONES * 0x20) & !word & (ONES * 0x80);
    words.iter().all(|word| below_space(u64::from_ne_bytes(*word)) == 0) && rest.iter().all(|byte| *byte >= 0x20)
}

/// What is left of it. `None`: it is not as Backout writes it.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn entry(&mut self, kind: &[u8]) -> Option<()> {
        self.word(b"{\"entry\":\"")?;
        self.word(kind)?;
        self.word(b"\",")?;
        match kind {
            b"intent" => self.request()?,
            b"outcome" => {
                self.result(0)?;
            }
            b"observed" => {
                self.request()?;
                self.byte(b',')?;
                self.result(0)?;
            }
            _ => return None,
        }
        self.byte(b'}')
    }

    fn request(&mut self) -> Option<()> {
        self.names(0)?;
        self.asked(0).map(drop)
    }

    /// Operation, class, label and resource: where they stand in a text of this length, which is here and below at least as long
    /// as what is left of it, or of no interest.
    fn names(&mut self, length: usize) -> Option<[Range<usize>; 4]> {
        let mut found = [const { 0..0 }; 4];
        let names = [b"\"operation\":".as_slice(), b",\"class\":", b",\"label\":", b",\"resource\":"];
        for (name, found) in names.into_iter().zip(&mut found) {
            self.word(name)?;
            *found = self.range(length, Self::text)?;
        }
        Some(found)
    }

    fn asked(&mut self, length: usize) -> Option<Range<usize>> {
        self.word(b",\"changes\":[")?;
        self.items(b']', Self::text)?;
        // It is left out where it is false.
        let _ = self.word(b",\"disturbs\":true");
        self.word(b",\"request\":")?;
        self.range(length, |text| text.value(DEEPEST))
    }

    fn result(&mut self, length: usize) -> Option<Range<usize>> {
        self.word(b"\"result\":{\"Ok\":")?;
        let answer = self.range(length, |text| text.value(DEEPEST))?;
        self.word(b"},\"millis\":")?;
        self.digits()?;
        Some(answer)
    }

    fn range(&mut self, length: usize, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<Range<usize>> {
        let start = length.saturating_sub(self.0.len());
        read(self)?;
        Some(start..length.saturating_sub(self.0.len()))
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        let (next, rest) = self.0.split_first()?;
        if *next != byte {
            return None;
        }
        self.0 = rest;
        Some(())
    }

    fn value(&mut self, depth: u8) -> Option<()> {
        match self.0.first()? {
            b'"' => self.text(),
            b'{' => {
                self.0 = &self.0[1..];
                let depth = depth.checked_sub(1)?;
                self.items(b'}', |text| {
                    text.text()?;
                    text.byte(b':')?;
                    text.value(depth)
                })
            }
            b'[' => {
                self.0 = &self.0[1..];
                let depth = depth.checked_sub(1)?;
                self.items(b']', |text| text.value(depth))
            }
            b'n' => self.word(b"null"),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            _ => {
                let _ = self.byte(b'-');
                self.digits()?;
                if self.byte(b'.').is_some() { self.some_digits() } else { Some(()) }
            }
        }
    }

    /// Behind the opening bracket.
    fn items(&mut self, end: u8, item: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        if self.byte(end).is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            let (next, rest) = self.0.split_first()?;
            self.0 = rest;
            match *next {
                b',' => {}
                next => return (next == end).then_some(()),
            }
        }
    }

    fn text(&mut self) -> Option<()> {
        self.byte(b'"')?;
        loop {
            let at = memchr2(b'"', b'\\', self.0)?;
            let found = self.0[at];
            self.0 = &self.0[at + 1..];
            if found == b'"' {
                return Some(());
            }
            // One that is escaped by its number may be half of a character.
            let (escaped, rest) = self.0.split_first()?;
            if !b"\"\\/bfnrt".contains(escaped) {
                return None;
            }
            self.0 = rest;
        }
    }

    fn digits(&mut self) -> Option<()> {
        if self.0.first() == Some(&b'0') {
            self.0 = &self.0[1..];
            return Some(());
        }
        self.some_digits()
    }

    fn some_digits(&mut self) -> Option<()> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.0 = &self.0[digits..];
        (1..=DIGITS).contains(&digits).then_some(())
    }
}
