//! Which entries are stored, which warnings are given, and what applies to a module.

use super::*;

fn parse(contents: &[u8]) -> (Config, Vec<String>) {
    let (config, warnings) = Config::parse([("/etc/modprobe.d/a.conf", contents)], b"");
    (config, warnings.into_iter().map(|w| String::from_utf8(w).unwrap()).collect())
}

fn command_line(text: &[u8]) -> Vec<String> {
    shown(&Config::parse([("", ""); 0], text).0)
}

const NAMES: [(Kind, &str); KINDS] = [
    (Kind::Blacklist, "blacklist"),
    (Kind::Install, "install"),
    (Kind::Remove, "remove"),
    (Kind::Alias, "alias"),
    (Kind::Options, "options"),
    (Kind::Softdep, "softdep"),
    (Kind::Weakdep, "weakdep"),
    (Kind::Forbid, "forbid"),
    (Kind::Permit, "permit"),
];

/// All entries as lines, each ending in a `$` as `cat -A` has it.
fn shown(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, word) in NAMES {
        for entry in config.entries(kind) {
            let key = String::from_utf8_lossy(entry.key).into_owned();
            lines.push(format!("{word} {key} {}$", String::from_utf8_lossy(&entry.shown(kind))));
        }
    }
    lines
}

#[track_caller]
fn expect(contents: &str, want: &[&str], expected: &[&str]) {
    let (config, warnings) = parse(contents.as_bytes());
    assert_eq!(shown(&config), want);
    let expected: Vec<String> = expected.iter().map(|t| format!("/etc/modprobe.d/a.conf{t}")).collect();
    assert_eq!(warnings, expected);
}

const BAD: &str = ": ignoring bad line starting with";

#[test]
fn aliases_and_blacklist() {
    expect(
        "alias a-b c-d extra words\n alias x y\n\talias\tp\t q\nalias a\n",
        &["alias a_b c_d$", "alias x y$", "alias p q$"],
        &[&format!(" line 4{BAD} 'alias'")],
    );
    expect(
        "blacklist a-b c\nblacklist\nblacklist [a-b]-c\nblacklist a[b\nalias x a]\n",
        &["blacklist a_b $", "blacklist [a-b]_c $"],
        &[
            &format!(" line 2{BAD} 'blacklist'"),
            &format!(" line 4{BAD} 'blacklist'"),
            &format!(" line 5{BAD} 'alias'"),
        ],
    );
}

#[test]
fn every_word_of_forbid_and_permit_is_an_entry() {
    expect(
        "forbid a-b c-*\t[d-e]-f  # g\npermit a-b x\npermit * #\nforbid\nforbid # a\npermit \nforbid g h[ i\n",
        &[
            "forbid a_b $",
            "forbid c_* $",
            "forbid [d-e]_f $",
            "forbid g $",
            "forbid i $",
            "permit a_b $",
            "permit x $",
            "permit * $",
        ],
        &[
            &format!(" line 4{BAD} 'forbid'"),
            &format!(" line 5{BAD} 'forbid'"),
            &format!(" line 6{BAD} 'permit'"),
            " line 7: ignoring bad name 'h['",
        ],
    );
}

#[test]
fn what_forbids_a_name() {
    let text = b"forbid a*\nforbid *b\nforbid ab\nforbid ab c\npermit x* ab\n";
    let (config, _) = Config::parse([("/a.conf", text)], b"modprobe.forbid=c,d");
    let said = |name: &[u8]| match config.forbids(name) {
        None => String::new(),
        Some(Forbids::Name(origin)) => format!("name {}", config.place(origin).escape_ascii()),
        Some(Forbids::Pattern(origin)) => format!("pattern {}", config.place(origin).escape_ascii()),
    };
    assert_eq!(said(b"ab"), "name /a.conf line 3", "the first of the names, though patterns come before");
    assert_eq!(said(b"acb"), "pattern /a.conf line 1");
    assert_eq!(said(b"xb"), "pattern /a.conf line 2");
    assert_eq!(said(b"c"), "name /a.conf line 4");
    assert_eq!(said(b"d"), "name the kernel command line");
    assert_eq!(said(b"x"), "");
    assert!(config.permits(b"xb") && config.permits(b"ab") && !config.permits(b"acb"));
    let permitted = config.entries(Kind::Permit).map(|entry| (entry.key, entry.wild));
    assert_eq!(permitted.collect::<Vec<_>>(), [(&b"x*"[..], true), (b"ab", false)]);
}

