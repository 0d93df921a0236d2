//! Draws latency distributions: latency over percentile, the upper ones spread out as the plots of `HdrHistogram` do it. Makes
//! text of numbers; writes no file.

use std::fmt::Write;

use super::figures::Latencies;
use super::report::Report;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 50.0;
/// From the median outwards, one decade of rarity is as wide as the next.
const MARKS: [(f64, &str); 6] =
    [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
const COLOURS: [&str; 4] = ["#0b6e99", "#d9730d", "#448361", "#9065b0"];

/// A picture of the distributions of one or two runs. The second run's lines are dashed.
pub(crate) fn draw(reports: &[Report]) -> String {
    let scale = Scale::fit(reports);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (line, report) in reports.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{}\">{}</text>",
            22 + 18 * line,
            escaped(&format!("{} · {}", report.server, report.about))
        );
    }
    draw_grid(&mut svg, &scale);
    let mut legend = TOP + 10.0;
    for (run, report) in reports.iter().enumerate() {
        for (index, (name, latencies)) in
            report.latencies.iter().filter(|(_, latencies)| latencies.count() > 0).enumerate()
        {
            let dash = if run == 0 { "" } else { " stroke-dasharray=\"6 4\"" };
            let style = format!("fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dash}", COLOURS[index % COLOURS.len()]);
            let _ = writeln!(svg, "<polyline {style} points=\"{}\"/>", scale.points(latencies));
            let x = WIDTH - RIGHT + 15.0;
            let _ = writeln!(
                svg,
                "<path {style} d=\"M{x} {legend}h28\"/><text x=\"{}\" y=\"{}\">{}</text>",
                x + 36.0,
                legend + 4.0,
                escaped(&label(name, run, reports))
            );
            legend += 20.0;
        }
    }
    svg + "</svg>\n"
}

/// Where a latency and a percentile lie in the picture. Latencies are on a logarithmic axis.
#[derive(Debug)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn fit(reports: &[Report]) -> Self {
        let all = || reports.iter().flat_map(|report| &report.latencies).filter(|(_, latencies)| latencies.count() > 0);
        let lowest = all().map(|(_, latencies)| latencies.quantile_ms(0.0)).fold(f64::INFINITY, f64::min);
        let highest = all().map(|(_, latencies)| latencies.quantile_ms(1.0)).fold(0.0, f64::max);
        let low = 10f64.powf(lowest.clamp(0.01, 1e6).log10().floor());
        Self { low, high: 10f64.powf((highest / 1.01).max(low * 1.01).log10().ceil()) }
    }

    fn x(quantile: f64) -> f64 {
        let rarity = (1.0 / (1.0 - quantile.min(MARKS[5].0))).log10() / 4.0;
        LEFT + rarity * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, ms: f64) -> f64 {
        let part = (ms.clamp(self.low, self.high) / self.low).log10() / (self.high / self.low).log10();
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    }

    fn points(&self, latencies: &Latencies) -> String {
        let mut points = String::new();
        for step in 0..=160 {
            // A quantile that fewer than one measurement lies beyond would only repeat the maximum.
            let quantile = 1.0 - 10f64.powf(-f64::from(step) / 40.0);
            if step > 0 && (1.0 - quantile) * (latencies.count() as f64) < 1.0 {
                break;
            }
            let _ = write!(points, "{:.1},{:.1} ", Self::x(quantile), self.y(latencies.quantile_ms(quantile)));
        }
        points
    }
}

fn draw_grid(svg: &mut String, scale: &Scale) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (quantile, name) in MARKS {
        let x = Scale::x(quantile);
        let _ = writeln!(
            svg,
            "<path stroke=\"#ddd\" d=\"M{x:.1} {TOP}V{bottom}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            bottom + 18.0
        );
    }
    let mut ms = scale.low;
    while ms <= scale.high * 1.001 {
        let y = scale.y(ms);
        let _ = writeln!(
            svg,
            "<path stroke=\"#ddd\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} ms</text>",
            LEFT - 8.0,
            y + 4.0,
            short(ms)
        );
        ms *= 10.0;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">of all stay within</text>",
        f64::midpoint(LEFT, right),
        bottom + 38.0
    );
}

fn label(name: &str, run: usize, reports: &[Report]) -> String {
    if reports.len() == 1 { name.to_owned() } else { format!("{name} ({})", ["first", "second"][run.min(1)]) }
}

fn short(ms: f64) -> String {
    let digits = [1.0, 0.1, 0.01].iter().take_while(|decade| ms < **decade * 0.99).count();
    format!("{ms:.digits$}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(server: &str, count: u64) -> Report {
        let mut whole = Latencies::default();
        (1..=count).for_each(|ms| whole.record(Duration::from_millis(ms)));
        let latencies = vec![("whole reply", whole), ("gap", Latencies::default())];
        Report {
            server: server.into(),
            about: "a <test> & more".into(),
            counts: vec![],
            latencies,
            figures: vec![],
            bad: 0,
            problems: vec![],
        }
    }

    #[test]
    fn each_measured_distribution_is_one_line_and_one_name() {
        let svg = draw(&[report("http://a", 100), report("http://b", 100)]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(
            svg.contains("whole reply (first)")
                && svg.contains("whole reply (second)")
                && svg.contains("a &lt;test&gt; &amp; more")
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn the_axis_goes_up_with_latency_and_right_with_rarity() {
        let scale = Scale::fit(&[report("a", 100)]);
        assert_eq!((scale.low, scale.high), (1.0, 100.0));
        assert!(scale.y(100.0) < scale.y(10.0) && scale.y(10.0) < scale.y(1.0));
        assert!(Scale::x(0.5) < Scale::x(0.9) && Scale::x(1.0) <= WIDTH - RIGHT + 0.1);
    }

    #[test]
    fn nothing_measured_is_still_a_picture() {
        assert!(draw(&[report("a", 0)]).ends_with("</svg>\n"));
        assert!(!draw(&[report("a", 1)]).contains("NaN"));
    }
}
