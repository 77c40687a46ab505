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
        let mut lines = Lines::new(contents);
        while let Some((number, line)) = lines.next() {
            let at = |text: &[u8]| bytes![path, ":", number.to_string(), ": ", text];
            let Line::Text(line) = line else {
                sink.log(Priority::Err, &at(b"line too long, ignored"));
                continue;
            };
            let mut words = Words(line);
            // A line of blanks has no word.
            let Some(command) = words.next() else { continue };
            let kernel = |pattern: &[u8]| pattern == b"*" || matches(pattern, version) == Some(true);
            let no_match = |what: &str, pattern: &[u8]| {
                sink.log(Priority::Info, &at(&bytes![what, " did not match ", pattern]));
            };
            match command {
                b"search" => {
                    while let Some(word) = words.next() {
                        self.search.push(match word {
                            b"built-in" => SearchWord::BuiltIn,
                            b"external" => SearchWord::External,
                            below => SearchWord::Below(below.to_vec()),
                        });
                    }
                    continue;
                }
                b"override" => {
                    if let (Some(name), Some(pattern), Some(subdir)) =
                        (words.next(), words.next(), words.next())
                    {
                        if kernel(pattern) {
                            self.overrides.push(bytes![subdir, "/", name]);
                        } else {
                            no_match("override kernel", pattern);
                        }
                        continue;
                    }
                }
                b"external" => {
                    if let (Some(pattern), Some(directory)) = (words.next(), words.next()) {
                        if kernel(pattern) {
                            self.externals.push(directory.to_vec());
                        } else {
                            no_match("external directory", pattern);
                        }
                        continue;
                    }
                }
                b"exclude" => {
                    while let Some(word) = words.next() {
                        self.excludes.push(word.to_vec());
                    }
                    continue;
                }
                b"include" | b"make_map_files" => {
                    sink.log(Priority::Info, &at(&bytes!["command ", command, " not implemented yet"]));
                    continue;
                }
                _ => {}
            }
            sink.log(Priority::Err, &at(&bytes!["ignoring bad line starting with '", command, "'"]));
        }
    }

    /// Adds the default of the search list.
    pub fn finish(mut self) -> Self {
        if self.search.is_empty() {
            self.search.push(SearchWord::Below(b"updates".to_vec()));
        }
        self
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
