//! Which of the planted mistakes is made: the one that the environment names, if any. Lies in the
//! copy of the tree that `sim/mutants/run` builds, never in the product.

use std::sync::LazyLock;

static NAME: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("HOTFIRE_MUTANT").ok());

/// Is it this one?
pub fn armed(name: &str) -> bool {
    NAME.as_deref() == Some(name)
}
