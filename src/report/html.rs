//! One self-contained HTML page: inline style, inline SVG, no script, no network; light or dark as the reader's
//! system is.

use super::plot::{self, Plot};
use super::{ReportError, Table};

/// A report: a title, an introduction, and sections.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub title: String,
    /// Plain text; a blank line starts a new paragraph.
    pub intro: String,
    pub sections: Vec<Section>,
}

/// A heading and what stands below it.
#[derive(Debug, Clone, Default)]
pub struct Section {
    pub heading: String,
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone)]
pub enum Block {
    /// Plain text; a blank line starts a new paragraph.
    Text(String),
    /// Preformatted text: a recipe, a command.
    Code(String),
    Table(Table),
    Plot(Plot),
    /// A finished `<svg>` element, taken as it is (so never from a stranger), and its caption.
    Figure {
        svg: String,
        caption: String,
    },
}

impl Page {
    /// The whole page.
    ///
    /// # Errors
    /// What [`Plot::svg`] returns.
    pub fn html(&self) -> Result<String, ReportError> {
        let mut body = format!(
            "<header>\n<h1>{}</h1>\n{}</header>\n",
            escape(&self.title),
            paragraphs(&self.intro)
        );
        for section in &self.sections {
            body += &format!("<section>\n<h2>{}</h2>\n", escape(&section.heading));
            for block in &section.blocks {
                body += &block.html()?;
            }
            body += "</section>\n";
        }
        Ok(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
            escape(&self.title),
            dark_plots(),
        ))
    }
}

impl Block {
    fn html(&self) -> Result<String, ReportError> {
        Ok(match self {
            Block::Text(text) => paragraphs(text),
            Block::Code(text) => format!("<pre><code>{}</code></pre>\n", escape(text)),
            Block::Table(table) => format!("<div class=\"scroll\">\n{}</div>\n", table.to_html()),
            // The plot carries its title; screen readers get it as the label.
            Block::Plot(plot) => format!(
                "<figure class=\"plot\" role=\"img\" aria-label=\"{}\">\n{}</figure>\n",
                escape(&plot.title),
                plot.svg()?
            ),
            Block::Figure { svg, caption } => format!(
                "<figure>\n{svg}\n<figcaption>{}</figcaption>\n</figure>\n",
                escape(caption)
            ),
        })
    }
}

/// `text` with the five characters that HTML and XML reserve escaped, so that it is safe in elements and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(c),
        }
    }
    escaped
}

fn paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim).filter(|p| !p.is_empty());
    paragraphs
        .map(|paragraph| format!("<p>{}</p>\n", escape(paragraph)))
        .collect()
}

/// Style rules that turn a plot's neutral colours over in the dark; the palette itself reads on both grounds.
fn dark_plots() -> String {
    let neutral = [
        (plot::PAPER, "var(--paper)"),
        (plot::INK, "var(--ink)"),
        (plot::AXIS, "var(--faint)"),
        (plot::GRID, "var(--line)"),
        (plot::BLACK, "var(--ink)"),
    ];
    let rules = neutral.map(|(color, variable)| {
        let hex = plot::hex(color);
        format!(
            ".plot [fill=\"{hex}\"] {{ fill: {variable} }}\n.plot [stroke=\"{hex}\"] {{ stroke: {variable} }}\n"
        )
    });
    format!(
        "@media (prefers-color-scheme: dark) {{\n{}}}\n",
        rules.concat()
    )
}

const STYLE: &str = "\
:root { color-scheme: light dark; --paper: #ffffff; --ink: #222222; --faint: #666666; --line: #e2e2e2; --shade: #f6f7f8; }
@media (prefers-color-scheme: dark) {
:root { --paper: #16181c; --ink: #e3e3e3; --faint: #9a9da3; --line: #33363c; --shade: #1e2126; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, \"Segoe UI\", Roboto, \"Helvetica Neue\", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 .75rem; text-wrap: balance; }
h2 { font-size: 1.25rem; line-height: 1.3; font-weight: 600; margin: 2.75rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
p { max-width: 44rem; margin: 0 0 .9rem; }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--shade); border-radius: 6px; font: .85rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; margin: 1rem 0 1.5rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; vertical-align: baseline; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; border-bottom: 1.5px solid var(--faint); }
.number { text-align: right; }
tbody tr:hover { background: var(--shade); }
figure { margin: 1.25rem 0 1.75rem; }
figure svg { display: block; width: 100%; height: auto; }
figure.plot text { font-family: system-ui, \"Segoe UI\", Roboto, \"Helvetica Neue\", Arial, sans-serif; }
figcaption { color: var(--faint); font-size: .9rem; }
@media print { main { max-width: none; padding: 0; } section { break-inside: avoid; } }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Series;

    fn page() -> Page {
        let mut table = Table::new([("a<b", false)]);
        table.rows.push(vec!["&".into()]);
        let plot = Plot {
            title: "\"quoted\" & <tagged>".into(),
            y_log: true,
            // The seventh series is the black one.
            series: vec![Series::new("x", vec![(0.0, 1.0), (1.0, 0.1)]); 7],
            ..Plot::default()
        };
        Page {
            title: "Starling <evaluation>".into(),
            intro: "One.\n\nTwo & three.".into(),
            sections: vec![Section {
                heading: "Everything".into(),
                blocks: vec![
                    Block::Text("text".into()),
                    Block::Code("Ring(10)".into()),
                    Block::Table(table),
                    Block::Plot(plot),
                    Block::Figure {
                        svg: "<svg></svg>".into(),
                        caption: "graph".into(),
                    },
                ],
            }],
        }
    }

    #[test]
    fn page_is_escaped_and_self_contained() {
        let html = page().html().unwrap();
        assert!(html.contains("<h1>Starling &lt;evaluation&gt;</h1>"));
        assert!(html.contains("<p>One.</p>\n<p>Two &amp; three.</p>"));
        assert!(html.contains("aria-label=\"&quot;quoted&quot; &amp; &lt;tagged&gt;\""));
        assert!(html.contains("<th>a&lt;b</th>"));
        for outside in ["<script", "src=", "href=", "url(", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn dark_rules_name_colors_that_plots_use() {
        let html = page().html().unwrap();
        let svg = html.split("<svg").nth(1).unwrap();
        for color in [plot::PAPER, plot::INK, plot::AXIS, plot::GRID, plot::BLACK] {
            assert!(svg.contains(&plot::hex(color)), "{}", plot::hex(color));
        }
    }

    #[test]
    fn empty_page_is_a_page() {
        let html = Page::default().html().unwrap();
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
    }
}
