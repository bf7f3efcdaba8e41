//! Properties text as Java's loader reads it, keeping line numbers.
//!
//! A logical line is a natural line, continued by a backslash at its end. `#` and `!` begin
//! comments. The first unescaped `=`, `:` or blank ends the key. `\t \n \r \f \uXXXX` are
//! escapes; a backslash before anything else vanishes. One difference: the text is UTF-8, of which
//! Java's Latin-1 is a subset wherever configuration is ASCII.

/// One `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped; blanks at its end are kept.
    pub value: String,
}

/// Text that is no properties file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// Every property of `text`, in order.
pub fn parse(text: &str) -> Result<Vec<Property>, Bad> {
    let mut lines = text.lines().enumerate();
    let mut properties = Vec::new();
    while let Some((index, first)) = lines.next() {
        let mut logical = first.trim_start_matches(BLANK).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANK));
        }
        let line = index + 1;
        let (key, value) = split(&logical);
        let unescaped = |text| unescape(text).map_err(|why| Bad { line, why });
        properties.push(Property { line, key: unescaped(key)?, value: unescaped(value)? });
    }
    Ok(properties)
}

const BLANK: [char; 3] = [' ', '\t', '\u{c}'];

/// An odd number of backslashes at the end: the last of them is not itself escaped.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key and the value of a logical line, still escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let ends_key = |c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANK.contains(&c));
        escaped = !escaped && c == '\\';
        ends
    };
    let Some(end) = line.find(ends_key) else { return (line, "") };
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => {}
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                let Some(unit) = unit else { return Err("\\u needs four hexadecimal digits") };
                out.push(char::from_u32(unit).ok_or("\\u names half a surrogate pair")?);
            }
            Some(other) => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let parsed = parse(text).expect("well-formed");
        parsed.into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    #[test]
    fn java_reads_it_so() {
        let table = [
            ("a=b", "a", "b"),
            ("a: b", "a", "b"),
            ("a b", "a", "b"),
            ("  a = b  ", "a", "b  "),
            ("a", "a", ""),
            ("a==b", "a", "=b"),
            ("a\\=b=c", "a=b", "c"),
            ("a\\ b=c", "a b", "c"),
            ("a=\\u00e9\\t\\q", "a", "é\tq"),
            ("a=b\\\n   c\\\r\n  d", "a", "bcd"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=#b", "a", "#b"),
        ];
        for (text, key, value) in table {
            assert_eq!(pairs(text), [(1, key.into(), value.into())], "{text:?}");
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_continuations() {
        let text = "# one\n! two\n\nkey=a\\\n b\nlast:c";
        let expected = [(4, "key".into(), "ab".into()), (6, "last".into(), "c".into())];
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        assert_eq!(
            parse("\na=\\u12x"),
            Err(Bad { line: 2, why: "\\u needs four hexadecimal digits" })
        );
        assert!(parse("a=\\ud800").is_err());
    }
}
