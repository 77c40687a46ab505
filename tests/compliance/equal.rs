//! Where ours answers and kmod 34.2 does not, "it answers" is not enough: the answers must be those that 34.2 gives when it
//! is asked in its own way. Ours is asked in one root file system, 34.2 in another, and the answers are compared.
//!
//! | ours | 34.2 |
//! |---|---|
//! | versions and exports of a module by its name | the same by the path of its file |
//! | every kind of question with one index missing or damaged | the same with all indexes whole |

use crate::case::{self, Case};
use crate::tools::Tools;
use crate::{Suite, run, transcript};

/// Modules of the tree and where they are.
const FILES: [(&str, &str); 5] = [
    ("uhci-hcd", "drivers/usb/uhci-hcd.ko"),
    ("usbcore", "drivers/usb/usbcore.ko"),
    ("snd-pcm", "sound/snd-pcm.ko"),
    ("tls", "net/tls.ko"),
    ("loop", "drivers/block/loop.ko"),
];
/// What is asked about them.
const OPTIONS: [&str; 3] = ["--show-exports", "--show-modversions", "--dump-modversions"];

/// The indexes whose text files hold the same.
const INDEXES: [&str; 4] = ["dep", "alias", "symbols", "builtin"];
/// What has become of one, as lines of a case.
const DAMAGE: [(&str, &str); 4] = [
    ("gone", "rm /lib/modules/%REL%/modules.INDEX.bin"),
    ("empty", "@ /lib/modules/%REL%/modules.INDEX.bin"),
    ("wrong-magic", "@ /lib/modules/%REL%/modules.INDEX.bin\n!BADBADBADBADBADB"),
    (
        "wrong-version",
        "@ /lib/modules/%REL%/modules.INDEX.bin\n!\\xb0\\x07\\xf4\\x57\\0\\x03\\0\\x01\\x20\\0\\0\\x0c\\0\\0\\0\\0",
    ),
];
/// One question for every way that leads through an index.
const QUESTIONS: &str = "
$ modprobe -D bonding
$ modprobe -D snd-pcsp
$ modprobe -D ext4
$ modprobe -aD loop tls dot.name UPPER
$ modprobe -R platform:pcspkr
$ modprobe -R fs-ext4
$ modprobe -R cpu:type:x86,ven0fam6mod1:feature:,0001,0094,
$ modprobe -R pci:v00008086d0000sv00sd00bc0Csc03i20
$ modprobe -R x-y7-z
$ modprobe -R symbol:tls_get
$ modprobe -R symbol:nosuch
$ modprobe -D ext2
$ modprobe -R ext2
$ modprobe -R fs-ext2
$ modprobe -D built_in_dash
$ modprobe -R nosuch
$ modinfo -n loop
$ modinfo -F depends bonding
$ modinfo -F license ext2
$ modinfo -n nosuch
";

/// What a test does, given its name.
pub type Test = Box<dyn Fn(&Suite, &str) -> Result<(), String> + Send>;

/// Names of all tests, and what runs each.
pub fn tests() -> Vec<(String, Test)> {
    let mut tests: Vec<(String, Test)> = Vec::new();
    tests.push(("equal/versions-by-name".to_owned(), Box::new(versions_by_name)));
    for index in INDEXES {
        for (what, lines) in DAMAGE {
            let damage = lines.replace("INDEX", index);
            let run = move |suite: &Suite, name: &str| {
                compare(suite, name, &format!("{damage}\n{QUESTIONS}"), QUESTIONS)
            };
            tests.push((format!("equal/{index}-{what}"), Box::new(run)));
        }
    }
    tests
}

fn versions_by_name(suite: &Suite, name: &str) -> Result<(), String> {
    let commands = |of: &dyn Fn(&str, &str) -> String| -> String {
        let lines = OPTIONS.iter().flat_map(|option| {
            FILES.iter().map(move |(module, file)| format!("$ modprobe {option} {}\n", of(module, file)))
        });
        lines.collect()
    };
    let by_name = commands(&|module, _| module.to_owned());
    let by_path = commands(&|_, file| format!("/lib/modules/%REL%/kernel/{file}"));
    compare(suite, name, &by_name, &by_path)
}

fn compare(suite: &Suite, name: &str, ours: &str, theirs: &str) -> Result<(), String> {
    let ask = |tools: &Tools, text: &str| -> Result<Vec<run::Step>, String> {
        let cases = case::parse(name, &format!("== case\n{text}"), &suite.release)?;
        let [case]: [Case; 1] = cases.try_into().map_err(|_| "one case".to_owned())?;
        suite.run(&case, tools)
    };
    // The last step is the list of files, of which the damaged index is one.
    let (seen, expected) = (ask(&suite.others[1], ours)?, ask(&suite.theirs, theirs)?);
    if seen.len() != expected.len() || seen.len() < 3 {
        return Err(format!("{name}: {} answers against {}", seen.len(), expected.len()));
    }
    let mut failures = String::new();
    let mut answered = false;
    for (seen, expected) in seen.iter().zip(&expected).take(seen.len() - 1) {
        let (mine, wanted) = (answer(&seen.transcript), answer(&expected.transcript));
        answered |= wanted.contains("exit| 0");
        if mine != wanted {
            let shown = transcript::difference(&wanted, &mine, 2);
            failures.push_str(&format!("{} (34.2: {})\n{shown}", seen.title, expected.title));
        }
    }
    match (failures.is_empty(), answered) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("{name}: 34.2 answered nothing")),
        _ => Err(format!("{name}: - is kmod 34.2, + is ours\n{failures}")),
    }
}

/// A transcript without the word on the damaged index or on an old name of an option, and with one word for what a module was called in the question.
fn answer(transcript: &str) -> String {
    let ours =
        [" magic check fail: ", " major version check fail: ", " is deprecated and scheduled for removal; "];
    let line = |line: &str| match line.split_once(" of ").zip(line.rsplit_once(": ")) {
        Some(((what, _), (_, reason))) if line.starts_with("err| ") => format!("{what} of it: {reason}\n"),
        _ => format!("{line}\n"),
    };
    let kept = transcript.lines().filter(|line| !ours.iter().any(|words| line.contains(words)));
    kept.map(line).collect()
}
