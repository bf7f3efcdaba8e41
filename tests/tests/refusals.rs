//! A broker that does not start says why in one line, and what to do. Each reason as a process.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use hotfire_storage::mapped::MappedDisk;
use hotfire_tests::process::{Hotfire, binary, free_port};
use hotfire_tests::small;

const TOPICS: [&str; 2] = ["One", "Two"];
/// More than two files of the log: a message takes 4 KiB.
const MESSAGES: usize = 600;

/// A store of three log files that was stopped in order, and a configuration that fits it.
struct Stopped {
    dir: tempfile::TempDir,
}

/// Made once: files are allocated and synced for good, which takes its time.
static TEMPLATE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    small::make(dir.path(), &TOPICS, MESSAGES);
    dir
});

impl Stopped {
    fn new() -> Self {
        let stopped = Self { dir: tempfile::tempdir().expect("a directory") };
        small::copy(TEMPLATE.path(), &stopped.root());
        stopped.configure("", "");
        stopped
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    fn conf(&self) -> PathBuf {
        self.dir.path().join("broker.conf")
    }

    /// The configuration that fits, but for one line.
    fn configure(&self, line: &str, instead: &str) {
        let text = small::conf(&self.root(), free_port());
        fs::write(self.conf(), text.replace(line, instead)).expect("written");
    }

    fn start(&self) -> Hotfire {
        Hotfire::start(["broker".as_ref(), "-c".as_ref(), self.conf().as_os_str()])
    }

    /// Why it does not start. The store is as it was: nothing is lost by trying.
    fn refusal(&self) -> String {
        let before = image(&self.root());
        let said = self.start().wait().refusal().to_owned();
        assert!(image(&self.root()) == before, "a refusal changed the store: {said}");
        said
    }
}

/// Every file with its content, but the lock.
fn image(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut image = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.expect("listed").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().is_none_or(|name| name != "lock") {
                let content = fs::read(&path).unwrap_or_default();
                image.push((path, content));
            }
        }
    }
    image.sort();
    image
}

fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
}

#[test]
fn a_store_that_another_process_has() {
    let stopped = Stopped::new();
    // Both of Hotfire's locks, one of which is Apache's.
    let _other = MappedDisk::open(stopped.root(), || {}).expect("nobody else has it");
    let line = stopped.refusal();
    says(&line, &["is in use by another process; stop that, or choose another directory"]);
}

#[test]
fn a_hole_in_the_log() {
    let stopped = Stopped::new();
    fs::remove_file(stopped.path("commitlog/00000000000001048576")).expect("removed");
    let line = stopped.refusal();
    says(&line, &["00000000000001048576 is missing", "restore it", "move the files before it"]);
}

#[test]
fn sizes_that_are_not_the_stores() {
    let stopped = Stopped::new();
    stopped.configure("CommitLog=1048576", "CommitLog=2097152");
    says(&stopped.refusal(), &["set mappedFileSizeCommitLog = 1048576"]);
    stopped.configure("ConsumeQueue=2000", "ConsumeQueue=4000");
    says(&stopped.refusal(), &["set mappedFileSizeConsumeQueue = 2000"]);
}

#[test]
fn a_log_file_that_was_cut() {
    let stopped = Stopped::new();
    let file = fs::File::options().write(true).open(stopped.path("commitlog/00000000000002097152"));
    file.expect("open").set_len(70_000).expect("cut");
    says(&stopped.refusal(), &["is 70000 bytes long", "restore it", "truncate -s 1048576"]);
}

#[test]
fn rot() {
    let stopped = Stopped::new();
    let path = stopped.path("commitlog/00000000000002097152");
    let mut bytes = fs::read(&path).expect("a log file");
    bytes[5000] ^= 1;
    fs::write(&path, bytes).expect("written");
    says(&stopped.refusal(), &["the log is damaged at", "replica", "--accept-damaged-log"]);
}

