//! Draws what udev's coldplug costs over the CPUs of the machine, with the stock libkmod and with ours: what is handed to
//! the kernel for nothing, the calls, the time.
//!
//! One panel per kernel and quantity, side by side, as an SVG that needs no fonts or scripts of its own.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::report::{self, Row};
use crate::library::target;
use crate::scenarios::MANY_CPUS;
use crate::tool::Tool;

/// Column, title, what one unit of the axis is.
const QUANTITIES: [(&str, &str, f64); 3] = [
    ("wasted", "MiB loaded for nothing", 1_048_576.0),
    ("calls", "kernel calls that load a module", 1.0),
    ("wall_ms", "seconds until udevd has settled", 1000.0),
];

/// One panel and the space around it, in pixels.
const WIDTH: f64 = 270.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 46.0;
/// A line of text.
const LINE: f64 = 14.0;
const STEP_X: f64 = WIDTH + 76.0;
const STEP_Y: f64 = HEIGHT + 88.0;

/// Measured with more CPUs than this is what no machine has.
const MOST_CPUS: u64 = 300;
/// What is no curve yet.
const FEWEST_POINTS: usize = 3;

const BEFORE: &str = "#d55e00";
const AFTER: &str = "#009e73";

/// `plot [RESULTS.CSV [OUT.SVG]]`; by default the figures of the last runs, drawn beside them.
pub fn main(args: &[String]) -> ExitCode {
    let dir = target().join("lab");
    let from = args.first().map_or_else(|| dir.join("results.csv"), PathBuf::from);
    let to = args.get(1).map_or_else(|| dir.join("cpus.svg"), PathBuf::from);
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

/// One tool's line in a panel: CPUs and value of each point.
struct Curve {
    name: String,
    colour: &'static str,
    points: Vec<(u64, f64)>,
}

/// The curve of one tool on a kernel.
fn curve(rows: &[Row], kernel: &str, tool: Tool, (column, unit): (&str, f64)) -> Vec<(u64, f64)> {
    let of_it =
        |row: &&Row| row.kernel == kernel && row.tool == tool.name() && row.scenario.starts_with(MANY_CPUS);
    let point = |row: &Row| (row.number("cpus"), row.number(column) as f64 / unit);
    let mut points: Vec<_> =
        rows.iter().filter(of_it).map(point).filter(|(cpus, _)| *cpus <= MOST_CPUS).collect();
    points.sort_by_key(|(cpus, _)| *cpus);
    points
}

/// The picture of what was measured, a line of panels for each kernel.
pub fn draw(rows: &[Row]) -> Result<String> {
    let mut measured = report::kernels(rows);
    measured.retain(|kernel| curve(rows, kernel, Tool::stock(kernel), ("calls", 1.0)).len() >= FEWEST_POINTS);
    if measured.is_empty() {
        bail!("{MANY_CPUS}* was not measured with {FEWEST_POINTS} numbers of CPUs")
    }
    let (width, height) = (STEP_X * QUANTITIES.len() as f64 + 10.0, STEP_Y * measured.len() as f64 + 10.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>What udev's coldplug costs over the CPUs of the machine</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (place, (column, title, unit)) in QUANTITIES.iter().enumerate() {
        let mut panels = Vec::new();
        for kernel in &measured {
            let stock = Tool::stock(kernel);
            let before = curve(rows, kernel, stock, (column, *unit));
            let after = curve(rows, kernel, Tool::Library, (column, *unit));
            // A point that one has and the other has not would compare nothing.
            if before.iter().map(|(cpus, _)| cpus).ne(after.iter().map(|(cpus, _)| cpus)) {
                bail!(
                    "{kernel}: {} and {} were not measured with the same CPUs",
                    stock.name(),
                    Tool::Library.name()
                )
            }
            let before = Curve { name: format!("before: {}", stock.name()), colour: BEFORE, points: before };
            let after = Curve { name: "after: kmod-once".into(), colour: AFTER, points: after };
            panels.push((kernel, [before, after]));
        }
        // One scale per column, so that the kernels can be compared.
        let values = panels.iter().flat_map(|(_, curves)| curves.iter().flat_map(|curve| &curve.points));
        let (mut cpus, mut highest) = (1.0, 1.0);
        for (x, y) in values {
            (cpus, highest) = (f64::max(cpus, *x as f64), f64::max(highest, *y));
        }
        let scale = Scale { x: Axis::new(cpus, 6.0), y: Axis::new(highest * 1.05, 4.0) };
        for (line, (kernel, curves)) in panels.iter().enumerate() {
            let (x, y) = (LEFT + STEP_X * place as f64, TOP + STEP_Y * line as f64);
            writeln!(svg, "<g transform=\"translate({x} {y})\">")?;
            writeln!(svg, "<text x=\"0\" y=\"-14\" font-weight=\"bold\">Linux {kernel}: {title}</text>")?;
            scale.axes(&mut svg)?;
            let labels = apart(curves.each_ref().map(|curve| scale.end(curve) - 8.0));
            for (index, (curve, label)) in curves.iter().zip(labels).enumerate() {
                scale.curve(&mut svg, curve, index, label)?;
            }
            writeln!(svg, "</g>")?;
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// An axis from zero to its end, with a line at each tick.
struct Axis {
    tick: f64,
    end: f64,
}

impl Axis {
    fn new(highest: f64, ticks: f64) -> Self {
        let rough = highest / ticks;
        let power = 10f64.powf(rough.log10().floor());
        let tick =
            [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|m| m * power).find(|t| *t >= rough).unwrap_or(rough);
        Self { tick, end: (highest / tick).ceil() * tick }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.end / self.tick).round() as u32;
        (0..=count).map(|at| f64::from(at) * self.tick)
    }
}

/// From values to pixels, both linear.
struct Scale {
    x: Axis,
    y: Axis,
}

impl Scale {
    fn x(&self, cpus: f64) -> f64 {
        WIDTH * cpus / self.x.end
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT * (1.0 - value / self.y.end)
    }

    fn axes(&self, svg: &mut String) -> Result<()> {
        for value in self.y.ticks() {
            let y = self.y(value);
            writeln!(svg, "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>")?;
            text(svg, (-8.0, y + 4.0), "end", "#555", &number(value))?;
        }
        for cpus in self.x.ticks() {
            text(svg, (self.x(cpus), HEIGHT + 18.0), "middle", "#555", &number(cpus))?;
        }
        text(svg, (WIDTH / 2.0, HEIGHT + 34.0), "middle", "#555", "CPUs")
    }

    /// The height of a curve's last point.
    fn end(&self, curve: &Curve) -> f64 {
        curve.points.last().map_or(HEIGHT, |(_, value)| self.y(*value))
    }

    /// A curve, its name in the corner, and its last value at the height `label`.
    fn curve(&self, svg: &mut String, curve: &Curve, index: usize, label: f64) -> Result<()> {
        let colour = curve.colour;
        let places: Vec<(f64, f64)> =
            curve.points.iter().map(|(cpus, value)| (self.x(*cpus as f64), self.y(*value))).collect();
        let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        )?;
        for (x, y) in &places {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
        }
        if let (Some((x, _)), Some((_, value))) = (places.last(), curve.points.last()) {
            text(svg, (*x, label), "end", colour, &number(*value))?;
        }
        let (x, y) = (14.0, 16.0 + 16.0 * index as f64);
        let middle = y - 4.0;
        let end = x + 22.0;
        writeln!(
            svg,
            "<line x1=\"{x}\" x2=\"{end}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        )?;
        text(svg, (x + 28.0, y), "start", colour, &curve.name)
    }
}

/// The heights of two labels, of which the upper is lifted where they would overlap.
fn apart([first, second]: [f64; 2]) -> [f64; 2] {
    if (first - second).abs() >= LINE {
        [first, second]
    } else if first <= second {
        [second - LINE, second]
    } else {
        [first, first - LINE]
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
