//! `kmod plot`: the trace as a self-contained SVG. One row for each module, in the order of the first requests. Names and
//! figures have columns of their own, so that nothing overlaps.

use super::blame::{TraceFilter, short, time, who};
use crate::cli::message::Log;
use crate::gate::blame::{Module, RequestSource, Span};
use crate::log::printable;
use crate::system::System;
use anyhow::Result;
use std::fmt::Write;
use std::time::Duration;

/// Print an SVG of when each module was loaded, and what waited for it
#[derive(clap::Args)]
#[command(after_help = super::TRACE)]
pub(crate) struct Options {
    #[command(flatten)]
    which: TraceFilter,
}

/// All lengths are in pixels.
const MARGIN: f64 = 20.0;
/// The time line.
const LINE: f64 = 700.0;
const ROW: f64 = 18.0;
/// Where the axis is, above the first row.
const TOP: f64 = 124.0;
/// A letter of the names' font.
const LETTER: f64 = 6.7;
/// The right ends of the figures, relative to the right end of the time line; the requesting process begins at `BY`.
const FIGURES: [(f64, &str); 3] = [(72.0, "Call"), (142.0, "Waited"), (188.0, "Asked")];
const BY: f64 = 204.0;
/// The shortest bar.
const SHORTEST: f64 = 1.5;

const STYLE: &str = "text{font:11px monospace;fill:#222}.title{font:bold 18px sans-serif}.say{font:13px sans-serif}\
    .head{font-weight:bold}.end{text-anchor:end}.mid{text-anchor:middle}.grid{stroke:#ddd}.axis{stroke:#444}\
    .call{fill:#3b6ea5}.bad{fill:#c0392b}.wait{fill:#e6a23c}.odd{fill:#f6f7f9}";

/// The picture.
pub(crate) fn text(options: &Options, system: &System<'_>, log: &Log<'_>) -> Result<String> {
    Ok(picture(options.which.modules(system, log)?))
}

