//! Who took how much and when, as a stacked area in an SVG without scripts, for light and dark pages.

use std::fmt::Write as _;
use std::time::Duration;

/// What is drawn.
pub(crate) struct Plot {
    /// How long a step is.
    pub(crate) step: Duration,
    /// For each process, what it took in each step.
    pub(crate) taken: Vec<Vec<u64>>,
    /// The sum over the last so much is a line.
    pub(crate) window: Duration,
    /// What all may take together, in units per second.
    pub(crate) capacity: u64,
    pub(crate) marks: Vec<Mark>,
}

/// Something that happened.
pub(crate) struct Mark {
    pub(crate) at: Duration,
    pub(crate) text: String,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 60.0;
/// Fill colours on light and on dark pages; more processes begin again.
const COLOURS: [(&str, &str); 8] = [
    ("#4477aa", "#6699cc"),
    ("#e39b3b", "#e0a458"),
    ("#4f9d69", "#6fbf8b"),
    ("#a65f9e", "#c084b8"),
    ("#c8555b", "#e07a7f"),
    ("#7a8794", "#98a5b3"),
    ("#3a9fa0", "#5fc0c1"),
    ("#8c6d46", "#b59770"),
];

impl Plot {
    /// The whole document.
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"title about\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
             <title id=\"title\">Processes that share one rate</title>\n\
             <desc id=\"about\">Units per second that each of {} processes took, stacked, over {} seconds, against the \
             shared capacity of {} units per second.</desc>\n",
            self.taken.len(),
            self.seconds(),
            grouped(self.capacity)
        );
        self.style(&mut svg);
        let _ = writeln!(svg, "<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>");
        self.grid(&mut svg);
        self.areas(&mut svg);
        self.capacity_line(&mut svg);
        self.window_line(&mut svg);
        self.marks(&mut svg);
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn style(&self, svg: &mut String) {
        let rules = |page: &str, ink: &str, faint: &str, dark: bool| {
            let mut text = format!(
                ".page{{fill:{page}}} text{{fill:{ink}}} .grid{{stroke:{faint}}} .axis,.mark,.sum{{stroke:{ink}}} \
                 .limit{{stroke:{ink}}} .halo{{stroke:{page}}}"
            );
            for process in 0..self.taken.len() {
                let (light, night) = COLOURS[process % COLOURS.len()];
                let _ = write!(text, " .p{process}{{fill:{}}}", if dark { night } else { light });
            }
            text
        };
        let light = rules("#ffffff", "#1f2933", "#d9dee4", false);
        let dark = rules("#14181d", "#e6e9ec", "#323a43", true);
        let _ = writeln!(
            svg,
            "<style>\n{light}\n.axis,.grid{{stroke-width:1}} .limit{{stroke-width:1.5;stroke-dasharray:6 4;fill:none}} \
             .sum{{stroke-width:2;fill:none}} .halo{{stroke-width:4;stroke-opacity:.75;fill:none}} \
             .mark{{stroke-width:1;stroke-dasharray:2 3}} \
             .headline{{font-size:17px;font-weight:600}}\n@media (prefers-color-scheme: dark){{\n{dark}\n}}\n</style>"
        );
    }

