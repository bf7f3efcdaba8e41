//! One record in several queues, and several messages in one record.

use super::*;

fn property(store: &Store<PlainDisk>, at: Physical, key: &str) -> Option<String> {
    let value = store.record(at).expect("a record").property(key)?;
    Some(String::from_utf8(value.to_vec()).expect("UTF-8"))
}

/// But for the CRC at their end.
fn properties(store: &Store<PlainDisk>, at: Physical) -> String {
    let raw = store.record(at).expect("a record").properties();
    let raw = &raw[..raw.len() - 20];
    String::from_utf8(raw.to_vec()).expect("UTF-8").replace('\u{1}', "=").replace('\u{2}', ";")
}

fn killed(store: Store<PlainDisk>) -> Store<PlainDisk> {
    open(store.into_disk().reopened()).0
}

#[test]
fn light_queues_point_at_the_same_record_and_count_for_themselves() {
    let (mut store, _) = open(PlainDisk::default());
    let both: &[&[u8]] = &[b"K\x01v\x02INNER_MULTI_DISPATCH\x01%LMQ%a,%LMQ%b\x02"];
    // A client's own offsets are left out, wherever they stand; the last separator is made.
    let lies: &[&[u8]] =
        &[b"INNER_MULTI_QUEUE_OFFSET\x0177\x02INNER_MULTI_DISPATCH\x01%LMQ%b\x02K\x01v"];
    let first = append(&mut store, &draft("t", b"one", both));
    let second = append(&mut store, &draft("t", b"two", lies));
    let third = append(&mut store, &draft("u", b"three", both));
    drop(events(&mut store));
    let told = [first, second, third].map(|appended| properties(&store, appended.span.at));
    assert_eq!(
        told,
        [
            "K=v;INNER_MULTI_DISPATCH=%LMQ%a,%LMQ%b;INNER_MULTI_QUEUE_OFFSET=0,0;",
            "INNER_MULTI_DISPATCH=%LMQ%b;K=v;INNER_MULTI_QUEUE_OFFSET=1;",
            "K=v;INNER_MULTI_DISPATCH=%LMQ%a,%LMQ%b;INNER_MULTI_QUEUE_OFFSET=1,2;",
        ]
    );
    for _ in 0..2 {
        assert_eq!(bodies(&store, "%LMQ%a"), [&b"one"[..], b"three"]);
        assert_eq!(bodies(&store, "%LMQ%b"), [&b"one"[..], b"two", b"three"]);
        store.verify_all().expect("queues follow the log");
        store = killed(store);
    }
}

#[test]
fn names_that_cannot_be_are_passed_over_or_refused_and_nothing_is_appended() {
    let (mut store, _) = open(PlainDisk::default());
    let append_named = |store: &mut Store<PlainDisk>, topic: &str, names: &str| {
        let text = format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}");
        let appended = store.append(NOW, &draft(topic, b"x", &[text.as_bytes()]));
        drop(events(store));
        appended.map(|appended| property(store, appended.span.at, "INNER_MULTI_QUEUE_OFFSET"))
    };
    let mut told = |topic: &str, names: &str| append_named(&mut store, topic, names);
    assert_eq!(told("t", "%LMQ%a/../b,%LMQ%a,%LMQ%a").expect("stored").as_deref(), Some("0,0,0"));
    assert_eq!(told("t", "%LMQ%a,").expect("stored").as_deref(), Some("1"));
    for topic in ["%RETRY%g", "rmq_sys_x", "SCHEDULE_TOPIC_XXXX", "%LMQ%a"] {
        assert_eq!(told(topic, "%LMQ%a").expect("stored"), None, "{topic}");
    }
    let long = format!("%LMQ%{}", "x".repeat(251));
    for name in ["plain", "%LMQ%a,plain", "%LMQ%a\0", ",%LMQ%a", &long] {
        let refused = told("t", name).expect_err("no name");
        assert!(matches!(refused, AppendError::LightName { .. }), "{name}");
    }
    assert_eq!(bodies(&store, "t").len(), 2);
    assert_eq!(bodies(&store, "%LMQ%a").len(), 3, "one was sent there");
    store.verify_all().expect("queues follow the log");
    killed(store).verify_all().expect("queues follow the log");
}

#[test]
fn there_are_as_many_light_queues_as_may_be() {
    let settings = Settings { light_queues_max: 2, ..settings() };
    let mut store = Store::open(PlainDisk::default(), settings, |_| false).expect("sound").0;
    let mut named = |names: &str| {
        let text = format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}");
        let appended = store.append(NOW, &draft("t", b"x", &[text.as_bytes()]));
        drop(events(&mut store));
        appended
    };
    let refused = AppendError::LightQueues { max: 2 };
    assert_eq!(named("%LMQ%a,%LMQ%b,%LMQ%c"), Err(refused.clone()));
    named("%LMQ%a,%LMQ%b").expect("two");
    assert_eq!(named("%LMQ%c"), Err(refused));
    named("%LMQ%b,%LMQ%a").expect("the same two");
    store.delete_topic("%LMQ%a");
    store.append(NOW, &draft("t", b"x", &[b"INNER_MULTI_DISPATCH\x01%LMQ%c"])).expect("a place");
}

