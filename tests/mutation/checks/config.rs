//! Configuration: modprobe.d, depmod.d, the kernel command line.

use super::{KIB, bounded};
use kmod_once::internals::config::{Config, Entry, Forbids, Kind, cmdline as options};
use kmod_once::internals::depmod::settings::{SearchWord, Settings as DepmodSettings};
use kmod_once::internals::formats::pattern::fnmatch;
use kmod_once::internals::gate::settings::Settings;
use kmod_once::internals::limits;
use kmod_once::internals::log::Silent;
use std::time::Duration;

const WORDS: [(Kind, &[u8]); 9] = [
    (Kind::Alias, b"alias"),
    (Kind::Blacklist, b"blacklist"),
    (Kind::Options, b"options"),
    (Kind::Install, b"install"),
    (Kind::Remove, b"remove"),
    (Kind::Softdep, b"softdep"),
    (Kind::Weakdep, b"weakdep"),
    (Kind::Forbid, b"forbid"),
    (Kind::Permit, b"permit"),
];

/// Any bytes as a file of modprobe.d: what was understood, printed, is understood the same; every lookup says what a walk over
/// all entries says, in short lists and in long ones, which are looked up in another way.
pub fn modprobe_d(input: &[u8]) -> bool {
    let (config, warnings) = parse(input);
    let count: usize = WORDS.iter().map(|(kind, _)| config.entries(*kind).len()).sum();
    assert!(count + warnings <= input.len());
    let mut printed = Vec::new();
    for (kind, word) in WORDS {
        for entry in config.entries(kind) {
            // With a blank, so that a carriage return at the end of a word is not one at the end of the line.
            let line = [word, b" ", entry.key, b" ", entry.value].concat();
            for byte in line {
                printed.extend_from_slice(if byte == b'\\' { b"\\" } else { b"" });
                printed.push(byte);
            }
            printed.push(b'\n');
            assert!(entry.pre().count() + entry.post().count() <= entry.value.len());
            assert!(entry.shown(kind).len() <= entry.value.len() * 2 + 16);
        }
    }
    let (again, told) = parse(&printed);
    assert_eq!(told, 0, "what is printed is understood");
    for (kind, _) in WORDS {
        let pair = |config: &Config| -> Vec<(Vec<u8>, Vec<u8>)> {
            config.entries(kind).map(|entry| (entry.key.to_vec(), entry.value.to_vec())).collect()
        };
        assert_eq!(pair(&config), pair(&again), "{kind:?}");
    }
    agrees(&config, 12);
    if count > 0 && input.len() < 1500 {
        let many = [&printed[..], b"\n"].concat().repeat(513 / count + 1);
        agrees(&parse(&many).0, 3);
    }
    count > 0
}

fn parse(contents: &[u8]) -> (Config, usize) {
    let (config, warnings) = bounded(contents, 4 * KIB, 128, || Config::parse([("/x.conf", contents)], b""));
    assert!(warnings.iter().all(|warning| warning.starts_with(b"/x.conf")), "a warning names the file");
    (config, warnings.len())
}

fn agrees(config: &Config, names: usize) {
    let keys =
        WORDS.iter().flat_map(|(kind, _)| config.entries(*kind).take(names).map(|entry| entry.key.to_vec()));
    for key in keys.collect::<Vec<_>>() {
        let spelled: Vec<u8> = key.iter().filter(|b| !b"*?[]\\".contains(b)).copied().collect();
        for name in [&key, &spelled] {
            let matching = |kind: Kind| {
                let fits = move |pattern: &[u8]| {
                    if pattern.iter().any(|b| b"*?[\\".contains(b)) {
                        fnmatch(pattern, name)
                    } else {
                        pattern == name
                    }
                };
                config.entries(kind).filter(move |entry| fits(entry.key))
            };
            for kind in [Kind::Alias, Kind::Install, Kind::Remove, Kind::Softdep, Kind::Weakdep] {
                let found = config.matching(kind, name);
                assert!(found.eq(matching(kind)), "{kind:?} for {}", name.escape_ascii());
            }
            assert_eq!(
                config.is_blacklisted(name),
                config.entries(Kind::Blacklist).any(|entry| entry.key == name)
            );
            assert_eq!(config.permits(name), matching(Kind::Permit).next().is_some());
            let is_name = |entry: &Entry<'_>| !entry.key.iter().any(|b| b"*?[\\".contains(b));
            let by_name = matching(Kind::Forbid).find(is_name).map(|entry| Forbids::Name(entry.origin));
            let by_pattern = matching(Kind::Forbid).next().map(|entry| Forbids::Pattern(entry.origin));
            assert_eq!(config.forbids(name), by_name.or(by_pattern));
            let texts: Vec<&[u8]> = config
                .entries(Kind::Options)
                .filter(|entry| entry.key == name && !entry.value.is_empty())
                .map(|entry| entry.value)
                .collect();
            assert_eq!(config.options_for(name, None), (!texts.is_empty()).then(|| texts.join(&b' ')));
        }
    }
}

