//! Pictures, as SVG.

use plotters::prelude::*;
use train::{Metric, Step};

/// Bars that stand together.
pub(crate) struct Group {
    /// Name and height, 0 to 100.
    pub(crate) bars: Vec<(String, f64)>,
}

/// Horizontal bars from 0 to 100, a block for each group; the last bar of a group stands out.
pub(crate) fn bars(title: &str, groups: &[Group]) -> anyhow::Result<String> {
    const LINE: i32 = 20;
    const LEFT: i32 = 190;
    const WIDTH: i32 = 520;
    let lines: usize = groups.iter().map(|group| group.bars.len() + 1).sum();
    let height = 44 + LINE * lines as i32;
    let mut svg = String::new();
    let draw = |svg: &mut String| -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (800, height as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let font = ("sans-serif", 14).into_font();
        root.draw(&Text::new(title.to_owned(), (LEFT, 10), font.clone()))?;
        let mut y = 36;
        for group in groups {
            for (i, (name, percent)) in group.bars.iter().enumerate() {
                let last = i + 1 == group.bars.len();
                let color = if last { RGBColor(178, 84, 24) } else { RGBColor(92, 124, 160) };
                let end = LEFT + (percent / 100.0 * f64::from(WIDTH)).round() as i32;
                root.draw(&Text::new(name.clone(), (10, y), font.clone()))?;
                root.draw(&Rectangle::new([(LEFT, y), (end, y + LINE - 6)], color.filled()))?;
                root.draw(&Text::new(format!("{percent:.1}"), (end + 6, y), font.clone()))?;
                y += LINE;
            }
            y += LINE;
        }
        Ok(root.present()?)
    };
    draw(&mut svg).map_err(|error| anyhow::anyhow!("cannot draw the bars: {error}"))?;
    Ok(svg)
}

/// A curve through points.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a chart of lines says beside them.
pub(crate) struct Axes<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// Whether equal ways along both axes are equal factors; coordinates are above 0 then.
    pub(crate) logarithmic: bool,
}

/// Lines with a dot at each point, as SVG.
pub(crate) fn lines(axes: &Axes<'_>, lines: &[Line]) -> anyhow::Result<String> {
    let mut svg = String::new();
    // Drawn as logarithms, so that one kind of chart does for both.
    let at = |v: f64| if axes.logarithmic { v.max(1e-12).log2() } else { v };
    let label = |v: &f64| match axes.logarithmic {
        true => format!("{:.0}", v.exp2()),
        false => format!("{v:.2}"),
    };
    let all = || lines.iter().flat_map(|line| &line.points);
    let range = |of: fn(&(f64, f64)) -> f64, from: f64| {
        let low = all().map(|p| at(of(p))).fold(from, f64::min);
        let high = all().map(|p| at(of(p))).fold(f64::NEG_INFINITY, f64::max).max(low + 1e-9);
        low..high + 0.05 * (high - low)
    };
    let base = if axes.logarithmic { f64::INFINITY } else { 0.0 };
    let draw = |svg: &mut String| -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (800, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .caption(axes.title, ("sans-serif", 16))
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(range(|p| p.0, base), range(|p| p.1, base))?;
        chart
            .configure_mesh()
            .x_desc(axes.x)
            .y_desc(axes.y)
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (line, color) in lines.iter().zip([RED, BLUE, BLACK, MAGENTA].iter().cycle()) {
            let points: Vec<_> = line.points.iter().map(|(x, y)| (at(*x), at(*y))).collect();
            chart
                .draw_series(LineSeries::new(points, color.filled()).point_size(3))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], *color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        Ok(root.present()?)
    };
    draw(&mut svg).map_err(|error| anyhow::anyhow!("cannot draw the lines: {error}"))?;
    Ok(svg)
}

/// Metrics by step on a logarithmic scale, as SVG.
pub(crate) fn curve(history: &[Step], metrics: &[Metric]) -> anyhow::Result<String> {
    /// Heights below are drawn here.
    const LEAST: f64 = 1e-4;
    let mut svg = String::new();
    let steps = history.len().max(2) as f64;
    // Means of up to 200 runs of steps: single steps are noise. Of a metric that few steps have,
    // runs without it have no point.
    let width = history.len().div_ceil(200).max(1);
    let line = |name: &str, height: fn(f64) -> f64| -> Vec<(f64, f64)> {
        let means = history.chunks(width).filter_map(|run| {
            let measured = run.iter().filter_map(|step| step.metric(name));
            let (count, sum) = measured.fold((0u32, 0.0), |(n, sum), x| (n + 1, sum + height(x)));
            let mean = (sum / f64::from(count)).max(LEAST);
            (count > 0).then(|| (run[run.len() / 2].step as f64, mean))
        });
        means.collect()
    };
    let curves = metrics.iter().filter_map(|metric| Some((metric.name, metric.curve?)));
    let lines: Vec<_> =
        curves.map(|(name, curve)| (curve.label, line(name, curve.height))).collect();
    // Logarithmic: from 0.1 to 0.05 is as far as from 1 to 0.5.
    let heights = || lines.iter().flat_map(|(_, points)| points).map(|(_, y)| *y);
    let (low, high) = (heights().fold(0.08, f64::min), heights().fold(1.0, f64::max));
    let draw = |svg: &mut String| -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (800, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..steps, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("step")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y}"))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for ((name, points), color) in lines.iter().zip([RED, BLUE, BLACK, MAGENTA].iter().cycle())
        {
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], *color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
        Ok(root.present()?)
    };
    draw(&mut svg).map_err(|error| anyhow::anyhow!("cannot draw the curve: {error}"))?;
    Ok(svg)
}
