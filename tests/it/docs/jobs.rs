//! The jobs of the page for pipelines: what stands in them is run, as a runner would, but for what a platform does by itself.
use super::markdown::{Block, blocks};
use crate::support::{bench::BACKOUT, faulty, guests, packages::Folder};
use backout::cli::demo::releases::Version;
use roxmltree::Document;
use saphyr::{LoadableYamlNode, Yaml};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

const PAGE: &str = "docs/pipelines.md";

/// The job below a heading.
fn job(number: usize) -> Yaml<'static> {
    let jobs: Vec<Block> = blocks(PAGE).into_iter().filter(|block| block.language == "yaml").collect();
    assert_eq!(jobs.len(), 2);
    let text: &'static str = jobs[number].text.clone().leak();
    Yaml::load_from_str(text).unwrap_or_else(|error| panic!("{PAGE}:{}: {error}", jobs[number].line)).remove(0)
}

fn at<'y>(yaml: &'y Yaml<'static>, path: &[&str]) -> &'y Yaml<'static> {
    path.iter().fold(yaml, |yaml, key| yaml.as_mapping_get(key).unwrap_or_else(|| panic!("no {key} in {path:?}")))
}

fn text(yaml: &Yaml<'static>) -> String {
    yaml.as_str().unwrap_or_else(|| panic!("no text: {yaml:?}")).to_owned()
}

fn list<'y>(yaml: &'y Yaml<'static>) -> impl Iterator<Item = &'y Yaml<'static>> {
    let length = (0..).take_while(|n| yaml.as_sequence_get(*n).is_some()).count();
    assert!(length > 0, "no list: {yaml:?}");
    (0..length).filter_map(|n| yaml.as_sequence_get(n))
}

/// The repository of a package, with what builds it, and a program that came from a cache.
fn repository(variant: Option<&str>) -> Folder {
    let folder = Folder::new();
    let built = folder.folder("built");
    match variant {
        None => {
            guests::rust_shop().copy_to(&built);
            fs::create_dir_all(built.join("dist")).unwrap();
            fs::write(built.join("dist/shop-2.0.tar.zst"), Version::V2Good.payload().unwrap()).unwrap();
        }
        Some(variant) => faulty::write(variant, Version::V2Good, &built),
    }
    let repository = folder.folder("repository");
    fs::rename(built.join("package.toml"), repository.join("package.toml")).unwrap();
    let build = folder.write("repository/build", "#!/bin/sh\nset -e\ncp -r ../built/* .\n");
    fs::set_permissions(build, PermissionsExt::from_mode(0o755)).unwrap();
    folder.folder("bin");
    symlink(BACKOUT, folder.at("bin/backout")).unwrap();
    folder.folder("repository/.backout-bin/bin");
    symlink(BACKOUT, folder.at("repository/.backout-bin/bin/backout")).unwrap();
    folder
}

/// One script of a runner, in the repository, with nothing of this test's own environment that a program could take for its own.
fn run(folder: &Folder, script: &str, env: &BTreeMap<String, String>) -> (i32, String) {
    let path = format!("{}:/usr/bin:/bin", folder.at("bin").display());
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(folder.at("repository"))
        .env_clear()
        .env("PATH", path)
        .env("HOME", folder.path())
        .env("CI", "true")
        .envs(env)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap(), said)
}