/// Any bytes as a file of depmod.d: what was understood, printed, is understood the same.
pub fn depmod_d(input: &[u8]) -> bool {
    let read = |contents: &[u8]| {
        let mut settings = DepmodSettings::default();
        let matches = |pattern: &[u8], _: &[u8]| Some(pattern.len() % 2 == 0);
        bounded(contents, 4 * KIB, 64, || settings.read(b"/x.conf", contents, b"6.1.0", matches, &Silent));
        settings
    };
    let settings = read(input);
    let mut printed = Vec::new();
    let mut line = |parts: &[&[u8]]| {
        for byte in parts.join(&b' ') {
            printed.extend_from_slice(if byte == b'\\' { b"\\" } else { b"" });
            printed.push(byte);
        }
        // With a blank, so that a carriage return at the end of a word is not one at the end of the line.
        printed.extend_from_slice(b" \n");
    };
    for place in &settings.search {
        match place {
            SearchWord::BuiltIn => line(&[b"search", b"built-in"]),
            SearchWord::External => line(&[b"search", b"external"]),
            SearchWord::Below(below) => line(&[b"search", below]),
        }
    }
    for path in &settings.overrides {
        // Both parts hold a byte at least, and either may hold slashes.
        let slash = (1..path.len() - 1).find(|&at| path[at] == b'/').expect("a slash between two words");
        line(&[b"override", &path[slash + 1..], b"*", &path[..slash]]);
    }
    settings.externals.iter().for_each(|directory| line(&[b"external", b"*", directory]));
    settings.excludes.iter().for_each(|name| line(&[b"exclude", name]));
    let again = read(&printed);
    assert_eq!(settings.search, again.search);
    assert_eq!(settings.overrides, again.overrides);
    assert_eq!(settings.externals, again.externals);
    assert_eq!(settings.excludes, again.excludes);
    !printed.is_empty()
}

/// Any bytes as a kernel command line: every parameter that was found, printed, is found again; the gate's switches stay
/// within their bounds, and the last word counts.
pub fn cmdline(input: &[u8]) -> bool {
    bounded(input, KIB, 1, || options::parse(input, &mut |_| {}));
    let mut found = 0;
    let mut again = Vec::new();
    options::parse(input, &mut |option| {
        found += 1;
        match option {
            options::Option::Name(kind, name) => {
                assert!(!name.is_empty() && !name.iter().any(|b| b" \t\n\x0b\x0c\r,\"\0".contains(b)));
                let word = WORDS.iter().find(|(other, _)| *other == kind).expect("a kind").1;
                let printed = [&b"modprobe."[..], word, b"=", name].concat();
                again.push((printed, None, name.to_vec()));
            }
            options::Option::Parameter { module, text } => {
                let text = text.concat();
                assert!(module.len() + text.len() <= limits::CMDLINE);
                again.push(([module, b".", &text].concat(), Some(module.to_vec()), text));
            }
        }
    });
    assert!(found <= limits::CMDLINE);
    for (printed, module, text) in again {
        let mut reparsed = Vec::new();
        options::parse(&printed, &mut |option| {
            reparsed.push(match option {
                options::Option::Name(_, name) => (None, name.to_vec()),
                options::Option::Parameter { module, text } => (Some(module.to_vec()), text.concat()),
            });
        });
        assert_eq!(reparsed, [(module, text)], "of {}", printed.escape_ascii());
    }
    let settings = Settings::from_cmdline(input);
    let hour = Duration::from_secs(3600);
    assert!(settings.timeout <= hour && settings.failure_ttl <= hour);
    let words = format!(
        " kmod.gate={} kmod.gate_timeout={} kmod.failure_ttl={} kmod.gate_trace={}\n",
        if settings.enabled { "on" } else { "off" },
        settings.timeout.as_millis(),
        settings.failure_ttl.as_millis(),
        u8::from(settings.trace)
    );
    assert_eq!(Settings::from_cmdline(words.as_bytes()), settings);
    assert_eq!(Settings::from_cmdline(&[input, words.as_bytes()].concat()), settings, "the last word counts");
    found > 0
}
