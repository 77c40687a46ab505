//! depmod.d: which directories are searched, which of two modules of one name is used, what is ignored.
//!
//! ```text
//! search WORD...              ranks, the first word the highest; `built-in` and `external` are special words
//! override NAME VER SUBDIR    for matching kernels the module file SUBDIR/NAME wins
//! external VER DIRECTORY      for matching kernels DIRECTORY is searched too
//! exclude WORD...             directory entries of these names are passed over
//! include, make_map_files     accepted and ignored
//! ```
//!
//! VER is `*` or a POSIX extended regular expression that matches anywhere in the version.

use crate::config::lines::{Line, Lines, Words};
use crate::log::{Kept, Priority, Sink, bytes};
use crate::system::regex;
use crate::system::roots::Roots;
use crate::tree::ConfigPaths;
use crate::tree::config_files::{ConfigFiles, not_read};
use std::iter::from_fn;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A word of the search list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchWord {
    /// `built-in`: all that no other word ranks.
    BuiltIn,
    /// `external`: the external directories.
    External,
    /// A directory below the module directory.
    Below(Vec<u8>),
}

/// The configuration for one kernel.
#[derive(Debug, Default)]
pub struct Settings {
    /// The search list, in the order of the files; the first word has the highest rank.
    pub search: Vec<SearchWord>,
    /// `SUBDIR/NAME` of each override, in the order of the files; the last has precedence.
    pub overrides: Vec<Vec<u8>>,
    /// The external directories, in the order of the files; the last is searched first.
    pub externals: Vec<Vec<u8>>,
    /// Names of directory entries that are ignored.
    pub excludes: Vec<Vec<u8>>,
}

impl Settings {
    /// Reads the configuration for the kernel `version`. Problems go to `sink`: first those of directory entries, then those
    /// of files and lines.
    pub(crate) fn load(roots: &Roots, paths: &ConfigPaths, version: &[u8], sink: &dyn Sink) -> Self {
        let (mut files, mut settings, messages) =
            (ConfigFiles::default(), Settings::default(), Kept::default());
        match paths {
            ConfigPaths::Default => files.add_system(roots.config_dirs("depmod.d"), roots),
            ConfigPaths::List(paths) => paths.iter().for_each(|path| files.add(path)),
        }
        files.read(&mut |path, contents| match contents {
            Ok(contents) => {
                settings.read(path.as_os_str().as_bytes(), contents, version, regex::matches, &messages);
            }
            Err(errno) => messages.log(Priority::Err, &not_read(path, errno)),
        });
        files.problems().for_each(|text| sink.log(Priority::Err, &text));
        messages.take().iter().for_each(|(priority, text)| sink.log(*priority, text));
        settings.finish()
    }

    /// Makes the external directories absolute: a relative one is below the working directory.
    pub(crate) fn resolve_externals<E>(
        &mut self,
        absolute: impl Fn(&[u8]) -> Result<PathBuf, E>,
    ) -> Result<(), E> {
        self.externals.iter_mut().try_for_each(|external| {
            *external = absolute(external)?.into_os_string().into_vec();
            Ok(())
        })
    }

    /// Parses a file. `path` is for messages, `version` is the kernel's. `matches` matches a regular expression against the
    /// version ([`crate::system::regex::matches`]).
    pub fn read(
        &mut self,
        path: &[u8],
        contents: &[u8],
        version: &[u8],
        matches: impl Fn(&[u8], &[u8]) -> Option<bool>,
        sink: &dyn Sink,
    ) {
        let is_for = |kernel: &[u8]| kernel == b"*" || matches(kernel, version) == Some(true);
        parse(contents, &mut |number, directive| {
            let log = |priority, text: &[u8]| {
                sink.log(priority, &bytes![path, ":", number.to_string(), ": ", text]);
            };
            match directive {
                Directive::Search(words) => self.search.extend(words.iter().map(|&word| match word {
                    b"built-in" => SearchWord::BuiltIn,
                    b"external" => SearchWord::External,
                    below => SearchWord::Below(below.to_vec()),
                })),
                Directive::Override { name, kernel, subdir } if is_for(kernel) => {
                    self.overrides.push(bytes![subdir, "/", name]);
                }
                Directive::Override { kernel, .. } => {
                    log(Priority::Info, &bytes!["override kernel did not match ", kernel]);
                }
                Directive::External { kernel, directory } if is_for(kernel) => {
                    self.externals.push(directory.to_vec());
                }
                Directive::External { kernel, .. } => {
                    log(Priority::Info, &bytes!["external directory did not match ", kernel]);
                }
                Directive::Exclude(names) => self.excludes.extend(names.iter().map(|name| name.to_vec())),
                Directive::Ignored(command) => {
                    log(Priority::Info, &bytes!["command ", command, " not implemented yet"]);
                }
                Directive::Bad(what) => log(Priority::Err, &what),
            }
        });
    }

    /// Adds the default of the search list.
    pub fn finish(mut self) -> Self {
        if self.search.is_empty() {
            self.search.push(SearchWord::Below(b"updates".to_vec()));
        }
        self
    }
}

