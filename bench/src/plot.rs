//! Plots as SVG text: bars of a table's ratios, and lines over a common axis. No styles, no scripts, no fonts.

use std::fmt::Write as _;

use crate::report::Row;

const WIDTH: f64 = 960.0;
const BAR: f64 = 18.0;
const LABELS: f64 = 420.0;
const MARGIN: f64 = 60.0;
const HEIGHT: f64 = 420.0;
const COLOURS: [&str; 6] = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a"];

/// A named line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// (x, y), x growing.
    pub(crate) points: Vec<(f64, f64)>,
}

/// One bar per row: its ratio to the limit, whose mark is the line at 1; rows without a limit show their value only.
#[expect(clippy::cast_precision_loss, reason = "a few rows")]
pub(crate) fn bars(title: &str, rows: &[Row]) -> String {
    let most = rows.iter().filter_map(|row| row.ratio).filter(|ratio| ratio.is_finite()).fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - 2.0 * MARGIN) / most;
    let height = MARGIN + rows.len() as f64 * (BAR + 4.0) + MARGIN / 2.0;
    let mut svg = begin(title, height);
    for (place, row) in rows.iter().enumerate() {
        let y = MARGIN + place as f64 * (BAR + 4.0);
        let label = escape(&format!("{} = {:.2} {}", row.metric, row.value, row.unit));
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
            LABELS - 8.0,
            y + 13.0
        );
        if let Some(ratio) = row.ratio.filter(|ratio| ratio.is_finite()) {
            let _ = writeln!(
                svg,
                r#"<rect x="{LABELS}" y="{y:.1}" width="{:.1}" height="{BAR}" fill="{}"/><text x="{:.1}" y="{:.1}">{ratio:.2}</text>"#,
                ratio * scale,
                COLOURS[0],
                ratio.mul_add(scale, LABELS + 6.0),
                y + 13.0
            );
        }
    }
    let limit = LABELS + scale;
    let _ = writeln!(
        svg,
        r##"<line x1="{limit:.1}" y1="{:.1}" x2="{limit:.1}" y2="{height:.1}" stroke="#d1242f"/><text x="{limit:.1}" y="{:.1}" text-anchor="middle">limit</text>"##,
        MARGIN - 6.0,
        MARGIN - 10.0
    );
    svg.push_str("</svg>\n");
    svg
}

/// Lines over one axis, both from 0.
#[expect(clippy::cast_precision_loss, reason = "a few lines")]
pub(crate) fn lines(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points);
    let x_most = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
    let y_most = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| MARGIN + value / x_most * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / y_most * (HEIGHT - 2.0 * MARGIN);
    let mut svg = begin(title, HEIGHT);
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (at_x, at_y) = (x(share * x_most), y(share * y_most));
        let _ = writeln!(
            svg,
            r##"<line x1="{MARGIN}" y1="{at_y:.1}" x2="{:.1}" y2="{at_y:.1}" stroke="#d0d7de"/><text x="{:.1}" y="{at_y:.1}" text-anchor="end">{:.3}</text><text x="{at_x:.1}" y="{:.1}" text-anchor="middle">{:.3}</text>"##,
            WIDTH - MARGIN,
            MARGIN - 4.0,
            share * y_most,
            HEIGHT - MARGIN + 16.0,
            share * x_most,
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text x="4" y="{:.1}">{}</text>"#,
        WIDTH / 2.0,
        HEIGHT - 20.0,
        escape(x_label),
        MARGIN - 14.0,
        escape(y_label)
    );
    for (place, series) in series.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let path: Vec<String> =
            series.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.5"/><text x="{:.1}" y="{:.1}" fill="{colour}">{}</text>"#,
            path.join(" "),
            WIDTH - MARGIN - 200.0,
            16.0f64.mul_add(place as f64, MARGIN),
            escape(&series.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn begin(title: &str, height: f64) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/><text x="12" y="22" font-size="16">{}</text>
"##,
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_ratio_and_escapes_names() {
        let row = |metric: &str, ratio| Row { metric: metric.into(), value: 2.0, unit: "ms".into(), ratio };
        let svg = bars("a & b", &[row("x<y", Some(0.5)), row("z", None)]);
        assert_eq!(svg.matches(r#"height="18""#).count(), 1, "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("x&lt;y = 2.00 ms"), "{svg}");
    }

    #[test]
    fn lines_reach_both_ends() {
        let series = Series { name: "p99".into(), points: vec![(0.0, 0.0), (10.0, 4.0)] };
        let svg = lines("t", "hours", "ms", &[series]);
        assert!(svg.contains(r#"points="60.0,360.0 900.0,60.0""#), "{svg}");
    }
}