#[test]
fn the_rest_of_a_line_keeps_its_blanks() {
    expect(
        "options foo  bar\tbaz  \noptions foo \noptions foo  \noptions foo\n",
        &["options foo  bar baz  $", "options foo  $"],
        &[&format!(" line 2{BAD} 'options'"), &format!(" line 4{BAD} 'options'")],
    );
    expect(
        "install a-x  \t cmd\tx  \nremove b y\ninstall c\n",
        &["install a_x  \t cmd\tx  $", "remove b y$"],
        &[&format!(" line 3{BAD} 'install'")],
    );
    // With CRLF line ends, too, a directive without its text is bad.
    expect(
        "\u{feff}options a x=1\r\ninstall b c \r\n\r\noptions d\r\n",
        &["install b c $", "options a x=1$"],
        &[&format!(" line 4{BAD} 'options'")],
    );
}

#[test]
fn names_have_a_limit_and_texts_have_none() {
    let (name, text) = ("n".repeat(4096), "t-[".repeat(5000));
    let (config, warnings) =
        parse(format!("options m {text}\noptions {name} x\nalias m {name}\n").as_bytes());
    assert_eq!(config.options_for(b"m", None).unwrap(), text.as_bytes());
    assert_eq!(warnings.len(), 2);
}

#[test]
fn softdeps_and_weakdeps() {
    expect(
        "softdep x junk pre: a\nsoftdep y junk\nsoftdep z \nsoftdep w  \nsoftdep v pre:\n softdep u post:a b pre:c\n\
         softdep a pre: b\x0bc\x0cd\re\nsoftdep m-m pre: c-d post: e\n",
        &[
            "softdep x pre: a$",
            "softdep y $",
            "softdep w $",
            "softdep v $",
            "softdep u $",
            "softdep a pre: b c d e$",
            "softdep m_m pre: c-dpost: e$",
        ],
        &[&format!(" line 3{BAD} 'softdep'")],
    );
    expect(
        "weakdep a-b c-d  e\tf\nweakdep x\nweakdep x \nweakdep x  \n",
        &["weakdep a_b c-d e f$", "weakdep x $"],
        &[&format!(" line 2{BAD} 'weakdep'"), &format!(" line 3{BAD} 'weakdep'")],
    );
}

#[test]
fn a_softdep_may_switch_back_and_forth() {
    let (config, _) = parse(b"softdep a junk pre: b  c post: d pre: e post: f\n");
    let entry = config.matching(Kind::Softdep, b"a").next().unwrap();
    assert_eq!(entry.pre().collect::<Vec<_>>(), [&b"b"[..], b"c", b"e"]);
    assert_eq!(entry.post().collect::<Vec<_>>(), [&b"d"[..], b"f"]);
    assert_eq!(entry.shown(Kind::Softdep), b"pre: b c d epost: d e f");
}

#[test]
fn one_blank_too_many_belongs_to_the_first_word() {
    expect(
        "softdep a  pre: x post: y\nsoftdep b \tpre: x\nsoftdep c\tpre: x\nsoftdep d   pre: x\nsoftdep e  pre:\n\
         softdep f  junk pre: x\nweakdep a  b c \nweakdep b   b\nweakdep c  b\n",
        &[
            "softdep a post: y$",
            "softdep b $",
            "softdep c pre: x$",
            "softdep d pre: x$",
            "softdep e $",
            "softdep f pre: x$",
            "weakdep a  b c$",
            "weakdep b b$",
            "weakdep c  b$",
        ],
        &[],
    );
}