#[test]
fn log_files_that_were_swapped() {
    let stopped = Stopped::new();
    let [one, two] = ["00000000000000000000", "00000000000001048576"]
        .map(|name| stopped.path("commitlog").join(name));
    let spare = stopped.path("commitlog/spare");
    fs::rename(&one, &spare).expect("renamed");
    fs::rename(&two, &one).expect("renamed");
    fs::rename(&spare, &two).expect("renamed");
    // Without the checkpoint and after a crash, nothing says what is durable.
    fs::remove_file(stopped.path("checkpoint")).expect("removed");
    let _ = fs::remove_file(stopped.path("checkpoint.bak"));
    fs::write(stopped.path("abort"), "1").expect("written");
    let last = stopped.path("commitlog/00000000000002097152");
    fs::write(&last, vec![0; 1 << 20]).expect("zeroed");
    says(&stopped.refusal(), &["belong to position 1048576", "give the files", "their names"]);
}

#[test]
fn a_store_of_a_later_version() {
    let stopped = Stopped::new();
    let mut bytes = fs::read(stopped.path("checkpoint")).expect("a checkpoint");
    bytes[47] = b'9';
    // The CRC of our part covers the version.
    let crc = crc32fast::hash(&bytes[40..96]);
    bytes[96..100].copy_from_slice(&crc.to_be_bytes());
    fs::write(stopped.path("checkpoint"), bytes).expect("written");
    says(&stopped.refusal(), &["a later Hotfire", "version 9", "open it with that one"]);
}

#[test]
fn state_that_is_lost() {
    let stopped = Stopped::new();
    fs::write(stopped.path("config/topics.json"), "{").expect("written");
    says(&stopped.refusal(), &["config/topics.json is damaged", "restore one of them"]);
    fs::write(stopped.path("config/topics.json"), "").expect("written");
    says(&stopped.refusal(), &["config/topics.json is damaged", "restore one of them"]);
}

#[test]
fn directories_where_files_should_be() {
    for file in ["abort", "checkpoint", "lock", "config/topics.json"] {
        let stopped = Stopped::new();
        let _ = fs::remove_file(stopped.path(file));
        fs::create_dir(stopped.path(file)).expect("made");
        says(&stopped.refusal(), &[file, "it must be"]);
    }
    let stopped = Stopped::new();
    fs::remove_dir_all(stopped.path("commitlog")).expect("removed");
    fs::write(stopped.path("commitlog"), "").expect("written");
    says(&stopped.refusal(), &["commitlog", "it must be"]);
}

/// Root may read everything, so under root the broker is started as nobody.
#[test]
fn what_may_not_be_read() {
    let stopped = Stopped::new();
    let is_root = fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0);
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(stopped.dir.path(), 0o755).expect("ours");
    let bin = stopped.dir.path().join("hotfire");
    fs::copy(binary(), &bin).expect("a copy that nobody may run");
    open(&bin, 0o755).expect("ours");
    let run = || {
        let mut command = if is_root { Command::new("setpriv") } else { Command::new(&bin) };
        if is_root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&bin);
        }
        command.arg("broker").arg("-c").arg(stopped.conf());
        Hotfire::spawn(command).wait().refusal().to_owned()
    };
    open(&stopped.path("lock"), 0o000).expect("ours");
    says(&run(), &["cannot write the store", "Permission denied", "may write"]);
    open(&stopped.path("lock"), 0o666).expect("ours");
    open(&stopped.path("commitlog"), 0o000).expect("ours");
    says(&run(), &["commitlog: Permission denied", "readable and writable"]);
    open(&stopped.path("commitlog"), 0o755).expect("ours");
    open(&stopped.path("commitlog/00000000000000000000"), 0o000).expect("ours");
    says(&run(), &["00000000000000000000: Permission denied", "readable and writable"]);
    open(&stopped.path("config"), 0o000).expect("ours");
    says(&run(), &["config/topics.json: Permission denied", "readable and writable"]);
    open(&stopped.path("config"), 0o755).expect("ours");
}