/// A line of depmod.d, with its words as written. `Ignored` has the command, `Bad` a message.
pub(crate) enum Directive<'l> {
    Search(&'l [&'l [u8]]),
    Override { name: &'l [u8], kernel: &'l [u8], subdir: &'l [u8] },
    External { kernel: &'l [u8], directory: &'l [u8] },
    Exclude(&'l [&'l [u8]]),
    Ignored(&'l [u8]),
    Bad(Vec<u8>),
}

/// Calls `visit` with the number and the directive of each line.
pub(crate) fn parse(contents: &[u8], visit: &mut dyn FnMut(u32, Directive<'_>)) {
    let mut lines = Lines::new(contents);
    while let Some((number, line)) = lines.next() {
        let Line::Text(line) = line else {
            visit(number, Directive::Bad(b"line too long, ignored".to_vec()));
            continue;
        };
        let mut words = Words(line);
        let words: Vec<&[u8]> = from_fn(|| words.next()).collect();
        let directive = match words[..] {
            // A line of blanks has no word.
            [] => continue,
            [b"search", ref words @ ..] => Directive::Search(words),
            [b"override", name, kernel, subdir, ..] => Directive::Override { name, kernel, subdir },
            [b"external", kernel, directory, ..] => Directive::External { kernel, directory },
            [b"exclude", ref names @ ..] => Directive::Exclude(names),
            [command @ (b"include" | b"make_map_files"), ..] => Directive::Ignored(command),
            [command, ..] => Directive::Bad(bytes!["ignoring bad line starting with '", command, "'"]),
        };
        visit(number, directive);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Settings, Vec<(Priority, String)>) {
        let sink = Kept::default();
        let mut settings = Settings::default();
        let matches = |pattern: &[u8], version: &[u8]| Some(version.starts_with(pattern));
        settings.read(b"/c/x.conf", text.as_bytes(), b"6.1.0", matches, &sink);
        let messages =
            sink.take().into_iter().map(|(p, text)| (p, String::from_utf8(text).unwrap())).collect();
        (settings.finish(), messages)
    }

    #[test]
    fn all_directives() {
        let (settings, messages) = read(
            "# comment\nsearch updates extra\\\n  built-in\nsearch external\noverride m-x * kernel/a\n\
             override n 6.1 b\nexternal 6.1 /ext\nexternal 6.2 /other\nexclude tmp .old\nexclude\n  \n",
        );
        let below = |text: &str| SearchWord::Below(text.into());
        assert_eq!(
            settings.search,
            [below("updates"), below("extra"), SearchWord::BuiltIn, SearchWord::External]
        );
        assert_eq!(settings.overrides, [b"kernel/a/m-x".to_vec(), b"b/n".to_vec()]);
        assert_eq!(settings.externals, [b"/ext".to_vec()]);
        assert_eq!(settings.excludes, [b"tmp".to_vec(), b".old".to_vec()]);
        let expected = "/c/x.conf:8: external directory did not match 6.2";
        assert_eq!(messages, [(Priority::Info, expected.to_string())]);
    }

    #[test]
    fn bad_lines_are_told_and_passed_over() {
        let (settings, messages) = read("override m *\nexternal *\n #x\nSearch a\nmake_map_files yes\n");
        assert_eq!(settings.search, [SearchWord::Below(b"updates".to_vec())]);
        let texts: Vec<_> = messages.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "/c/x.conf:1: ignoring bad line starting with 'override'",
                "/c/x.conf:2: ignoring bad line starting with 'external'",
                "/c/x.conf:3: ignoring bad line starting with '#x'",
                "/c/x.conf:4: ignoring bad line starting with 'Search'",
                "/c/x.conf:5: command make_map_files not implemented yet",
            ]
        );
    }

    #[test]
    fn the_first_file_of_a_name_is_read_and_problems_of_directories_come_first() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/b.conf", "search etc\nbad\n");
        write("lib/b.conf", "search masked\n");
        write("lib/a.conf", "exclude first\n");
        write("lib/d.conf/x", "");
        write("lib/unread.config", "exclude unread\n");
        write("named", "exclude last\n");
        // It has no writer, and must not stop the run.
        nix::unistd::mkfifo(&root.path().join("etc/fifo.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let sink = Kept::default();
        let paths = ["etc", "nowhere", "lib", "named"].map(|path| root.path().join(path));
        let settings = Settings::load(&Roots::default(), &ConfigPaths::List(paths.into()), b"6.1.0", &sink);
        assert_eq!(settings.search, [SearchWord::Below(b"etc".to_vec())]);
        assert_eq!(settings.excludes, [b"first".to_vec(), b"last".to_vec()]);
        let text = |text| String::from_utf8(text).unwrap().replace(root.path().to_str().unwrap(), "");
        let messages: Vec<String> = sink.take().into_iter().map(|(_, message)| text(message)).collect();
        assert_eq!(
            messages,
            [
                "Directories inside directories are not supported: /lib/d.conf",
                "/etc/b.conf:2: ignoring bad line starting with 'bad'",
            ]
        );
    }
}