#[test]
fn bad_lines_are_told_and_passed_over() {
    expect(
        "include /etc/x\nconfig binary_indexes yes\nfoo\nInstall a b\n # indented\n \t \nfoo\\\n bar\nalias a b\n",
        &["alias a b$"],
        &[
            ": command include is deprecated and not parsed anymore",
            ": command config is deprecated and not parsed anymore",
            &format!(" line 3{BAD} 'foo'"),
            &format!(" line 4{BAD} 'Install'"),
            &format!(" line 5{BAD} '#'"),
            &format!(" line 8{BAD} 'foo'"),
        ],
    );
}

#[test]
fn origins_name_file_and_line() {
    let files = [("/etc/a.conf", "\noptions m \\\n x=1\n"), ("/etc/b.conf", "options m y=1")];
    let (config, _) = Config::parse(files, b"m.z=1");
    let at: Vec<_> = config.entries(Kind::Options).map(|e| (config.file(e.origin), e.origin.line)).collect();
    let want = [("/etc/a.conf", 3), ("/etc/b.conf", 1), ("/proc/cmdline", 0)];
    assert_eq!(at, want.map(|(path, line)| (Path::new(path), line)));
    assert_eq!(config.options_for(b"m", None).unwrap(), b" x=1 y=1 z=1");
}

#[test]
fn kernel_command_line_table() {
    let table: [(&str, &[&str]); 32] = [
        ("foo-x.bar-y=1 a.b -- c.d=2", &["options foo_x bar-y=1$", "options a b$", "options c d=2$"]),
        ("a.b=c=d.e", &["options a b=c=d.e$"]),
        ("a.b.c=1", &[]),
        ("foo.\"bar=1\"", &[]),
        ("\"a.b\"", &[]),
        ("\"a.b=1\"", &["options a b=\"1\"$"]),
        (".x=1 foo.", &["options  x=1$", "options foo $"]),
        ("modprobe.blacklist=\"a-b,c\"", &["blacklist a_b $", "blacklist c $"]),
        ("modprobe.blacklist=foo-bar,,y,", &["blacklist foo_bar $", "blacklist y $"]),
        ("modprobe.blacklist= modprobe.blacklist=\"\" modprobe.blacklist=,", &[]),
        ("modprobe.blacklist", &["options modprobe blacklist$"]),
        ("\"modprobe.blacklist=a b,c\"", &["blacklist a $", "blacklist b $", "blacklist c $"]),
        (
            "modprobe.blacklist=a,\"b-,\tc \",d",
            &["blacklist a $", "blacklist b_ $", "blacklist c $", "blacklist d $"],
        ),
        (
            "modprobe.blacklist=a modprobe.blacklist=[b-,c",
            &["blacklist a $", "blacklist [b_ $", "blacklist c $"],
        ),
        (
            "modprobe.forbid=a-b,\"usb-*,[c-d]-e\" modprobe.permit=usb-x modprobe.forbid=z",
            &["forbid a_b $", "forbid usb_* $", "forbid [c-d]_e $", "forbid z $", "permit usb_x $"],
        ),
        ("modprobe.forbid modprobe.permit=1.2", &["options modprobe forbid$", "permit 1.2 $"]),
        ("x.forbid=a modprobe.forbidden=b", &["options x forbid=a$", "options modprobe forbidden=b$"]),
        ("x.p=\"a b\"", &["options x p=\"a b\"$"]),
        ("\"x.p=a b\"", &["options x p=\"a b\"$"]),
        ("foo.\"bar=1 2\" x.y=1", &["options x y=1$"]),
        ("a.b.c=\"1 2\" x.y=1", &["options x y=1$"]),
        ("\"a b.c=1\" x.y=2", &["options x y=2$"]),
        ("\"x.p=\"a b\"\" x.y=2", &["options x p=\"\"a$", "options x y=2$"]),
        ("x.p=a\"b c\"d e.f=1", &["options x p=a\"b c\"d$", "options e f=1$"]),
        ("x.p=1 y.p=\"a b z.z=1", &["options x p=1$"]),
        (
            "foo=1.2 . = =. .= a.=1 .b a. \"\" \"\" x.y=1",
            &["options  $", "options  =$", "options a =1$", "options  b$", "options a $", "options x y=1$"],
        ),
        ("\"a\".b=1 \"\"a.b=1 \"a.b\"=1 c.d=2", &["options c d=2$"]),
        ("\"a.b=1\"x \"a.b=\"\"1 2\"", &["options a b=\"1\"x$", "options a b=\"\"\"1 2\"$"]),
        ("a.b='1 2' c.d==3", &["options a b='1$", "options c d==3$"]),
        (
            "x.p=a\tb.c=1\x0bd.e=2\x0cf.g=3\rh.i=\"4\t\"\n",
            &["options x p=a$", "options b c=1$", "options d e=2$", "options f g=3$", "options h i=\"4 \"$"],
        ),
        ("a.b=1\0 c.d=2", &["options a b=1$"]),
        ("module_blacklist=a.b quiet root=/dev/sda1", &[]),
    ];
    for (text, want) in table {
        assert_eq!(command_line(text.as_bytes()), want, "{text:?}");
    }
}

