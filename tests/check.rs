//! `kmod check` on small systems with one thing wrong each: its whole output, and none once that is mended.
//!
//! The system is one that is right in everything: modules with indexes by our own depmod, a running kernel's /proc and /sys,
//! a gate. Each row breaks it, and says what else would have been right in the same place.

#[path = "common/elf.rs"]
mod elf;

use elf::{KoBuilder, LOCAL, Signature, Symbol};
use kmod_once::internals::check::{self, Part, Request};
use kmod_once::internals::formats::index::IndexBuilder;
use kmod_once::internals::gate;
use kmod_once::internals::system::clock::Real;
use kmod_once::internals::system::kernel::Linux;
use kmod_once::internals::system::{Roots, System};
use kmod_once::internals::tree::ConfigPaths;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const RELEASE: &str = "6.1.0";
const MAGIC: &str = "6.1.0 SMP preempt mod_unload modversions ";

/// A system below a directory.
struct Machine {
    dir: tempfile::TempDir,
}

fn module(magic: &str) -> KoBuilder {
    KoBuilder::new().modinfo("license", "GPL").modinfo("vermagic", magic)
}

fn signed(module: KoBuilder) -> KoBuilder {
    let data = vec![7; 45];
    module.signature(Signature {
        algo: 1,
        hash: 4,
        id_type: 1,
        signer: b"S".to_vec(),
        key_id: vec![1, 2],
        data,
    })
}

fn loops() -> KoBuilder {
    let module = module(MAGIC).parm("max_loop", "int", "how many").parm("debug", "bool", "more words");
    // A parameter that has a setter of its own and is not described.
    let name = b"__param_str_mode".to_vec();
    let symbol = Symbol { name, value: 0, binding: LOCAL, kind: 1, section: 1 };
    signed(module.parm("sizes", "array of uint", "how large").symbol(symbol))
}

fn two(needs: &str, crc: u32) -> KoBuilder {
    signed(module(MAGIC).alias("pci:v*d2*").needs_version(needs, crc))
}

/// xz with the given check.
fn xz(bytes: &[u8], check: xz2::stream::Check) -> Vec<u8> {
    let stream = xz2::stream::Stream::new_easy_encoder(1, check).unwrap();
    let mut encoder = xz2::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        machine.module("kernel/one.ko", &signed(module(MAGIC).export("one_get", 0x11)));
        machine.module("kernel/two.ko", &two("one_get", 0x11));
        machine.module("kernel/loop.ko", &loops());
        machine.module("kernel/pcspkr.ko", &signed(module(MAGIC).alias("platform:pcspkr")));
        machine.module("kernel/snd-hda-intel.ko", &signed(module(MAGIC)));
        machine.tree("modules.order", "kernel/one.ko\nkernel/two.ko\nkernel/loop.ko\n");
        machine.tree("modules.builtin", "kernel/ext2.ko\n");
        machine.tree("modules.builtin.modinfo", "ext2.license=GPL\0ext2.alias=fs-ext2\0");
        machine.depmod();
        for dir in ["etc/modprobe.d", "usr/lib/modprobe.d", "run", "sys/fs/selinux", "dev"] {
            fs::create_dir_all(machine.at(dir)).unwrap();
        }
        machine.write(
            "proc/cmdline",
            "quiet kmod.gate=on loop.max_loop=4 rd.lvm=0 modprobe.blacklist=nouveau\n",
        );
        machine.write("proc/sys/kernel/modprobe", "/sbin/modprobe\n");
        machine.write("proc/sys/kernel/modules_disabled", "0\n");
        machine.write("sbin/modprobe", "ours");
        machine.write("proc/self/exe", "ours");
        machine.write("proc/250/comm", "systemd-udevd\n");
        machine.write(
            "proc/250/maps",
            "7f0-7f1 r--p 0 fe:00 12    /usr/lib/libkmod.so.2\n7f1-7f2 rw-p 0 00:00 0\n",
        );
        machine.write("proc/1/comm", "systemd\n");
        machine.write("usr/lib/libkmod.so.2", &format!("\x7fELF {} ...", gate::MARK));
        machine.write("sys/module/compression", "xz\n");
        machine.write("sys/module/module/parameters/sig_enforce", "Y\n");
        machine.write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        machine.write(
            "usr/lib/modprobe.d/theirs.conf",
            "blacklist arkfb\noptions snd-pcsp index=-2\nsoftdep a pre: b\n",
        );
        machine.write("dev/kmsg", "6,1,100,-;r8169 0000:01:00.0: firmware: direct-loading firmware a.fw\n");
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, contents: &str) {
        self.bytes(path, contents.as_bytes());
    }

    fn bytes(&self, path: &str, contents: &[u8]) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), contents).unwrap();
    }

    /// A file of the module directory.
    fn tree(&self, path: &str, contents: &str) {
        self.write(&format!("lib/modules/{RELEASE}/{path}"), contents);
    }

    fn in_tree(&self, path: &str) -> PathBuf {
        self.at(&format!("lib/modules/{RELEASE}/{path}"))
    }

    fn module(&self, path: &str, module: &KoBuilder) {
        self.bytes(&format!("lib/modules/{RELEASE}/{path}"), &module.build());
    }

    /// `/etc/modprobe.d/a.conf`
    fn config(&self, lines: &str) {
        self.write("etc/modprobe.d/a.conf", lines);
    }

    fn depmod(&self) {
        assert!(self.depmod_succeeds());
    }

    fn depmod_succeeds(&self) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmod"));
        command.arg0("depmod").arg("--no-cache").arg("-b").arg(self.dir.path()).arg(RELEASE);
        command.stderr(std::process::Stdio::null()).status().unwrap().success()
    }

    fn check_with(&self, roots: &Roots, paths: ConfigPaths) -> String {
        let system = System { roots, kernel: &Linux, clock: &Real };
        let request = Request {
            release: RELEASE.as_bytes(),
            dir: self.in_tree("").parent().unwrap().join(RELEASE),
            paths,
            running: true,
            parts: &[Part::Config, Part::Modules, Part::Machine],
            cores: 2,
        };
        let findings = check::run(&system, &request);
        let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        text.replace(self.dir.path().to_str().unwrap(), "").replace(&format!("/lib/modules/{RELEASE}"), "/M")
    }

    fn check(&self) -> String {
        self.check_with(&Roots::below(self.dir.path()), ConfigPaths::Default)
    }
}