/// The steps of the first job up to one that fails, where its program was found in the cache.
fn github(folder: &Folder) -> (i32, String) {
    let job = job(0);
    let job = at(&job, &["jobs", "backout"]);
    let workspace = folder.at("repository").display().to_string();
    let mut env = BTreeMap::from([
        ("GITHUB_ACTIONS".to_owned(), "true".to_owned()),
        ("GITHUB_WORKSPACE".to_owned(), workspace.clone()),
        ("GITHUB_STEP_SUMMARY".to_owned(), folder.at("summary.md").display().to_string()),
    ]);
    let cache = text(at(job, &["env", "BACKOUT_CACHE"])).replace("${{ github.workspace }}", &workspace);
    assert!(!cache.contains("${{"), "{cache}");
    env.insert("BACKOUT_CACHE".to_owned(), cache);
    let (mut all, mut kept) = (String::new(), 0);
    for step in list(at(job, &["steps"])) {
        if let Some(uses) = step.as_mapping_get("uses").map(text) {
            let (action, version) = uses.split_once('@').unwrap();
            assert!(action.starts_with("actions/") && version.starts_with('v'), "{uses}");
            if step
                .as_mapping_get("with")
                .is_some_and(|with| with.as_mapping_get("path").map(text).is_some_and(|path| path == ".backout-cache"))
            {
                kept += 1;
            }
            continue;
        }
        if step.as_mapping_get("if").is_some() {
            let installs = text(at(step, &["run"]));
            assert!(installs.starts_with("cargo install --locked "), "{installs}");
            continue;
        }
        let (code, said) = run(folder, &text(at(step, &["run"])), &env);
        all += &said;
        if code != 0 {
            return (code, all);
        }
    }
    assert_eq!(kept, 2, "the folder is restored and saved");
    (0, all)
}

fn gitlab(folder: &Folder) -> (i32, String) {
    let job = job(1);
    let job = at(&job, &["rollback"]);
    let project = folder.at("repository").display().to_string();
    let cache = text(at(job, &["variables", "BACKOUT_CACHE"])).replace("$CI_PROJECT_DIR", &project);
    let env = BTreeMap::from([("CI_PROJECT_DIR".to_owned(), project), ("BACKOUT_CACHE".to_owned(), cache)]);
    assert_eq!(text(at(job, &["artifacts", "reports", "junit"])), "backout.xml");
    assert!(
        list(at(job, &["cache"])).any(|cache| list(at(cache, &["paths"])).any(|path| text(path) == ".backout-cache/"))
    );
    let lines = list(at(job, &["before_script"])).chain(list(at(job, &["script"])));
    run(folder, &lines.map(text).collect::<Vec<_>>().join("\n"), &env)
}

/// Name, size and times of each file.
fn files(folder: &Path) -> Vec<(String, u64, i64, i64)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            (entry.file_name().into_string().unwrap(), about.len(), about.mtime(), about.mtime_nsec())
        })
        .collect();
    files.sort();
    files
}

fn failures(folder: &Folder) -> String {
    let text = folder.read("repository/backout.xml");
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    document.root_element().attribute("failures").unwrap().to_owned()
}

#[test]
fn the_jobs_pass_a_good_package_and_compile_it_once() {
    let folder = repository(None);
    let (code, said) = github(&folder);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("::error"), "{said}");
    assert!(said.contains("Down from close to start-new"), "the plan: {said}");
    assert_eq!(failures(&folder), "0");
    let summary = folder.read("summary.md");
    assert!(summary.matches("acme/shop 2.0.0").count() >= 2, "tests and plan: {summary}");

    let cache = folder.at("repository/.backout-cache");
    let compiled = files(&cache);
    assert!(compiled.iter().any(|(name, ..)| name.ends_with(".cwasm")), "{compiled:?}");
    fs::remove_file(folder.at("repository/backout.xml")).unwrap();
    let mode = |mode| fs::set_permissions(&cache, PermissionsExt::from_mode(mode)).unwrap();
    // As another platform unpacks it.
    mode(0o777);
    let (code, said) = gitlab(&folder);
    assert_eq!(code, 0, "{said}");
    assert_eq!(failures(&folder), "0");
    assert_eq!(files(&cache), compiled, "nothing is compiled again");
    assert_eq!(folder.read("summary.md"), summary, "that is another platform");
}

#[test]
fn the_jobs_fail_with_a_package_that_does_not_come_back() {
    let folder = repository(Some("forgets"));
    let (code, said) = github(&folder);
    assert_eq!(code, 10, "{said}");
    assert!(said.lines().any(|line| line.starts_with("::error ") && line.contains("not-restored")), "{said}");
    assert_eq!(failures(&folder), "1");
    assert!(folder.read("summary.md").contains("not-restored"));
    assert!(!said.contains("Down from close"), "the job ends there: {said}");
    let (code, said) = gitlab(&folder);
    assert_eq!(code, 10, "{said}");
    assert!(said.contains("not-restored") && !said.contains("::error"), "{said}");
}
