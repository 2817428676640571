//! What does not compile: in a dry run nothing real can be changed, because there is no value that could.
use crate::support::guests;
use std::{env, fs, path::PathBuf, process::Command, time::SystemTime};

/// The newest build of this crate, as the compiler of these tests has it.
fn built() -> (PathBuf, PathBuf) {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    let libraries = fs::read_dir(&deps).unwrap().flatten().filter(|entry| {
        let name = entry.file_name().into_string().unwrap_or_default();
        name.starts_with("libbackout-") && name.ends_with(".rlib")
    });
    let when =
        |entry: &fs::DirEntry| entry.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    (libraries.max_by_key(when).unwrap().path(), deps)
}

/// The codes of the compiler's errors.
fn errors(body: &str) -> Vec<String> {
    let (library, deps) = built();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("hands.rs");
    let text = format!(
        "use backout::resource::{{CallCtx, Sight, Service, Shown}};\n\
         pub async fn hands(sight: &Sight, call: &CallCtx) {{\n    let shop: &Shown<Service> = &sight.service[\"shop\"];\n    {body}\n}}\n"
    );
    fs::write(&source, text).unwrap();
    let output = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--error-format", "short"])
        .arg("--extern")
        .arg(format!("backout={}", library.display()))
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("-o")
        .arg(folder.path().join("hands.rmeta"))
        .arg(&source)
        .env("RUSTUP_TOOLCHAIN", guests::toolchain())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = |line: &str| Some(line.split_once("error[")?.1.split_once(']')?.0.to_owned());
    let codes: Vec<String> = said.lines().filter_map(code).collect();
    assert_eq!(output.status.success(), codes.is_empty(), "{said}");
    codes
}

#[test]
fn in_a_dry_run_there_is_nothing_that_could_change_anything() {
    assert_eq!(errors("let _ = shop.observer.status().await;"), [""; 0], "what looks is there");
    assert_eq!(errors("let _ = shop.observer.stop(call).await;"), ["E0599"]);
    assert_eq!(errors("let _ = shop.mutator.stop(call).await;"), ["E0609"]);
    assert_eq!(errors("let _: backout::resource::Access<Service> = shop.observer.clone().into();"), ["E0277"]);
}