fn picture(mut modules: Vec<Module>) -> String {
    modules.sort_by_key(|module| module.first.at);
    let scale = Scale::of(&modules);
    let bottom = TOP + ROW * modules.len() as f64;
    let by = modules.iter().map(|module| asker(module).chars().count()).fold(2, usize::max);
    let width = scale.left + LINE + BY + by as f64 * LETTER + MARGIN;
    let height = bottom + 50.0;
    let mut svg = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" \
         height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    head(&mut svg, &modules);
    for number in (1..modules.len()).step_by(2) {
        rect(&mut svg, "odd", MARGIN, TOP + ROW * number as f64, width - 2.0 * MARGIN, ROW);
    }
    scale.draw(&mut svg, bottom);
    let right = scale.left + LINE;
    for (end, heading) in FIGURES {
        words(&mut svg, "head end", right + end, TOP - 8.0, heading);
    }
    words(&mut svg, "head", right + BY, TOP - 8.0, "By");
    for (number, module) in modules.iter().enumerate() {
        row(&mut svg, &scale, module, TOP + ROW * number as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The title, the totals and the legend.
fn head(svg: &mut String, modules: &[Module]) {
    let requests: u64 = modules.iter().map(|module| module.requests).sum();
    let sum = |of: fn(&Module) -> Duration| time(modules.iter().map(of).sum());
    words(svg, "title", MARGIN, 32.0, "Kernel modules: when each was loaded, and what waited for it");
    let (count, called, waited) = (modules.len(), sum(|module| module.called), sum(|module| module.waited));
    let summary = format!(
        "{count} modules, {requests} requests; kernel calls took {called}, requests waited {waited} for others"
    );
    words(svg, "say", MARGIN, 54.0, &summary);
    let legend = [
        ("call", "kernel call"),
        ("bad", "kernel call, the last of which failed"),
        ("wait", "requests waiting"),
    ];
    let mut x = MARGIN;
    for (class, meaning) in legend {
        rect(svg, class, x, 66.0, 14.0, 10.0);
        words(svg, "say", x + 20.0, 76.0, meaning);
        x += 44.0 + 7.0 * meaning.len() as f64;
    }
}

/// One module.
fn row(svg: &mut String, scale: &Scale, module: &Module, y: f64) {
    let (base, right) = (y + 13.0, scale.left + LINE);
    // Writing to a String cannot fail.
    let _ = writeln!(svg, "<g><title>{}: {}</title>", escaped(&module.first.module), escaped(&who(module)));
    words(svg, "end", scale.left - 10.0, base, &name(module));
    let class = if module.errno.is_some() { "bad" } else { "call" };
    let bars = [("wait", &module.waits, y + 11.0, 4.0), (class, &module.calls, y + 3.0, 8.0)];
    for (class, spans, y, height) in bars {
        for span in merged(spans) {
            let (x, end) = (scale.x(span.begin.as_nanos()), scale.x(span.end.as_nanos()));
            rect(svg, class, x, y, (end - x).max(SHORTEST), height);
        }
    }
    let some = |figure: Duration| if figure.is_zero() { String::new() } else { time(figure) };
    let figures = [some(module.called), some(module.waited), module.requests.to_string()];
    for ((end, _), figure) in FIGURES.iter().zip(figures).filter(|(_, figure)| !figure.is_empty()) {
        words(svg, "end", right + end, base, &figure);
    }
    words(svg, "", right + BY, base, &asker(module));
    svg.push_str("</g>\n");
}

fn name(module: &Module) -> String {
    short(&module.first.module, 56)
}

/// The requester, in a few letters.
fn asker(module: &Module) -> String {
    match module.first.by() {
        RequestSource::Kernel => "the kernel".to_owned(),
        RequestSource::Device(_) => "a device".to_owned(),
        RequestSource::Process if module.first.parent == "?" => short(&module.first.comm, 20),
        RequestSource::Process => short(&module.first.parent, 20),
    }
}

/// Merges spans that touch: when many processes request a module at once, thousands of them overlap.
fn merged(spans: &[Span]) -> Vec<Span> {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.begin);
    let mut found: Vec<Span> = Vec::new();
    for span in spans {
        match found.last_mut() {
            Some(last) if span.begin <= last.end => last.end = last.end.max(span.end),
            _ => found.push(span),
        }
    }
    found
}

/// From times to pixels.
struct Scale {
    left: f64,
    /// Nanoseconds, as all below.
    begin: u128,
    end: u128,
    step: u128,
}

impl Scale {
    fn of(modules: &[Module]) -> Scale {
        let all = || modules.iter().flat_map(|module| module.calls.iter().chain(&module.waits));
        let begin = modules.iter().map(|module| module.first.at.as_nanos()).min().unwrap_or(0);
        let end = all().map(|span| span.end.as_nanos()).max().unwrap_or(0).max(begin + 1_000_000);
        let steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10u128.pow(power)));
        // More steps than that, and their labels would touch.
        let step = steps.take(3 * 30).find(|step| end - begin <= 10 * step).unwrap_or(end - begin);
        let (begin, end) = (begin / step * step, end.div_ceil(step) * step);
        let letters = modules.iter().map(|module| name(module).chars().count()).fold(0, usize::max);
        Scale { left: MARGIN + letters as f64 * LETTER + 10.0, begin, end, step }
    }

    fn x(&self, at: u128) -> f64 {
        self.left + at.saturating_sub(self.begin) as f64 / (self.end - self.begin) as f64 * LINE
    }

    /// The time axis above and below the rows, with a grid line at each step.
    fn draw(&self, svg: &mut String, bottom: f64) {
        let ticks: Vec<u128> =
            (0..).map(|n| self.begin + n * self.step).take_while(|at| *at <= self.end).collect();
        for at in &ticks {
            line(svg, "grid", self.x(*at), TOP, self.x(*at), bottom);
        }
        for y in [TOP, bottom] {
            line(svg, "axis", self.left, y, self.left + LINE, y);
        }
        let decimals = (0..9).find(|digits| self.step % 10u128.pow(9 - digits) == 0).unwrap_or(9) as usize;
        for at in ticks {
            let label = format!("{:.decimals$}s", at as f64 / 1e9);
            for y in [TOP - 8.0, bottom + 16.0] {
                words(svg, "mid", self.x(at), y, &label);
            }
        }
        words(svg, "say mid", self.left + LINE / 2.0, bottom + 36.0, "seconds since boot");
    }
}

fn line(svg: &mut String, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = writeln!(svg, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
}

fn rect(svg: &mut String, class: &str, x: f64, y: f64, w: f64, h: f64) {
    let _ = writeln!(svg, r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}"/>"#);
}

fn words(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(svg, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escaped(text));
}

/// As XML text. XML 1.0 allows neither control characters, escaped or not, nor U+FFFE and U+FFFF.
fn escaped(text: &str) -> String {
    let text = printable(text).replace(['\u{fffe}', '\u{ffff}'], "?");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
