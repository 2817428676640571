//! Scripts that are none, or that cost too much before they run.
use super::{
    Section,
    files::{self, COMMAND, files},
    host::OWN_MEMORY,
};
use crate::support::{
    guests,
    packages::{Folder, component},
};

const KEPT: (&str, &str) = ("", "");
/// Of the process that compiles, and Backout's own.
const MEMORY: u64 = (2 << 30) + OWN_MEMORY;

fn host() -> Folder {
    files::host(&guests::plain())
}

fn script(host: &Folder, bytes: impl AsRef<[u8]>) {
    host.write("package/script.wasm", bytes);
}

fn text(host: &Folder, text: &str) {
    script(host, wat::parse_str(text).unwrap());
}

const LIFE_CYCLE: &str = "(instance $script) (export \"backout:host/life-cycle@0.1.0\" (instance $script))";

// What follows is written as bytes: as text it would be larger than what it costs.

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

fn section_of(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind], &*number(content.len()), content].concat()
}

/// A part of a component that is a script as far as anybody can see.
fn with_life_cycle(parts: &[u8]) -> Vec<u8> {
    let script = wat::parse_str(format!("(component {LIFE_CYCLE})")).unwrap();
    [COMPONENT, parts, &script[COMPONENT.len()..]].concat()
}

/// Each `br_if` adds an edge, and all of them are looked at for each.
fn branches(count: usize) -> Vec<u8> {
    let branch = [0x02, 0x40, 0x20, 0x00, 0x0d, 0x00, 0x0b];
    let body = [&[1, 1, 0x7f], &*branch.repeat(count), &[0x0b]].concat();
    let code = [&[1], &*number(body.len()), &*body].concat();
    let types = section_of(1, &[1, 0x60, 0, 0]);
    section_of(1, &[MODULE, &types, &section_of(3, &[1, 0]), &section_of(10, &code)].concat())
}

/// A byte at the beginning and one at the end of 16 MiB: the compiler makes an image of all that is between.
fn image() -> Vec<u8> {
    let end = "\\00";
    let text = format!("(module (memory 256) (data (i32.const 0) \"{end}x\") (data (i32.const 16777200) \"x\"))");
    section_of(1, &wat::parse_str(text).unwrap())
}

files! {
    empty: "decoding before compiling", 3, "package/package.toml:5:10: the script is not WebAssembly",
        "Is empty." => |host| script(host, b"");
    program_of_the_host: "decoding before compiling", 3, "package/package.toml:5:10: the script is not WebAssembly",
        "Is a program for the machine itself." => |host| script(host, b"\x7fELF\x02\x01\x01");
    shell_script: "decoding before compiling", 3, "package/package.toml:5:10: the script is not WebAssembly",
        "Is a shell script." => |host| script(host, "#!/bin/sh\nrm -rf /\n");
    core_module: "decoding before compiling", 3, "package/package.toml:5:10: the script is a core module, not a component",
        "Is WebAssembly, but no component." => |host| text(host, "(module)");
    component_for_another_world: "the world's exports", 3,
        "package/package.toml:5:10: the component does not export `backout:host/life-cycle`, so it is no rollback script",
        "Is a component that somebody made for something else." => |host| {
            text(host, "(component (instance $run) (export \"wasi:cli/run@0.2.0\" (instance $run)))");
        };
    component_of_another_version: "the version of the world", 3,
        "package/package.toml:5:10: the script exports `backout:host/life-cycle@0.2.0`; this Backout has `backout:host@0.1.x`",
        "Is a script for a Backout to come." => |host| text(host, &format!("(component {})", LIFE_CYCLE.replace("0.1.0", "0.2.0")));
    import_of_a_shell: "the world's imports", 3,
        "package/package.toml:5:10: the script imports `acme:shell/run@1.0.0`, which no script can have",
        "Imports a shell." => |host| script(host, component(&[("acme:shell/run@1.0.0", &["run"])]));
    import_of_a_function_to_come: "the world's imports", 3,
        "package/package.toml:5:10: the script imports `drop` of `backout:host/database`, which this Backout does not have",
        "Imports a function that there is not." => |host| script(host, component(&[("backout:host/database@0.1.0", &["drop"])]));
    import_with_a_control_sequence: "decoding before compiling", 3, "package/package.toml:5:10: the script is damaged: …",
        "Imports something whose name clears the screen." => |host| {
            let name = b"\x1b[2J\x07";
            let import = [&[1, 0], &*number(name.len()), name, &[5, 0]].concat();
            script(host, with_life_cycle(&[section_of(7, &[1, 0x42, 0]), section_of(10, &import)].concat()));
        };
    imports_by_the_hundred_thousand: "1,000 instances in a component", 3,
        "package/package.toml:5:10: the script is damaged: instances count exceeds limit of 1000 (at byte …)",
        "Imports ninety thousand interfaces." => |host| {
            let imports: String = (0..90_000).map(|n| format!("(import \"a:b/c{n}@1.0.0\" (instance))")).collect();
            text(host, &format!("(component {imports} {LIFE_CYCLE})"));
        };
    components_in_components: "decoding before compiling", 3,
        "package/package.toml:5:10: the component does not export `backout:host/life-cycle`, so it is no rollback script",
        "Is a component in a component, a thousand deep." => |host| {
            let nested = (0..1000).fold(COMPONENT.to_vec(), |inner, _| [COMPONENT, &section_of(4, &inner)].concat());
            script(host, nested);
        };
    life_cycle_without_functions: "linking before running", 3,
        "error: the script cannot be linked: instance export `backout:host/life-cycle@0.1.0` does not have export `assess`",
        "Has a life cycle with nothing in it." => |host| script(host, with_life_cycle(&[]));
    function_that_is_wrong: "validation by the compiler", 3,
        "error: the script cannot be compiled: failed to compile: wasm[0]::function[0]: WebAssembly translation error: …type mismatch: …",
        "Adds two numbers of which it has none." => |host| {
            text(host, &format!("(component (core module (func i32.add drop)) {LIFE_CYCLE})"));
        };
    cut_short: "decoding before compiling", 3, "package/package.toml:5:10: the script is cut short (at byte …)",
        "Ends before its end." => |host| {
            let whole = guests::plain();
            script(host, &whole[..whole.len() * 2 / 3]);
        };
    flipped_bits: "decoding before compiling", 3, "package/package.toml:5:10: the script is damaged: …",
        "Has a byte that is another." => |host| {
            let mut damaged = component(&[("backout:host/types@0.1.0", &[])]);
            damaged[40] ^= 0xff;
            script(host, damaged);
        };
    compile_for_minutes: "limit `compile`", 3,
        "error: the script cannot be compiled: that takes more than 5s of processor time (`compile` in the site's `[limits]`)",
        "Takes minutes to compile with a function of one megabyte." => |host| script(host, with_life_cycle(&branches(150_000)));
    compile_to_8_gib: "2 GiB for the compiler", 3,
        "error: the script cannot be compiled: that takes more than 2048 MiB of memory",
        "Becomes eight gigabytes when it is compiled, from thirty kilobytes." => |host| script(host, with_life_cycle(&image().repeat(500)));
}

pub fn section() -> Section {
    let about = "Files in the place of a script. Compiling is done by a process of its own, which the kernel ends at 2 GiB of memory \
                 and at the site's `compile = \"5s\"`; else in the same bounds.";
    Section { title: "Components", about: about.to_owned(), attacks: attacks() }
}
