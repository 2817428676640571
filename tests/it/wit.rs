//! The world that scripts are written against: every item is explained, and its name can be used in every guest language.
use crate::support::guests::root;
use std::fmt::Write;
use wit_parser::{Docs, Function, Interface, Resolve, Stability, Type, TypeDef, TypeDefKind, WorldItem};

/// Words that cannot be a name, or that would hide a method which everything has.
const KEYWORDS: &[(&str, &str)] = &[
    (
        "Rust",
        "abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if impl in \
         let loop macro match mod move mut override priv pub ref return self static struct super trait true try type typeof \
         unsafe unsized use virtual where while yield",
    ),
    (
        "Python",
        "and as assert async await break class continue def del elif else except finally for from global if import in is lambda \
         nonlocal not or pass raise return try while with yield",
    ),
    (
        "JavaScript",
        "arguments await break case catch class const continue debugger default delete do else enum eval export extends false \
         finally for function if implements import in instanceof interface let new null package private protected public return \
         static super switch this throw true try typeof undefined var void while with yield",
    ),
    (
        "Go",
        "break case chan const continue default defer else fallthrough for func go goto if import interface map package range \
         return select struct switch type var",
    ),
    (
        "Java",
        "abstract assert boolean break byte case catch char class const continue default do double else enum extends final \
         finally float for goto if implements import instanceof int interface long native new null package private protected \
         public return short static strictfp super switch synchronized this throw throws transient try void volatile while",
    ),
    (
        "Kotlin",
        "as break class continue do else false for fun if in interface is null object package return super this throw true try \
         typealias typeof val var when while",
    ),
    (
        "C++",
        "alignas alignof and asm auto bool break case catch char class compl concept const constexpr continue default delete do \
         double else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept \
         not nullptr operator or private protected public register requires return short signed sizeof static struct switch \
         template this throw true try typedef typeid typename union unsigned using virtual void volatile while xor",
    ),
    (
        "C#",
        "abstract as base bool break byte case catch char checked class const continue decimal default delegate do double else \
         enum event explicit extern false finally fixed float for foreach goto if implicit in int interface internal is lock \
         long namespace new null object operator out override params private protected public readonly ref return sbyte sealed \
         short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked unsafe ushort \
         using virtual void volatile while",
    ),
];
const METHODS: &[(&str, &str)] = &[
    ("JavaScript", "constructor hasOwnProperty isPrototypeOf then toString valueOf"),
    ("Java", "clone equals finalize getClass hashCode notify notifyAll toString wait"),
    ("C#", "Equals Finalize GetHashCode GetType MemberwiseClone ToString"),
];

#[test]
fn every_name_can_be_used_in_every_guest_language() {
    assert_eq!(clashes(&product()), Vec::<String>::new());
}

#[test]
fn a_name_that_clashes_is_found() {
    let mut resolve = Resolve::new();
    let text = "package test:names; interface await { record class { lambda: u8, fine: u8 } enum e { final }
        wait: func(goto: u8); to-string: func(); get-class: func(); notify: func(fine: u8); }";
    resolve.push_str("names.wit", text).unwrap();
    let found = clashes(&resolve);
    for name in ["await", "class", "lambda", "final", "wait", "goto", "to-string", "get-class", "notify"] {
        assert!(found.iter().any(|line| line.starts_with(&format!("`{name}`"))), "{name} is not in {found:#?}");
    }
    assert!(!found.iter().any(|line| line.contains("fine")), "{found:#?}");
}

#[test]
fn every_item_is_explained_and_says_since_when() {
    assert_eq!(gaps(&product()), Vec::<String>::new());
}

#[test]
fn an_item_without_explanation_is_found() {
    let mut resolve = Resolve::new();
    resolve.push_str("gaps.wit", "package test:gaps@0.1.0; interface i { record r { f: u8 } g: func(); }").unwrap();
    assert_eq!(
        gaps(&resolve),
        [
            "i is not explained",
            "i does not say since when",
            "i.r is not explained",
            "i.r does not say since when",
            "i.r.f is not explained",
            "i.g is not explained",
            "i.g does not say since when",
            "i.g does not say its class",
        ]
    );
}

/// Refresh it with `UPDATE_EXPECT=1 cargo test --test it wit::`.
#[test]
fn the_reference_is_what_the_files_say() {
    expect_test::expect_file![root().join("docs/wit.md")].assert_eq(&reference(&product()));
}

fn product() -> Resolve {
    let mut resolve = Resolve::new();
    resolve.push_dir(root().join("wit")).unwrap();
    resolve
}

