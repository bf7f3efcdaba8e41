//! Builds what tests load into the processes that they start, where there is a C compiler: those
//! tests are ignored elsewhere, which `tests/run` counts.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    const SOURCE: &str = "src/failing_msync.c";
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rustc-check-cfg=cfg(failing_msync)");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    let library = out.join("failing_msync.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .args([library.as_os_str(), SOURCE.as_ref()])
        .status();
    if built.is_ok_and(|status| status.success()) {
        println!("cargo:rustc-cfg=failing_msync");
        println!("cargo:rustc-env=FAILING_MSYNC={}", library.display());
    }
}
