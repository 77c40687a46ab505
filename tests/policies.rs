//! What policies say of us, without a boot: the SELinux policy module (dist/selinux) in the compiled policies of Debian 12 and 13,
//! and the rules for AppArmor (dist/apparmor) in Debian 13's profile.
//!
//! Each policy is built by Debian's own semodule in a chroot, from the modules of selinux-policy-default, without ours and with
//! it, and neverallow rules are checked. sesearch and seinfo of the host read what comes of it. That takes root.

#[path = "common/debian.rs"]
mod debian;
#[path = "common/needs.rs"]
mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use debian::Cache;

/// What the gate does, by the type and class that it does it to (src/gate/dir.rs, src/gate/trace.rs, src/system/futex.rs).
const GATE: [(&str, &str, &[&str]); 4] = [
    ("var_run_t", "dir", &["add_name", "getattr", "open", "read", "search", "write"]),
    ("tmpfs_t", "filesystem", &["getattr"]),
    ("kmod_gate_t", "dir", &["add_name", "create", "getattr", "open", "read", "search", "setattr", "write"]),
    (
        "kmod_gate_t",
        "file",
        &["append", "create", "getattr", "lock", "map", "open", "read", "setattr", "write"],
    ),
];

/// The domains that load modules at boot.
const LOADERS: [&str; 5] = ["init_t", "kernel_t", "kmod_t", "systemd_modules_load_t", "udev_t"];
/// Those of them that Debian keeps from /run/kmod.
const CONFINED: [&str; 3] = ["kmod_t", "systemd_modules_load_t", "udev_t"];
/// Who must not get at the locks: a lock that is held by others delays loads.
const OUTSIDERS: [&str; 6] = ["user_t", "staff_t", "httpd_t", "sshd_t", "NetworkManager_t", "named_t"];

/// A compiled policy.
struct Policy {
    attributes: BTreeMap<String, BTreeSet<String>>,
    /// Source, target, class, permissions; conditional rules are left out.
    allowed: Vec<(String, String, String, BTreeSet<String>)>,
    transitions: BTreeSet<String>,
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

impl Policy {
    fn read(file: &Path) -> Policy {
        let mut attributes = BTreeMap::new();
        let mut current: &mut BTreeSet<String> = &mut BTreeSet::new();
        for line in said(Command::new("seinfo").arg(file).args(["--attribute", "--expand"])).lines() {
            match line.trim().strip_prefix("attribute ") {
                Some(name) => current = attributes.entry(name.trim_end_matches(';').to_owned()).or_default(),
                None => current.extend(line.split_whitespace().map(str::to_owned)),
            }
        }
        let (mut allowed, mut transitions) = (Vec::new(), BTreeSet::new());
        let mut search = Command::new("sesearch");
        search.arg(file).args(["--allow", "--type_trans", "--class", "dir,file,filesystem,process,system"]);
        for line in said(&mut search).lines() {
            let rule = line.trim();
            if rule.starts_with("type_transition ") {
                transitions.insert(rule.to_owned());
            } else if let Some(rule) = rule.strip_prefix("allow ").filter(|rule| rule.ends_with(';')) {
                // SOURCE TARGET:CLASS PERMISSION; or { PERMISSION... };
                let (subject, permissions) = rule.trim_end_matches(';').split_once(':').expect("a rule");
                let (source, target) = subject.split_once(' ').expect("source and target");
                let mut words = permissions.split_whitespace().map(str::to_owned);
                let class = words.next().expect("a class");
                let permissions = words.filter(|word| word != "{" && word != "}").collect();
                allowed.push((source.to_owned(), target.to_owned(), class, permissions));
            }
        }
        assert!(allowed.len() > 1000, "{}: {} rules", file.display(), allowed.len());
        Policy { attributes, allowed, transitions }
    }

    /// Whether a name in a rule, of a type or an attribute, means the type.
    fn means(&self, name: &str, of: &str) -> bool {
        name == of || self.attributes.get(name).is_some_and(|types| types.contains(of))
    }

    /// What a domain may do.
    fn may(&self, domain: &str, target: &str, class: &str) -> BTreeSet<&str> {
        let fits = |rule: &&(String, String, String, BTreeSet<String>)| {
            let own = rule.1 == "self" && domain == target;
            rule.2 == class && self.means(&rule.0, domain) && (own || self.means(&rule.1, target))
        };
        self.allowed.iter().filter(fits).flat_map(|rule| rule.3.iter().map(String::as_str)).collect()
    }

