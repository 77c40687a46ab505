use super::*;
use crate::gate::blame::modules;
use crate::gate::trace::TraceEntry;

/// A trace of `count` modules, with names of many lengths and requests of every kind.
fn boot(count: u64) -> Vec<Module> {
    let entries = (0..count).flat_map(|number| {
        let first = TraceEntry {
            at: Duration::from_millis(1200 + number * 53),
            module: format!("m{number}_{}", "x".repeat(number as usize % 45)),
            request: "pci:<&>".into(),
            parent: "systemd-udevd\u{1b}".into(),
            devpath: (number % 2 == 0).then(|| "/devices/pci0000:00".into()),
            called: Duration::from_micros(number * number * 37),
            errno: (number == 3).then_some(19),
            ..TraceEntry::default()
        };
        let (called, none) = (first.called, Duration::ZERO);
        let waiter = TraceEntry { served: true, waited: called, called: none, errno: None, ..first.clone() };
        [first, waiter]
    });
    modules(entries.collect())
}

/// The attribute `name` of a line of the picture, as a number.
fn number(line: &str, name: &str) -> f64 {
    line.split_once(&format!(" {name}=\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
}

/// Where the text of a line begins and ends, and its baseline, assuming the widest letters of its font.
fn extent(line: &str) -> (f64, f64, f64) {
    let text = line.split_once('>').unwrap().1.split_once('<').unwrap().0;
    let letter = if line.contains("title") {
        11.0
    } else if line.contains("say") {
        7.5
    } else {
        LETTER
    };
    let text = text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    let width = letter * text.chars().count() as f64;
    let x = number(line, "x");
    let begin = match line {
        _ if line.contains("end\"") => x - width,
        _ if line.contains("mid\"") => x - width / 2.0,
        _ => x,
    };
    (begin, begin + width, number(line, "y"))
}

#[test]
fn nothing_lies_over_anything_and_all_is_inside() {
    for count in [0, 1, 5, 100, 400] {
        let svg = picture(boot(count));
        let root = svg.lines().nth(1).unwrap();
        let (width, height) = (number(root, "width"), number(root, "height"));
        let texts: Vec<_> = svg.lines().filter(|line| line.starts_with("<text")).map(extent).collect();
        for (at, (begin, end, y)) in texts.iter().enumerate() {
            assert!(*begin >= 0.0 && *end <= width && *y <= height, "{count}: {begin} {end} {y}");
            for (other, last, _) in texts[at + 1..].iter().filter(|text| (text.2 - y).abs() < 11.0) {
                assert!(last < begin || end < other, "{count}: texts from {begin} and {other} at {y}");
            }
        }
        let names =
            texts.iter().filter(|(_, end, _)| (end - Scale::of(&boot(count)).left + 10.0).abs() < 0.1);
        assert!(names.count() >= count as usize);
        for class in ["call", "wait", "bad"] {
            for bar in svg.lines().filter(|line| line.starts_with(&format!("<rect class=\"{class}\""))) {
                assert!(number(bar, "x") + number(bar, "width") <= width, "{bar}");
                let (top, inside) = (number(bar, "y"), number(bar, "x") >= Scale::of(&boot(count)).left);
                assert!(inside || top == 66.0, "{bar}");
            }
        }
        assert!(svg.contains(">seconds since boot<") && svg.contains("<text class=\"title\""));
    }
}

#[test]
fn the_texts_of_others_stay_texts() {
    let svg = picture(boot(5));
    assert!(svg.contains("/devices/pci0000:00, for pci:&lt;&amp;&gt;</title>"), "{svg}");
    assert!(svg.contains(">systemd-udevd?<") && !svg.contains('\u{1b}'));
}

#[test]
fn the_axis_counts_in_round_steps() {
    let labels = |begin: u64, end: u64| {
        let entry = TraceEntry {
            module: "m".into(),
            at: Duration::from_millis(begin),
            called: Duration::from_millis(end - begin),
            ..TraceEntry::default()
        };
        let svg = picture(modules(vec![entry]));
        let labels =
            svg.lines().filter(|line| line.contains("class=\"mid\"") && line.contains(" y=\"116.0\""));
        let text = |line: &str| line.split_once('>').unwrap().1.split('<').next().unwrap().to_owned();
        labels.map(text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(labels(1_300, 8_200), "1s 2s 3s 4s 5s 6s 7s 8s 9s");
    assert_eq!(labels(250_020, 250_310), "250.00s 250.05s 250.10s 250.15s 250.20s 250.25s 250.30s 250.35s");
    assert_eq!(
        labels(7, 7),
        "0.0070s 0.0071s 0.0072s 0.0073s 0.0074s 0.0075s 0.0076s 0.0077s 0.0078s 0.0079s 0.0080s"
    );
}

#[test]
fn waits_that_touch_are_one() {
    let span = |begin, end| Span { begin: Duration::from_secs(begin), end: Duration::from_secs(end) };
    assert_eq!(merged(&[span(5, 6), span(1, 3), span(2, 4), span(4, 4)]), [span(1, 4), span(5, 6)]);
}

#[test]
fn times_past_all_measure_are_drawn() {
    let late = Duration::from_nanos(u64::MAX);
    let entry = |at, called| TraceEntry { at, called, waited: late, ..TraceEntry::default() };
    let svg = picture(modules(vec![entry(Duration::ZERO, late), entry(late, late)]));
    assert!(svg.lines().count() < 100 && !svg.contains("NaN") && !svg.contains("inf"));
}
