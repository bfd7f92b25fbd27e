//! A plot in SVG, readable on a light ground and on a dark one.

use crate::figure::{Metric, Runs};

/// The size of the picture.
const SIZE: (f64, f64) = (900.0, 400.0);
/// Where a panel's axes are: left, top, width and height.
type Frame = [f64; 4];
const PANELS: [Frame; 2] = [[70.0, 80.0, 350.0, 250.0], [530.0, 80.0, 350.0, 250.0]];
/// About so many lines across a linear panel.
const TICKS: f64 = 5.0;

/// One curve: its classes in the style sheet, and a value for each number of guests.
struct Curve {
    class: &'static str,
    values: Vec<Option<f64>>,
}

/// How values are laid out along an axis.
#[derive(Debug, Clone, PartialEq)]
enum Scale {
    /// From zero to the last tick.
    Linear(Vec<f64>),
    /// From the first tick to the last, each ten times the one before.
    Logarithmic(Vec<f64>),
}

impl Scale {
    fn linear(most: f64) -> Self {
        let rough = (most / TICKS).max(f64::MIN_POSITIVE);
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|nice| nice * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let count = (most / step).ceil().max(1.0) as u32;
        Self::Linear((0..=count).map(|tick| f64::from(tick) * step).collect())
    }

    fn logarithmic(least: f64, most: f64) -> Self {
        let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        Self::Logarithmic((first..=last.max(first + 1)).map(|power| 10_f64.powi(power)).collect())
    }

    fn ticks(&self) -> &[f64] {
        match self {
            Self::Linear(ticks) | Self::Logarithmic(ticks) => ticks,
        }
    }

    /// Where `value` is, from 0 at the first tick to 1 at the last.
    fn place(&self, value: f64) -> f64 {
        let ends = self.ticks().first().copied().zip(self.ticks().last().copied());
        let (first, last) = ends.unwrap_or((0.0, 1.0));
        match self {
            Self::Linear(_) => (value - first) / (last - first),
            Self::Logarithmic(_) => (value / first).ln() / (last / first).ln(),
        }
    }
}

/// Boots per second, and how long a boot takes, over the number of guests at a time.
pub(crate) fn plot(before: &Runs, after: &Runs, guests: &[usize], note: &str) -> String {
    let curve = |class, runs: &Runs, metric| Curve {
        class,
        values: guests.iter().map(|guests| runs.median(metric, *guests)).collect(),
    };
    let speed =
        [curve("before", before, Metric::BootsPerSecond), curve("after", after, Metric::BootsPerSecond)];
    let times = [
        curve("before", before, Metric::BootP50),
        curve("before most", before, Metric::BootP99),
        curve("after", after, Metric::BootP50),
        curve("after most", after, Metric::BootP99),
    ];
    let values = |curves: &[Curve]| {
        let all: Vec<f64> = curves.iter().flat_map(|curve| curve.values.iter().flatten().copied()).collect();
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        (least, all.into_iter().fold(0.0, f64::max))
    };
    let (_, fastest) = values(&speed);
    let (shortest, longest) = values(&times);
    let [left, right] = PANELS;
    let (width, height) = SIZE;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">
<title id="title">Registrations with boot per second, and their duration, over the guests at a time</title>
{STYLE}
{LEGEND}
"#
    );
    svg += &panel(left, "registrations with boot per second", &Scale::linear(fastest), guests, &speed);
    svg += &panel(
        right,
        "duration of a registration with boot, in milliseconds",
        &Scale::logarithmic(shortest, longest),
        guests,
        &times,
    );
    svg += &format!("<text x=\"70\" y=\"{}\" class=\"note\">{note}</text>\n</svg>\n", height - 12.0);
    svg
}

