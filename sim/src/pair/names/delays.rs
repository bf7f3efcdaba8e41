//! How far delayed messages are delivered. Nobody here sends any: before each life of the master
//! another broker has served its store, and left its table. Slaves are to have that table, all of
//! it and nothing else, in the file where the next broker looks.

use super::super::node::Node;
use crate::ring::Violation;

const FILE: &str = "config/delayOffset.json";

/// The table before that life, as Apache's broker writes it. Its levels come and go, and its
/// version is that of some lives. No message waits, so nothing is delivered.
fn left(life: u32) -> String {
    let (version, level) = (life / 3, 1 + life % 18);
    format!(
        "{{\n\t\"dataVersion\":{{\n\t\t\"counter\":{version},\n\t\t\"stateVersion\":0,\n\t\t\
         \"timestamp\":{version}\n\t}},\n\t\"offsetTable\":{{\n\t\t{level}:0\n\t}}\n}}"
    )
}

/// A table without what says the same in other words: space, and quotes of keys.
fn plain(table: &str) -> String {
    table.chars().filter(|c| !c.is_whitespace() && *c != '"').collect()
}

/// Another broker has served the store of a master that is about to start.
pub(in super::super) fn deliver(master: &Node) {
    master.medium.leave(FILE, left(master.life + 1).as_bytes());
}

/// A broker that has another table than its master.
pub(super) fn misled(nodes: &[Node]) -> Option<Violation> {
    let wanted = plain(&left(nodes[0].life));
    nodes.iter().enumerate().find_map(|(at, node)| {
        let disk = node.broker.as_ref()?.store().disk();
        let kept = disk.seen_where(|path| path == FILE).remove(FILE);
        let kept = kept.map(|table| plain(&String::from_utf8_lossy(&table)));
        let detail = format!("node {at} keeps {kept:?}, the master was left {wanted}");
        let is_right = kept.as_ref() == Some(&wanted);
        (!is_right).then(|| Violation::new("a slave has its master's delay offsets", detail))
    })
}
