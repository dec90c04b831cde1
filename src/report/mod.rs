//! Presentation: tables, plots and pages.
//!
//! A [`Table`] prints as Markdown, CSV, HTML or aligned text; a [`Plot`] as SVG or PNG; a [`Page`] binds both into
//! one HTML file that needs no network. Everything is built in memory, and the same input gives the same bytes.

mod html;
mod plot;
mod table;

pub use html::{Block, Page, Section};
pub use plot::{Plot, Series};
pub use table::{Column, Table};

/// What can go wrong between a result and its file.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The plotting backend refused.
    #[error("cannot draw the plot {title:?}: {reason}")]
    Drawing {
        /// The plot's title.
        title: String,
        /// Why.
        reason: String,
    },
    /// The PNG stream could not be compressed.
    #[error("cannot encode the plot {title:?} as PNG: {source}")]
    Png {
        /// The plot's title.
        title: String,
        /// Why.
        source: std::io::Error,
    },
    /// The CSV writer refused.
    #[error("cannot format a table as CSV: {0}")]
    Csv(#[from] csv::Error),
}
