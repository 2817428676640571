//! Guests in WebAssembly's text format, for what no compiler would write.
use super::{component, root};
use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What most of them need and do not want to say: `tests/attacks/wat/prelude`.
const PRELUDE: &str = include_str!("../../../attacks/wat/prelude");

/// A component of what the attack says. A text that is a component itself becomes a part of an honest script; any other has
/// fields of the script's module, and gets those exports of an honest script that it does not have.
pub fn script(text: &str) -> Vec<u8> {
    let text = &repeated(text);
    let code: String = text.lines().filter(|line| !line.starts_with(";;")).collect();
    match code.trim_start().starts_with("(component") {
        true => with_part(component(&module("")), &wat::parse_str(text).unwrap()),
        false => component(&module(text)),
    }
}

fn module(text: &str) -> Vec<u8> {
    let missing = PRELUDE.split("\n\n").filter(|piece| {
        let name = piece.split_once("(export \"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
        name.is_some_and(|name| !text.contains(&format!("(export \"{name}\")")))
    });
    let text = format!("(module\n{text}\n{})", missing.collect::<Vec<_>>().join("\n"));
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::new();
    let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

/// `(repeat 1000 …)` stands for what is inside, a thousand times.
fn repeated(text: &str) -> String {
    const BEGIN: &str = "(repeat ";
    let Some(begin) = text.find(BEGIN) else { return text.to_owned() };
    let (count, rest) = text[begin + BEGIN.len()..].split_once(' ').unwrap();
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    let end = end.unwrap();
    let inside = repeated(&rest[..end]);
    format!("{}{}{}", &text[..begin], inside.repeat(count.parse().unwrap()), repeated(&rest[end + 1..]))
}

/// Adds a component to another one, and an instance of it.
fn with_part(mut whole: Vec<u8>, part: &[u8]) -> Vec<u8> {
    let (mut depth, mut components) = (0, 0);
    for payload in Parser::new(0).parse_all(&whole) {
        match payload.unwrap() {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentSection { .. } if depth == 1 => components += 1,
            _ => {}
        }
    }
    section(&mut whole, 4, part);
    // One instance, of that component, with nothing.
    section(&mut whole, 5, &[1, 0, components, 0]);
    whole
}

fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    let mut length = content.len();
    loop {
        bytes.push((length & 0x7f) as u8 | if length > 0x7f { 0x80 } else { 0 });
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(content);
}
