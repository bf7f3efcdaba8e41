//! Operators say where groups go on.

use hotfire_storage::documents::OFFSETS;

use super::*;
use crate::domain::{
    BrokerNotice, CloneOffsets, ConsumeFrom, ConsumeStats, ConsumeType, ConsumerData, Heartbeat,
    MessageModel, ResetOffsets, ResetTo, Subscription,
};
use crate::ha::SlavePolicy;

fn of(queue: i32) -> QueueRef {
    QueueRef { topic: "t".into(), queue }
}

fn reset_of(queue: Option<i32>, to: ResetTo, is_forced: bool) -> BrokerRequest {
    let (group, topic) = ("g".into(), "t".into());
    BrokerRequest::ResetOffsets(Box::new(ResetOffsets { group, topic, queue, to, is_forced }))
}

fn reset(to: i64) -> BrokerRequest {
    reset_of(Some(0), ResetTo::Offset(to), true)
}

fn commit(offset: i64) -> BrokerRequest {
    BrokerRequest::UpdateOffset { group: "g".into(), of: of(0), offset }
}

fn position(group: &str) -> BrokerRequest {
    BrokerRequest::QueryOffset { group: group.into(), of: of(0), zero_if_absent: Some(false) }
}

/// Ten messages in a queue, one each millisecond from 11 on, of which a group has consumed six.
fn consumed() -> Rig {
    consumed_by(config())
}

fn consumed_by(config: BrokerConfig) -> Rig {
    let mut rig = Rig::open(PlainDisk::default(), config);
    rig.one(1, create("t", None));
    for ms in 11..21 {
        rig.one(ms, send("t", b"x"));
    }
    assert_eq!(rig.one(30, commit(6)), BrokerResponse::Done);
    rig
}

fn moved(response: BrokerResponse) -> Vec<u64> {
    match response {
        BrokerResponse::OffsetsReset(moves) => moves.iter().map(|(_, to)| to.get()).collect(),
        other => panic!("{other:?}"),
    }
}