#[test]
fn kernel_command_line_brackets_and_length() {
    let (config, warnings) =
        Config::parse([("", ""); 0], b"x-[b-c.d=1 a]b-c.d=1 a[b-c].c-d=1 modprobe.forbid=y-[,z");
    assert_eq!(shown(&config), ["options a[b-c] c-d=1$", "forbid z $"]);
    let start = "Ignoring bad option on kernel command line while parsing module name: ";
    let want = [format!("{start}'x_[b-c'"), format!("{start}'a]b-c'"), format!("{start}'y_['")];
    assert_eq!(warnings.into_iter().map(|w| String::from_utf8(w).unwrap()).collect::<Vec<_>>(), want);

    let text = [b"x.y=".to_vec(), vec![b'a'; 4080], b" b.c=12345678 d.e=1".to_vec()].concat();
    assert_eq!(command_line(&text)[1..], ["options b c=123456$"]);
}

#[test]
fn which_options_apply() {
    let text = b"options m a=1\noptions other z=1\noptions wild_* b=2\noptions m c=3\n";
    let (config, _) = Config::parse([("a.conf", text)], b"m. m.d=4 other.e=5");
    assert_eq!(config.options_for(b"m", None).unwrap(), b"a=1 c=3 d=4");
    assert_eq!(config.options_for(b"m", Some(b"wild_*")).unwrap(), b"a=1 b=2 c=3 d=4");
    assert_eq!(config.options_for(b"wild_x", None), None);
    assert_eq!(Config::parse([("", ""); 0], b"m.").0.options_for(b"m", None), None);
}

#[test]
fn the_first_entry_that_matches_counts() {
    let (config, _) = parse(
        b"install a* first\ninstall ab second\nremove ab r\nsoftdep a? pre: x\nsoftdep ab pre: y\nweakdep [a]b w\n\
          alias *b one\nalias ab two\nalias b three\nblacklist a*\nblacklist ab\n",
    );
    assert_eq!(config.first(Kind::Install, b"ab").unwrap().value, b"first");
    assert_eq!(config.first(Kind::Remove, b"ab").unwrap().value, b"r");
    assert!(config.first(Kind::Remove, b"a").is_none());
    let softdeps: Vec<_> = config.matching(Kind::Softdep, b"ab").map(|e| e.value).collect();
    assert_eq!(softdeps, [&b"pre: x"[..], b"pre: y"], "these add up");
    assert_eq!(config.matching(Kind::Weakdep, b"ab").map(|e| e.value).collect::<Vec<_>>(), [b"w"]);
    assert_eq!(
        config.matching(Kind::Alias, b"ab").map(|e| e.value).collect::<Vec<_>>(),
        [&b"one"[..], b"two"]
    );
    // Blacklist entries are names, not patterns; so is a query for a command of its own.
    assert!(config.is_blacklisted(b"ab") && !config.is_blacklisted(b"ac") && config.is_blacklisted(b"a*"));
    assert_eq!(config.named(Kind::Install, b"ab").unwrap().value, b"second");
    assert_eq!(config.named(Kind::Install, b"a*").unwrap().value, b"first");
    assert!(config.named(Kind::Install, b"ac").is_none());
}

