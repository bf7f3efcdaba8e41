//! Words of a file that become values. Each parser says what it expected, to end the sentence
//! "expected …".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

/// A duration that files count in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        Self::from_millis(millis.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A path, printable; empty means "where the root puts it".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(pub PathBuf);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Addresses of name servers, `;` between them in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addrs(pub Vec<String>);

impl fmt::Display for Addrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(";"))
    }
}

/// Networks, `,` between them in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

/// Addresses and networks.
pub fn networks(text: &str) -> Result<Networks, String> {
    let words = text.split([',', ';']).map(str::trim).filter(|word| !word.is_empty());
    let one = |word: &str| word.parse().or_else(|_| word.parse().map(IpAddr::into)).ok();
    let all: Option<_> = words.map(one).collect();
    let expected = "addresses and networks, as 10.0.0.7,10.1.0.0/16,fd00::/8";
    Ok(Networks(all.ok_or(expected)?))
}

/// What each delay level waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    /// As the file says it.
    pub text: String,
    /// In milliseconds, level 1 first.
    pub millis: Vec<i64>,
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who a broker is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes sends; waits for no slave.
    AsyncMaster,
    /// Copies a master.
    Slave,
    /// Takes sends; waits for `inSyncReplicas`.
    SyncMaster,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsyncMaster => "ASYNC_MASTER",
            Self::Slave => "SLAVE",
            Self::SyncMaster => "SYNC_MASTER",
        })
    }
}

/// Does a send wait for the medium?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushDisk {
    /// No.
    Async,
    /// Yes.
    Sync,
}

impl fmt::Display for FlushDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async => "ASYNC_FLUSH",
            Self::Sync => "SYNC_FLUSH",
        })
    }
}

/// `true` or `false`, in any case, as Java reads it.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false".into()),
    }
}

/// A whole number within `range`.
pub fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Milliseconds within `range`.
pub fn millis(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Millis, String> {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let expected = || format!("milliseconds, from {} to {}", range.start(), range.end());
        number.map(Millis).ok_or_else(expected)
    }
}

/// A TCP port that can be listened on.
pub fn port(text: &str) -> Result<u16, String> {
    whole(1..=u16::MAX)(text).map_err(|_| "a port from 1 to 65535".into())
}

/// A port, or none.
pub fn port_or_none(text: &str) -> Result<u16, String> {
    whole(0..=u16::MAX)(text).map_err(|_| "a port from 1 to 65535, or 0 for none".into())
}

/// A name that topics may carry: a broker's and a cluster's are topics, too.
pub fn name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "%|_-.".contains(c);
    if text.is_empty() || text.len() > 127 || !text.chars().all(fine) {
        return Err("a name of 1 to 127 characters: letters, digits, - _ % | .".into());
    }
    Ok(text.into())
}

/// An IPv4 or IPv6 address.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "an IP address, like 192.168.1.7".into())
}

/// An IPv4 address; stored records have room for it.
pub fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| "an IPv4 address, like 192.168.1.7".into())
}

/// `host:port;host:port`; empty for none.
pub fn addrs(text: &str) -> Result<Addrs, String> {
    let parts = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty());
    let parts = parts.map(|part| match part.rsplit_once(':') {
        Some((host, number)) if !host.is_empty() && port(number).is_ok() => Ok(part.to_owned()),
        _ => Err("addresses as host:port, with ; between them".into()),
    });
    parts.collect::<Result<_, String>>().map(Addrs)
}

/// `host:port`; empty for none.
pub fn addr(text: &str) -> Result<String, String> {
    let one = addrs(text).ok().filter(|addrs| addrs.0.len() <= 1);
    let one = one.ok_or_else(|| "an address as host:port".to_owned())?;
    Ok(one.0.into_iter().next().unwrap_or_default())
}

/// A path. `$` and `~` are taken literally: no shell reads this file, so they are refused.
pub fn place(text: &str) -> Result<Place, String> {
    if text.contains(['$', '\0']) || text.starts_with('~') {
        return Err("a path written out ($ and ~ are not expanded)".into());
    }
    if text.contains(',') {
        return Err("one path (several store paths are not supported)".into());
    }
    Ok(Place(text.into()))
}

/// A permission: 2 write, 4 read, 6 both, 1 inherit.
pub fn permission(text: &str) -> Result<i32, String> {
    whole(0..=7)(text).map_err(|_| "permission bits from 0 to 7 (2 write, 4 read)".into())
}

/// `ASYNC_MASTER`, `SYNC_MASTER` or `SLAVE`.
pub fn role(text: &str) -> Result<Role, String> {
    let roles = [Role::AsyncMaster, Role::SyncMaster, Role::Slave];
    let found = roles.into_iter().find(|role| role.to_string() == text);
    found.ok_or_else(|| "ASYNC_MASTER, SYNC_MASTER or SLAVE".into())
}

/// `ASYNC_FLUSH` or `SYNC_FLUSH`.
pub fn flush_disk(text: &str) -> Result<FlushDisk, String> {
    let modes = [FlushDisk::Async, FlushDisk::Sync];
    let found = modes.into_iter().find(|mode| mode.to_string() == text);
    found.ok_or_else(|| "ASYNC_FLUSH or SYNC_FLUSH".into())
}

/// Delays like `1s 5s 2m 1h`, at least one.
pub fn delays(text: &str) -> Result<Delays, String> {
    let delay = |word: &str| {
        let unit = match word.chars().next_back()? {
            's' => 1000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        let number: i64 = word[..word.len() - 1].parse().ok().filter(|number| *number > 0)?;
        number.checked_mul(unit)
    };
    let millis: Option<Vec<_>> = text.split_whitespace().map(delay).collect();
    let millis = millis.filter(|millis| !millis.is_empty());
    let millis = millis.ok_or("delays like \"1s 5s 10s 1m 1h\", units s, m, h and d")?;
    Ok(Delays { text: text.into(), millis })
}

/// Hours of the day like `04` or `03;15`.
pub fn hours(text: &str) -> Result<String, String> {
    let fine = |word: &str| word.trim().parse::<u8>().is_ok_and(|hour| hour < 24);
    if !text.split(';').all(fine) {
        return Err("hours from 00 to 23, with ; between them".into());
    }
    Ok(text.into())
}

/// `false`: a switch that promises safety must not be taken without keeping the promise.
pub fn off(text: &str) -> Result<bool, String> {
    if switch(text)? {
        return Err("false (this broker cannot do it yet, and will not pretend to)".into());
    }
    Ok(false)
}

/// The one kind of store there is.
pub fn default_store(text: &str) -> Result<String, String> {
    if text != "default" {
        return Err("default (no other store type is implemented)".into());
    }
    Ok(text.into())
}
