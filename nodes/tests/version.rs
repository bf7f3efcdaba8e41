//! That this file is here makes cargo build the binary for `cargo test --workspace`, in the same
//! build as the tests of processes that run it.

use std::process::Command;

#[test]
fn the_binary_tells_its_version() {
    let told = Command::new(env!("CARGO_BIN_EXE_hotfire")).arg("--version").output();
    let told = told.expect("it runs");
    assert!(told.status.success());
    let expected = concat!("hotfire ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(told.stdout).expect("text"), expected);
}
