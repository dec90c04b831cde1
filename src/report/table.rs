//! A table of text cells and its four printed forms: Markdown, CSV, HTML and aligned text for a terminal.

use super::ReportError;
use super::html::escape;

/// A column: its heading, and whether its cells are numbers, which align to the right.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub align_right: bool,
}

/// Rows of plain-text cells; each form escapes what it must.
///
/// The table is as wide as its widest row: missing cells are blank, surplus ones stand below a blank heading.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows; `columns` are `(heading, align_right)`.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, bool)>) -> Self {
        let columns = columns.into_iter().map(|(name, align_right)| Column {
            name: name.into(),
            align_right,
        });
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    /// A GitHub-flavoured Markdown table, one line per row.
    pub fn to_markdown(&self) -> String {
        let mut lines = self.lines(|cell| {
            let mut text = String::new();
            for c in cell.chars() {
                match c {
                    '|' | '\\' | '*' | '`' => text.extend(['\\', c]),
                    '<' => text.push_str("&lt;"),
                    '\n' => text.push_str("<br>"),
                    _ => text.push(c),
                }
            }
            text
        });
        let ruler = self
            .columns()
            .map(|(_, right)| if right { "-:" } else { ":-" });
        lines.insert(1, ruler.map(String::from).collect());
        lines
            .iter()
            .map(|cells| format!("| {} |\n", cells.join(" | ")))
            .collect()
    }

    /// Comma-separated values (RFC 4180 quoting), the headings first.
    ///
    /// # Errors
    /// [`ReportError::Csv`] if the writer refuses.
    pub fn to_csv(&self) -> Result<String, ReportError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for cells in self.lines(str::to_owned) {
            writer.write_record(cells)?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|e| csv::Error::from(e.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A `<table>` element.
    pub fn to_html(&self) -> String {
        let row = |cells: &[String], tag: &str| {
            let cells = cells.iter().zip(self.columns()).map(|(cell, (_, right))| {
                let class = if right { " class=\"number\"" } else { "" };
                format!("<{tag}{class}>{cell}</{tag}>")
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let lines = self.lines(|cell| escape(cell).replace('\n', "<br>"));
        let body: String = lines[1..].iter().map(|cells| row(cells, "td")).collect();
        format!(
            "<table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table>\n",
            row(&lines[0], "th").trim_end()
        )
    }

    /// Columns padded with spaces and a rule below the headings; control characters are blanked, so that no cell can
    /// steer a terminal.
    pub fn to_text(&self) -> String {
        let lines = self.lines(|cell| cell.replace(char::is_control, " "));
        let widths: Vec<usize> = (0..self.width())
            .map(|k| lines.iter().map(|cells| cells[k].chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for (number, cells) in lines.iter().enumerate() {
            let padded = cells.iter().zip(self.columns()).zip(&widths);
            let padded = padded.map(|((cell, (_, right)), &width)| {
                if right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            text += padded.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
            if number == 0 {
                let rules = widths.iter().map(|&width| "─".repeat(width));
                text += &rules.collect::<Vec<_>>().join("  ");
                text.push('\n');
            }
        }
        text
    }

    fn width(&self) -> usize {
        let rows = self.rows.iter().map(Vec::len);
        rows.chain([self.columns.len()]).max().unwrap_or(0)
    }

    /// Heading and alignment of each column, blank and left where a row is wider than the headings.
    fn columns(&self) -> impl Iterator<Item = (&str, bool)> {
        (0..self.width()).map(|k| match self.columns.get(k) {
            Some(column) => (column.name.as_str(), column.align_right),
            None => ("", false),
        })
    }

    /// The headings, then the rows, all of the same width, each cell as `format` gives it.
    fn lines(&self, format: impl Fn(&str) -> String) -> Vec<Vec<String>> {
        let headings = self.columns().map(|(name, _)| format(name)).collect();
        let rows = self.rows.iter().map(|row| {
            let cells = (0..self.width()).map(|k| row.get(k).map_or("", String::as_str));
            cells.map(&format).collect()
        });
        std::iter::once(headings).chain(rows).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([("method", false), ("gap", true)]);
        table.rows = vec![
            vec!["Prox-ED".into(), "1e-12".into()],
            vec!["a|b, \"c\" <d>".into(), "3".into()],
        ];
        table
    }

    #[test]
    fn markdown_escapes_pipes() {
        assert_eq!(
            table().to_markdown(),
            "| method | gap |\n| :- | -: |\n| Prox-ED | 1e-12 |\n| a\\|b, \"c\" &lt;d> | 3 |\n"
        );
    }

    #[test]
    fn csv_quotes_commas_and_reads_back() {
        let text = table().to_csv().unwrap();
        assert!(text.contains("\"a|b, \"\"c\"\" <d>\",3\n"), "{text}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<Vec<String>> = reader.deserialize().map(Result::unwrap).collect();
        assert_eq!(rows, table().rows);
    }

    #[test]
    fn html_escapes_and_aligns() {
        let html = table().to_html();
        assert!(html.contains("<td>a|b, &quot;c&quot; &lt;d&gt;</td><td class=\"number\">3</td>"));
        assert!(html.contains("<th class=\"number\">gap</th>"));
    }

    #[test]
    fn text_aligns_by_characters() {
        let mut table = Table::new([("μ", false), ("gap", true)]);
        table.rows = vec![vec!["λ₁\u{1b}[31m".into(), "1".into()]];
        assert_eq!(
            table.to_text(),
            "μ        gap\n───────  ───\nλ₁ [31m    1\n"
        );
    }

    #[test]
    fn degenerate_tables_print() {
        let mut table = Table::default();
        for _ in 0..2 {
            table.to_markdown();
            table.to_csv().unwrap();
            table.to_html();
            table.to_text();
            table.rows = vec![
                vec![],
                vec!["x".into(), "y".into()],
                vec!["line\nbreak".into()],
            ];
        }
        assert_eq!(
            table.to_markdown(),
            "|  |  |\n| :- | :- |\n|  |  |\n| x | y |\n| line<br>break |  |\n"
        );
        assert_eq!(table.to_csv().unwrap(), ",\n,\nx,y\n\"line\nbreak\",\n");
    }
}
