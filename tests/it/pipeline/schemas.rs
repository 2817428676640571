//! The published form of what dry runs write for machines.
use super::{HOSTILE, cache, package};
use crate::support::{guests, packages::Folder, shop::Shop};
use backout::{
    cli::demo::releases::Version,
    dry::{Explored, Plan, Tested, saved::Saved},
    rehearse::Rehearsed,
};
use boon::{Compiler, Schemas};
use expect_test::expect_file;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

fn published(name: &str) -> std::path::PathBuf {
    guests::root().join(format!("docs/schemas/{name}.json"))
}

/// Change a type, then run this with UPDATE_EXPECT=1.
fn publish<T: JsonSchema>(name: &str) {
    let schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    expect_file![published(name)].assert_eq(&(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
}

#[test]
fn the_schemas_are_those_of_what_is_written() {
    publish::<Plan>("plan");
    publish::<Saved>("saved-plan");
    publish::<Tested>("test");
    publish::<Explored>("explore");
    publish::<Rehearsed<'_>>("rehearse");
}

fn holds(name: &str, text: &str) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let schema = compiler.compile(published(name).to_str().unwrap(), &mut schemas).unwrap();
    let mut value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    schemas.validate(&value, schema).unwrap_or_else(|error| panic!("{error:#}"));
    // What lacks any of it is not of this form.
    let keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    for key in keys {
        let whole = value.clone();
        value.as_object_mut().unwrap().remove(&key);
        let missing = schemas.validate(&value, schema).is_err();
        assert!(missing || key == "down", "{name} does not ask for {key}");
        value = whole;
    }
}

#[test]
fn what_is_written_has_the_published_form() {
    let folder = Folder::new();
    package(&folder, "swallows");
    folder.write(&format!("{HOSTILE}/tests/fails.toml"), super::FAILS);
    for (name, arguments) in [
        ("plan", &["plan", "--offline"][..]),
        ("test", &["test", "--paths", "45"]),
        ("explore", &["explore", "--offline", "--paths", "45"]),
    ] {
        let said = folder.backout(&[arguments, &["--json", "--cache", cache(), HOSTILE]].concat());
        assert!([0, 10].contains(&said.code), "{}", said.whole());
        holds(name, &said.out);
    }
    let shop = Shop::running(Version::V2Good);
    shop.expect(0, &["plan", "--save", "plan.json", shop.package().to_str().unwrap()]);
    holds("saved-plan", &std::fs::read_to_string(shop.folder.path("plan.json")).unwrap());
    let said = shop.backout(&["rehearse", "--json", "--rate", "0", shop.package().to_str().unwrap()]);
    holds("rehearse", std::str::from_utf8(&said.stdout).unwrap());
}
