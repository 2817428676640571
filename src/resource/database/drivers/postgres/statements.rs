//! Where one statement of a script ends and the next one begins, and with which word each begins.
//!
//! The server takes them one by one, in the protocol for a single statement: whatever is cut wrongly here is no statement there,
//! or is more than one, and then nothing of the script takes effect.

/// One statement as it stands in the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'s> {
    pub text: &'s str,
    /// What it begins with, in upper case; of `WITH` the word behind the last of the queries it names.
    pub verb: String,
}

impl Statement<'_> {
    /// Begins or ends the transaction, or a part of it.
    pub fn is_of_transactions(&self) -> bool {
        const WORDS: [&str; 8] = ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];
        WORDS.contains(&self.verb.as_str()) || self.verb == "PREPARE TRANSACTION"
    }

    /// What the server counts for it are rows that changed.
    pub fn changes_rows(&self) -> bool {
        ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY"].contains(&self.verb.as_str())
    }
}

/// What a script consists of, without what is empty.
pub fn split(script: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut one = One::default();
    let mut start = 0;
    let mut at = 0;
    while let Some(token) = token(script, at) {
        let end = token.end;
        let text = script.get(at..end).unwrap_or_default();
        match token.kind {
            Kind::Nothing => {}
            Kind::Sign if text == ";" && one.depth == 0 && one.blocks == 0 => {
                found.extend(one.statement(script, start, at));
                one = One::default();
                start = end;
            }
            kind => one.add(&kind, text),
        }
        at = end;
    }
    found.extend(one.statement(script, start, script.len()));
    found
}

/// What is known of a statement while it is read.
#[derive(Default)]
struct One {
    words: Vec<String>,
    main: Option<String>,
    any: bool,
    depth: usize,
    /// `BEGIN ATOMIC` of a routine, and what ends with `END` in it.
    blocks: usize,
    after_bracket: bool,
}

impl One {
    fn add(&mut self, kind: &Kind, text: &str) {
        self.any = true;
        let after_bracket = std::mem::replace(&mut self.after_bracket, text == ")");
        match text {
            "(" => self.depth += 1,
            ")" => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if *kind != Kind::Word || self.depth > 0 {
            return;
        }
        let word = text.to_ascii_uppercase();
        let routine = self.words.first().is_some_and(|first| first == "CREATE");
        match word.as_str() {
            "ATOMIC" if routine && self.words.last().is_some_and(|last| last == "BEGIN") => self.blocks += 1,
            "CASE" if self.blocks > 0 => self.blocks += 1,
            "END" if self.blocks > 0 => self.blocks -= 1,
            "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "VALUES" | "TABLE" if after_bracket => {
                self.main.get_or_insert_with(|| word.clone());
            }
            _ => {}
        }
        self.words.push(word);
        // The first ones and the last one are asked for.
        if self.words.len() > 8 {
            self.words.remove(4);
        }
    }

    fn statement<'s>(&self, script: &'s str, start: usize, end: usize) -> Option<Statement<'s>> {
        let text = script.get(start..end)?.trim();
        let mut words = self.words.iter().map(String::as_str);
        let verb = match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            ("WITH", _) => self.main.clone().unwrap_or_default(),
            ("PREPARE", "TRANSACTION") => "PREPARE TRANSACTION".to_owned(),
            (first, _) => first.to_owned(),
        };
        self.any.then_some(Statement { text, verb })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Blanks and comments.
    Nothing,
    Word,
    /// What stands in quotes.
    Quoted,
    Sign,
}

struct Token {
    kind: Kind,
    end: usize,
}

