//! The `hotfire` binary.

fn main() {}
