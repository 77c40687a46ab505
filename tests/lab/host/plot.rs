//! Draws the figures of the coldplug scenarios: kernel calls and wasted bytes over CPUs, stock, our rule and our
//! library.
//!
//! One panel per kernel and quantity, side by side, as an SVG that needs no fonts or scripts of its own.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::report::{self, Row};
use super::suite::target;
use crate::scenarios;
use crate::tool::Tool;

const KERNELS: [&str; 2] = ["6.1", "6.12"];
const CPUS: [u64; 6] = [1, 2, 4, 8, 16, 32];
/// Those that our rule was measured with, as a range of the above.
const RULE: std::ops::Range<usize> = 1..5;
/// Column, title, what one unit of the axis is.
const QUANTITIES: [(&str, &str, f64); 2] = [
    ("calls", "kernel calls that load a module", 1.0),
    ("wasted", "MiB handed over for nothing", 1_048_576.0),
];

/// One panel and the space around it, in pixels.
const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 46.0;
const STEP_X: f64 = WIDTH + 78.0;
const STEP_Y: f64 = HEIGHT + 84.0;
/// From one line of text to the next.
const LINE: f64 = 13.0;

const OURS: &str = "#0072b2";
const LIBRARY: &str = "#009e73";
const KMOD_30: &str = "#d55e00";
const KMOD_34: &str = "#cc79a7";