    /// What a domain lacks for the gate.
    fn lacks(&self, domain: &str) -> Vec<String> {
        let missing = |&(target, class, wanted): &(&str, &str, &[&str])| {
            let found = self.may(domain, target, class);
            let missing: Vec<&str> = wanted.iter().copied().filter(|one| !found.contains(one)).collect();
            (!missing.is_empty()).then(|| format!("{domain} {target}:{class} {missing:?}"))
        };
        GATE.iter().filter_map(missing).collect()
    }

    /// The domains that may load modules.
    fn loaders(&self) -> &BTreeSet<String> {
        &self.attributes["can_load_kernmodule"]
    }
}

/// The module that `make selinux` makes.
fn module() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| {
        let mut make = Command::new("make");
        make.args(["--silent", "-C", env!("CARGO_MANIFEST_DIR"), "selinux"]);
        said(make.env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR")))
            .lines()
            .last()
            .expect("its name")
            .into()
    })
}

/// A Debian system with what builds a policy.
struct Store {
    root: tempfile::TempDir,
}

impl Store {
    /// The policy of a suite as it comes; built once, since its four hundred modules take minutes.
    fn new(suite: &str) -> Store {
        let cache = Cache::open().unwrap();
        let built = cache.path(&format!("systems/{suite}-selinux.tar"));
        if built.exists() {
            let store = Store { root: tempfile::tempdir().unwrap() };
            said(Command::new("tar").arg("-C").arg(store.root.path()).arg("-xf").arg(built));
            return store;
        }
        let store =
            Store::with("selinux", suite, &["selinux-policy-default", "policycoreutils", "selinux-utils"]);
        // Debian leaves out the check of neverallow rules. Debian 12's setools read policies up to version 33.
        store.run(
            "conf=/etc/selinux/semanage.conf; sed -i '/^expand-check\\|^policy-version/d' $conf
            printf 'expand-check = 1\npolicy-version = 33\n' >>$conf
            semodule --store default --noreload --priority 100 --install /usr/share/selinux/default/*.pp*",
        );
        let new = built.with_extension("new");
        said(Command::new("tar").arg("-C").arg(store.root.path()).arg("-cf").arg(&new).arg("."));
        fs::rename(new, built).unwrap();
        store
    }

    /// A system of a suite with packages unpacked into it.
    fn with(name: &str, suite: &str, packages: &[&str]) -> Store {
        let cache = Cache::open().unwrap();
        let system =
            cache.system(suite, &["kmod", "udev", "initramfs-tools-core", "bash-completion"]).unwrap();
        let unpacked = cache.userland(&format!("{name}-{suite}"), suite, packages).unwrap();
        let root = tempfile::tempdir().unwrap();
        said(Command::new("tar").arg("-C").arg(root.path()).arg("-xf").arg(system));
        // Through the links of a merged /usr.
        for entry in fs::read_dir(unpacked).unwrap() {
            let from = entry.unwrap().path();
            if from.is_dir() {
                let to = root.path().join(from.file_name().unwrap());
                fs::create_dir_all(&to).unwrap();
                said(Command::new("cp").arg("-a").arg(from.join(".")).arg(to));
            }
        }
        Store { root }
    }

    fn run(&self, script: &str) -> String {
        let mut command = Command::new("chroot");
        command.arg(self.root.path()).args(["/bin/sh", "-ec", script]).env_clear();
        said(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C"))
    }

    /// Adds a module, as our package does.
    fn add(&self, module: &Path) {
        fs::copy(module, self.root.path().join("kmod-once.pp")).unwrap();
        self.run("semodule --store default --noreload --priority 200 --install /kmod-once.pp");
    }

    fn policy(&self) -> Policy {
        let files = fs::read_dir(self.root.path().join("etc/selinux/default/policy")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        Policy::read(files.last().expect("a policy"))
    }

    /// The type that a new file of that name gets.
    fn label(&self, path: &str) -> String {
        let contexts = "/etc/selinux/default/contexts/files/file_contexts";
        let line = self.run(&format!("matchpathcon -n -f {contexts} {path} || true"));
        line.trim().split(':').nth(2).unwrap_or(line.trim()).to_owned()
    }
}

fn holds(suite: &str) {
    let store = Store::new(suite);
    let stock = store.policy();
    // What the distribution's file is called, so is ours: domains that may not load modules change to kmod_t by it.
    assert_eq!(store.label("/usr/bin/kmod"), "kmod_exec_t");
    assert_eq!(store.label("/usr/lib/x86_64-linux-gnu/libkmod.so.2.99"), "lib_t");
    let by_label = |rule: &&String| rule.contains(" kmod_exec_t:process kmod_t;");
    let changing = stock.transitions.iter().filter(by_label).count();
    assert!(changing > 5, "{changing} rules of transition to kmod_t");
    // And so do those who may: the kernel, systemd, a service's script, an administrator.
    for domain in ["init_t", "initrc_t", "kernel_t", "sysadm_t", "unconfined_t"] {
        let rule = format!("type_transition {domain} kmod_exec_t:process kmod_t;");
        assert!(stock.transitions.contains(&rule), "{suite}: no {rule}");
    }
    let loaders = stock.loaders();
    assert!(LOADERS.iter().all(|domain| loaders.contains(*domain)), "{loaders:?}");
    for domain in CONFINED {
        assert!(!stock.lacks(domain).is_empty(), "{suite}: {domain} has the gate without the module");
    }

    store.add(module());
    let ours = store.policy();
    let lacking: Vec<String> = ours.loaders().iter().flat_map(|domain| ours.lacks(domain)).collect();
    assert!(lacking.is_empty(), "{suite}: {lacking:#?}");
    println!("{suite}: the gate is open to {:?}", ours.loaders());
    let transition = |domain: &str| format!("type_transition {domain} var_run_t:dir kmod_gate_t kmod;");
    for domain in ours.loaders() {
        assert!(ours.transitions.contains(&transition(domain)), "{suite}: {domain} makes no kmod_gate_t");
    }
    for path in ["/run/kmod", "/run/kmod/gate/xfs", "/run/kmod/gate.trace"] {
        assert_eq!(store.label(path), "kmod_gate_t", "{suite}: {path}");
    }
    // To recognise a module that waits for itself.
    for domain in ["kmod_t", "systemd_modules_load_t"] {
        for other in ours.loaders().iter().map(String::as_str).chain(["kernel_t"]) {
            let found = ours.may(domain, other, "file");
            assert!(
                found.contains("read") && found.contains("open"),
                "{suite}: {domain} on {other}: {found:?}"
            );
        }
        let found = ours.may(domain, "user_t", "file");
        assert!(!found.contains("read"), "{suite}: {domain} on user_t: {found:?}");
    }
    // systemd gives what the initramfs has made its label.
    assert!(ours.may("init_t", "kmod_gate_t", "dir").contains("relabelto"), "{suite}");
    for domain in OUTSIDERS {
        let found = ours.may(domain, "kmod_gate_t", "file");
        assert!(
            !["lock", "write", "open", "map"].iter().any(|one| found.contains(one)),
            "{domain}: {found:?}"
        );
    }
    // Nothing else has changed.
    let rules = |policy: &Policy| -> BTreeSet<String> {
        policy
            .allowed
            .iter()
            .map(|rule| format!("{rule:?}"))
            .filter(|rule| !rule.contains("kmod_gate_t"))
            .collect()
    };
    let gained: Vec<String> = rules(&ours).difference(&rules(&stock)).cloned().collect();
    assert!(gained.len() < 60, "{gained:#?}");
    let strangers: Vec<&String> = gained
        .iter()
        .filter(|rule| {
            !["can_load_kernmodule", "kmod_t", "systemd_modules_load_t"]
                .iter()
                .any(|name| rule.contains(&format!("(\"{name}\"")))
        })
        .filter(|rule| !ours.loaders().iter().any(|domain| rule.contains(&format!("(\"{domain}\""))))
        .collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[test]
fn every_loader_of_debian_12_has_the_gate() {
    if !needs::root() {
        return;
    }
    holds("bookworm");
}

#[test]
fn every_loader_of_debian_13_has_the_gate() {
    if !needs::root() {
        return;
    }
    holds("trixie");
}

/// The rules for nvidia-modprobe take the place of the profile's own, and would be in conflict with them otherwise.
#[test]
fn the_rules_for_apparmor_compile_in_debian_13s_profile() {
    if !needs::root() {
        return;
    }
    let system = Store::with("apparmor", "trixie", &["apparmor"]);
    let local = system.root.path().join("etc/apparmor.d/local/nvidia_modprobe");
    let compile = "apparmor_parser --stdout --skip-cache --features-file /etc/apparmor.d/abi/4.0 \
        /etc/apparmor.d/nvidia_modprobe 2>&1 | tr -d '\\0' | grep -a -o 'nvidia_modprobe//kmod_once\\|conflicting x modifiers' | sort -u";
    let rules =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/apparmor/nvidia_modprobe"))
            .unwrap();
    fs::write(&local, &rules).unwrap();
    assert_eq!(system.run(compile), "nvidia_modprobe//kmod_once\n");
    fs::write(&local, rules.replace("priority=1 ", "")).unwrap();
    assert_eq!(system.run(compile), "conflicting x modifiers\n");
}
