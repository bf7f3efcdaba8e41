//! What slaves take over from their master: codes 21, 43, 45, 201, 402 (requests.md D).

use hotfire_core::domain::StateKind;

pub(super) const ALL_TOPICS: i32 = 21;
pub(super) const ALL_OFFSETS: i32 = 43;
pub(super) const ALL_DELAY_OFFSETS: i32 = 45;
pub(super) const ALL_GROUPS: i32 = 201;
pub(super) const ALL_REQUEST_MODES: i32 = 402;

pub(super) fn code(kind: StateKind) -> i32 {
    match kind {
        StateKind::Topics => ALL_TOPICS,
        StateKind::Groups => ALL_GROUPS,
        StateKind::Offsets => ALL_OFFSETS,
        StateKind::DelayOffsets => ALL_DELAY_OFFSETS,
        StateKind::RequestModes => ALL_REQUEST_MODES,
    }
}

pub(super) fn kind(code: i32) -> Option<StateKind> {
    StateKind::ALL.into_iter().find(|kind| self::code(*kind) == code)
}

/// How the answer names the number of rows, where askers count pages. All of them are in the first.
pub(super) fn total_field(kind: StateKind) -> Option<&'static str> {
    match kind {
        StateKind::Topics => Some("totalTopicNum"),
        StateKind::Groups => Some("totalGroupNum"),
        StateKind::DelayOffsets | StateKind::Offsets | StateKind::RequestModes => None,
    }
}
