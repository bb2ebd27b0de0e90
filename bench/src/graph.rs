//! The rows as a graph: for each, two bars on a scale of its own, and a line where the goal is.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;

use crate::output::Row;

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 16.0;
const ROW: f64 = 54.0;
const BAR: f64 = 11.0;
/// What is left of a bar's line for its figure.
const FIGURE: f64 = 130.0;
const STYLE: &str = "text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}.ours{fill:#2a6fbb}\
    .missed{fill:#c2452d}.baseline{fill:#b9c0c8}.goal{stroke:#222;stroke-width:1.5;stroke-dasharray:3 2}";

/// Writes it to a file.
pub(crate) fn write(rows: &[Row], path: &Path) -> anyhow::Result<()> {
    fs::write(path, draw(rows)).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("drawn to {}", path.display());
    Ok(())
}

fn draw(rows: &[Row]) -> String {
    let height = rows.iter().fold(2.0 * MARGIN + ROW / 2.0, |height, _| height + ROW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"small\" x=\"{MARGIN}\" y=\"{y}\">blue or red: ours, which meets its goal or misses it; \
         grey: baseline; dashed: goal. Each pair has its own scale.</text>\n",
        y = MARGIN + 8.0,
    );
    let mut top = MARGIN + ROW / 2.0;
    for row in rows {
        bars(&mut svg, row, top);
        top += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, row: &Row, top: f64) {
    let goal = row.goal.map(|goal| goal * row.baseline);
    let largest = goal.unwrap_or(0.0).max(row.ours).max(row.baseline);
    let room = WIDTH - 2.0 * MARGIN - FIGURE;
    // Nothing is drawn of what is nothing, or less.
    let length = |figure: f64| {
        if largest > 0.0 {
            (figure / largest * room).max(0.0)
        } else {
            0.0
        }
    };
    let kind = if row.met == Some(false) { "missed" } else { "ours" };
    // Writing to a string never fails.
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"{}\">{}</text>",
        top + 10.0,
        escaped(row.name)
    );
    for (line, (class, figure)) in [(kind, row.ours), ("baseline", row.baseline)].into_iter().enumerate() {
        let y = top + 15.0 + if line == 0 { 0.0 } else { BAR + 2.0 };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{MARGIN}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{figure:.2} {}</text>",
            length(figure),
            MARGIN + length(figure) + 6.0,
            y + BAR - 1.0,
            escaped(row.unit),
        );
    }
    if let Some(goal) = goal {
        let (x, from, to) = (MARGIN + length(goal), top + 13.0, top + 17.0 + 2.0 * BAR + 2.0);
        let _ = writeln!(
            svg,
            "<line class=\"goal\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\"/>"
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_on_the_scale_of_the_largest_and_misses_are_red() {
        let rows = [
            Row::new("a < b", "ms", 20.0, 10.0, 1.5),
            Row::within("c", "MiB", 1.0, 4.0),
        ];
        let svg = draw(&rows);
        let room = WIDTH - 2.0 * MARGIN - FIGURE;
        assert!(svg.contains(&format!(
            "class=\"missed\" x=\"{MARGIN}\" y=\"58.0\" width=\"{room:.1}\""
        )));
        assert!(svg.contains(&format!("width=\"{:.1}\"", room / 2.0)));
        assert!(svg.contains("a &lt; b") && svg.contains("class=\"ours\""));
        assert_eq!(svg.matches("<line ").count(), 2);
    }
}
