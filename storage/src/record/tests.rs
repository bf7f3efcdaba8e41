//! Records that were drafted, read back, torn and moved.

use proptest::prelude::*;

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

/// Whatever a draft can say, owned.
#[derive(Clone, Debug)]
struct Said {
    topic: String,
    numbers: (i32, i32, i32, i32),
    times: (i64, i64),
    hosts: (SocketAddr, SocketAddr),
    at: (u64, u64, u64),
    body: Vec<u8>,
    properties: Vec<(String, String)>,
}

/// Topics of either version, hosts of either family, half messages, commits and rollbacks among
/// the flags.
fn anything() -> impl Strategy<Value = Said> {
    let topic = prop_oneof!["[a-zA-Z%_-]{1,60}", "[a-z]{120,255}", "[世界é]{1,80}"];
    let numbers = (0..=i32::MAX, any::<i32>(), any::<i32>(), any::<i32>());
    let at = (0..=1_u64 << 62, 0..=1_u64 << 62, 0..=1_u64 << 62);
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(any::<u8>(), 1000..9000)
    ];
    let property = ("[A-Z_]{1,12}", "[^\u{1}\u{2}]{0,20}");
    let properties = proptest::collection::vec(property, 0..5);
    (topic, numbers, any::<(i64, i64)>(), any::<(SocketAddr, SocketAddr)>(), at, body, properties)
        .prop_map(|(topic, numbers, times, hosts, at, body, properties)| Said {
            topic,
            numbers,
            times,
            // Neither scope nor flow are in the format.
            hosts: (plain(hosts.0), plain(hosts.1)),
            at,
            body,
            properties,
        })
}

fn plain(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip(), host.port())
}

fn write_said(said: &Said, crc: PropCrc) -> Vec<u8> {
    let pairs = said.properties.iter().map(|(key, value)| format!("{key}\x01{value}\x02"));
    let pieces: Vec<String> = pairs.collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
    let draft = Draft {
        topic: &said.topic,
        queue_id: said.numbers.0,
        flag: said.numbers.1,
        sys_flag: SysFlag::from_bits(said.numbers.2),
        born: Wall::from_millis(said.times.0),
        born_host: said.hosts.0,
        store_host: said.hosts.1,
        reconsume_times: said.numbers.3,
        prepared: Physical::new(said.at.2),
        body: &said.body,
        properties: &pieces,
    };
    let layout = draft.check(crc).expect("a legal draft");
    let mut slot = vec![0; layout.len() as usize];
    let (offset, at) = (QueueOffset::new(said.at.1), Physical::new(said.at.0));
    draft.encode_into(layout, &mut slot, offset, at, Wall::from_millis(said.times.1));
    slot
}

proptest! {
    #[test]
    fn whatever_is_said_reads_back(said in anything(), whole in any::<bool>()) {
        let crc = if whole { PropCrc::Append } else { PropCrc::Omit };
        let bytes = write_said(&said, crc);
        let record = good(&bytes, said.at.0, if whole { Crc::Whole } else { Crc::Verify });
        prop_assert_eq!(record.topic(), said.topic);
        let magic = if record.topic().len() > 127 { MAGIC_V2 } else { MAGIC_V1 };
        prop_assert_eq!(u32_at(&bytes, 4), magic);
        let numbers = (record.queue_id(), record.flag(), record.reconsume_times());
        prop_assert_eq!(numbers, (said.numbers.0, said.numbers.1, said.numbers.3));
        let hosts = SysFlag::BORN_V6 | SysFlag::STORE_V6;
        let said_flag = SysFlag::from_bits(said.numbers.2);
        prop_assert_eq!(record.sys_flag().without(hosts), said_flag.without(hosts));
        prop_assert_eq!((record.born_host(), record.store_host()), said.hosts);
        let times = (record.born().as_millis(), record.store_time().as_millis());
        prop_assert_eq!(times, said.times);
        let at = (record.physical().get(), record.queue_offset().get(), record.prepared().get());
        prop_assert_eq!(at, said.at);
        prop_assert_eq!(record.body(), said.body);
        let mut found = properties::iter(record.properties());
        for (key, value) in &said.properties {
            prop_assert_eq!(found.next(), Some((key.as_bytes(), value.as_bytes())));
        }
        prop_assert_eq!(found.count(), usize::from(whole));
    }

    /// A CRC of 31 bits finds every burst that is no longer than itself, and misses one in two
    /// billion others.
    #[test]
    fn a_record_that_was_torn_is_bad(
        said in anything(), from in any::<prop::sample::Index>(), garbage in any::<[u8; 4]>(),
    ) {
        let whole = write_said(&said, PropCrc::Append);
        let mut torn = whole.clone();
        let from = from.index(torn.len() - garbage.len());
        torn[from..from + garbage.len()].copy_from_slice(&garbage);
        prop_assume!(torn != whole);
        let verdict = check(&torn, Physical::new(said.at.0), Crc::Whole);
        prop_assert!(matches!(verdict, Verdict::Bad(_)), "{:?}", verdict);
    }

    /// What a disk gave is nobody's word.
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), at in any::<u64>(),
        magic in prop::sample::select(vec![MAGIC_V1, MAGIC_V2, MAGIC_BLANK]), fits in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if fits && bytes.len() >= 36 {
            let len = u32::try_from(bytes.len()).expect("short");
            bytes[..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].copy_from_slice(&magic.to_be_bytes());
            bytes[28..36].copy_from_slice(&at.to_be_bytes());
        }
        for crc in [Crc::Skip, Crc::Verify, Crc::Whole] {
            if let Verdict::Good(record) = check(&bytes, Physical::new(at), crc) {
                // Every accessor is a plain read.
                prop_assert!(record.size() as usize <= bytes.len());
                prop_assert!(record.store_host_bytes().len() >= 8);
                prop_assert!(record.body().len() + record.topic().len() <= bytes.len());
            }
        }
    }
}
