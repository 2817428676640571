//! `docs/site.md` and `docs/package.md`: their examples are read, and no key is left out.
use crate::support::{
    guests::root,
    packages::{Folder, whole},
};
use backout::{diagnostic::Mistakes, package::Package, site::Site};
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// The first block of TOML.
fn example(page: &str) -> &str {
    page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0
}

/// The part below a heading.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let at = page.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rest = &page[at + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// The keys that a section knows, as the hint for an unknown key tells them.
fn known(mistakes: &Mistakes) -> Vec<String> {
    let hints = mistakes.0.iter().filter(|mistake| mistake.message.contains("zzzzzzzzzzzz"));
    let hint = hints.filter_map(|mistake| mistake.hint.as_ref()).next().unwrap_or_else(|| panic!("{mistakes}"));
    hint.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn host() -> Folder {
    let folder = Folder::new();
    folder.write("backout.toml", example(&page("site.md")));
    for (secret, text) in [("secrets/key", "sesame"), ("secrets/slack", "https://hooks.example.org/services/T0/B0/x")] {
        folder.write(secret, text);
        std::fs::set_permissions(folder.at(secret), PermissionsExt::from_mode(0o600)).unwrap();
    }
    folder.write("package.toml", example(&page("package.md")));
    folder.write("shop.wasm", whole());
    folder.write("dist/shop-2.0.tar.zst", "payload");
    folder
}

#[test]
fn the_examples_are_right_and_fit_each_other() {
    let folder = host();
    let site = Site::load(&folder.at("backout.toml")).unwrap_or_else(|e| panic!("{e}"));
    let package = Package::open(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    let findings = site.check(&package);
    assert!(findings.mistakes.0.is_empty(), "{}", findings.mistakes);
    assert!(findings.missing.is_empty() && findings.unneeded.is_empty(), "{findings:?}");
}

#[test]
fn every_key_of_a_site_is_explained() {
    let folder = host();
    let page = page("site.md");
    let cases = BTreeMap::from([
        ("[site]\n", "`[site]`"),
        ("[product.x]\n", "`[product.NAME]`"),
        ("[database.x]\ndriver = \"sqlite\"\n", "`[database.NAME]`"),
        ("[database.x]\ndriver = \"mariadb\"\n", "`[database.NAME]`"),
        ("[tree.x]\n", "`[tree.NAME]`"),
        ("[repository.x]\n", "`[repository.NAME]`"),
        ("[service.x]\ndriver = \"process\"\n", "`[service.NAME]`"),
        ("[service.x]\ndriver = \"systemd\"\n", "`[service.NAME]`"),
        ("[service.x]\ndriver = \"command\"\n", "`[service.NAME]`"),
        ("[service.x]\ndriver = \"command\"\n[service.x.codes]\n", "`[service.NAME]`"),
        ("[service.x]\ndriver = \"docker\"\n", "`[service.NAME]`"),
        ("[tool.x]\n", "`[tool.NAME]`"),
        ("[metrics.x]\ndriver = \"host\"\n", "`[metrics.NAME]`"),
        ("[metrics.x]\ndriver = \"page\"\nurl = \"http://x\"\n", "`[metrics.NAME]`"),
        ("[metrics.x]\ndriver = \"prometheus\"\nurl = \"http://x\"\n", "`[metrics.NAME]`"),
        (
            "[metrics.x]\ndriver = \"prometheus\"\nurl = \"http://x\"\n[metrics.x.queries.y]\npromql = \"up\"\n",
            "`[metrics.NAME]`",
        ),
        (
            "[metrics.x]\ndriver = \"prometheus\"\nurl = \"http://x\"\n[metrics.x.alertmanager]\nurl = \"http://x\"\n",
            "`[metrics.NAME]`",
        ),
        ("[channel.x]\ndriver = \"webhook\"\n", "`[channel.NAME]`"),
        ("[channel.x]\ndriver = \"slack\"\n", "`[channel.NAME]`"),
        ("[channel.x]\ndriver = \"smtp\"\n", "`[channel.NAME]`"),
        ("[channel.x]\ndriver = \"alertmanager\"\n", "`[channel.NAME]`"),
        ("[channel.x]\ndriver = \"command\"\n", "`[channel.NAME]`"),
        ("[probe.x]\n", "`[probe.NAME]`"),
        ("[probe.x]\n[probe.x.load]\n", "`[probe.NAME]`"),
        ("[allow.\"a/b\"]\n", "`[allow.\"VENDOR/NAME\"]`"),
        ("[allow.\"a/b\".require]\n", "`[allow.\"VENDOR/NAME\"]`"),
        ("[allow.\"a/b\".require.approval]\n", "`[allow.\"VENDOR/NAME\"]`"),
        ("[approver.x]\n", "`[approver.NAME]`"),
        ("[answers]\n", "`[answers]`"),
        ("[limits]\n", "`[limits]`"),
    ]);
    for (text, heading) in cases {
        let text = format!("{text}zzzzzzzzzzzz = 1\n");
        let mistakes = Site::parse(&folder.at("backout.toml"), text.into_bytes()).unwrap_err();
        let section = section(&page, heading);
        for key in known(&mistakes) {
            assert!(
                section.contains(&format!("`{key}`")) || section.contains(&format!(" {key} = ")),
                "{heading}: {key}"
            );
        }
    }
}

#[test]
fn every_key_of_a_package_is_explained() {
    let folder = host();
    let page = page("package.md");
    let cases = [
        ("[package]\n", "`[package]`"),
        ("[settings.x]\ntype = \"integer\"\n", "`[settings]`"),
        ("[needs.metrics.x]\n", "`[needs]`"),
        ("[schema.x]\n", "`[schema]`"),
    ];
    for (text, heading) in cases {
        folder.write("package.toml", format!("{text}zzzzzzzzzzzz = 1\n"));
        let mistakes = Package::open(folder.path()).unwrap_err();
        let section = section(&page, heading);
        for key in known(&mistakes) {
            assert!(section.contains(&format!("`{key}`")), "{heading}: {key}");
        }
    }
}

#[test]
fn every_right_is_explained() {
    let page = page("site.md");
    let section = section(&page, "`[allow.\"VENDOR/NAME\"]`");
    for kind in backout::site::KINDS {
        let rights: Vec<String> = backout::resource::Right::of_kind(kind).iter().map(|r| format!("`{r}`")).collect();
        let row = format!("| `{kind}` | {} |", rights.join(", "));
        assert!(section.contains(&row), "{row}");
    }
}
