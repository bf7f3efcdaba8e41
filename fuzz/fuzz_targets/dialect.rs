//! Any bytes, taken for JSON as the original writes it: turned into strict JSON, or refused.
#![no_main]

use hotfire_storage::dialect::to_strict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(strict) = to_strict(bytes) {
        let again = to_strict(&strict).expect("strict JSON is in the dialect");
        assert_eq!(again, strict, "strict JSON stays as it is");
    }
});
