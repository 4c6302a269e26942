//! Small plots as SVG: a few series of points over a common axis, one panel beside the other.
//!
//! By hand, because it is three kinds of elements. It keeps true that both axes begin at 0, so that what is flat looks flat, and
//! that every point can be read as text too (a title on each).

use std::fmt::Write as _;

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels: left, right, above, below.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const ABOVE: f64 = 44.0;
const BELOW: f64 = 52.0;
const STEPS: u32 = 5;
const COLOURS: [&str; 4] = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700"];

/// Points with a name.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// One plot.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    pub(super) lines: Vec<Line>,
}

/// The panels side by side, as a file.
pub(super) fn svg(panels: &[Panel]) -> String {
    let width = WIDTH * panels.iter().map(|_| 1.0).sum::<f64>();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" \
         height=\"{HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    let mut left = 0.0;
    for panel in panels {
        panel.draw(&mut svg, left);
        left += WIDTH;
    }
    svg.push_str("</svg>\n");
    svg
}

/// A round number that is at least this large.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * unit).find(|round| *round >= value * 0.999_999).unwrap_or(10.0 * unit)
}

/// As few digits as say what it is.
fn short(value: f64) -> String {
    let text = if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

impl Panel {
    fn most(&self, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let points = self.lines.iter().flat_map(|line| &line.points);
        round_up(points.map(of).filter(|value| value.is_finite()).fold(0.0, f64::max))
    }

    fn draw(&self, svg: &mut String, left: f64) {
        let (right, wide, high) = (self.most(|point| point.0), self.most(|point| point.1), HEIGHT - BELOW);
        let top = wide;
        let x = |value: f64| left + LEFT + value / right * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| high - value / top * (high - ABOVE);
        text(
            svg,
            (left + WIDTH / 2.0, 18.0),
            "middle",
            &format!("<tspan font-weight=\"600\">{}</tspan>", self.title),
        );
        for step in 0..=STEPS {
            let part = f64::from(step) / f64::from(STEPS);
            let (across, up) = (right * part, top * part);
            line(svg, "#e5e7eb", &[(x(0.0), y(up)), (x(right), y(up))]);
            text(svg, (left + LEFT - 6.0, y(up) + 4.0), "end", &short(up));
            text(svg, (x(across), high + 16.0), "middle", &short(across));
        }
        line(svg, "#6b7280", &[(x(0.0), y(top)), (x(0.0), y(0.0)), (x(right), y(0.0))]);
        text(svg, (left + LEFT + (WIDTH - LEFT - RIGHT) / 2.0, high + 36.0), "middle", self.across);
        let at = (left + 14.0, ABOVE + (high - ABOVE) / 2.0);
        let _written = writeln!(
            svg,
            "<text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 {0:.1} {1:.1})\">{2}</text>",
            at.0, at.1, self.up
        );
        for (number, series) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let points: Vec<(f64, f64)> =
                series.points.iter().filter(|(_, value)| value.is_finite()).copied().collect();
            line(svg, colour, &points.iter().map(|(across, up)| (x(*across), y(*up))).collect::<Vec<_>>());
            for (across, up) in &points {
                let _written = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}: {} at {}</title></circle>",
                    x(*across),
                    y(*up),
                    series.name,
                    short(*up),
                    short(*across)
                );
            }
            let from = left + LEFT + 8.0 + 150.0 * f64::from(u32::try_from(number).unwrap_or(0));
            line(svg, colour, &[(from, 33.0), (from + 14.0, 33.0)]);
            text(svg, (from + 18.0, 37.0), "start", series.name);
        }
    }
}

fn line(svg: &mut String, colour: &str, points: &[(f64, f64)]) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _written = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
        points.join(" ")
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _written = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_and_say_little() {
        assert_eq!([0.0, 0.7, 1.0, 23.0, 9_999.0].map(round_up), [1.0, 0.8, 1.0, 25.0, 10_000.0]);
        assert_eq!([0.0, 0.25, 2.5, 120.4].map(short), ["0", "0.25", "2.5", "120"]);
    }

    #[test]
    fn every_point_of_every_line_is_drawn_within_its_panel_and_named() {
        let points = vec![(1_000.0, 12.0), (5_000.0, f64::NAN), (10_000.0, 95.0)];
        let lines = vec![Line { name: "p50", points: points.clone() }, Line { name: "p99", points }];
        let panel = Panel { title: "Latency", across: "agents", up: "ms", lines };
        let svg = svg(&[panel.clone(), panel]);
        assert_eq!(svg.matches("<circle").count(), 8);
        assert!(svg.contains("p99: 95 at 10000") && svg.contains(">agents<") && !svg.contains("NaN"));
        let numbers =
            svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        assert!(numbers.into_iter().all(|x| x > 0.0 && x < 2.0 * WIDTH));
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }
}
