//! What operators meet: the lines they get, and the page that documents the keys.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

fn broker(text: &str) -> (Result<Vec<Warning>, ConfigError>, BrokerConf) {
    let mut conf = BrokerConf::default();
    (apply("broker.conf", text, &mut conf), conf)
}

#[test]
fn the_file_that_apache_ships_is_read_as_it_is() {
    // The keys and values of the conf/broker.conf in Apache's distribution.
    let (warnings, conf) = broker(
        "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\n\
         deleteWhen = 04\nfileReservedTime = 48\nbrokerRole = ASYNC_MASTER\n\
         flushDiskType = ASYNC_FLUSH\n",
    );
    assert_eq!(warnings.expect("fine"), []);
    assert_eq!((conf.name.as_str(), conf.retention.reserved_hours), ("broker-a", 48));
    assert_eq!(conf.retention.policy().reserved.as_secs(), 48 * 3600);
}

#[test]
fn a_doubtful_key_is_a_warning_that_helps() {
    let (warnings, _) = broker("\nfooBar=1\nlistenport=1\npopPollingSize=9\nlistenPort=2\n");
    let (again, conf) = broker("listenPort=1\nlistenPort=2");
    let all = warnings.expect("fine").into_iter().chain(again.expect("fine"));
    let lines: Vec<String> = all.map(|warning| warning.to_string()).collect();
    let expected = [
        "broker.conf:2: unknown key \"fooBar\"",
        "broker.conf:3: unknown key \"listenport\" (did you mean \"listenPort\"?)",
        "broker.conf:4: \"popPollingSize\" has no effect in this broker; ignored",
        "broker.conf:2: \"listenPort\" was set before; this line counts",
    ];
    assert_eq!(lines, expected);
    assert_eq!(conf.port, 2);
}

#[test]
fn a_bad_value_is_an_error_with_its_line_and_what_was_expected() {
    let table = [
        ("listenPort=0", "listenPort = \"0\": expected a port from 1 to 65535"),
        (
            "brokerRole=MASTER",
            "brokerRole = \"MASTER\": expected ASYNC_MASTER, SYNC_MASTER or SLAVE",
        ),
        ("brokerIP1=here", "brokerIP1 = \"here\": expected an IPv4 address, like 192.168.1.7"),
        ("longPollingEnable=1", "longPollingEnable = \"1\": expected true or false"),
        (
            "storePathRootDir=$HOME/x",
            "storePathRootDir = \"$HOME/x\": expected a path written out ($ and ~ are not \
             expanded)",
        ),
        (
            "namesrvAddr=a:1;b",
            "namesrvAddr = \"a:1;b\": expected addresses as host:port, with ; between them",
        ),
        (
            "aclEnable=true",
            "aclEnable = \"true\": expected false (this broker cannot do it yet, and will not \
             pretend to)",
        ),
    ];
    for (line, expected) in table {
        let (result, _) = broker(&format!("\n{line}"));
        assert_eq!(result.expect_err(line).to_string(), format!("broker.conf:2: {expected}"));
    }
}

#[test]
fn keys_that_contradict_each_other_are_named() {
    let (result, _) = broker("brokerRole=SLAVE");
    let expected = "broker.conf: brokerRole = SLAVE needs brokerId above 0";
    assert_eq!(result.expect_err("a slave 0").to_string(), expected);
    assert!(broker("diskMaxUsedSpaceRatio=88").0.is_ok(), "as many files on the web have it");
    let (result, _) = broker("diskSpaceWarningLevelRatio=80");
    let why = result.expect_err("sends would be refused and nothing go").to_string();
    assert!(why.contains("diskSpaceCleanForciblyRatio = 85"), "{why}");
    let (result, _) = broker("mappedFileSizeCommitLog=1048576");
    assert!(result.expect_err("no room").to_string().contains("maxMessageSize = 4194304"));
}

