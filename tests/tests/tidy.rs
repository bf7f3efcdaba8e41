//! The laws of the house, as an ordinary test. Each law says what to do instead.
//!
//! Words are looked for in *code*: comments and the insides of literals are blanked first, so a
//! sentence about `unsafe` breaks no law.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const COLUMNS: usize = 100;

/// A file of the workspace.
struct Source {
    /// Relative to the root, `/`-separated.
    path: String,
    text: String,
    /// The text with comments and the insides of literals blanked, line breaks kept.
    code: String,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let code = if is_rust(&path) { blank(&text) } else { String::new() };
        Self { path, text, code }
    }

    fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.path.starts_with(room))
    }

    /// Code that is part of the product: before the tests at the bottom, in no file of tests.
    fn product(&self) -> &str {
        let of_tests = self.path.split('/').any(|part| part == "tests" || part == "tests.rs");
        if of_tests {
            return "";
        }
        // A module in a file of its own is only named, at the top, and more of the product follows.
        let mut modules = self.code.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at);
        let is_here = |at: &usize| {
            let rest = &self.code[*at..];
            rest.find(['{', ';']).is_some_and(|end| rest.as_bytes()[end] == b'{')
        };
        modules.find(is_here).map_or(&self.code, |at| &self.code[..at])
    }

    /// `path:line: said` for the place `at` in the text.
    fn say(&self, at: usize, said: &str) -> String {
        let line = self.text[..at].matches('\n').count() + 1;
        format!("{}:{line}: {said}", self.path)
    }
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn the_house_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 20, "the root of the workspace was not found");
    let laws: [fn(&Source) -> Vec<String>; 9] = [
        files_are_short,
        functions_are_short,
        lines_are_narrow,
        selects_are_biased,
        one_module_names_a_runtime,
        machines_and_storage_touch_nothing,
        unsafe_stays_in_its_room,
        nothing_is_left_to_do,
        nothing_names_a_developer_machine,
    ];
    let mut broken: Vec<String> = Vec::new();
    for law in laws {
        broken.extend(sources.iter().flat_map(law));
    }
    broken.extend(sources.iter().flat_map(crates_open_with_a_map));
    let mut report = String::new();
    for line in &broken {
        let _ = writeln!(report, "  {line}");
    }
    assert!(broken.is_empty(), "{} laws broken:\n{report}", broken.len());
}

fn files_are_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if !is_rust(&source.path) || lines <= FILE_LINES {
        return Vec::new();
    }
    let said = format!("{lines} lines, at most {FILE_LINES}: split it by what a reader looks for");
    vec![source.say(0, &said)]
}

fn functions_are_short(source: &Source) -> Vec<String> {
    let code = &source.code;
    let long = words(code, "fn").filter_map(|at| {
        let rest = &code[at..];
        let open = rest.find(['{', ';'])?;
        if rest.as_bytes()[open] == b';' {
            return None;
        }
        let mut depth = 0_usize;
        let close = rest[open..].char_indices().find_map(|(index, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(open + index)
        })?;
        let lines = rest[..close].matches('\n').count() + 1;
        let said = format!(
            "a function of {lines} lines, at most {FUNCTION_LINES}: name its parts and pull them \
             out"
        );
        (lines > FUNCTION_LINES).then(|| source.say(at, &said))
    });
    long.collect()
}

fn lines_are_narrow(source: &Source) -> Vec<String> {
    if !is_rust(&source.path) {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    let wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS);
    let said = |(index, _)| {
        format!("{}:{}: wider than {COLUMNS} columns: break the line", source.path, index + 1)
    };
    wide.map(said).collect()
}

/// A random choice of branch is seeded per process and breaks replay.
fn selects_are_biased(source: &Source) -> Vec<String> {
    let code = &source.code;
    let unbiased = words(code, "select!").filter(|at| {
        let inside = code[at + "select!".len()..].trim_start();
        !inside.trim_start_matches(['{', '(']).trim_start().starts_with("biased;")
    });
    unbiased.map(|at| source.say(at, "select! without `biased;`: write it first")).collect()
}