#[test]
fn what_a_store_adds_counts_towards_the_limits() {
    let (mut store, _) = open(PlainDisk::default());
    let mut text = b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02K\x01".to_vec();
    text.resize(crate::record::PROPERTIES_MAX - 20, b'x');
    let refused = store.append(NOW, &draft("t", b"x", &[&text])).expect_err("too long");
    assert!(matches!(refused, AppendError::Illegal(_)), "{refused}");
    assert!(store.queue("%LMQ%a", 0).is_none());
}

#[test]
fn a_batch_counts_on_in_light_queues() {
    let (mut store, _) = open(PlainDisk::default());
    let a: &[&[u8]] = &[b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02"];
    let both: &[&[u8]] = &[b"INNER_MULTI_DISPATCH\x01%LMQ%b,%LMQ%a\x02"];
    append(&mut store, &draft("t", b"one", a));
    let batch = [draft("t", b"two", a), draft("t", b"three", &[]), draft("t", b"four", both)];
    let mut spans = Vec::new();
    store.append_batch(NOW, &batch, &mut spans).expect("there is room");
    drop(events(&mut store));
    let offsets = property(&store, spans[2].at, "INNER_MULTI_QUEUE_OFFSET");
    assert_eq!(offsets.as_deref(), Some("0,2"));
    assert_eq!(bodies(&store, "%LMQ%a"), [&b"one"[..], b"two", b"four"]);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn an_inner_batch_is_found_by_each_of_its_offsets() {
    let (mut store, _) = open(PlainDisk::default());
    store.declare_batch("batch", true);
    let inner = |body| {
        // What a client says of the base is not believed.
        let mut inner = draft("batch", body, &[b"INNER_BASE\x0199\x02INNER_NUM\x013"]);
        inner.sys_flag = SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP;
        inner
    };
    append(&mut store, &inner(b"three"));
    append(&mut store, &draft("batch", b"one", &[]));
    let last = append(&mut store, &inner(b"more"));
    drop(events(&mut store));
    assert_eq!(properties(&store, last.span.at), "INNER_NUM=3;INNER_BASE=4;");
    assert_eq!(last.queue_offset.get(), 4);
    for _ in 0..2 {
        let view = store.queue_view("batch", 0).expect("a queue");
        assert_eq!((view.range().min.get(), view.range().max.get()), (0, 7));
        let firsts = (0..7).map(|n| view.get(QueueOffset::new(n)).expect("a unit").first.get());
        assert_eq!(firsts.collect::<Vec<_>>(), [0, 0, 0, 3, 4, 4, 4]);
        store.verify_all().expect("queues follow the log");
        store = killed(store);
    }
}

#[test]
fn a_time_names_an_offset_in_every_kind_of_queue() {
    let settings = Settings { queue_ext: true, queue_ext_file: 50, ..settings() };
    let is_batch = |topic: &str| topic == "batch";
    let mut store = Store::open(PlainDisk::default(), settings, is_batch).expect("sound").0;
    store.declare_batch("batch", true);
    let light: &[&[u8]] = &[b"INNER_MULTI_DISPATCH\x01%LMQ%a"];
    let mut inner = draft("batch", b"x", &[b"INNER_NUM\x012"]);
    inner.sys_flag = SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP;
    for millis in [10, 20, 20, 30] {
        for draft in [&draft("t", b"x", light), &inner] {
            store.append(Wall::from_millis(millis), draft).expect("there is room");
            drop(events(&mut store));
        }
    }
    let find = |topic, millis, boundary| {
        let time = Wall::from_millis(millis);
        store.offset_by_time(topic, 0, time, boundary).expect("a queue").get()
    };
    let times = [5, 10, 15, 20, 30, 31];
    for topic in ["t", "%LMQ%a"] {
        assert_eq!(times.map(|at| find(topic, at, Boundary::Lower)), [0, 0, 1, 1, 3, 4]);
        assert_eq!(times.map(|at| find(topic, at, Boundary::Upper)), [0, 0, 0, 2, 3, 3]);
    }
    // The messages of a batch have one time; the last of them is the last one.
    assert_eq!(times.map(|at| find("batch", at, Boundary::Lower)), [0, 0, 2, 2, 6, 8]);
    assert_eq!(times.map(|at| find("batch", at, Boundary::Upper)), [0, 1, 1, 5, 7, 7]);
}
