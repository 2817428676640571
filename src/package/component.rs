//! What a component asks for, read from its bytes before anything is compiled.
use super::world;
use crate::diagnostic::{Mistake, nearest, shown};
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{
    Encoding, Parser, Payload, ValidPayload, Validator, WasmFeatures, component_types::ComponentEntityType,
};

/// The world of a component, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// interfaces of `backout:host`, without `types`
    pub host: BTreeSet<String>,
    /// interfaces of WASI, behind which is nothing
    pub wasi: BTreeSet<String>,
}

const TRACK: &str = "0.1.";

/// The component's imports; or what keeps it from being a script.
pub fn decode(bytes: &[u8]) -> Result<Imports, Vec<Mistake>> {
    let world = names(bytes).map_err(|mistake| vec![mistake])?;
    let mut imports = Imports::default();
    let mut mistakes = Vec::new();
    for (name, functions) in &world.imports {
        if name.starts_with("wasi:") {
            imports.wasi.insert(shown(name));
            continue;
        }
        match host_interface(name) {
            Host::Interface(interface) => match world::functions(interface) {
                Some(here) => {
                    mistakes.extend(functions.iter().filter(|f| !here.contains(&f.as_str())).map(|function| {
                        let mistake = Mistake::new(format!(
                            "the script imports `{}` of `backout:host/{interface}`, which this Backout does not have",
                            shown(function)
                        ));
                        mistake.hint("the script was built against a newer Backout: install that one")
                    }));
                    if interface != "types" {
                        imports.host.insert(interface.to_owned());
                    }
                }
                None => {
                    let hint = match nearest(interface, world::INTERFACES.iter().map(|(name, _)| *name)) {
                        Some(near) => format!("there is `{near}`; or the script was built against a newer Backout"),
                        None => "the script was built against a newer Backout: install that one".to_owned(),
                    };
                    let message = format!("the script imports `{}`, which this Backout does not have", shown(name));
                    mistakes.push(Mistake::new(message).hint(hint));
                }
            },
            Host::OtherTrack => mistakes.push(other_track("imports", name)),
            Host::Foreign => {
                let message = format!("the script imports `{}`, which no script can have", shown(name));
                mistakes.push(Mistake::new(message).hint("a script can import `backout:host/…` and an empty `wasi:…`"));
            }
        }
    }
    let exports = |name: &str| matches!(host_interface(name), Host::Interface("life-cycle"));
    if !world.exports.iter().any(|name| exports(name)) {
        let other = world.exports.iter().find(|n| n.starts_with("backout:host/life-cycle@"));
        mistakes.push(match other {
            Some(other) => other_track("exports", other),
            None => {
                Mistake::new("the component does not export `backout:host/life-cycle`, so it is no rollback script")
                    .hint("build it against the world `script` of `backout:host`")
            }
        });
    }
    if mistakes.is_empty() { Ok(imports) } else { Err(mistakes) }
}

enum Host<'n> {
    Interface(&'n str),
    /// `backout:host` of a version that this one does not understand
    OtherTrack,
    Foreign,
}

fn host_interface(name: &str) -> Host<'_> {
    let Some(rest) = name.strip_prefix("backout:host/") else { return Host::Foreign };
    match rest.split_once('@') {
        Some((interface, version)) if version.starts_with(TRACK) => Host::Interface(interface),
        _ => Host::OtherTrack,
    }
}

fn other_track(does: &str, name: &str) -> Mistake {
    Mistake::new(format!("the script {does} `{}`; this Backout has `backout:host@{TRACK}x`", shown(name)))
        .hint("build the script against this Backout's WIT files, or install the Backout that it was built for")
}

#[derive(Default)]
struct World {
    /// functions by interface
    imports: BTreeMap<String, Vec<String>>,
    exports: Vec<String>,
}

/// Reads the outermost imports and exports, and the whole file once to know that it is whole.
fn names(bytes: &[u8]) -> Result<World, Mistake> {
    if !bytes.starts_with(b"\0asm") {
        let mistake = Mistake::new("the script is not WebAssembly");
        return Err(mistake.hint("`script` names the component that the build command makes"));
    }
    // A foreign encoding is the engine's to refuse; here only the names count.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut world = World::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(broken)?;
        if let Payload::Version { encoding: Encoding::Module, .. } = payload
            && depth == 0
        {
            let mistake = Mistake::new("the script is a core module, not a component");
            return Err(mistake.hint("make a component of it: `wasm-tools component new core.wasm -o script.wasm`"));
        }
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        let valid = validator.payload(&payload).map_err(broken)?;
        if let ValidPayload::Func(function, body) = valid {
            // The engine checks function bodies when it compiles them.
            drop((function, body));
        }
        match payload {
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let name = import.map_err(broken)?.name.name;
                    let types = validator.types(0);
                    let item = types.as_ref().and_then(|t| t.component_item_for_import(name));
                    let functions = match (types, item.map(|i| i.ty)) {
                        (Some(types), Some(ComponentEntityType::Instance(id))) => types[id]
                            .exports
                            .iter()
                            .filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)))
                            .map(|(name, _)| name.clone())
                            .collect(),
                        _ => Vec::new(),
                    };
                    world.imports.insert(name.to_owned(), functions);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    world.exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(Mistake::new("the script is cut short").hint("build or copy it again"));
    }
    Ok(world)
}

fn broken(error: wasmparser::Error) -> Mistake {
    // The parser reports the end of the file in these words; there is no kind to ask for.
    let message = error.message();
    let mistake = if message.contains("unexpected end") {
        Mistake::new(format!("the script is cut short (at byte {})", error.offset()))
    } else {
        Mistake::new(format!("the script is damaged: {} (at byte {})", shown(message), error.offset()))
    };
    mistake.hint("build or copy it again")
}