fn clashes(resolve: &Resolve) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |name: &str, lists: &[&[(&str, &str)]]| {
        let forms = [name.replace('-', "_"), camel(name), pascal(name)];
        for (language, words) in lists.iter().copied().flatten() {
            if words.split_whitespace().any(|word| forms.iter().any(|form| form == word)) {
                found.push(format!("`{name}` is a word of {language}"));
            }
        }
    };
    for (_, interface) in &resolve.interfaces {
        check(interface.name.as_deref().unwrap_or_default(), &[KEYWORDS]);
        for (name, id) in &interface.types {
            check(name, &[KEYWORDS]);
            members(&resolve.types[*id]).iter().for_each(|(member, _)| check(member, &[KEYWORDS]));
        }
        for (name, function) in &interface.functions {
            check(name, &[KEYWORDS, METHODS]);
            function.params.iter().for_each(|param| check(&param.name, &[KEYWORDS]));
        }
    }
    found
}

fn pascal(name: &str) -> String {
    let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').filter(|word| !word.is_empty()).map(upper).collect()
}
fn camel(name: &str) -> String {
    let name = pascal(name);
    if name.is_empty() { name } else { name[..1].to_lowercase() + &name[1..] }
}

fn gaps(resolve: &Resolve) -> Vec<String> {
    let mut found = Vec::new();
    for (_, world) in &resolve.worlds {
        found.extend(gap(&format!("world {}", world.name), &world.docs, Some(&world.stability)));
    }
    for (_, interface) in &resolve.interfaces {
        let about = interface.name.as_deref().unwrap_or_default();
        found.extend(gap(about, &interface.docs, Some(&interface.stability)));
        for (name, id) in own_types(resolve, interface) {
            let ty = &resolve.types[id];
            found.extend(gap(&format!("{about}.{name}"), &ty.docs, Some(&ty.stability)));
            for (member, docs) in members(ty) {
                // In a list of words that speak for themselves, the list is explained.
                if !matches!(ty.kind, TypeDefKind::Enum(_)) {
                    found.extend(gap(&format!("{about}.{name}.{member}"), docs, None));
                }
            }
        }
        for (name, function) in &interface.functions {
            found.extend(gap(&format!("{about}.{name}"), &function.docs, Some(&function.stability)));
            let says = |docs: &Docs| text(docs).contains("Class: ");
            if about != "life-cycle" && !says(&function.docs) && !says(&interface.docs) {
                found.push(format!("{about}.{name} does not say its class"));
            }
        }
    }
    found
}

fn gap(name: &str, docs: &Docs, stability: Option<&Stability>) -> Vec<String> {
    let mut found = Vec::new();
    if text(docs).trim().is_empty() {
        found.push(format!("{name} is not explained"));
    }
    if stability.is_some_and(|stability| !matches!(stability, Stability::Stable { .. })) {
        found.push(format!("{name} does not say since when"));
    }
    found
}

fn text(docs: &Docs) -> &str {
    docs.contents.as_deref().unwrap_or_default()
}

/// Without those that come from another interface by `use`.
fn own_types<'r>(resolve: &'r Resolve, interface: &'r Interface) -> Vec<(&'r str, wit_parser::TypeId)> {
    let foreign = |id| match resolve.types[id].kind {
        TypeDefKind::Type(Type::Id(other)) => resolve.types[other].owner != resolve.types[id].owner,
        _ => false,
    };
    interface.types.iter().filter(|(_, id)| !foreign(**id)).map(|(name, id)| (name.as_str(), *id)).collect()
}

fn members(ty: &TypeDef) -> Vec<(&str, &Docs)> {
    match &ty.kind {
        TypeDefKind::Record(record) => record.fields.iter().map(|f| (f.name.as_str(), &f.docs)).collect(),
        TypeDefKind::Enum(list) => list.cases.iter().map(|c| (c.name.as_str(), &c.docs)).collect(),
        TypeDefKind::Variant(list) => list.cases.iter().map(|c| (c.name.as_str(), &c.docs)).collect(),
        TypeDefKind::Flags(flags) => flags.flags.iter().map(|f| (f.name.as_str(), &f.docs)).collect(),
        _ => Vec::new(),
    }
}

