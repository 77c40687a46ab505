//! What a command did, as lines of text that can be compared and rewritten:
//!
//! ```text
//! $ modprobe -v loop
//! out| insmod /lib/modules/6.1.0/kernel/loop.ko
//! err| modprobe: ERROR: ...
//! log| <26>modprobe: ...
//! exit| 0
//! ```
//!
//! Bytes that are not printable ASCII are written as escapes, so that nothing is lost. Output whose last line does not end
//! in a newline is followed by a line `out: no newline at the end`.

/// Makes bytes printable: `\t`, `\0`, `\\`, `\xHH`; newlines stay.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\t' => out.push_str("\\t"),
            0 => out.push_str("\\0"),
            b'\n' | b' '..=b'~' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The lines of a text, each with `label| ` in front.
pub fn lines(label: &str, bytes: &[u8]) -> String {
    let text = escape(bytes);
    let mut out: String = text.lines().map(|line| format!("{label}| {line}\n")).collect();
    if !text.is_empty() && !text.ends_with('\n') {
        out.push_str(&format!("{label}: no newline at the end\n"));
    }
    out
}

/// Lines of a difference that are shown.
const SHOWN: usize = 80;

/// The two texts side by side, line by line, with what is only in the first marked `-` and what is only in the second
/// `+`. `context` equal lines are shown around a difference, and not more than [`SHOWN`] lines in all.
pub fn difference(first: &str, second: &str, context: usize) -> String {
    let a: Vec<&str> = first.lines().collect();
    let b: Vec<&str> = second.lines().collect();
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let mut shown: Vec<String> =
        a[start.saturating_sub(context)..start].iter().map(|line| format!("  {line}\n")).collect();
    shown.extend(align(&a[start..a.len() - end], &b[start..b.len() - end]));
    shown.extend(a[a.len() - end..].iter().take(context).map(|line| format!("  {line}\n")));
    let near = |index: usize| {
        let around = index.saturating_sub(context)..(index + context + 1).min(shown.len());
        shown[around].iter().any(|line| !line.starts_with(' '))
    };
    let mut out = String::new();
    for (index, line) in shown.iter().enumerate() {
        if out.lines().count() == SHOWN {
            return out + &format!("  ... {} more lines\n", shown.len() - index);
        }
        match (near(index), index > 0 && near(index - 1)) {
            (true, _) => out.push_str(line),
            (false, true) => out.push_str("  ...\n"),
            (false, false) => {}
        }
    }
    out
}

/// The shortest edit of `a` into `b`, for texts of a reasonable length; longer ones are shown one after the other.
fn align(a: &[&str], b: &[&str]) -> Vec<String> {
    let minus = |line: &&str| format!("- {line}\n");
    let plus = |line: &&str| format!("+ {line}\n");
    if a.len() * b.len() > 1_000_000 {
        return a.iter().take(50).map(minus).chain(b.iter().take(50).map(plus)).collect();
    }
    // common[i][j]: length of the longest common subsequence of a[i..] and b[j..]
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(format!("  {}\n", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            out.push(minus(&a[i]));
            i += 1;
        } else {
            out.push(plus(&b[j]));
            j += 1;
        }
    }
    out
}
