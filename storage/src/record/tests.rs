//! Records that were drafted, read back, torn and moved.

use super::*;

fn draft<'a>(topic: &'a str, body: &'a [u8], properties: &'a [&'a [u8]]) -> Draft<'a> {
    Draft {
        topic,
        queue_id: 3,
        flag: 7,
        sys_flag: SysFlag::COMMIT,
        born: Wall::from_millis(11),
        born_host: "10.0.0.1:1234".parse().expect("an address"),
        store_host: "[fe80::1]:10911".parse().expect("an address"),
        reconsume_times: 2,
        prepared: Physical::new(99),
        body,
        properties,
    }
}

fn encode(draft: &Draft<'_>, crc: PropCrc, at: u64) -> Vec<u8> {
    let layout = draft.check(crc).expect("a legal draft");
    let mut slot = vec![0; layout.len() as usize];
    let (offset, at) = (QueueOffset::new(5), Physical::new(at));
    draft.encode_into(layout, &mut slot, offset, at, Wall::from_millis(22));
    slot
}

fn good(bytes: &[u8], at: u64, crc: Crc) -> Record<'_> {
    match check(bytes, Physical::new(at), crc) {
        Verdict::Good(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_reads_back_as_it_was_drafted() {
    let pieces: [&[u8]; 2] = [b"TAGS\x01a\x02", b"KEYS\x01k"];
    let bytes = encode(&draft("T", b"hello", &pieces), PropCrc::Omit, 640);
    let record = good(&bytes, 640, Crc::Verify);
    assert_eq!((record.properties(), record.whole_crc()), (&pieces.concat()[..], None));
    assert_eq!(record.size() as usize, bytes.len());
    assert_eq!(record.body_crc(), 907_060_870);
    assert_eq!((record.queue_id(), record.flag(), record.queue_offset().get()), (3, 7, 5));
    assert_eq!(record.sys_flag(), SysFlag::COMMIT | SysFlag::STORE_V6);
    assert_eq!((record.born().as_millis(), record.store_time().as_millis()), (11, 22));
    assert_eq!(record.born_host(), "10.0.0.1:1234".parse().expect("an address"));
    assert_eq!(record.store_host(), "[fe80::1]:10911".parse().expect("an address"));
    assert_eq!((record.reconsume_times(), record.prepared().get()), (2, 99));
    assert_eq!((record.body(), record.topic()), (&b"hello"[..], "T"));
    assert_eq!(record.property("TAGS"), Some(&b"a"[..]));
    assert_eq!(record.property("KEYS"), Some(&b"k"[..]));
}

#[test]
fn a_long_topic_makes_a_second_version_and_every_length_reads_back() {
    for len in [1, 127, 128, 255] {
        let topic = "t".repeat(len);
        let bytes = encode(&draft(&topic, b"", &[]), PropCrc::Append, 0);
        assert_eq!(good(&bytes, 0, Crc::Whole).topic(), topic);
        let magic = if len > 127 { MAGIC_V2 } else { MAGIC_V1 };
        assert_eq!(u32_at(&bytes, 4), magic);
    }
}

#[test]
fn every_cut_and_every_wrong_place_is_bad() {
    let bytes = encode(&draft("Topic", b"body", &[b"A\x01b\x02"]), PropCrc::Omit, 8);
    for len in 0..bytes.len() {
        assert!(matches!(check(&bytes[..len], Physical::new(8), Crc::Verify), Verdict::Bad(_)));
        let mut torn = bytes.clone();
        torn[len..].fill(0);
        let verdict = check(&torn, Physical::new(8), Crc::Verify);
        // Zeros within the properties' text: what a CRC over the body alone cannot see.
        assert!(matches!(verdict, Verdict::Bad(_)) || len > bytes.len() - 5, "cut at {len}");
    }
    assert_eq!(check(&bytes, Physical::new(9), Crc::Skip), Verdict::Bad(Damage::Position));
}

#[test]
fn whatever_byte_changed_a_record_with_a_crc_over_all_of_it_is_bad() {
    for (topic, body) in [("T", &b"body"[..]), (&"t".repeat(200), &[7; 5000])] {
        let bytes = encode(&draft(topic, body, &[b"A\x01b"]), PropCrc::Append, 8);
        assert_eq!(good(&bytes, 8, Crc::Whole).whole_crc(), Some(true));
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xFF] {
                let mut torn = bytes.clone();
                torn[at] ^= change;
                let verdict = check(&torn, Physical::new(8), Crc::Whole);
                assert!(matches!(verdict, Verdict::Bad(_)), "byte {at}, {change}");
            }
        }
        let plain = encode(&draft(topic, body, &[b"A\x01b"]), PropCrc::Omit, 8);
        let verdict = check(&plain, Physical::new(8), Crc::Whole);
        assert_eq!(verdict, Verdict::Bad(Damage::RecordCrc), "none is as bad as a wrong one");
    }
}

/// Worked out by hand from the format's description: any CRC-32 and a pen will do.
#[test]
fn the_crc_is_written_as_apache_writes_it() {
    for (pieces, before) in [
        (&[][..], &b""[..]),
        (&[&b"A\x01b\x02"[..]], b"A\x01b\x02"),
        (&[&b"A\x01b"[..], b""], b"A\x01b\x02"),
    ] {
        let bytes = encode(&draft("T", b"hello", pieces), PropCrc::Append, 640);
        let (rest, tail) = bytes.split_at(bytes.len() - 20);
        assert!(rest.ends_with(before));
        assert_eq!((&tail[..9], tail[19]), (&b"__CRC32#\x01"[..], 2));
        let digits: String = tail[9..19].iter().rev().map(|digit| char::from(*digit)).collect();
        assert_eq!(digits.parse(), Ok(crc32fast::hash(rest) & 0x7FFF_FFFF));
        let record = good(&bytes, 640, Crc::Verify);
        assert_eq!(record.body_crc(), 907_060_870, "the body's own is what it was");
        assert_eq!(record.properties().len(), before.len() + 20);
    }
}

#[test]
fn a_crc_that_a_client_sent_is_dropped_and_the_rest_stays_as_it_is() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"__CRC32#\x011234567890\x02", b""),
        (b"A\x01b\x02__CRC32#\x011\x02C\x01d\x02", b"A\x01b\x02C\x01d\x02"),
        (b"A\x01b\x02__CRC32#\x011", b"A\x01b\x02"),
        (b"__CRC32#\x011\x02__CRC32#\x01\x02#\x01#", b"#\x01#"),
        (b"x__CRC32#\x011\x02", b"x__CRC32#\x011\x02"),
        (b"A\x01__CRC32#\x02", b"A\x01__CRC32#\x02"),
    ];
    for (sent, kept) in cases {
        let pieces = [b"K\x01v\x02", sent];
        let kept = [b"K\x01v\x02", kept].concat();
        let bytes = encode(&draft("T", b"", &pieces), PropCrc::Omit, 0);
        assert_eq!(good(&bytes, 0, Crc::Verify).properties(), kept);
        let bytes = encode(&draft("T", b"", &pieces), PropCrc::Append, 0);
        let record = good(&bytes, 0, Crc::Whole);
        assert!(record.properties().starts_with(&kept));
        assert!(record.properties().len() <= kept.len() + 21);
    }
}

