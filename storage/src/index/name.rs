//! Names of index files: a point in time as 17 digits, `yyyyMMddHHmmssSSS` (store.md 7). Apache
//! writes its local time, we write UTC; nobody reads more from a name than its place in the order.

use crate::time::Wall;

const DIGITS: usize = 17;
const DAY_MS: i64 = 86_400_000;
/// The end of the year 9999, in milliseconds.
const LAST_MS: i64 = 253_402_300_799_999;

/// A name, as its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(u64);

impl Name {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let is_name = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
        is_name.then(|| name.parse().ok().map(Self)).flatten()
    }

    /// The name of a file made at `wall`, behind all files up to `last`: names grow, whatever
    /// clocks do.
    pub(crate) fn at(wall: Wall, last: Option<Self>) -> Self {
        let name = Self::of(wall.as_millis());
        match last {
            Some(last) if last >= name => last.following(),
            _ => name,
        }
    }

    fn of(ms: i64) -> Self {
        let ms = ms.clamp(0, LAST_MS);
        let (year, month, day) = date(ms / DAY_MS);
        let of_day = ms % DAY_MS;
        let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let number = ((year * 100 + month) * 100 + day) * 100 + hour;
        Self(((number * 100 + minute) * 100_000 + of_day % 60_000).unsigned_abs())
    }

    /// A millisecond later; the next number where that is none of a calendar.
    fn following(self) -> Self {
        let number = self.0.cast_signed();
        let (minutes, ms) = (number / 100_000, number % 100_000);
        let (minute, hour) = (minutes % 100, minutes / 100 % 100);
        let (day, month) = (minutes / 10_000 % 100, minutes / 1_000_000 % 100);
        let days = days(minutes / 100_000_000, month.clamp(1, 12), day);
        let time = days * DAY_MS + hour * 3_600_000 + minute * 60_000 + ms;
        let next = Self::of(time.saturating_add(1));
        if Self::of(time) == self && next > self { next } else { Self(self.0 + 1) }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:0DIGITS$}", self.0)
    }
}

/// Days since 1970 to a date, in a calendar whose years begin in March: leap days come last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

/// And back.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(ms: i64, last: Option<&str>) -> String {
        let last = last.map(|last| Name::parse(last).expect("a name"));
        Name::at(Wall::from_millis(ms), last).to_string()
    }

    #[test]
    fn a_name_is_the_time_in_utc() {
        assert_eq!(name(0, None), "19700101000000000");
        assert_eq!(name(1_795_505_406_820, None), "20261124073006820");
        assert_eq!(name(951_782_399_999, None), "20000228235959999");
        assert_eq!(name(951_782_400_000, None), "20000229000000000");
        assert_eq!(name(i64::MAX, None), "99991231235959999");
        assert_eq!(name(-5, None), "19700101000000000");
    }

    #[test]
    fn a_name_is_later_than_every_name_before() {
        assert_eq!(name(0, Some("20261124073006999")), "20261124073007000");
        assert_eq!(name(0, Some("20261231235959999")), "20270101000000000");
        assert_eq!(name(0, Some("20000228235959999")), "20000229000000000");
        assert_eq!(name(0, Some("99991231235959999")), "99991231235960000");
        assert_eq!(name(0, Some("20261399259999999")), "20261399260000000");
        for days in (0..60_000).step_by(13) {
            let (ms, next) = (days * DAY_MS + 86_399_999, (days + 1) * DAY_MS);
            assert_eq!(name(ms, Some(&name(ms, None))), name(next, None));
        }
    }

    #[test]
    fn only_seventeen_digits_are_a_name() {
        assert!(Name::parse("20261124073006820").is_some());
        assert!(Name::parse("2026112407300682").is_none());
        assert!(Name::parse("2026112407300682x").is_none());
        assert!(Name::parse("20261124073006820.new").is_none());
    }
}