fn refused(response: BrokerResponse) -> Code {
    match response {
        BrokerResponse::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn beat(model: MessageModel) -> BrokerRequest {
    BrokerRequest::Heartbeat(Box::new(Heartbeat {
        client_id: "c".into(),
        producers: Vec::new(),
        consumers: vec![ConsumerData {
            group: "g".into(),
            consume_type: ConsumeType::Passively,
            model,
            from: ConsumeFrom::LastOffset,
            subscriptions: vec![Subscription {
                topic: "t".into(),
                expression: "*".into(),
                tags: Vec::new(),
                codes: Vec::new(),
                version: 1,
                expression_type: "TAG".into(),
            }],
        }],
        fingerprint: 0,
        without_sub: false,
    }))
}

/// What a member had in hand when it was moved does not count, nor what it commits of that.
#[test]
fn a_running_group_is_moved_and_its_old_commits_do_not_count() {
    let mut rig = consumed();
    assert_eq!(moved(rig.one(31, reset(2))), [2]);
    assert_eq!(rig.one(32, commit(9)), BrokerResponse::Done);
    assert_eq!(rig.one(32, position("g")), BrokerResponse::Offset(2));
    let mut rig = consumed();
    assert_eq!(moved(rig.one(31, reset(2))), [2]);
    for _ in 0..2 {
        // Again, until it comes from there: the answer may be lost with its connection.
        let pulled = rig.pulled(33, "t", 9);
        let (status, code) = (PullStatus::OffsetReset, Code::PullOffsetMoved);
        assert_eq!((pulled.status, pulled.code, pulled.next.get()), (status, code, 2));
        assert_eq!((pulled.min.get(), pulled.max.get()), (0, 10));
    }
    let BrokerRequest::Pull(mut late) = pull("t", 9, None) else { unreachable!() };
    late.commit = Some(9);
    assert!(matches!(rig.one(34, BrokerRequest::Pull(late)), BrokerResponse::Pulled(_)));
    assert_eq!(rig.one(34, position("g")), BrokerResponse::Offset(2));
    assert_eq!(rig.pulled(35, "t", 2).status, PullStatus::Found);
    assert_eq!(rig.one(36, commit(5)), BrokerResponse::Done);
    assert_eq!(rig.one(36, position("g")), BrokerResponse::Offset(5));
    assert_eq!(rig.pulled(37, "t", 5).status, PullStatus::Found, "it is over");
}

/// Two members may have a queue at once while they rebalance.
#[test]
fn a_member_is_moved_until_another_has_what_it_got_there() {
    let of_conn = |rig: &mut Rig, ms, conn, request| {
        let caller = Caller { conn: ConnId(conn), ..caller(7) };
        rig.broker.handle(at(ms), Input::Request { caller, request });
        rig.run(ms).pop().map(|(_, response)| response)
    };
    let status = |response| match response {
        Some(BrokerResponse::Pulled(pulled)) => pulled.status,
        other => panic!("{other:?}"),
    };
    let mut rig = consumed();
    assert_eq!(moved(rig.one(31, reset(2))), [2]);
    for (conn, offset, expected) in [
        (1, 9, PullStatus::OffsetReset),
        (1, 2, PullStatus::Found),
        (2, 9, PullStatus::OffsetReset),
    ] {
        assert_eq!(status(of_conn(&mut rig, 32, conn, pull("t", offset, None))), expected);
    }
    // The first member's answer was lost, it is gone; or it has it, and says so.
    of_conn(&mut rig, 33, 2, commit(9));
    assert_eq!(rig.one(33, position("g")), BrokerResponse::Offset(2));
    assert_eq!(status(of_conn(&mut rig, 34, 2, pull("t", 2, None))), PullStatus::Found);
    of_conn(&mut rig, 35, 1, commit(4));
    assert_eq!(rig.one(35, position("g")), BrokerResponse::Offset(2));
    assert_eq!(status(of_conn(&mut rig, 36, 2, pull("t", 9, None))), PullStatus::Found);
    of_conn(&mut rig, 37, 1, commit(4));
    assert_eq!(rig.one(37, position("g")), BrokerResponse::Offset(4));
}

/// It may have more in hand: only who was told is there on purpose.
#[test]
fn who_pulls_there_by_chance_is_moved_as_well() {
    let mut rig = consumed();
    assert_eq!(moved(rig.one(31, reset(8))), [8]);
    assert_eq!(rig.pulled(32, "t", 8).status, PullStatus::OffsetReset);
    assert_eq!(rig.pulled(33, "t", 8).status, PullStatus::Found);
    let mut rig = consumed();
    assert_eq!(moved(rig.one(31, reset(8))), [8]);
    assert_eq!(rig.one(32, position("g")), BrokerResponse::Offset(8));
    assert_eq!(rig.pulled(33, "t", 8).status, PullStatus::Found, "it asked, and begins there");
}

#[test]
fn a_held_pull_is_moved_at_once() {
    let mut rig = consumed();
    let held = rig.ask(31, pull("t", 10, Some(15_000)));
    assert_eq!(rig.run(31), []);
    rig.ask(32, reset(0));
    let answers = rig.run(32);
    let answer = answers.iter().find(|(opaque, _)| *opaque == held).map(|(_, answer)| answer);
    let Some(BrokerResponse::Pulled(pulled)) = answer else { panic!("{answers:?}") };
    assert_eq!((pulled.code, pulled.next.get()), (Code::PullOffsetMoved, 0));
}

/// Else the operator goes, the power fails, and the group is where it was.
#[test]
fn a_reset_is_answered_once_it_is_kept_and_stays_open_until_the_group_comes() {
    let mut rig = consumed();
    rig.broker.store.disk_mut().hold_completions(true);
    let asked = rig.ask(31, reset(2));
    assert_eq!(rig.run(31), []);
    let again = rig.ask(32, reset(3));
    assert_eq!(rig.run(32), [], "a save that runs does not keep what came later");
    rig.broker.store.disk_mut().hold_completions(false);
    let answers = rig.run(33);
    assert_eq!(answers.iter().map(|(opaque, _)| *opaque).collect::<Vec<_>>(), [asked, again]);
    assert!(rig.broker.store().disk().file(OFFSETS).is_some());
    let mut rig = Rig::open(rig.broker.into_store().into_disk().reopened(), config());
    assert_eq!(rig.one(40, commit(9)), BrokerResponse::Done);
    assert_eq!(rig.pulled(41, "t", 9).next.get(), 3);
    assert_eq!(rig.pulled(42, "t", 3).status, PullStatus::Found);
    assert_eq!(rig.one(43, commit(4)), BrokerResponse::Done);
    rig.broker.stop(at(44)).unwrap();
    let mut rig = Rig::open(rig.broker.into_store().into_disk().reopened(), config());
    assert_eq!(rig.pulled(50, "t", 9).status, PullStatus::Found, "it is over");
}

#[test]
fn a_group_is_sent_to_an_offset_a_time_or_the_end() {
    let mut rig = consumed();
    let mut to = |to, forced| moved(rig.one(31, reset_of(None, to, forced)));
    let stored = |ms: u64| at(ms).wall;
    assert_eq!(to(ResetTo::End, true), [10]);
    assert_eq!(to(ResetTo::Time(stored(15)), true), [4]);
    assert_eq!(to(ResetTo::Time(stored(0)), true), [0]);
    assert_eq!(to(ResetTo::Time(stored(1_000)), true), [10]);
    // Who is not to be forced goes back only.
    assert_eq!(to(ResetTo::Time(stored(18)), true), [7]);
    assert_eq!(to(ResetTo::End, false), [7]);
    assert_eq!(to(ResetTo::Time(stored(12)), false), [1]);
    for (queue, to) in [(0, 11), (0, -7)] {
        let wanted = reset_of(Some(queue), ResetTo::Offset(to), true);
        assert_eq!(refused(rig.one(32, wanted)), Code::SystemError);
    }
    let wanted = reset_of(Some(1), ResetTo::End, true);
    assert_eq!(refused(rig.one(32, wanted)), Code::InvalidParameter);
    let BrokerRequest::ResetOffsets(wanted) = reset(1) else { unreachable!() };
    let other = ResetOffsets { topic: "u".into(), ..(*wanted).clone() };
    let other = BrokerRequest::ResetOffsets(Box::new(other));
    assert_eq!(refused(rig.one(32, other)), Code::TopicNotExist);
    let other =
        BrokerRequest::ResetOffsets(Box::new(ResetOffsets { group: "h".into(), ..*wanted }));
    assert_eq!(refused(rig.one(32, other)), Code::SubscriptionGroupNotExist);
}

#[test]
fn a_slave_moves_nobody() {
    let role = Role::Slave { policy: SlavePolicy::default(), master: None };
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { role, ..config() });
    assert_eq!(refused(rig.one(1, reset(0))), Code::SystemError);
}

/// Members of a broadcast group keep their offsets themselves: nobody's pull would tell the others.
#[test]
fn members_who_keep_their_offsets_are_told_all_of_them() {
    let told = |rig: &mut Rig| {
        rig.ask(31, reset(2));
        let mut told = Vec::new();
        while let Some(effect) = rig.broker.poll(at(31)) {
            if let Effect::Notify { notice: BrokerNotice::OffsetsReset(reset), .. } = effect {
                told.push((reset.offsets[0].1.get(), reset.as_list));
            }
        }
        told
    };
    let mut rig = consumed();
    rig.one(30, beat(MessageModel::Broadcasting));
    assert_eq!(told(&mut rig), [(2, false)]);
    assert_eq!(rig.pulled(32, "t", 9).status, PullStatus::Found, "nobody is moved");
    let all_told = BrokerConfig { server_side_reset: false, ..config() };
    let mut rig = consumed_by(all_told);
    assert_eq!(refused(rig.one(30, reset(2))), Code::ConsumerNotOnline);
    rig.one(30, beat(MessageModel::Clustering));
    assert_eq!(told(&mut rig), [(2, false)]);
}

#[test]
fn a_group_goes_on_where_another_is() {
    let mut rig = consumed();
    let clone = |topic: Option<&str>| {
        let (from, to, topic) = ("g".into(), "h".into(), topic.map(Text::from));
        BrokerRequest::CloneOffsets(Box::new(CloneOffsets { from, to, topic, offline: false }))
    };
    assert_eq!(refused(rig.one(31, clone(Some("u")))), Code::SystemError);
    assert!(!rig.broker.groups.table().contains_key("h"), "what is refused makes no group");
    assert_eq!(rig.one(32, clone(None)), BrokerResponse::Done);
    assert_eq!(rig.one(33, position("h")), BrokerResponse::Offset(6));
    assert_eq!(rig.one(33, position("g")), BrokerResponse::Offset(6));
}

fn stats(rig: &mut Rig, ms: u64) -> ConsumeStats {
    match rig.one(ms, BrokerRequest::ConsumeStats { group: "g".into(), topics: Vec::new() }) {
        BrokerResponse::ConsumeStats(stats) => *stats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_told_how_far_a_group_is_and_how_fast() {
    let mut rig = consumed();
    let pulled = rig.pulled(31, "t", 6);
    assert_eq!(pulled.next.get(), 10);
    rig.pulled(32, "t", 10);
    let ConsumeStats { messages_per_minute, queues } = stats(&mut rig, 33);
    let lag = &queues[0];
    assert_eq!((messages_per_minute, queues.len()), (4, 1));
    assert_eq!((lag.end.get(), lag.next.get(), lag.pulled.get()), (10, 6, 10));
    assert_eq!(lag.consumed, Some(at(16).wall));
    let all = rig.one(34, BrokerRequest::AllConsumeStats { only_ordered: false });
    let BrokerResponse::AllConsumeStats { groups, .. } = all else { panic!("{all:?}") };
    assert_eq!(groups[0].topics, [ConsumeStats { messages_per_minute: 4, queues }]);
    // A minute later it gets nothing.
    for ms in (10_000..80_000).step_by(10_000) {
        rig.run(ms);
    }
    let ConsumeStats { messages_per_minute, queues } = stats(&mut rig, 80_001);
    assert_eq!((messages_per_minute, queues[0].pulled.get()), (0, 6));
}