fn one_module_names_a_runtime(source: &Source) -> Vec<String> {
    const SAID: &str = "a runtime is named: use hotfire_net::rt";
    if source.path == "net/src/rt.rs" || source.path.starts_with("tests/") {
        return Vec::new();
    }
    let code = source.product();
    let mut found: Vec<usize> = Vec::new();
    for word in ["tokio::net", "tokio::time", "tokio::task", "tokio::spawn"] {
        found.extend(words(code, word));
    }
    if !source.path.starts_with("sim/src/madsim") {
        // `crate::madsim` is the simulator's own room, not the runtime.
        let foreign = |at: &usize| !code[..*at].ends_with("crate::");
        found.extend(words(code, "madsim::").filter(foreign));
    }
    for at in words(code, "tokio::{") {
        let list = code[at..].split('}').next().unwrap_or_default();
        let named = ["net", "time", "task", "spawn"].iter().any(|part| has_word(list, part));
        found.extend(named.then_some(at));
    }
    found.into_iter().map(|at| source.say(at, SAID)).collect()
}

/// Nothing happens below `nodes` that a caller did not hand in.
fn machines_and_storage_touch_nothing(source: &Source) -> Vec<String> {
    let mapped = ["storage/src/mapped"];
    if !source.is_in(&["core/", "storage/"]) || source.is_in(&mapped) {
        return Vec::new();
    }
    let code = source.product();
    let table = [
        ("Instant::now", "take `Now` as an argument"),
        ("SystemTime::now", "take `Now` as an argument"),
        ("thread::", "make it an effect; drivers own threads"),
        ("std::fs", "make it an `Op` of the storage seam"),
        ("HashMap", "use BTreeMap: its order is the same in every run"),
        ("HashSet", "use BTreeSet: its order is the same in every run"),
        ("tokio", "make it an effect; drivers own the runtime"),
    ];
    let mut found = Vec::new();
    for (word, instead) in table {
        let said = format!("{word}: {instead}");
        found.extend(words(code, word).map(|at| source.say(at, &said)));
    }
    found
}

fn unsafe_stays_in_its_room(source: &Source) -> Vec<String> {
    // The counting allocator of a test is the one other place that cannot be said safely.
    if source.is_in(&["storage/src/mapped", "tests/tests/allocations"]) {
        return Vec::new();
    }
    let found = words(&source.code, "unsafe");
    found.map(|at| source.say(at, "unsafe: only the mapped room of storage may")).collect()
}

fn nothing_is_left_to_do(source: &Source) -> Vec<String> {
    let table = [
        ("todo!", "do it, or return an answer that says it is not there"),
        ("unimplemented!", "do it, or return an answer that says it is not there"),
        ("dbg!", "use tracing, or take it out"),
    ];
    let mut found = Vec::new();
    for (word, instead) in table {
        let said = format!("{word}: {instead}");
        found.extend(words(&source.code, word).map(|at| source.say(at, &said)));
    }
    if !source.is_in(&["nodes/", "sim/", "tests/"]) {
        for word in ["println!", "print!", "eprintln!", "eprint!"] {
            let said = format!("{word}: use tracing; only a binary talks to people");
            found.extend(words(source.product(), word).map(|at| source.say(at, &said)));
        }
    }
    found
}

fn nothing_names_a_developer_machine(source: &Source) -> Vec<String> {
    // Built from halves, so that this file keeps its own law.
    let paths = [("/wo", "rk/"), ("/ho", "me/"), ("/Us", "ers/"), ("/root/", ".")];
    let mut found = Vec::new();
    for (left, right) in paths {
        let path = format!("{left}{right}");
        let said = format!("{path}…: a path of one machine; make it relative or an argument");
        found.extend(source.text.match_indices(&path).map(|(at, _)| source.say(at, &said)));
    }
    found
}

fn crates_open_with_a_map(source: &Source) -> Vec<String> {
    let crates = ["core", "net", "nodes", "sim", "storage"];
    let is_root = crates.iter().any(|name| source.path == format!("{name}/src/lib.rs"));
    if !is_root || source.text.starts_with("//!") && source.text.contains("\n//! |---|") {
        return Vec::new();
    }
    vec![source.say(0, "a crate without a map: open with `//!` and a table of its rooms")]
}