/// What is wrong, the whole output (`/M` is the module directory), and what is right in its place.
struct Row {
    name: &'static str,
    broken: fn(&Machine),
    expected: &'static str,
    mended: fn(&Machine),
}

const fn row(name: &'static str, broken: fn(&Machine), expected: &'static str, mended: fn(&Machine)) -> Row {
    Row { name, broken, expected, mended }
}

const ROWS: &[Row] = &[
    row(
        "directives that there are not",
        |m| {
            m.config("blackist loop\n\nOptions loop debug=1\nfoo bar\ninclude x\n  # note\nsofdep a pre: b\n")
        },
        "/etc/modprobe.d/a.conf:1: error: unknown directive 'blackist', the line is not read (blacklist?)\n\
         /etc/modprobe.d/a.conf:3: error: unknown directive 'Options', the line is not read (options?)\n\
         /etc/modprobe.d/a.conf:4: error: unknown directive 'foo', the line is not read\n\
         /etc/modprobe.d/a.conf:5: error: unknown directive 'include', the line is not read\n\
         /etc/modprobe.d/a.conf:6: warning: '#' begins a comment only at the start of a line (remove the blanks before it)\n\
         /etc/modprobe.d/a.conf:7: error: unknown directive 'sofdep', the line is not read (softdep?)\n",
        |m| m.config("blacklist loop\n\noptions loop debug=1\n# note\n"),
    ),
    row(
        "lines that lack something",
        |m| m.config("options loop\nalias x\nalias [x loop\nblacklist \\\n\nsoftdep loop\n"),
        "/etc/modprobe.d/a.conf:1: error: 'options' lacks a word (modprobe.d(5))\n\
         /etc/modprobe.d/a.conf:2: error: 'alias' lacks a word (modprobe.d(5))\n\
         /etc/modprobe.d/a.conf:3: error: brackets that do not pair up behind 'alias' (modprobe.d(5))\n\
         /etc/modprobe.d/a.conf:5: error: 'blacklist' lacks a word (modprobe.d(5))\n\
         /etc/modprobe.d/a.conf:6: error: 'softdep' lacks a word (modprobe.d(5))\n",
        |m| {
            m.config("options loop debug\nalias x loop\nalias [x] loop\nblacklist \\\nloop\nsoftdep loop pre: pcspkr\n")
        },
    ),
    row(
        "a line that is too long",
        |m| m.config(&format!("options loop {}\n", "x".repeat(1 << 20))),
        "/etc/modprobe.d/a.conf:1: error: the line is longer than 1048576 bytes, and is not read\n",
        |m| m.config(&format!("#{}\n", "x".repeat(1 << 20))),
    ),
    row(
        "words behind a line",
        |m| m.config("blacklist loop pcspkr\nalias x loop pcspkr\n"),
        "/etc/modprobe.d/a.conf:1: error: 'pcspkr' does not count: the line ends before it (a line for each)\n\
         /etc/modprobe.d/a.conf:2: error: 'pcspkr' does not count: the line ends before it (a line for each)\n",
        |m| m.config("blacklist loop # a note\nblacklist pcspkr\nalias x loop\ninstall y /bin/true # a b\n"),
    ),
    row(
        "comments behind a line",
        |m| m.config("options loop debug=1 # more\nsoftdep loop pre: pcspkr # why\n"),
        "/etc/modprobe.d/a.conf:1: warning: a comment behind a line is none, its words are taken for parameters (put it above)\n\
         /etc/modprobe.d/a.conf:2: warning: a comment behind a line is none, its words are taken for names of modules (put it above)\n",
        |m| m.config("# more\noptions loop debug=1\ninstall x /bin/true # fine\nblacklist loop # fine\n"),
    ),
    row(
        "carriage returns within a line",
        |m| m.config("# old\rblacklist loop\roptions loop debug=1\nblacklist pcspkr\r\n"),
        "/etc/modprobe.d/a.conf:1: error: a carriage return within the line does not end it (end lines with a newline)\n",
        |m| m.config("# old\r\nblacklist loop\r\noptions loop debug=1\r\r\n"),
    ),
    row(
        "what a crash leaves of a file, and a byte order mark",
        |m| {
            m.config("forbid pcspkr\0 loop\n# a\0b\n");
            m.write("etc/modprobe.d/b.conf", &"\0".repeat(512));
            m.write("etc/modprobe.d/c.conf", "\u{feff}# text \\\nblacklist loop\n");
        },
        "/etc/modprobe.d/a.conf:1: error: a zero byte ends the line: what is behind it is not read (remove it)\n\
         /etc/modprobe.d/b.conf:1: error: a zero byte ends the line: what is behind it is not read (remove it)\n\
         /etc/modprobe.d/c.conf:2: error: the line is not read: the comment above it goes on after its backslash (remove the backslash)\n",
        |m| {
            m.config("forbid pcspkr loop\n# a\0b\n");
            m.write("etc/modprobe.d/b.conf", "");
            m.write("etc/modprobe.d/c.conf", "\u{feff}# text\nblacklist loop\n");
        },
    ),
    row(
        "words that are too long",
        |m| m.config(&format!("forbid {} loop\n{} x\n", "a".repeat(5000), "b".repeat(5000))),
        concat!(
            "/etc/modprobe.d/a.conf:1: error: a name behind 'forbid' is longer than 4095 bytes (modprobe.d(5))\n",
            "/etc/modprobe.d/a.conf:2: error: unknown directive '",
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "...', the line is not read\n"
        ),
        |m| m.config("forbid loop\n"),
    ),
    row(
        "lists on the kernel command line",
        |m| {
            m.write(
                "proc/cmdline",
                "modprobe.forbid=pcspkr,loop[ modprobe.blackist=pcspkr modprobe.permit modprobe.forbid=nosuch modprobe.forbid=pcspk modprobe.x \"modprobe.forbid=one\n",
            )
        },
        "/proc/cmdline: error: 'loop[' does not count: its brackets do not pair up, or it is too long\n\
         /proc/cmdline: error: 'modprobe.permit' has no names (modprobe.permit=NAME,...)\n\
         /proc/cmdline: error: a double quote is not closed: what it is in does not count\n\
         /proc/cmdline: warning: no module is called 'nosuch', so nothing is forbidden\n\
         /proc/cmdline: error: no module is called 'pcspk', so nothing is forbidden (pcspkr?)\n\
         /proc/cmdline: error: there is no option 'modprobe.blackist' (modprobe.blacklist=NAME,...)\n\
         /proc/cmdline: error: there is no option 'modprobe.x' (modprobe.d(5))\n",
        |m| {
            m.write(
                "proc/cmdline",
                "modprobe.forbid=pcspkr,loo[p] modprobe.blacklist=nouveau modprobe.permit=loop \"modprobe.forbid=one two\"\n",
            )
        },
    ),
    row(
        "directories that are not read",
        |m| {
            symlink("/nowhere", m.at("run/modprobe.d")).unwrap();
            nix::unistd::mkfifo(&m.at("etc/modprobe.d/a.conf"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        },
        "/etc/modprobe.d/a.conf: error: not read: not a file\n\
         /run/modprobe.d: error: not read: No such file or directory\n",
        |m| symlink(m.at("etc/modprobe.d"), m.at("run/modprobe.d")).unwrap(),
    ),
    row(
        "lines of depmod.d",
        |m| m.write("etc/depmod.d/a.conf", "search updates built-in\nserch updates\noverride x *\n"),
        "/etc/depmod.d/a.conf:2: error: ignoring bad line starting with 'serch' (depmod.d(5))\n\
         /etc/depmod.d/a.conf:3: error: ignoring bad line starting with 'override' (depmod.d(5))\n",
        |m| m.write("etc/depmod.d/a.conf", "search updates built-in\noverride x * weak\nexternal 9.9 /x\n"),
    ),
    row(
        "files that are not read",
        |m| {
            m.write("etc/modprobe.d/blacklist", "blacklist loop\n");
            m.write("run/modprobe.d/a.CONF", "");
            m.write("etc/depmod.d/b.cfg", "");
            symlink("/nowhere", m.at("etc/modprobe.d/c.conf")).unwrap();
            fs::create_dir(m.at("etc/modprobe.d/d.conf")).unwrap();
        },
        "/etc/depmod.d/b.cfg: warning: not read: its name does not end in .conf (rename it, or put it elsewhere)\n\
         /etc/modprobe.d/blacklist: warning: not read: its name does not end in .conf (rename it, or put it elsewhere)\n\
         /etc/modprobe.d/c.conf: error: not read: No such file or directory\n\
         /etc/modprobe.d/d.conf: warning: not read: a directory\n\
         /run/modprobe.d/a.CONF: warning: not read: its name does not end in .conf (rename it, or put it elsewhere)\n",
        |m| {
            for name in ["a.conf.dpkg-old", "b.conf~", ".c.conf.swp", "README", "README.local", "d.rpmsave"] {
                m.write(&format!("etc/modprobe.d/{name}"), "nonsense\n");
            }
            symlink("/dev/null", m.at("etc/modprobe.d/theirs.conf")).unwrap();
            fs::create_dir(m.at("etc/modprobe.d/old")).unwrap();
        },
    ),
    row(
        "blacklists of what no module is called",
        |m| m.config("blacklist pcspk\nblacklist snd-hda-intel.ko\nblacklist platform:pcspkr\n"),
        "/etc/modprobe.d/a.conf:1: error: no module is called 'pcspk', so nothing is blacklisted (pcspkr?)\n\
         /etc/modprobe.d/a.conf:2: error: no module is called 'snd_hda_intel.ko', so nothing is blacklisted (snd_hda_intel?)\n\
         /etc/modprobe.d/a.conf:3: error: 'platform:pcspkr' is an alias, and 'blacklist' goes by the module's name (blacklist pcspkr)\n",
        |m| m.config("blacklist pcspkr\nblacklist snd-hda-intel\nblacklist nouveau\n"),
    ),
    row(
        "what keeps nothing out, or lets nothing in",
        |m| m.config("forbid pcspk loop\npermit snd-hda-intell\nforbid platform:pcspkr\nforbid ext2\n"),
        "/etc/modprobe.d/a.conf:1: error: no module is called 'pcspk', so nothing is forbidden (pcspkr?)\n\
         /etc/modprobe.d/a.conf:2: error: no module is called 'snd_hda_intell', so nothing is permitted (snd_hda_intel?)\n\
         /etc/modprobe.d/a.conf:3: error: 'platform:pcspkr' is an alias, and 'forbid' goes by the module's name (forbid pcspkr)\n\
         /etc/modprobe.d/a.conf:4: warning: ext2 is built in, which no such line keeps out (initcall_blacklist= on the kernel command line)\n",
        |m| {
            // What a module calls itself counts as well; such a name is often an alias, too.
            m.module("kernel/vendor-550.ko", &signed(module(MAGIC).modinfo("name", "vendor")));
            m.depmod();
            m.config("forbid pcspkr *hda*\npermit snd-hda-intel\nforbid nouveau\ninstall nouveau /bin/false\nalias vendor vendor-550\nforbid vendor\n");
        },
    ),
    row(
        "names in quotes, in lists, and of nothing",
        |m| {
            m.config("forbid \"loop\" pcspkr,loop\npermit e1000\nforbid e1000 'snd*'\nblacklist \"loop\"\noptions \"loop\" debug=1\n")
        },
        "/etc/modprobe.d/a.conf:1: error: no module is called '\"loop\"', so nothing is forbidden (quotes and commas are a part of the name here)\n\
         /etc/modprobe.d/a.conf:1: error: no module is called 'pcspkr,loop', so nothing is forbidden (quotes and commas are a part of the name here)\n\
         /etc/modprobe.d/a.conf:2: warning: e1000 is not permitted: /etc/modprobe.d/a.conf:3 forbids it by name\n\
         /etc/modprobe.d/a.conf:2: warning: no module is called 'e1000', so nothing is permitted\n\
         /etc/modprobe.d/a.conf:3: error: no module is called ''snd*'', so nothing is forbidden (quotes and commas are a part of the name here)\n\
         /etc/modprobe.d/a.conf:3: warning: no module is called 'e1000', so nothing is forbidden\n\
         /etc/modprobe.d/a.conf:4: error: no module is called '\"loop\"', so nothing is blacklisted (quotes and commas are a part of the name here)\n\
         /etc/modprobe.d/a.conf:5: error: nothing is called '\"loop\"', so its options do nothing (quotes and commas are a part of the name here)\n",
        // How to keep out modules that this kernel may not have.
        |m| {
            m.config("install cramfs /bin/false\nblacklist cramfs\nforbid dccp\ninstall dccp /bin/false\nforbid tipc\nremove tipc /bin/true\nalias hfs off\nblacklist hfs\nalias of:N*Tmtd,nand loop\n")
        },
    ),
    row(
        "a permit that a forbid overrides",
        |m| m.config("permit loop\nforbid loop\n"),
        "/etc/modprobe.d/a.conf:1: warning: loop is not permitted: /etc/modprobe.d/a.conf:2 forbids it by name\n",
        |m| m.config("permit loop snd*\nforbid l* snd_hda_intel\n"),
    ),
    row(
        "a comment that a backslash continues",
        |m| m.config("# text \\\nblacklist loop\n# text \\\\\nblacklist pcspkr\n"),
        "/etc/modprobe.d/a.conf:2: error: the line is not read: the comment above it goes on after its backslash (remove the backslash)\n",
        |m| m.config("# install x \\\n  /bin/x\nblacklist loop\noptions loop \\\n  debug=1\n"),
    ),
    row(
        "commands that start themselves",
        |m| m.config("install loop modprobe loop; true\nremove pcspkr /sbin/modprobe -r pcspkr\n"),
        "/etc/modprobe.d/a.conf:1: error: the command for 'loop' calls modprobe for it, and so itself (modprobe --ignore-install)\n\
         /etc/modprobe.d/a.conf:2: error: the command for 'pcspkr' calls modprobe for it, and so itself (modprobe --ignore-remove)\n",
        |m| {
            m.config("install loop modprobe -i loop $CMDLINE_OPTS\nremove pcspkr modprobe -r --ignore-remove pcspkr\ninstall one modprobe two\n")
        },
    ),
    row(
        "depmod.d about what is not there",
        |m| {
            m.write("etc/depmod.d/a.conf", "search kernle updates\noverride loop * nodir\noverride pcspk * kernel\noverride snd_hda_intel * kernel\n")
        },
        "/etc/depmod.d/a.conf:1: error: there is no directory 'kernle' (kernel?)\n\
         /etc/depmod.d/a.conf:2: warning: no file of 'loop' is in 'nodir', so nothing is overridden\n\
         /etc/depmod.d/a.conf:3: error: no module is called 'pcspk', so nothing is overridden (pcspkr?)\n\
         /etc/depmod.d/a.conf:4: warning: no file of 'snd_hda_intel' is in 'kernel', so nothing is overridden\n",
        |m| {
            m.write("etc/depmod.d/a.conf", "search updates kernel built-in\noverride loop * kernel\noverride snd-hda-intel * kernel\noverride loop ^9 nodir\noverride e1000 * weak-updates/x\n")
        },
    ),
    row(
        "soft dependencies without a name",
        |m| m.config("softdep loop pre:\nsoftdep one pcspkr\n"),
        "/etc/modprobe.d/a.conf:1: error: no name follows 'pre:' or 'post:', so the line does nothing (modprobe.d(5))\n\
         /etc/modprobe.d/a.conf:2: error: no name follows 'pre:' or 'post:', so the line does nothing (modprobe.d(5))\n",
        |m| m.config("softdep loop pre: pcspkr post:\nweakdep one pcspkr\n"),
    ),
    row(
        "names that the indexes cannot hold",
        |m| {
            m.module("kernel/m\u{fc}.ko", &signed(module(MAGIC)));
            m.module(
                "kernel/pcspkr.ko",
                &signed(module(MAGIC).alias("platform:p\u{fc}").alias("platform:pcspkr")),
            );
            assert!(!m.depmod_succeeds());
        },
        "/M/kernel/m\u{fc}.ko: error: depmod passes over it: Module index: bad character 0xc3 - only 7-bit ASCII is supported\n\
         /M/kernel/pcspkr.ko: error: its alias 'platform:p\u{fc}' has a byte that is not ASCII, so nothing finds it by that\n",
        |m| {
            m.module("kernel/mu.ko", &signed(module(MAGIC)));
            m.module(
                "kernel/pcspkr.ko",
                &signed(module(MAGIC).alias("platform:pu").alias("platform:pcspkr")),
            );
            m.depmod();
        },
    ),
    row(
        "options of nothing",
        |m| m.config("options pcspk x=1\noptions zfs zfs_arc_max=1\n"),
        "/etc/modprobe.d/a.conf:1: error: nothing is called 'pcspk', so its options do nothing (pcspkr?)\n\
         /etc/modprobe.d/a.conf:2: warning: nothing is called 'zfs', so its options do nothing\n",
        |m| {
            m.config("alias sound pcspkr\noptions sound dyndbg=+p\n");
            // Those of a distribution may be of any kernel.
            m.write(
                "usr/lib/modprobe.d/x.conf",
                "options pcspk x=1\noptions zfs zfs_arc_max=1\nblacklist pcspk\n",
            );
        },
    ),
    row(
        "a command for nothing",
        |m| m.config("install pcspk /bin/false\nremove pcspkk /bin/true\n"),
        "/etc/modprobe.d/a.conf:1: warning: no module is called 'pcspk', so the command is run for nothing else (pcspkr?)\n\
         /etc/modprobe.d/a.conf:2: warning: no module is called 'pcspkk', so the command is run for nothing else (pcspkr?)\n",
        |m| m.config("install pcspkr /bin/false\ninstall my-own-name /bin/true\ninstall pcsp* /bin/true\n"),
    ),
    row(
        "aliases that lead nowhere",
        |m| m.config("alias sound pcspk\nalias eth0 e1000\n"),
        "/etc/modprobe.d/a.conf:1: error: the alias 'sound' leads to 'pcspk', which no module is called (pcspkr?)\n\
         /etc/modprobe.d/a.conf:2: warning: the alias 'eth0' leads to 'e1000', which no module is called\n",
        |m| {
            m.config("alias sound pcspkr\nalias net-pf-10 off\nalias fs ext2\nalias eth0 mine\ninstall mine /bin/true\n")
        },
    ),
    row(
        "soft dependencies on nothing",
        |m| m.config("softdep loop pre: pcspk post: e1000\nweakdep loop pcsbkr\nsoftdep pcspk pre: loop\n"),
        "/etc/modprobe.d/a.conf:1: warning: it asks for 'e1000', and nothing is called so\n\
         /etc/modprobe.d/a.conf:1: error: it asks for 'pcspk', and nothing is called so (pcspkr?)\n\
         /etc/modprobe.d/a.conf:2: error: it asks for 'pcsbkr', and nothing is called so (pcspkr?)\n\
         /etc/modprobe.d/a.conf:3: error: no module is called 'pcspk', so the line does nothing (pcspkr?)\n",
        |m| {
            m.config("softdep loop pre: pcspkr post: platform:pcspkr\nweakdep loop snd-hda-intel\nsoftdep e1000 pre: loop\n")
        },
    ),
    row(
        "parameters that a module does not have",
        |m| {
            m.config("options loop max_lop=8 debug colour=red\n");
            m.write("usr/lib/modprobe.d/theirs.conf", "options loop nosuch\n");
        },
        "/etc/modprobe.d/a.conf:1: error: loop has no parameter 'colour' (modinfo -p loop)\n\
         /etc/modprobe.d/a.conf:1: error: loop has no parameter 'max_lop' (max_loop?)\n\
         /usr/lib/modprobe.d/theirs.conf:1: error: loop has no parameter 'nosuch' (modinfo -p loop)\n",
        |m| m.config("options loop debug async_probe mode=auto dyndbg=\"file a +p\"\n"),
    ),
    row(
        "values of another type",
        |m| m.config("options loop debug=maybe sizes=1,-2\noptions loop max-loop\n"),
        "/etc/modprobe.d/a.conf:1: error: loop takes no '1,-2' for its parameter sizes (array of uint)\n\
         /etc/modprobe.d/a.conf:1: error: loop takes no 'maybe' for its parameter debug (bool)\n\
         /etc/modprobe.d/a.conf:2: error: loop takes no parameter max-loop without a value (int)\n\
         /etc/modprobe.d/a.conf:2: warning: max-loop does not count: /proc/cmdline says max_loop=4\n",
        |m| m.config("options loop debug=on sizes=1,0x2 max-loop=4\n"),
    ),
    row(
        "options of what is built in",
        |m| m.config("options ext2 debug=1\n"),
        "/etc/modprobe.d/a.conf:1: warning: ext2 is built in, and has its parameters from the kernel command line only (ext2.debug=1)\n",
        |m| m.config("options loop debug=1\n"),
    ),
    row(
        "a command before this one",
        |m| {
            m.config("install pcspkr /bin/true\n");
            m.write("usr/lib/modprobe.d/0.conf", "install pcs* /bin/false\nremove loop /bin/true\n");
            m.write("etc/modprobe.d/b.conf", "remove loop /bin/false\n");
        },
        "/etc/modprobe.d/a.conf:1: warning: the command for 'pcspkr' is not run: /usr/lib/modprobe.d/0.conf:1 has one before\n\
         /etc/modprobe.d/b.conf:1: warning: the command for 'loop' is not run: /usr/lib/modprobe.d/0.conf:2 has one before\n",
        |m| {
            m.config("install pcspkr /bin/true\ninstall loop /bin/false\n");
            m.write("usr/lib/modprobe.d/b.conf", "install pcspkr /bin/false\ninstall loop /bin/false\n");
        },
    ),
    row(
        "options behind these",
        |m| {
            m.config("options loop debug=1 sizes=1\noptions loop debug=0\n");
            m.write("usr/lib/modprobe.d/theirs.conf", "options loop sizes=2\n");
        },
        "/etc/modprobe.d/a.conf:1: warning: debug=1 does not count: /etc/modprobe.d/a.conf:2 says debug=0\n\
         /etc/modprobe.d/a.conf:1: warning: sizes=1 does not count: /usr/lib/modprobe.d/theirs.conf:1 says sizes=2\n",
        |m| {
            m.write("etc/modprobe.d/z.conf", "options loop debug=1 sizes=1\noptions loop debug=1\n");
            m.write("usr/lib/modprobe.d/theirs.conf", "options loop sizes=2\n");
        },
    ),
    row(
        "a blacklist that does not keep its module out",
        |m| {
            m.config("blacklist one\nblacklist pcspkr\nsoftdep loop pre: platform:pcspkr\n");
        },
        "/etc/modprobe.d/a.conf:1: warning: one is loaded all the same with two, for which it is needed (forbid one)\n\
         /etc/modprobe.d/a.conf:2: warning: pcspkr is loaded all the same with loop, whose soft dependency it is (forbid pcspkr)\n",
        |m| {
            m.config("blacklist one\nforbid one\nblacklist two\nblacklist pcspkr\ninstall pcspkr /bin/false\nsoftdep loop pre: pcspkr\n");
        },
    ),
    row(
        "a blacklist of what is built in",
        |m| m.config("blacklist ext2\n"),
        "/etc/modprobe.d/a.conf:1: warning: ext2 is built in, which no such line keeps out (initcall_blacklist= on the kernel command line)\n",
        |m| m.write("usr/lib/modprobe.d/x.conf", "blacklist ext2\n"),
    ),
    row(
        "the kernel command line",
        |m| {
            let line = "kmod.gate=never kmod.gate_timeout=5s kmod.gat=off module_blacklist=snd-hda-intel,pcspk,loop,x \
                        modprobe.blacklist=pcsprk loop.max_loop=many loop.nosuch=1 printk.time=1\n";
            m.write("proc/cmdline", line);
        },
        "/proc/cmdline: error: 'kmod.gate' wants on or off (kmod-gate(7))\n\
         /proc/cmdline: error: 'kmod.gate_timeout' wants a number of milliseconds (kmod-gate(7))\n\
         /proc/cmdline: error: loop has no parameter 'nosuch' (modinfo -p loop)\n\
         /proc/cmdline: error: loop takes no 'many' for its parameter max_loop (int)\n\
         /proc/cmdline: error: module_blacklist= has 'pcspk', which the kernel calls no module (pcspkr?)\n\
         /proc/cmdline: error: module_blacklist= has 'snd-hda-intel', which the kernel calls no module (snd_hda_intel?)\n\
         /proc/cmdline: error: no module is called 'pcsprk', so nothing is blacklisted (pcspkr?)\n\
         /proc/cmdline: error: there is no switch 'kmod.gat' (kmod-gate(7))\n",
        |m| {
            let line = "kmod.gate=yes kmod.gate_timeout=500 kmod.failure_ttl=0 module_blacklist=snd_hda_intel,pcspkr \
                        modprobe.blacklist=pcspkr,zfs loop.max_loop=8 printk.time=1 kmod.gate_trace=0 ext2.x=1\n";
            m.write("proc/cmdline", line);
        },
    ),
    row(
        "no modules",
        |m| fs::remove_dir_all(m.in_tree("")).unwrap(),
        "/M: error: there are no modules for the kernel 6.1.0\n",
        |_| {},
    ),
    row(
        "indexes that are missing",
        |m| {
            for name in ["modules.dep.bin", "modules.builtin.bin", "modules.order"] {
                fs::remove_file(m.in_tree(name)).unwrap();
            }
        },
        "/M/modules.builtin.bin: error: No such file or directory (depmod 6.1.0)\n\
         /M/modules.dep.bin: error: No such file or directory (depmod 6.1.0)\n\
         /M/modules.order: warning: No such file or directory (it comes with the kernel)\n",
        // What depmods of ten years write differs in these.
        |m| {
            for name in ["modules.weakdep", "modules.builtin.alias.bin", "modules.devname"] {
                fs::remove_file(m.in_tree(name)).unwrap();
            }
        },
    ),
    row(
        "damaged indexes",
        |m| {
            let alias = fs::read(m.in_tree("modules.alias.bin")).unwrap();
            fs::write(m.in_tree("modules.alias.bin"), &alias[..alias.len() - 9]).unwrap();
            m.tree("modules.dep.bin", "this is no index at all");
            m.tree("modules.symbols.bin", "");
        },
        "/M/modules.alias.bin: error: the index is damaged (depmod 6.1.0)\n\
         /M/modules.dep.bin: error: magic check fail: 74686973 instead of b007f457 (depmod 6.1.0)\n\
         /M/modules.symbols.bin: error: the index is empty (depmod 6.1.0)\n",
        |m| m.depmod(),
    ),
    row(
        "text and index that disagree",
        |m| {
            let mut builder = IndexBuilder::new();
            builder.insert(b"platform:pcspkr", b"loop", 0).unwrap();
            builder.insert(b"pci:v*d2*", b"two", 0).unwrap();
            fs::write(m.in_tree("modules.alias.bin"), builder.write().unwrap()).unwrap();
        },
        "/M/modules.alias.bin: error: says something else than modules.alias of platform:pcspkr (depmod 6.1.0)\n",
        |m| m.depmod(),
    ),
    row(
        "modules that came and went",
        |m| {
            m.module("updates/new.ko", &signed(module(MAGIC)));
            fs::remove_file(m.in_tree("kernel/loop.ko")).unwrap();
            fs::create_dir(m.in_tree("extra")).unwrap();
            fs::rename(m.in_tree("kernel/snd-hda-intel.ko"), m.in_tree("extra/snd-hda-intel.ko")).unwrap();
        },
        "/M/extra/snd-hda-intel.ko: error: not in modules.dep, so nothing finds it (depmod 6.1.0)\n\
         /M/modules.dep: error: kernel/loop.ko is not there (depmod 6.1.0)\n\
         /M/modules.dep: error: kernel/snd-hda-intel.ko is not there (depmod 6.1.0)\n\
         /M/updates/new.ko: error: not in modules.dep, so nothing finds it (depmod 6.1.0)\n",
        |m| {
            m.module("updates/new.ko", &signed(module(MAGIC)));
            fs::remove_file(m.in_tree("kernel/loop.ko")).unwrap();
            m.depmod();
        },
    ),
    row(
        "indexes of other modules",
        |m| {
            m.module("kernel/two.ko", &signed(module(MAGIC).alias("pci:v*d3*")));
            m.module(
                "kernel/one.ko",
                &signed(module(MAGIC).export("one_put", 0x11).modinfo("softdep", "pre: loop")),
            );
        },
        "/M/modules.alias: error: of other modules than these: 1 lines are missing and 1 too many, such as 'alias pci:v*d2* two' (depmod 6.1.0)\n\
         /M/modules.dep: error: of other modules than these: 1 lines are missing and 1 too many, such as 'kernel/two.ko:' (depmod 6.1.0)\n\
         /M/modules.softdep: error: of other modules than these: 1 lines are missing and 0 too many, such as 'softdep one pre: loop' (depmod 6.1.0)\n\
         /M/modules.symbols: error: of other modules than these: 1 lines are missing and 1 too many, such as 'alias symbol:one_get one' (depmod 6.1.0)\n",
        // Newer files that say the same make no other indexes.
        |m| m.module("kernel/two.ko", &two("one_get", 0x11).parm("x", "int", "new")),
    ),
    row(
        "files that are no modules",
        |m| {
            m.tree("kernel/loop.ko", "this is no module at all");
            m.tree("kernel/snd-hda-intel.ko", "");
        },
        "/M/kernel/loop.ko: error: cannot be read as a module: Exec format error\n\
         /M/kernel/snd-hda-intel.ko: error: cannot be read as a module: Invalid argument\n",
        |m| m.module("kernel/loop.ko", &loops()),
    ),
    row(
        "several files of one name",
        |m| {
            m.module("updates/loop.ko", &loops());
            m.depmod();
        },
        "/M/kernel/loop.ko: warning: updates/loop.ko is preferred to it (search and override of depmod.d(5))\n",
        |m| {
            fs::create_dir(m.in_tree("updates")).unwrap();
            fs::rename(m.in_tree("kernel/loop.ko"), m.in_tree("updates/loop.ko")).unwrap();
            m.depmod();
        },
    ),
    row(
        "built in and a module",
        |m| {
            m.module("kernel/ext2.ko", &signed(module(MAGIC)));
            m.depmod();
        },
        "/M/kernel/ext2.ko: warning: ext2 is built in, so nothing loads this\n",
        |m| {
            m.module("kernel/ext3.ko", &signed(module(MAGIC)));
            m.depmod();
        },
    ),
    row(
        "modules that need each other",
        |m| {
            m.module(
                "kernel/one.ko",
                &signed(module(MAGIC).export("one_get", 0x11).needs_version("two_get", 2)),
            );
            m.module("kernel/two.ko", &two("one_get", 0x11).export("two_get", 2));
        },
        "/M: error: modules need each other: one -> two -> one (depmod writes nothing)\n",
        |m| {
            m.module("kernel/two.ko", &two("one_get", 0x11).export("two_get", 2));
            m.depmod();
        },
    ),
    row(
        "built for another kernel",
        |m| {
            m.module(
                "kernel/loop.ko",
                &signed(module("6.1.0 SMP mod_unload modversions ").parm("max_loop", "int", "")),
            );
            m.module("kernel/snd-hda-intel.ko", &signed(module("6.0.0 SMP preempt mod_unload ")));
            // Its magic has modversions, and it has no versions.
            let module = module("6.0.0 SMP preempt mod_unload modversions ").needs("printk");
            m.module("kernel/pcspkr.ko", &signed(module.alias("platform:pcspkr")));
        },
        "/M/kernel/loop.ko: error: built for a kernel with 'SMP mod_unload modversions', and this one has 'SMP preempt mod_unload modversions' (build it anew)\n\
         /M/kernel/pcspkr.ko: error: built for the kernel 6.0.0 (build it anew)\n\
         /M/kernel/snd-hda-intel.ko: error: built for the kernel 6.0.0 (build it anew)\n",
        // With versions of symbols the kernel does not compare the release.
        |m| {
            m.module(
                "kernel/loop.ko",
                &signed(module("6.0.9 SMP preempt mod_unload modversions ").needs_version("printk", 1))
                    .parm("max_loop", "int", ""),
            )
        },
    ),
    row(
        "symbols that nothing has, and other versions",
        |m| {
            m.tree("build/Module.symvers", "0x00000077\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n");
            m.module(
                "kernel/pcspkr.ko",
                &signed(module(MAGIC).alias("platform:pcspkr").needs("beep").needs_weak("maybe")),
            );
            m.module("kernel/two.ko", &two("one_get", 0x12).needs_version("printk", 0x78));
        },
        "/M/kernel/pcspkr.ko: error: needs what neither the kernel nor a module has: beep\n\
         /M/kernel/two.ko: error: built against other versions of symbols: one_get, printk\n",
        |m| {
            m.tree("build/Module.symvers", "0x00000077\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n");
            m.module("kernel/two.ko", &two("one_get", 0x11).needs_version("printk", 0x77));
        },
    ),
    row(
        "symbols, by the running kernel's own list",
        |m| {
            m.write("proc/kallsyms", "0 T printk\n0 r __ksymtab_printk\n0 t x\t[one]\n");
            m.module("kernel/two.ko", &two("one_get", 0x11).needs_version("printf", 0x78));
        },
        "/M/kernel/two.ko: error: needs what neither the kernel nor a module has: printf\n",
        |m| {
            m.write("proc/kallsyms", "0 T printk\n0 r __ksymtab_printk\n0 t x\t[one]\n");
            m.module("kernel/two.ko", &two("one_get", 0x11).needs_version("printk", 0x78));
        },
    ),
    row(
        "compressed in another way than the kernel decodes",
        |m| {
            let loops = loops().build();
            fs::remove_file(m.in_tree("kernel/loop.ko")).unwrap();
            let bytes = xz(&loops, xz2::stream::Check::Crc64);
            m.bytes(&format!("lib/modules/{RELEASE}/kernel/loop.ko.xz"), &bytes);
            let zstd = zstd::bulk::compress(&signed(module(MAGIC)).build(), 1).unwrap();
            fs::remove_file(m.in_tree("kernel/snd-hda-intel.ko")).unwrap();
            m.bytes(&format!("lib/modules/{RELEASE}/kernel/snd-hda-intel.ko.zst"), &zstd);
            m.depmod();
        },
        "/M/kernel/loop.ko.xz: warning: compressed in a way that this kernel's decoder refuses: xz --check=crc32 is what it takes (modprobe decompresses it, at some cost)\n\
         /M/kernel/snd-hda-intel.ko.zst: warning: compressed with zstd, and this kernel only decompresses xz (modprobe decompresses it, at some cost)\n",
        |m| {
            let bytes = xz(&loops().build(), xz2::stream::Check::Crc32);
            fs::remove_file(m.in_tree("kernel/loop.ko")).unwrap();
            m.bytes(&format!("lib/modules/{RELEASE}/kernel/loop.ko.xz"), &bytes);
            m.depmod();
        },
    ),
    row(
        "not signed",
        |m| m.module("kernel/pcspkr.ko", &module(MAGIC).alias("platform:pcspkr")),
        "/M/kernel/pcspkr.ko: error: not signed, and this kernel takes only what is (module.sig_enforce)\n",
        |m| {
            m.module("kernel/pcspkr.ko", &module(MAGIC).alias("platform:pcspkr"));
            m.write("sys/module/module/parameters/sig_enforce", "N\n");
            m.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
        },
    ),
    row(
        "not signed, under lockdown",
        |m| {
            m.module("kernel/pcspkr.ko", &module(MAGIC).alias("platform:pcspkr"));
            m.write("sys/module/module/parameters/sig_enforce", "N\n");
        },
        "/M/kernel/pcspkr.ko: error: not signed, and this kernel takes only what is (lockdown)\n",
        |_| {},
    ),
    row(
        "firmware that is missing",
        |m| {
            let lines = "4,7,100,-;r8169 0000:01:00.0: Direct firmware load for rtl_nic/a.fw failed with error -2\n\
                         4,8,100,-;iwlwifi: firmware: failed to load b.ucode (-2)\n";
            m.write("dev/kmsg", lines);
            m.write("lib/firmware/updates/b.ucode.zst", "");
        },
        "/lib/firmware/rtl_nic/a.fw: warning: a driver asked for this firmware since boot, and no directory has it (a package of firmware may have it)\n",
        |m| {
            m.write(
                "dev/kmsg",
                "4,7,100,-;r8169: Direct firmware load for rtl_nic/a.fw failed with error -2\n",
            );
            m.write("lib/firmware/6.1.0/rtl_nic/a.fw", "");
        },
    ),
    row(
        "a gate that is open to others",
        |m| {
            fs::create_dir_all(m.at("run/kmod/gate")).unwrap();
            fs::set_permissions(m.at("run/kmod/gate"), fs::Permissions::from_mode(0o777)).unwrap();
        },
        "/run/kmod/gate: error: is open to other users, so the gate is not used (remove it, the next load makes it anew)\n",
        |m| {
            fs::create_dir_all(m.at("run/kmod/gate")).unwrap();
            fs::set_permissions(m.at("run/kmod/gate"), fs::Permissions::from_mode(0o700)).unwrap();
        },
    ),
    row(
        "a gate with a label of no policy",
        |m| {
            m.write("sys/fs/selinux/enforce", "1");
            fs::create_dir_all(m.at("run/kmod")).unwrap();
            set_label(&m.at("run/kmod"), "system_u:object_r:unlabeled_t:s0");
        },
        "/run/kmod: warning: labelled system_u:object_r:unlabeled_t:s0, which the policy knows no program to use (restorecon -R /run/kmod)\n",
        |m| {
            m.write("sys/fs/selinux/enforce", "1");
            fs::create_dir_all(m.at("run/kmod")).unwrap();
            set_label(&m.at("run/kmod"), "system_u:object_r:kmod_var_run_t:s0");
        },
    ),
    row(
        "switched off",
        |m| {
            m.write("proc/cmdline", "quiet kmod.gate=off\n");
            m.write("proc/sys/kernel/modules_disabled", "1\n");
        },
        "/proc/cmdline: warning: kmod.gate= has switched the gate off (kmod-gate(7))\n\
         /proc/sys/kernel/modules_disabled: warning: no module can be loaded before the next boot\n",
        |m| m.write("proc/cmdline", "quiet\n"),
    ),
    row(
        "another modprobe",
        |m| m.write("sbin/modprobe", "that of the distribution"),
        "/sbin/modprobe: warning: the kernel calls it for modules, and it is another program than this kmod (kernel.modprobe)\n",
        |m| {
            m.write("proc/sys/kernel/modprobe", "/usr/sbin/modprobe\n");
            fs::create_dir_all(m.at("usr/sbin")).unwrap();
            symlink(m.at("proc/self/exe"), m.at("usr/sbin/modprobe")).unwrap();
        },
    ),
    row(
        "no modprobe",
        |m| m.write("proc/sys/kernel/modprobe", "/opt/modprobe\n"),
        "/opt/modprobe: error: the kernel calls it for modules: No such file or directory (kernel.modprobe)\n",
        // A kernel that asks nobody has no such setting.
        |m| fs::remove_file(m.at("proc/sys/kernel/modprobe")).unwrap(),
    ),
    row(
        "another libkmod in udevd",
        |m| m.write("usr/lib/libkmod.so.2", "\x7fELF libkmod"),
        "/usr/lib/libkmod.so.2: warning: systemd-udevd (250) loads modules by it, and it knows nothing of the gate (kmod-gate(7))\n",
        |m| {
            m.write("usr/lib/libkmod.so.2", "\x7fELF libkmod");
            m.write("usr/lib/udev/rules.d/80-drivers.rules", "RUN{builtin}+=\"kmod load\"\n");
            m.write(
                "etc/udev/rules.d/80-drivers.rules",
                "# modprobe\nRUN+=\"/sbin/modprobe -bq $env{MODALIAS}\"\n",
            );
        },
    ),
    row(
        "a libkmod in udevd that was replaced",
        |m| m.write("proc/250/maps", "7f0-7f1 r--p 0 fe:00 12    /usr/lib/libkmod.so.2 (deleted)\n"),
        "/usr/lib/libkmod.so.2: warning: systemd-udevd (250) still has the one mapped that was here before (systemctl restart systemd-udevd)\n",
        |m| m.write("proc/250/maps", ""),
    ),
];

fn set_label(path: &Path, label: &str) {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = c"security.selinux".as_ptr();
    // SAFETY: the strings end in NUL and live through the call, which reads as many bytes as the label has.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), name, label.as_ptr().cast(), label.len(), 0) };
    assert_eq!(result, 0, "labels are root's to set, on a file system that has them");
}

#[test]
fn each_thing_wrong_is_told_and_nothing_else() {
    assert_eq!(Machine::new().check(), "", "nothing is wrong");
    let mut wrong = Vec::new();
    for row in ROWS {
        let (broken, mended) = (Machine::new(), Machine::new());
        (row.broken)(&broken);
        let found = broken.check();
        if found != row.expected {
            wrong.push(format!("{}:\n{found}instead of\n{}", row.name, row.expected));
        }
        (row.mended)(&mended);
        let found = mended.check();
        if !found.is_empty() {
            wrong.push(format!("{}, mended:\n{found}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_path_of_the_command_line_that_is_not_there_is_told() {
    let machine = Machine::new();
    let check = |path| {
        machine.check_with(&Roots::below(machine.dir.path()), ConfigPaths::List(vec![machine.at(path)]))
    };
    assert_eq!(check("nope"), "/nope: error: not read: No such file or directory\n");
    assert_eq!(check("etc/modprobe.d"), "");
}

/// The mount is in a namespace of its own, which takes root.
#[test]
fn a_run_that_cannot_be_written_to_is_told() {
    use nix::mount::{MsFlags, mount};
    let machine = Machine::new();
    let found = std::thread::scope(|scope| {
        let check = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let flags = MsFlags::MS_RDONLY;
            mount(Some("tmpfs"), &machine.at("run"), Some("tmpfs"), flags, Some("mode=755")).unwrap();
            machine.check()
        });
        check.join().unwrap()
    });
    assert_eq!(found, "/run/kmod: error: Read-only file system, so the gate is not used\n");
}

/// Of another kernel than the running one, nothing is said that only the running one could know.
#[test]
fn what_only_a_running_kernel_knows_is_asked_of_none_else() {
    let machine = Machine::new();
    machine.module("kernel/pcspkr.ko", &module(MAGIC).alias("platform:pcspkr"));
    machine.write("dev/kmsg", "4,7,100,-;x: Direct firmware load for a.fw failed with error -2\n");
    machine.write("proc/kallsyms", "0 r __ksymtab_printk\n");
    machine.module("kernel/two.ko", &two("one_get", 0x11).needs("beep"));
    assert_eq!(machine.check().lines().count(), 3, "{}", machine.check());
    let base = machine.dir.path().to_str().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmod"));
    let output = command.arg0("kmod").args(["check", "-d", base, "-S", RELEASE]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(output.status.code(), Some(0));
}

/// Files that are named are this machine's own, wherever they are.
#[test]
fn what_is_named_is_taken_seriously() {
    let machine = Machine::new();
    let roots = Roots::below(machine.dir.path());
    let named = ConfigPaths::List(vec![machine.at("usr/lib/modprobe.d")]);
    let found = machine.check_with(&roots, named);
    let expected = "/usr/lib/modprobe.d/theirs.conf:2: warning: nothing is called 'snd_pcsp', so its options do nothing\n\
                    /usr/lib/modprobe.d/theirs.conf:3: warning: it asks for 'b', and nothing is called so\n";
    assert_eq!(found, expected);
}

/// Somebody else than root sees less, and what he does not see is missing nowhere.
#[test]
fn a_module_that_may_not_be_read_is_no_fault_of_the_indexes() {
    let machine = Machine::new();
    let program = machine.at("kmod");
    fs::copy(env!("CARGO_BIN_EXE_kmod"), &program).unwrap();
    for (path, mode) in [(machine.at(""), 0o755), (machine.in_tree("kernel/pcspkr.ko"), 0)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["check", "-S", RELEASE, "-d"]).arg(machine.dir.path()).arg("modules");
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap().replace(machine.in_tree("").to_str().unwrap(), "/M/");
    assert_eq!(text, "/M/kernel/pcspkr.ko: error: cannot be read as a module: Permission denied\n");
}