    fn grid(&self, svg: &mut String) {
        let bottom = HEIGHT - BOTTOM;
        let step = nice(self.top() / 6.0);
        let mut value = 0.0;
        while value <= self.top() {
            let y = self.y(value);
            let class = if value == 0.0 { "axis" } else { "grid" };
            let _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.5,
                grouped(value.round() as u64)
            );
            value += step;
        }
        let step = nice(self.seconds() / 12.0).max(1.0);
        let mut second = 0.0;
        while second <= self.seconds() {
            let x = self.x(second);
            let _ = writeln!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{second}</text>",
                bottom + 20.0
            );
            second += step;
        }
        let (middle, height) = ((LEFT + WIDTH - RIGHT) / 2.0, f64::midpoint(TOP, bottom));
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">Time (s)</text>\n\
             <text transform=\"translate(18 {height:.1}) rotate(-90)\" text-anchor=\"middle\">Rate in steps of {} ms (units/s)</text>",
            HEIGHT - 14.0,
            self.step.as_millis()
        );
    }

    /// Each step is flat: what is drawn is what was counted.
    fn areas(&self, svg: &mut String) {
        let mut floor = vec![0.0; self.steps()];
        for (process, taken) in self.taken.iter().enumerate() {
            let ceiling: Vec<f64> =
                floor.iter().zip(taken).map(|(low, cost)| low + self.rate(*cost)).collect();
            let mut path = format!("M{:.1} {:.1}", self.x(0.0), self.y(floor[0]));
            for (index, value) in ceiling.iter().enumerate() {
                let _ = write!(path, "V{:.1}H{:.1}", self.y(*value), self.x(self.second(index + 1)));
            }
            for (index, value) in floor.iter().enumerate().rev() {
                let _ = write!(path, "V{:.1}H{:.1}", self.y(*value), self.x(self.second(index)));
            }
            let _ = writeln!(svg, "<path class=\"p{process}\" d=\"{path}Z\"/>");
            floor = ceiling;
        }
    }

    fn capacity_line(&self, svg: &mut String) {
        let y = self.y(self.capacity as f64);
        let _ = writeln!(svg, "<path class=\"limit\" d=\"M{LEFT} {y:.1}H{:.1}\"/>", WIDTH - RIGHT);
    }

    /// The mean over the last window, from the first whole one on.
    fn window_line(&self, svg: &mut String) {
        let width = (self.window.as_nanos() / self.step.as_nanos()) as usize;
        let mut path = String::new();
        for end in width..=self.steps() {
            let sum: u64 = self.taken.iter().flat_map(|taken| &taken[end - width..end]).sum();
            let mean = sum as f64 / self.window.as_secs_f64();
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", self.x(self.second(end)), self.y(mean));
        }
        let _ = writeln!(svg, "<path class=\"halo\" d=\"{path}\"/>\n<path class=\"sum\" d=\"{path}\"/>");
    }

    fn marks(&self, svg: &mut String) {
        for mark in &self.marks {
            let x = self.x(mark.at.as_secs_f64());
            let _ = writeln!(
                svg,
                "<path class=\"mark\" d=\"M{x:.1} {:.1}V{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                TOP - 18.0,
                HEIGHT - BOTTOM,
                x + 5.0,
                TOP - 8.0,
                mark.text
            );
        }
    }

    fn legend(&self, svg: &mut String) {
        let _ = writeln!(
            svg,
            "<text class=\"headline\" x=\"{LEFT}\" y=\"28\">{} processes share {} units/s by leases</text>",
            self.taken.len(),
            grouped(self.capacity)
        );
        let (mut x, y) = (LEFT, 54.0);
        for process in 0..self.taken.len() {
            let _ = writeln!(
                svg,
                "<rect class=\"p{process}\" x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"12\" rx=\"2\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">process {}</text>",
                y - 10.5,
                x + 18.0,
                process + 1
            );
            x += 98.0;
        }
        let (y, mean) = (28.0, format!("all, mean of the last {} s", self.window.as_secs_f64()));
        for (class, x, text) in [("sum", WIDTH - 340.0, mean.as_str()), ("limit", WIDTH - 120.0, "capacity")]
        {
            let _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{x:.1} {:.1}h24\"/><text x=\"{:.1}\" y=\"{y}\">{text}</text>",
                y - 4.5,
                x + 30.0
            );
        }
    }

    fn steps(&self) -> usize {
        self.taken.iter().map(Vec::len).max().unwrap_or_default()
    }

    fn second(&self, step: usize) -> f64 {
        self.step.as_secs_f64() * step as f64
    }

    fn seconds(&self) -> f64 {
        self.second(self.steps())
    }

    fn rate(&self, cost: u64) -> f64 {
        cost as f64 / self.step.as_secs_f64()
    }

    /// Where the y axis ends: at least a quarter above the capacity.
    fn top(&self) -> f64 {
        let sum = |index| self.taken.iter().map(|taken| taken[index]).sum::<u64>();
        let highest = (0..self.steps()).map(|index| self.rate(sum(index))).fold(0.0, f64::max);
        highest.max(self.capacity as f64 * 1.2)
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * second / self.seconds().max(f64::MIN_POSITIVE)
    }

    fn y(&self, rate: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / self.top()
    }
}

/// 1, 2 or 5 times a power of ten, not below `value`.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

/// `1,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_numbers_are_readable() {
        assert_eq!([nice(180.0), nice(240.0), nice(0.9), nice(1.0)], [200.0, 500.0, 1.0, 1.0]);
        assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1,000", "1,234,567"]);
    }

    #[test]
    fn areas_stand_on_each_other() {
        let plot = Plot {
            step: Duration::from_millis(100),
            taken: vec![vec![60, 0], vec![40, 100]],
            window: Duration::from_millis(200),
            capacity: 1_000,
            marks: Vec::new(),
        };
        let svg = plot.svg();
        let (y600, y1000) = (plot.y(600.0), plot.y(1_000.0));
        assert!(
            svg.contains(&format!("<path class=\"p0\" d=\"M72.0 400.0V{y600:.1}H474.0V400.0H876.0")),
            "{svg}"
        );
        assert!(svg.contains(&format!("<path class=\"p1\" d=\"M72.0 {y600:.1}V{y1000:.1}H474.0")), "{svg}");
        assert!(!svg.contains("<script") && svg.contains("prefers-color-scheme: dark"));
    }
}