/// Where `word` stands in `code` by itself, not as a part of another name.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let ends_open = word.ends_with([':', '{', '!']);
        let before = part(code[..*at].chars().next_back());
        !before && (ends_open || !part(code[at + word.len()..].chars().next()))
    })
}

fn has_word(code: &str, word: &str) -> bool {
    words(code, word).next().is_some()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rooms = ["core", "docs", "fuzz", "net", "nodes", "sim", "storage", "tests", ".ci"];
    let mut paths: Vec<PathBuf> = Vec::new();
    for room in rooms {
        collect(&root.join(room), &mut paths);
    }
    for file in ["README.md", "CHANGELOG.md", "Cargo.toml"] {
        paths.extend(root.join(file).exists().then(|| root.join(file)));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let relative = path.strip_prefix(&root).expect("found below the root");
        // What is not text has no lines to judge.
        let text = std::fs::read_to_string(&path).ok()?;
        Some(Source::new(relative.to_str()?.to_owned(), text))
    };
    paths.into_iter().filter_map(read).collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        // What tools build or fetch is not ours.
        let built = ["target", "node_modules", "golden", "corpus", "artifacts"];
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !built.iter().any(|other| name == *other) {
                collect(&path, into);
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("rs" | "md" | "toml" | "sh") | None) {
            into.push(path);
        }
    }
}

/// `text` with comments and the insides of literals turned to blanks, byte for byte.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let len = comment(rest).or_else(|| literal(text, at)).unwrap_or(0);
        if len == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        for byte in &mut out[at..at + len] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += len;
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// The length of a comment at the start of `rest`.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(rest.len())
}

/// The length of a string or character literal at `at`.
fn literal(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let in_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let raw = rest.trim_start_matches(['b', 'c']);
    if !in_word && raw.starts_with('r') && rest.len() - raw.len() <= 1 {
        let hashes = raw[1..].bytes().take_while(|byte| *byte == b'#').count();
        let open = 1 + hashes;
        if raw[open..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let inside = raw[open + 1..].find(&close)?;
            return Some(rest.len() - raw.len() + open + 1 + inside + close.len());
        }
    }
    let quote = rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    if quote == '\'' && !is_character(rest) {
        return None;
    }
    let mut escaped = false;
    rest.char_indices().skip(1).find_map(|(index, c)| {
        let ends = !escaped && c == quote;
        escaped = !escaped && c == '\\';
        ends.then_some(index + 1)
    })
}

/// `'x'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

#[test]
fn words_in_comments_and_literals_are_not_code() {
    let text = "a(\"unsafe \\\" x\"); // unsafe\n/* unsafe /* */ unsafe */ b('\"', 'c', &'a d, \
                r#\"unsafe\" \"#);";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(!has_word(&code, "unsafe"), "{code}");
    assert!(has_word(&code, "b") && has_word(&code, "d"), "{code}");
    assert!(!has_word("unsafe_code", "unsafe") && has_word("x unsafe {", "unsafe"));
}

#[test]
fn a_law_finds_what_it_forbids() {
    let source = |path: &str, text: &str| Source::new(path.into(), text.into());
    let long = format!("fn long() {{\n{}}}\n", "x();\n".repeat(FUNCTION_LINES));
    assert_eq!(functions_are_short(&source("core/src/a.rs", &long)).len(), 1);
    let select = source("net/src/a.rs", "select! { x => y }\nselect! {\n  biased;\n}");
    assert_eq!(selects_are_biased(&select).len(), 1);
    let runtime = source("net/src/a.rs", "use tokio::{sync, time};\nuse tokio::sync;");
    assert_eq!(one_module_names_a_runtime(&runtime).len(), 1);
    let clock = source("core/src/a.rs", "Instant::now();\n#[cfg(test)]\nmod t { std::fs }");
    assert_eq!(machines_and_storage_touch_nothing(&clock).len(), 1);
}