/// `plot [RESULTS.CSV [OUT.SVG]]`; by default the figures of the last runs, drawn beside them.
pub fn main(args: &[String]) -> ExitCode {
    let dir = target().join("lab");
    let from = args.first().map_or_else(|| dir.join("results.csv"), PathBuf::from);
    let to = args.get(1).map_or_else(|| dir.join("coldplug.svg"), PathBuf::from);
    let done = report::load(&from)
        .and_then(|rows| draw(&rows).with_context(|| from.display().to_string()))
        .and_then(|svg| fs::write(&to, svg).with_context(|| to.display().to_string()));
    match done {
        Ok(()) => {
            println!("lab: drew {} from {}", to.display(), from.display());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("lab: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whose curves are in a kernel's panel: the tool, its name there, its colour.
fn tools(kernel: &str) -> Vec<(Tool, &'static str, &'static str)> {
    let scenario = scenarios::find("coldplug_1");
    let stock = scenario.into_iter().flat_map(|scenario| scenario.measured_too(kernel));
    let stock = std::iter::once(Tool::stock(kernel)).chain(stock);
    let colour = |tool| if tool == Tool::Kmod30 { KMOD_30 } else { KMOD_34 };
    let mut tools: Vec<_> = stock.map(|tool| (tool, tool.name(), colour(tool))).collect();
    tools.extend([(Tool::Library, "our library", LIBRARY), (Tool::Ours, "our rule and modprobe", OURS)]);
    tools
}

/// One tool's line in a panel.
struct Curve {
    name: &'static str,
    colour: &'static str,
    /// Which of [`CPUS`] the first value is of.
    first: usize,
    values: Vec<f64>,
    /// Drawn so that it can lie on another.
    dashed: bool,
}

/// The curve of one tool: one value for each of `cpus`. A value that was not measured is an error, never a zero.
fn curve(
    rows: &[Row],
    kernel: &str,
    tool: Tool,
    cpus: &[u64],
    (column, unit): (&str, f64),
) -> Result<Vec<f64>> {
    cpus.iter()
        .map(|cpus| {
            let scenario = format!("coldplug_{cpus}");
            let row =
                rows.iter().find(|r| r.kernel == kernel && r.tool == tool.name() && r.scenario == scenario);
            let Some(row) = row else {
                bail!("{scenario} of {} on {kernel} has not been measured", tool.name())
            };
            Ok(row.number(column) as f64 / unit)
        })
        .collect()
}

fn draw(rows: &[Row]) -> Result<String> {
    let (width, height) = (STEP_X * 2.0 + 10.0, STEP_Y * 2.0 + 10.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (line, (column, title, unit)) in QUANTITIES.iter().enumerate() {
        // One scale per line, so that the kernels can be compared.
        let mut panels = Vec::new();
        for kernel in KERNELS {
            let mut curves = Vec::new();
            for (tool, name, colour) in tools(kernel) {
                let first = if tool == Tool::Ours { RULE.start } else { 0 };
                let cpus = if tool == Tool::Ours { &CPUS[RULE] } else { &CPUS[..] };
                let values = curve(rows, kernel, tool, cpus, (column, *unit))?;
                curves.push(Curve { name, colour, first, values, dashed: tool == Tool::Ours });
            }
            panels.push((kernel, curves));
        }
        let values = panels.iter().flat_map(|(_, curves)| curves.iter().flat_map(|curve| &curve.values));
        let scale = Scale::new(values.copied().fold(1.0, f64::max) * 1.05);
        for (place, (kernel, curves)) in panels.iter().enumerate() {
            let (x, y) = (LEFT + STEP_X * place as f64, TOP + STEP_Y * line as f64);
            writeln!(svg, "<g transform=\"translate({x} {y})\">")?;
            writeln!(svg, "<text x=\"0\" y=\"-14\" font-weight=\"bold\">Linux {kernel}: {title}</text>")?;
            scale.axes(&mut svg)?;
            scale.curves(&mut svg, curves)?;
            writeln!(svg, "</g>")?;
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// From values to pixels: CPUs by their logarithm, the quantity from zero.
struct Scale {
    tick: f64,
    top: f64,
}

impl Scale {
    fn new(highest: f64) -> Self {
        let rough = highest / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let tick =
            [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|m| m * power).find(|t| *t >= rough).unwrap_or(rough);
        Self { tick, top: (highest / tick).ceil() * tick }
    }

    fn x(place: usize) -> f64 {
        WIDTH * (place as f64 + 0.25) / (CPUS.len() as f64 - 0.5)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - value / self.top)
    }

    fn axes(&self, svg: &mut String) -> Result<()> {
        let mut value = 0.0;
        while value <= self.top * 1.001 {
            let y = self.y(value);
            writeln!(svg, "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>")?;
            writeln!(
                svg,
                "<text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555\">{value}</text>",
                y + 4.0
            )?;
            value += self.tick;
        }
        for (place, cpus) in CPUS.iter().enumerate() {
            let (x, y) = (Self::x(place), HEIGHT + 18.0);
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555\">{cpus} CPUs</text>"
            )?;
        }
        Ok(())
    }

    /// The curves and who they are. The highest has its values above its points, the others theirs at the right end.
    fn curves(&self, svg: &mut String, curves: &[Curve]) -> Result<()> {
        let last = |curve: &Curve| curve.values.last().copied().unwrap_or(0.0);
        let highest = (0..curves.len()).max_by(|a, b| last(&curves[*a]).total_cmp(&last(&curves[*b])));
        let mut ends = Vec::new();
        for (index, curve) in curves.iter().enumerate() {
            let Curve { colour, first, values, dashed, .. } = curve;
            let points: Vec<_> =
                values.iter().enumerate().map(|(at, v)| (Self::x(first + at), self.y(*v))).collect();
            let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            // What lies on a curve below it is seen all the same.
            let (dashes, radius, fill) =
                if *dashed { (" stroke-dasharray=\"5 4\"", 5.5, "none") } else { ("", 3.0, *colour) };
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                path.join(" ")
            )?;
            for ((x, y), value) in points.iter().zip(values) {
                writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" stroke=\"{colour}\" fill=\"{fill}\"/>"
                )?;
                if highest == Some(index) {
                    text(svg, (*x, y - 9.0), "middle", colour, &number(*value))?;
                }
            }
            if let Some((x, y)) = points.last().filter(|_| highest != Some(index) && !dashed) {
                ends.push((*y, *x, *colour, number(last(curve))));
            }
            let (x, y) = (14.0, 16.0 + 16.0 * index as f64);
            writeln!(
                svg,
                "<line x1=\"{x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                x + 22.0,
                y - 4.0,
                y - 4.0
            )?;
            text(svg, (x + 28.0, y), "start", colour, curve.name)?;
        }
        ends.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut above = f64::INFINITY;
        for (y, x, colour, value) in ends {
            above = (y + 4.0).min(above - LINE);
            text(svg, (x + 9.0, above), "start", colour, &value)?;
        }
        Ok(())
    }
}

/// A value as it is written beside its point.
fn number(value: f64) -> String {
    let digits = usize::from(value < 100.0 && value.fract() != 0.0);
    format!("{value:.digits$}")
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) -> Result<()> {
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    )?;
    Ok(())
}