#[test]
fn properties_are_as_long_as_their_length_can_say_with_the_crc() {
    let long = [b"A\x01".to_vec(), vec![b'x'; PROPERTIES_MAX - 3], vec![2]].concat();
    let refused = Err(DraftError::Properties(PROPERTIES_MAX + 20));
    assert_eq!(draft("T", b"", &[&long]).check(PropCrc::Omit).map(|_| ()), Ok(()));
    assert_eq!(draft("T", b"", &[&long]).check(PropCrc::Append).map(|_| ()), refused);
    let short = [&long[..PROPERTIES_MAX - 21], b"\x02"].concat();
    let bytes = encode(&draft("T", b"", &[&short]), PropCrc::Append, 0);
    assert_eq!(good(&bytes, 0, Crc::Whole).properties().len(), PROPERTIES_MAX);
    // One byte fewer of text and no separator: it is added.
    let open = &short[..short.len() - 1];
    let bytes = encode(&draft("T", b"", &[open]), PropCrc::Append, 0);
    assert_eq!(good(&bytes, 0, Crc::Whole).properties().len(), PROPERTIES_MAX);
}

#[test]
fn a_blank_record_fills_its_file_and_has_no_position() {
    let mut bytes = vec![0xFF; 20];
    bytes[..4].copy_from_slice(&20_u32.to_be_bytes());
    bytes[4..8].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    let blank = Verdict::Blank { len: 20 };
    assert_eq!(check(&bytes, Physical::new(77), Crc::Verify), blank);
    bytes.push(0);
    assert_eq!(check(&bytes, Physical::new(77), Crc::Verify), Verdict::Bad(Damage::BlankLength));
}