/// What begins at this byte.
fn token(script: &str, at: usize) -> Option<Token> {
    let rest = script.get(at..)?;
    let first = rest.chars().next()?;
    let of = |kind: Kind, length: usize| Some(Token { kind, end: at + length });
    if matches!(first, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}') {
        return of(Kind::Nothing, 1);
    }
    if rest.starts_with("--") {
        return of(Kind::Nothing, rest.find(['\n', '\r']).unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return of(Kind::Nothing, comment(rest));
    }
    if first == '\'' {
        return of(Kind::Quoted, quoted(rest, 1, '\'', false));
    }
    if first == '"' {
        return of(Kind::Quoted, quoted(rest, 1, '"', false));
    }
    if first == '$' {
        if let Some(length) = dollars(rest) {
            return of(Kind::Quoted, length);
        }
        return of(Kind::Sign, 1);
    }
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    if first.is_ascii_alphabetic() || first == '_' || !first.is_ascii() {
        let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        // `E'…'` knows the backslash.
        if length == 1 && matches!(first, 'e' | 'E') && rest[1..].starts_with('\'') {
            return of(Kind::Quoted, quoted(rest, 2, '\'', true));
        }
        return of(Kind::Word, length);
    }
    if first.is_ascii_digit() {
        return of(Kind::Sign, rest.find(|c| !in_word(c) && c != '.').unwrap_or(rest.len()));
    }
    of(Kind::Sign, first.len_utf8())
}

/// They nest. The length, up to the end of the script where it does not end.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    let bytes = rest.as_bytes();
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// From behind the first quote; a doubled quote is one in the text.
fn quoted(rest: &str, from: usize, quote: char, backslashes: bool) -> usize {
    let mut chars = rest.char_indices().skip_while(|(at, _)| *at < from).peekable();
    while let Some((at, c)) = chars.next() {
        if backslashes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len()
}

/// `$$ … $$` and `$tag$ … $tag$`; `None`: it is a parameter, or no quote.
fn dollars(rest: &str) -> Option<usize> {
    let end = rest[1..].find('$')? + 2;
    let (opening, body) = rest.split_at(end);
    let tag = &opening[1..end - 1];
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    if !tag.chars().all(fine) || tag.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(body.find(opening).map_or(rest.len(), |at| end + at + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(script: &str) -> Vec<String> {
        split(script).into_iter().map(|statement| statement.verb).collect()
    }
    fn texts(script: &str) -> Vec<&str> {
        split(script).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn statements_end_where_the_server_ends_them() {
        assert_eq!(texts("SELECT 1; SELECT 2;; "), ["SELECT 1", "SELECT 2"]);
        assert_eq!(texts(" -- nothing; at all\n /* a; /* b; */ c; */ ;"), [""; 0]);
        assert_eq!(texts("SELECT ';' , \"a;b\", $$;$$, $x$;$$;$x$; SELECT 2").len(), 2);
        assert_eq!(texts("SELECT 'it''s;'; SELECT E'a\\';'; SELECT 3").len(), 3);
        assert_eq!(texts("SELECT 'a\\'; SELECT 2").len(), 2, "a backslash is none in a plain quote");
        assert_eq!(texts("SELECT a$b$c; SELECT $1; SELECT 3").len(), 3);
        assert_eq!(
            texts(
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; SELECT 1"
            )
            .len(),
            2
        );
        assert_eq!(texts("CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b); SELECT 1").len(), 2);
    }

    #[test]
    fn words_that_end_a_transaction_are_found_behind_anything() {
        for script in
            ["COMMIT", "commit", "/* a */ -- b\n\tEnd", "-- x\rROLLBACK", ";;abort", "prepare\ntransaction 'x'"]
        {
            assert!(split(script).iter().any(Statement::is_of_transactions), "{script}");
        }
        for script in
            ["SELECT 'COMMIT'", "PREPARE q AS SELECT 1", "-- COMMIT", "SELECT 1 AS commit", "DO $$ BEGIN END $$"]
        {
            assert!(!split(script).iter().any(Statement::is_of_transactions), "{script}");
        }
    }

    #[test]
    fn what_changes_rows_is_known() {
        assert_eq!(verbs("update t set a = 1; SELECT 1; Merge into t using s on true"), ["UPDATE", "SELECT", "MERGE"]);
        assert_eq!(verbs("WITH a AS (SELECT 1), b AS (DELETE FROM t RETURNING 1) INSERT INTO t SELECT 1"), ["INSERT"]);
        assert_eq!(verbs("WITH a AS (DELETE FROM t RETURNING 1) SELECT 1"), ["SELECT"]);
        assert_eq!(verbs("CREATE TABLE t AS SELECT 1"), ["CREATE"]);
    }
}
