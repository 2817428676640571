use std::process::Command;

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_backout")).arg("no-such-command").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