#[test]
fn names_need_not_be_text() {
    let (config, warnings) = parse(b"alias \xff\xfe-x \x80\noptions \x80 \xff=1\n");
    assert!(warnings.is_empty());
    assert_eq!(config.matching(Kind::Alias, b"\xff\xfe_x").next().unwrap().value, b"\x80");
    assert_eq!(config.options_for(b"\x80", None).unwrap(), b"\xff=1");
}

#[test]
fn a_line_of_a_hundred_mebibytes_is_told() {
    let mut contents = b"options m x=1\noptions n ".to_vec();
    contents.resize(100 << 20, b'x');
    contents.extend_from_slice(b"\noptions o x=3\n");
    let (config, warnings) = parse(&contents);
    assert_eq!(shown(&config), ["options m x=1$", "options o x=3$"]);
    assert_eq!(warnings, ["/etc/modprobe.d/a.conf line 2: ignoring a line of more than 1048576 bytes"]);
    assert!(config.text.len() < 100);
}

#[test]
fn any_bytes_parse() {
    // A fixed pseudorandom sequence, mostly of special bytes.
    let special = b"\\\n\t \"#.=*[]-,:\0ab\r\xff";
    let mut state = 1u32;
    for length in 0..400 {
        let mut contents = b"softdep a pre: ".to_vec();
        for _ in 0..length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            contents.push(special[(state >> 16) as usize % special.len()]);
        }
        let (config, _) = Config::parse([("x", &contents)], &contents);
        for (kind, _) in NAMES {
            assert!(config.entries(kind).len() <= contents.len());
        }
        config.options_for(b"a", Some(b"b"));
    }
}

#[test]
fn a_long_list_answers_as_a_short_one() {
    // The same entries once among few others and once among many; every question gets the same answer.
    let lines = ["ab one", "a* two", "[a]b three", "ab four", "a[b] five", "*b six", "b? seven", "zz eight"];
    let questions = ["ab", "a", "a[b]", "b1", "zz", "", "zzz", "[a]b", "a*"];
    let build = |filler: usize| {
        let mut text = String::new();
        for line in lines {
            for at in 0..filler {
                text.push_str(&format!("install filler{at} x\nalias filler{at} x\noptions filler{at} x\n"));
            }
            text.push_str(&format!("install {line}\nalias {line}\noptions {line}\nblacklist {line}\n"));
        }
        parse(text.as_bytes()).0
    };
    let (short, long) = (build(0), build(300));
    for question in questions.map(str::as_bytes) {
        let values = |config: &Config| -> Vec<Vec<u8>> {
            let mut all: Vec<_> = config.matching(Kind::Alias, question).map(|e| e.value.to_vec()).collect();
            all.extend(config.first(Kind::Install, question).map(|e| e.value.to_vec()));
            all.extend(config.options_for(question, Some(b"zz")));
            all.extend(config.options_for(b"a*", Some(question)));
            all.push(vec![
                config.named(Kind::Install, question).is_some().into(),
                config.is_blacklisted(question).into(),
            ]);
            all
        };
        assert_eq!(values(&short), values(&long), "{:?}", String::from_utf8_lossy(question));
    }
    assert_eq!(short.matching(Kind::Alias, b"ab").count(), 6);
}