/// Colours of either ground. A picture in a page follows the reader's system.
const STYLE: &str = "<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .note { fill: #59636e; font-size: 11px; }
  .end { text-anchor: end; } .middle { text-anchor: middle; }
  .grid { stroke: #d1d9e0; stroke-width: 1; } .axis { fill: none; stroke: #59636e; stroke-width: 1; }
  .curve { fill: none; stroke-width: 2.5; } .most { stroke-dasharray: 6 4; }
  .before { stroke: #bc4c00; } .after { stroke: #0969da; } .dot { stroke: none; }
  .dot.before { fill: #bc4c00; } .dot.after { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .note { fill: #9198a1; }
    .grid { stroke: #3d444d; } .axis { stroke: #9198a1; }
    .before { stroke: #f0883e; } .after { stroke: #58a6ff; } .dot { stroke: none; }
    .dot.before { fill: #f0883e; } .dot.after { fill: #58a6ff; }
  }
</style>";

const LEGEND: &str = r#"<path class="curve before" d="M70 22h28"/><text x="104" y="26">before</text>
<path class="curve after" d="M170 22h28"/><text x="204" y="26">after</text>
<path class="curve before" d="M530 22h28"/><path class="curve after" d="M562 22h28"/><text x="596" y="26">half of the boots (p50)</text>
<path class="curve before most" d="M530 42h28"/><path class="curve after most" d="M562 42h28"/><text x="596" y="46">99 of 100 boots (p99)</text>"#;

fn panel(frame: Frame, title: &str, scale: &Scale, guests: &[usize], curves: &[Curve]) -> String {
    let [left, top, width, height] = frame;
    let (right, bottom) = (left + width, top + height);
    let y = |value| bottom - height * scale.place(value);
    let x = |index: usize| left + width * (index as f64 + 0.5) / guests.len() as f64;
    let mut svg = format!("<text x=\"{left}\" y=\"{}\">{title}</text>\n", top - 14.0);
    for tick in scale.ticks() {
        let at = y(*tick);
        svg += &format!("<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>");
        svg += &format!("<text class=\"end\" x=\"{}\" y=\"{:.1}\">{tick}</text>\n", left - 8.0, at + 4.0);
    }
    svg += &format!("<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>\n");
    for (index, guests) in guests.iter().enumerate() {
        let (at, below) = (x(index), bottom + 18.0);
        svg += &format!("<text class=\"middle\" x=\"{at:.1}\" y=\"{below}\">{guests}</text>\n");
    }
    let (middle, below) = (left + width / 2.0, bottom + 36.0);
    svg += &format!("<text class=\"middle\" x=\"{middle}\" y=\"{below}\">guests at a time</text>\n");
    for Curve { class, values } in curves {
        let points = values.iter().enumerate().filter_map(|(index, value)| Some((x(index), y((*value)?))));
        let points: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg += &format!("<polyline class=\"curve {class}\" points=\"{}\"/>", points.join(" "));
        for point in &points {
            if let Some((x, y)) = point.split_once(',') {
                svg += &format!("<circle class=\"dot {class}\" cx=\"{x}\" cy=\"{y}\" r=\"3.5\"/>");
            }
        }
        svg.push('\n');
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;

    #[test]
    fn a_linear_axis_begins_at_zero_and_holds_everything() {
        let scale = Scale::linear(1340.0);
        assert_eq!(scale.ticks(), [0.0, 500.0, 1000.0, 1500.0]);
        assert_eq!((scale.place(0.0), scale.place(1500.0)), (0.0, 1.0));
    }

    #[test]
    fn a_logarithmic_axis_has_the_decades() {
        let scale = Scale::logarithmic(2.3, 1327.0);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert!((scale.place(100.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn every_point_of_every_curve_is_there() {
        let figures = |factor: f64| {
            let metrics = [Metric::BootsPerSecond, Metric::BootP50, Metric::BootP99];
            let run = [1, 8]
                .into_iter()
                .flat_map(|guests| metrics.map(|metric| Figure::new(metric, guests, factor * guests as f64)));
            Runs(vec![run.collect()])
        };
        let svg = plot(&figures(10.0), &figures(40.0), &[1, 8], "a note");
        assert_eq!(svg.matches("<polyline").count(), 6);
        assert_eq!(svg.matches("<circle").count(), 12);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
    }
}
