//! What a program is compiled and linked against.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::build::{compiler, run};
use crate::{Suite, unequal};

/// One check.
type Check = fn(&Suite) -> Result<(), String>;

/// Name and check of each test.
pub const TESTS: [(&str, Check); 7] = [
    ("symbols_of_34_2", symbols_of_34),
    ("symbols_of_30", symbols_of_30),
    ("versions_inherit", versions),
    ("nothing_else_is_visible_or_needed", surroundings),
    ("prototypes", prototypes),
    ("numbers", numbers),
    ("install_and_uninstall", install),
];

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dist/library");

/// The functions and version nodes that a library defines: `kmod_new@@LIBKMOD_5`.
fn symbols(library: &Path) -> Result<BTreeSet<String>, String> {
    let table = run(Command::new("readelf").args(["-W", "--dyn-syms"]).arg(library))?;
    let defined = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let symbol = words.get(7).filter(|_| words.get(6) != Some(&"UND"))?;
        let kind = words.get(3).filter(|kind| ["FUNC", "OBJECT"].contains(kind))?;
        Some(format!("{kind} {symbol}"))
    });
    Ok(defined.collect())
}

fn symbols_of_34(suite: &Suite) -> Result<(), String> {
    let (theirs, mut ours) = (symbols(&suite.build.releases[0].library)?, symbols(&suite.build.library)?);
    // For programs that were linked to kmod 30.
    if !ours.remove("FUNC kmod_module_new_from_name_lookup@LIBKMOD_5") {
        return Err("kmod_module_new_from_name_lookup@LIBKMOD_5 is missing".to_owned());
    }
    let functions = ours.iter().filter(|line| line.starts_with("FUNC")).count();
    println!("{functions} functions, {} versions", ours.len() - functions);
    unequal(&theirs, &ours).map_or(Ok(()), |shown| Err(format!("- is 34.2, + is ours\n{shown}")))
}

fn symbols_of_30(suite: &Suite) -> Result<(), String> {
    let old = symbols(&suite.build.releases[1].library)?;
    // A program that was linked to it asks for a name and a version; which one is the default is not its affair.
    let plain = |set: BTreeSet<String>| -> BTreeSet<String> {
        set.into_iter().map(|line| line.replace("@@", "@")).collect()
    };
    let (old, ours) = (plain(old), plain(symbols(&suite.build.library)?));
    let missing: Vec<&String> = old.difference(&ours).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("missing: {missing:?}")) }
}

/// The version nodes in their order, each with the one that it inherits from.
fn nodes(library: &Path) -> Result<Vec<String>, String> {
    let table = run(Command::new("readelf").args(["-W", "-V"]).arg(library))?;
    let (_, defined) = table.split_once("Version definition section").ok_or("no versions are defined")?;
    let lines = defined.lines().skip(2).take_while(|line| !line.is_empty());
    Ok(lines.filter_map(|line| Some(line.split_once(": ")?.1.trim().to_owned())).collect())
}

fn versions(suite: &Suite) -> Result<(), String> {
    let (theirs, ours) = (nodes(&suite.build.releases[0].library)?, nodes(&suite.build.library)?);
    println!("{ours:?}");
    if theirs == ours && ours.len() == 10 {
        Ok(())
    } else {
        Err(format!("{theirs:#?} is 34.2, {ours:#?} is ours"))
    }
}

fn surroundings(suite: &Suite) -> Result<(), String> {
    let dynamic = run(Command::new("readelf").args(["-W", "-d"]).arg(&suite.build.library))?;
    let values = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(&format!("({tag})")));
        lines.filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']').to_owned())).collect()
    };
    let expected = [("SONAME", vec!["libkmod.so.2"]), ("NEEDED", vec!["libc.so.6", "ld-linux-x86-64.so.2"])];
    for (tag, expected) in expected {
        if values(tag) != expected {
            return Err(format!("{tag}: {:?} instead of {expected:?}", values(tag)));
        }
    }
    for flag in ["BIND_NOW", "TEXTREL"] {
        if dynamic.contains(flag) != (flag == "BIND_NOW") {
            return Err(format!("{flag} is wrong\n{dynamic}"));
        }
    }
    // Loaded by itself, as systemd does, every name leads somewhere without saying a version.
    let table = symbols(&suite.build.library)?;
    let hidden = table.iter().filter(|line| line.starts_with("FUNC") && !line.contains("@@")).count();
    if hidden == 1 { Ok(()) } else { Err(format!("{hidden} functions without a default version")) }
}

/// Every declaration of a header as the compiler understands it.
fn declarations(include: &Path, out: &Path) -> Result<BTreeSet<String>, String> {
    fs::write(out, "#include <libkmod.h>\n").map_err(|error| error.to_string())?;
    let list = out.with_extension("aux");
    let mut cc = compiler();
    cc.arg("-I").arg(include).args(["-c", "-o", "/dev/null", "-aux-info"]).arg(&list).arg(out);
    run(&mut cc)?;
    let text = fs::read_to_string(&list).map_err(|error| error.to_string())?;
    let ours = text.lines().filter(|line| line.contains("libkmod.h:"));
    Ok(ours.filter_map(|line| Some(line.split_once("*/")?.1.trim().to_owned())).collect())
}