#[test]
fn every_default_is_a_value_that_its_own_key_takes() {
    fn check<T: Settings + Default>() {
        let text = print(&T::default(), false);
        let mut conf = T::default();
        // A default that is empty or derived is not written down by anybody.
        let lines: Vec<_> = text.lines().filter(|line| !line.ends_with('=')).collect();
        apply("defaults", &lines.join("\n"), &mut conf).expect("defaults are valid");
        let names: Vec<_> = keys::<T>().map(|key| key.name).collect();
        let twice = names.iter().find(|name| ignored_names::<T>().any(|other| other == **name));
        assert_eq!(twice, None, "a key is either understood or ignored");
    }
    check::<BrokerConf>();
    check::<NamesrvConf>();
}

#[test]
fn the_machine_gets_what_the_file_says() {
    let (result, conf) = broker(
        "brokerName=b\nbrokerIP1=10.0.0.7\nlistenPort=20911\nflushDiskType=SYNC_FLUSH\n\
         syncFlushTimeout=77\nmaxTopics=3\nmappedFileSizeConsumeQueue=41\n\
         dataReadAheadEnable=false\ncheckCRCOnRecover=false\nenabledAppendPropCRC=false\n\
         forceVerifyPropCRC=true\n",
    );
    result.expect("fine");
    let machine = conf.machine(9);
    assert_eq!(machine.store_host.to_string(), "10.0.0.7:20911");
    assert_eq!(&*machine.ha_addr, "10.0.0.7:20912");
    assert_eq!((machine.limits.topics, machine.seed), (3, 9));
    let timeout = std::time::Duration::from_millis(77);
    assert_eq!(machine.flush, hotfire_core::broker::FlushPolicy::Sync { timeout });
    assert_eq!(conf.store().consume_queue_file, 60);
    let usage = hotfire_storage::mapped::Usage { read_ahead: false };
    assert_eq!(conf.memory.usage(), usage);
    let store = conf.store();
    assert_eq!(store.prop_crc, hotfire_storage::record::PropCrc::Omit);
    assert!(!store.verify_crc && store.force_prop_crc);
}

/// The page is generated from the tables; `HOTFIRE_BLESS=1 cargo test -p hotfire-nodes` writes it.
#[test]
fn the_documentation_lists_every_key_with_its_default() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let wanted = document();
    if std::env::var_os("HOTFIRE_BLESS").is_some() {
        std::fs::write(&page, &wanted).expect("docs/ is writable");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(found == wanted, "docs/configuration.md is stale: run this test with HOTFIRE_BLESS=1");
}

fn document() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## `broker.conf`\n\n");
    section::<BrokerConf>(&mut page);
    page.push_str("\n## The name server's file\n\n");
    section::<NamesrvConf>(&mut page);
    page
}

fn section<T: Settings + Default>(page: &mut String) {
    let conf = T::default();
    page.push_str("| key | default | meaning |\n|---|---|---|\n");
    for key in keys::<T>() {
        let default = key.default.map_or_else(|| format!("`{}`", (key.show)(&conf)), Into::into);
        let default = if default == "``" { "none".into() } else { default };
        let _ = writeln!(page, "| `{}` | {default} | {} |", key.name, key.meaning);
    }
    page.push_str("\nKnown from Apache and ignored with a warning:");
    let mut names: Vec<_> = ignored_names::<T>().collect();
    names.sort_unstable();
    names.dedup();
    let _ = writeln!(page, " {}.", names.join(", "));
}

const INTRODUCTION: &str = "\
# Configuration

Files are Java properties: `key=value` (or `key: value`), `#` and `!` begin comments, a backslash
at the end continues a line. The keys are Apache's, so an existing `broker.conf` works. Times are
milliseconds unless said otherwise. `hotfire broker -c FILE -p` prints every setting in force,
`-m` the important ones.

A bad value stops the start with its line and what was expected (exit code 2). An unknown key is a
warning that names the nearest known one; a key of Apache's without effect here is a warning too.
A key that promises safety which is not implemented is refused rather than ignored.

This page is generated from the tables in `nodes/src/config/`, and a test compares the two.
";
