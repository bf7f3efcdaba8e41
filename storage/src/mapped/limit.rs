//! How many files a process may have mapped.

/// Linux, unless an operator said otherwise.
const USUAL: usize = 65_530;

/// How many files are mapped at a time: half of what the system allows. The other half is for
/// stacks, heaps, and files of which bytes are in use.
pub(super) fn mappings() -> usize {
    let told = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let allowed = told.ok().and_then(|told| told.trim().parse().ok());
    allowed.unwrap_or(USUAL) / 2
}
