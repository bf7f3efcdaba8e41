//! Files are deleted while somebody reads them: what was leased stays as it was.

use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::position::Physical;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, Settings, Store};

fn append(store: &mut Store<MappedDisk>, body: &[u8]) -> hotfire_storage::Appended {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    let wall = Wall::from_millis(1);
    let draft = Draft {
        topic: "t",
        queue_id: 0,
        flag: 0,
        sys_flag: SysFlag::NONE,
        born: wall,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared: Physical::ZERO,
        body,
        properties: &[],
    };
    loop {
        match store.append(wall, &draft) {
            Ok(appended) => {
                store.end_turn();
                return appended;
            }
            Err(AppendError::NotReady) => drop(store.poll()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn wait(store: &mut Store<MappedDisk>) {
    while !store.is_idle() {
        drop(store.poll());
        std::thread::yield_now();
    }
    while store.poll().is_some() {}
}

#[test]
fn a_lease_outlives_its_file_and_the_blocks_go_with_the_last_lease() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = MappedDisk::open(dir.path(), || {}).expect("unused");
    let settings = Settings {
        commit_log_file: 1 << 16,
        consume_queue_file: 20 * 4,
        index_slots: 10,
        index_items: 100,
        max_message_size: 1 << 15,
        ..Settings::default()
    };
    let (mut store, _) = Store::open(disk, settings, |_| false).expect("an empty store");
    let bodies: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 30_000]).collect();
    let spans: Vec<_> = bodies.iter().map(|body| append(&mut store, body).span).collect();
    let leases: Vec<_> = spans.iter().map(|span| store.lease(*span)).collect();
    store.sync(Physical::ZERO, store.committed());
    wait(&mut store);
    store.sync_queues();
    wait(&mut store);
    while store.delete_oldest_log_file().is_ok() {
        wait(&mut store);
        while store.follow_some(10) {}
        wait(&mut store);
    }
    let files = || std::fs::read_dir(dir.path().join("commitlog")).expect("it is there").count();
    assert!(files() <= 2, "all but the last, and the one ahead");
    let maps = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps of this process");
        let ours = |line: &&str| line.contains(&format!("{}/commitlog", dir.path().display()));
        maps.lines().filter(ours).filter(|line| line.ends_with("(deleted)")).count()
    };
    for (lease, body) in leases.iter().zip(&bodies) {
        assert!(lease.windows(body.len()).any(|bytes| bytes == body.as_slice()));
    }
    assert!(maps() >= 8, "deleted files stay mapped for their readers");
    drop(leases);
    assert_eq!(maps(), 0, "and no longer");
    assert!(store.queue("t", 0).expect("a queue").min.get() >= 18);
}
