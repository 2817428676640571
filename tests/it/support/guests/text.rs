//! Guests in WebAssembly's text format, for what no compiler would write.
use super::root;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What most of them need and do not want to say: `tests/attacks/wat/prelude`.
const PRELUDE: &str = include_str!("../../../attacks/wat/prelude");

/// A text that begins with `(module` is whole; any other gets the prelude behind it.
pub fn module(text: &str) -> Vec<u8> {
    let code = text.lines().filter(|line| !line.starts_with(";;")).collect::<Vec<_>>().join("\n");
    let text = if code.trim_start().starts_with("(module") { code } else { format!("(module {code}\n{PRELUDE})") };
    let mut module = wat::parse_str(&text).unwrap();
    let mut resolve = Resolve::new();
    let (package, _) = resolve.push_dir(root().join("wit")).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}