fn prototypes(suite: &Suite) -> Result<(), String> {
    let ours = declarations(Path::new(HEADER), &suite.new_path("ours.c"))?;
    let new = declarations(&suite.build.releases[0].include, &suite.new_path("34.c"))?;
    if let Some(shown) = unequal(&new, &ours) {
        return Err(format!("- is 34.2, + is ours\n{shown}"));
    }
    println!("{} prototypes", ours.len());
    // Constness came later; the rest is what it was.
    let bare = |set: BTreeSet<String>| -> BTreeSet<String> {
        set.into_iter().map(|line| line.replace("const ", "")).collect()
    };
    let (old, ours) =
        (bare(declarations(&suite.build.releases[1].include, &suite.new_path("30.c"))?), bare(ours));
    let missing: Vec<&String> = old.difference(&ours).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("30 has also {missing:?}")) }
}

/// Every constant of a header with its number, and the sizes of its enumerations.
fn constants(include: &Path, program: &Path) -> Result<BTreeSet<String>, String> {
    let text = fs::read_to_string(include.join("libkmod.h")).map_err(|error| error.to_string())?;
    let words = || text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let names: BTreeSet<&str> =
        words().filter(|word| word.starts_with("KMOD_") || word.starts_with("_KMOD_")).collect();
    let mut source = "#include <stdio.h>\n#include <libkmod.h>\nint main(void)\n{\n".to_owned();
    for name in names {
        // A word in a comment is no constant: the compiler would not know it.
        let defined = text.lines().any(|line| {
            line.trim_start().starts_with(name)
                && line[line.find(name).unwrap_or(0) + name.len()..].contains([',', '='])
        });
        if defined {
            source.push_str(&format!("\tprintf(\"{name} %lld\\n\", (long long){name});\n"));
        }
    }
    for kind in
        ["resources", "index", "insert", "probe", "remove", "filter", "symbol_bind", "module_initstate"]
    {
        source.push_str(&format!(
            "\tprintf(\"enum kmod_{kind} %zu %d\\n\", sizeof(enum kmod_{kind}), (enum kmod_{kind})-1 < 0);\n"
        ));
    }
    // The macros, used.
    source.push_str("\tstruct kmod_list *list = NULL, *entry;\n\tkmod_list_foreach(entry, list) return 1;\n");
    source.push_str("\tif (0) kmod_list_foreach_reverse(entry, list) return 1;\n\treturn 0;\n}\n");
    let file = program.with_extension("c");
    fs::write(&file, source).map_err(|error| error.to_string())?;
    let mut cc = compiler();
    cc.args(["-Wno-type-limits", "-Wl,--unresolved-symbols=ignore-all", "-I"]).arg(include);
    run(cc.arg("-o").arg(program).arg(&file))?;
    Ok(run(&mut Command::new(program))?.lines().map(str::to_owned).collect())
}

fn numbers(suite: &Suite) -> Result<(), String> {
    let ours = constants(Path::new(HEADER), &suite.new_path("numbers-ours"))?;
    let new = constants(&suite.build.releases[0].include, &suite.new_path("numbers-34"))?;
    println!("{} constants and sizes", ours.len());
    if ours.len() < 40 {
        return Err(format!("only {ours:?}"));
    }
    unequal(&new, &ours).map_or(Ok(()), |shown| Err(format!("- is 34.2, + is ours\n{shown}")))
}

/// What `make install` leaves is enough to build a program with pkg-config's words, and `make uninstall` takes it away.
fn install(suite: &Suite) -> Result<(), String> {
    let dest = suite.new_path("dest");
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.args(["--silent", "-C", env!("CARGO_MANIFEST_DIR"), target, "PREFIX=/opt/k"]);
        make.arg(format!("DESTDIR={}", dest.display()));
        make.arg(format!("LIBRARY={}", suite.build.library.display()));
        run(make.arg(format!("KMOD={}", env!("CARGO_BIN_EXE_kmod"))))
    };
    make("install")?;
    let pc = |path: &str| fs::read_to_string(dest.join(path)).map_err(|error| format!("{path}: {error}"));
    let library = pc("opt/k/lib/pkgconfig/libkmod.pc")?;
    for line in
        ["Name: libkmod", "Version: 34", "prefix=/opt/k", "libdir=/opt/k/lib", "Libs: -L${libdir} -lkmod"]
    {
        if !library.lines().any(|found| found == line) {
            return Err(format!("libkmod.pc lacks {line}\n{library}"));
        }
    }
    let kmod = pc("opt/k/share/pkgconfig/kmod.pc")?;
    if !kmod.contains("module_compressions=zstd xz zlib\n")
        || !kmod.contains("module_directory=/lib/modules\n")
    {
        return Err(format!("kmod.pc\n{kmod}"));
    }
    let (source, program) = (suite.new_path("use.c"), suite.new_path("use"));
    let text = "#include <libkmod.h>\nint main(void) { return kmod_unref(kmod_new(NULL, NULL)) != NULL; }\n";
    fs::write(&source, format!("#include <stddef.h>\n{text}")).map_err(|error| error.to_string())?;
    let lib = dest.join("opt/k/lib");
    let mut cc = compiler();
    cc.arg("-I").arg(dest.join("opt/k/include")).arg("-o").arg(&program).arg(&source);
    run(cc.arg("-L").arg(&lib).arg("-lkmod"))?;
    run(Command::new(&program).env("LD_LIBRARY_PATH", &lib))?;
    make("uninstall")?;
    let left = run(Command::new("find").arg(&dest).args(["!", "-type", "d"]))?;
    if left.is_empty() { Ok(()) } else { Err(format!("uninstall left\n{left}")) }
}