fn reference(resolve: &Resolve) -> String {
    let (_, world) = resolve.worlds.iter().find(|(_, world)| world.name == "script").unwrap();
    let interfaces = |items: &wit_parser::IndexMap<wit_parser::WorldKey, WorldItem>| -> Vec<_> {
        let ids = items.values().map(|item| match item {
            WorldItem::Interface { id, .. } => &resolve.interfaces[*id],
            _ => panic!("the world has something beside interfaces"),
        });
        ids.collect()
    };
    let (imports, exports) = (interfaces(&world.imports), interfaces(&world.exports));
    let package = &resolve.packages[world.package.unwrap()].name;

    let mut out = String::new();
    writeln!(out, "# What a script can say\n").unwrap();
    writeln!(
        out,
        "The world `{}` of `{package}`, as the files of `wit/` have it; a test writes this page.",
        world.name
    )
    .unwrap();
    writeln!(out, "{}\n", text(&world.docs).trim()).unwrap();
    writeln!(out, "| interface | functions | |\n| --- | --- | --- |").unwrap();
    for interface in imports.iter().chain(&exports) {
        let name = interface.name.as_deref().unwrap();
        let functions: Vec<_> =
            interface.functions.keys().map(|f| format!("[`{f}`](#{}{f})", name.to_owned())).collect();
        let about = text(&interface.docs).trim().replace('\n', " ");
        let about = about.split('.').next().unwrap_or_default();
        writeln!(out, "| [`{name}`](#{name}) | {} | {about} |", functions.join(", ")).unwrap();
    }
    writeln!(
        out,
        "\nAll functions but those of `life-cycle` are imports: the script calls them, the host does the work."
    )
    .unwrap();
    for interface in imports.iter().chain(&exports) {
        let name = interface.name.as_deref().unwrap();
        writeln!(out, "\n## {name}\n\n{}", text(&interface.docs).trim()).unwrap();
        for (type_name, id) in own_types(resolve, interface) {
            type_reference(&mut out, resolve, type_name, &resolve.types[id]);
        }
        for function in interface.functions.values() {
            writeln!(out, "\n### {name}.{}\n", function.name).unwrap();
            writeln!(out, "```wit\n{}\n```\n\n{}", signature(resolve, function), text(&function.docs).trim()).unwrap();
        }
    }
    out
}

fn type_reference(out: &mut String, resolve: &Resolve, name: &str, ty: &TypeDef) {
    let docs = text(&ty.docs).trim();
    match &ty.kind {
        TypeDefKind::Record(record) => {
            writeln!(out, "\n**record `{name}`**: {docs}\n\n| field | type | |\n| --- | --- | --- |").unwrap();
            for field in &record.fields {
                let about = text(&field.docs).trim().replace('\n', " ");
                writeln!(out, "| `{}` | `{}` | {about} |", field.name, type_name(resolve, &field.ty)).unwrap();
            }
        }
        TypeDefKind::Enum(list) if list.cases.iter().all(|case| text(&case.docs).is_empty()) => {
            let cases: Vec<_> = list.cases.iter().map(|case| format!("`{}`", case.name)).collect();
            writeln!(out, "\n**enum `{name}`**: {docs}\n\n{}", cases.join(" · ")).unwrap();
        }
        TypeDefKind::Enum(list) => {
            writeln!(out, "\n**enum `{name}`**: {docs}\n\n| case | |\n| --- | --- |").unwrap();
            for case in &list.cases {
                writeln!(out, "| `{}` | {} |", case.name, text(&case.docs).trim().replace('\n', " ")).unwrap();
            }
        }
        TypeDefKind::Type(other) => {
            writeln!(out, "\n**type `{name}`** = `{}`: {docs}", type_name(resolve, other)).unwrap();
        }
        kind => panic!("the reference does not know how to show a {}", kind.as_str()),
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let params: Vec<_> =
        function.params.iter().map(|param| format!("{}: {}", param.name, type_name(resolve, &param.ty))).collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", type_name(resolve, ty))).unwrap_or_default();
    format!("{}: func({}){result}", function.name, params.join(", "))
}

fn type_name(resolve: &Resolve, ty: &Type) -> String {
    let Type::Id(id) = ty else {
        return match ty {
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::F64 => "f64",
            Type::String => "string",
            other => panic!("the reference does not know {other:?}"),
        }
        .to_owned();
    };
    let ty = &resolve.types[*id];
    if let Some(name) = &ty.name {
        return name.clone();
    }
    let name = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| type_name(resolve, ty));
    match &ty.kind {
        TypeDefKind::Option(ty) => format!("option<{}>", type_name(resolve, ty)),
        TypeDefKind::List(ty) => format!("list<{}>", type_name(resolve, ty)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", name(&result.ok), name(&result.err)),
        kind => panic!("the reference does not know {}", kind.as_str()),
    }
}
