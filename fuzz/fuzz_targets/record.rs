//! Any bytes, taken for a record of the log: judged without a panic, and what is judged good can
//! be read whole.
#![no_main]

use hotfire_storage::position::Physical;
use hotfire_storage::record::{Crc, Verdict, check, properties};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = check(bytes, Physical::ZERO, Crc::Whole);
    let verdict = check(bytes, Physical::ZERO, Crc::Verify);
    if let Verdict::Good(record) = whole {
        assert_eq!(record.whole_crc(), Some(true));
        assert_eq!(verdict, whole, "what is good under the stricter rule is good");
    }
    if let Verdict::Good(record) = verdict {
        assert!(record.size() as usize <= bytes.len());
        assert_eq!(record.physical(), Physical::ZERO);
        let read = (record.body(), record.topic(), record.born_host(), record.store_host());
        let _ = std::hint::black_box(read);
        let _ = properties::iter(record.properties()).count();
    }
});
