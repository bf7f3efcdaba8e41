//! What threads share: the standard library's, or under `--cfg loom` the model checker's, which
//! runs a test once for every order in which threads could have taken their steps.

#[cfg(loom)]
pub(super) use loom::sync::Arc;

#[cfg(not(loom))]
pub(super) use std::sync::Arc;
