//! Line plots, as SVG and PNG from one drawing function; made for convergence curves on log axes.
//!
//! Curves and axes are laid out here, in *plotted coordinates* (log₁₀ of the value on a log axis); plotters only
//! strokes lines and sets text. Both backends know whole pixels only, so that the plot is drawn [`SCALE`] times
//! too large: the SVG scales it back by its view box, the PNG by averaging pixels, which also smooths the lines.
//! The bitmap's font is compiled in (Ubuntu Light: Latin, Greek, Cyrillic, ≤ − ×, but not ‖); the SVG leaves the
//! choice to its reader.

use std::io::Write;
use std::sync::LazyLock;

use flate2::{Compression, Crc, write::ZlibEncoder};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, register_font};

use super::ReportError;

/// A curve.
#[derive(Debug, Clone, Default)]
pub struct Series {
    pub label: String,
    /// `(x, y)` in the order of drawing. A point that is not finite, or not positive on a log axis, breaks the line.
    pub points: Vec<(f64, f64)>,
    /// What is known about y = 0 (the certificate of the optimum): values below are drawn here and marked "≤".
    pub floor: Option<f64>,
    /// Draws a thick line on top of the others; for the learned rules.
    pub emphasis: bool,
}

impl Series {
    /// A series without floor or emphasis.
    pub fn new(label: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            label: label.into(),
            points,
            ..Self::default()
        }
    }
}

/// Curves over two axes. The place in `series` chooses the colour, so that one method looks the same in every plot
/// of a page that keeps the order; up to about 15 curves stay readable.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub x_log: bool,
    pub y_log: bool,
    pub series: Vec<Series>,
}

/// Width and height of a plot in its own units, CSS pixels.
const SIZE: (u32, u32) = (960, 540);
/// Drawn pixels per unit.
const SCALE: u32 = 4;
/// Drawn pixels that one PNG pixel averages, in each direction: the PNG is twice [`SIZE`].
const PNG_AVERAGES: u32 = 2;

const LEFT: f64 = 86.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = SIZE.1 as f64 - 76.0;
const TEXT: f64 = 13.0;
const SUPERSCRIPT: f64 = 9.5;
/// The widest legend label before it is cut short.
const LABEL: f64 = 230.0;
/// A diverging curve leaves the frame this many decades above the highest start, lest it flatten the others.
const HEADROOM: f64 = 2.0;

pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const AXIS: RGBColor = RGBColor(0x77, 0x77, 0x77);
pub(super) const GRID: RGBColor = RGBColor(0xe6, 0xe6, 0xe6);
pub(super) const BLACK: RGBColor = RGBColor(0x00, 0x00, 0x00);

/// Okabe and Ito's colour-blind-safe palette, with grey in the place of its yellow, which is lost on white.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0xd5, 0x5e, 0x00), // vermilion
    RGBColor(0x00, 0x72, 0xb2), // blue
    RGBColor(0x00, 0x9e, 0x73), // bluish green
    RGBColor(0xcc, 0x79, 0xa7), // reddish purple
    RGBColor(0xe6, 0x9f, 0x00), // orange
    RGBColor(0x56, 0xb4, 0xe9), // sky blue
    BLACK,
    RGBColor(0x99, 0x99, 0x99), // grey
];
/// Dash and gap per turn through the palette.
const DASHES: [Option<(u32, u32)>; 3] = [None, Some((7, 4)), Some((2, 3))];

impl Plot {
    /// The plot as a standalone `<svg>` element, 960 × 540 CSS pixels.
    ///
    /// # Errors
    /// [`ReportError::Drawing`] if the backend refuses.
    pub fn svg(&self) -> Result<String, ReportError> {
        let (width, height) = (SIZE.0 * SCALE, SIZE.1 * SCALE);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
            // plotters sets `font-size = size / 1.24` and puts the baseline 0.76 em below the top.
            Canvas::new(area, 1.24, 0.76, true).draw(self)?;
        }
        Ok(svg.replacen(
            &format!("width=\"{width}\" height=\"{height}\""),
            &format!(
                "width=\"{}\" height=\"{}\" stroke-linejoin=\"round\"",
                SIZE.0, SIZE.1
            ),
            1,
        ))
    }

    /// The plot as a PNG image, 1920 × 1080 pixels.
    ///
    /// # Errors
    /// [`ReportError::Drawing`] if the backend refuses, [`ReportError::Png`] if the compressor does.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        let (width, height) = (SIZE.0 * SCALE, SIZE.1 * SCALE);
        let mut pixels = vec![0; (width * height * 3) as usize];
        {
            let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
            // A size counts from ascender to descender, 1.121 em in this font; the baseline lies in its middle.
            Canvas::new(backend.into_drawing_area(), 1.121, 1.121 / 2.0, false).draw(self)?;
        }
        let (pixels, size) = average(&pixels, (width, height));
        encode_png(&pixels, size).map_err(|source| ReportError::Png {
            title: self.title.clone(),
            source,
        })
    }

    fn curves(&self) -> Vec<Curve<'_>> {
        let curve = |(place, series)| Curve::new(place, series, self.x_log, self.y_log);
        self.series.iter().enumerate().map(curve).collect()
    }
}

/// A series in plotted coordinates.
struct Curve<'a> {
    series: &'a Series,
    color: RGBColor,
    dash: Option<(u32, u32)>,
    /// The unbroken pieces of the line, none empty.
    runs: Vec<Vec<(f64, f64)>>,
    /// The first point that was raised to the floor.
    floored: Option<(f64, f64)>,
}

impl<'a> Curve<'a> {
    fn new(place: usize, series: &'a Series, x_log: bool, y_log: bool) -> Self {
        let mut runs = vec![vec![]];
        let mut floored = None;
        for &(x, y) in &series.points {
            let below = series.floor.filter(|&floor| y.is_finite() && y < floor);
            let point = coordinate(x, x_log).zip(coordinate(below.unwrap_or(y), y_log));
            match (point, runs.last_mut()) {
                (Some(point), Some(run)) => {
                    run.push(point);
                    floored = floored.or(below.map(|_| point));
                }
                _ => runs.push(vec![]),
            }
        }
        runs.retain(|run| !run.is_empty());
        Self {
            series,
            color: PALETTE[place % PALETTE.len()],
            dash: DASHES[place / PALETTE.len() % DASHES.len()],
            runs,
            floored,
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.runs.iter().flatten().copied()
    }

    /// Orders legends: the last drawn height, then when the floor was reached; lowest for a curve without points.
    fn end(&self) -> (f64, f64) {
        let lowest = f64::NEG_INFINITY;
        let height = self.points().last().map_or(lowest, |(_, y)| y);
        (height, self.floored.map_or(lowest, |(x, _)| x))
    }

    fn width(&self) -> f64 {
        if self.series.emphasis { 3.4 } else { 1.6 }
    }
}

/// Where `value` stands on its axis, if it has a place there.
fn coordinate(value: f64, log: bool) -> Option<f64> {
    if log {
        (value > 0.0 && value.is_finite()).then(|| value.log10())
    } else {
        // Beyond this, the length of an axis would overflow.
        (value.abs() < 1e150).then_some(value)
    }
}

/// The part of `run` that lies at or below `top`, cut where it crosses.
fn below(run: &[(f64, f64)], top: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = vec![vec![]];
    let mut previous: Option<(f64, f64)> = None;
    for &(x, y) in run {
        let inside = y <= top;
        if let Some((x0, y0)) = previous
            && inside != (y0 <= top)
        {
            let crossing = (x0 + (x - x0) * (top - y0) / (y - y0), top);
            if inside {
                pieces.push(vec![crossing]);
            } else if let Some(piece) = pieces.last_mut() {
                piece.push(crossing);
            }
        }
        if inside && let Some(piece) = pieces.last_mut() {
            piece.push((x, y));
        }
        previous = Some((x, y));
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The range of an axis in plotted coordinates, and its ticks.
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<Tick>,
    /// Where the small ticks stand.
    minor: Vec<f64>,
}

/// A labelled tick: `text`, with `exponent` raised behind it.
struct Tick {
    at: f64,
    text: String,
    exponent: String,
}

impl Axis {
    /// An axis over `[low, high]`, widened by the fraction `margin` at both ends.
    fn new(low: f64, high: f64, margin: f64, log: bool) -> Self {
        if log {
            Self::log(low, high, margin)
        } else {
            Self::linear(low, high, margin)
        }
    }

    fn log(low: f64, high: f64, margin: f64) -> Self {
        let pad = (high - low) * margin;
        let (mut low, mut high) = (low - pad, high + pad);
        if high.floor() - low.ceil() < 1.0 {
            // Fewer than two decades would be labelled: take whole ones.
            (low, high) = (low.floor(), high.ceil().max(low.floor() + 1.0));
        }
        let (first, last) = (low.ceil() as i64, high.floor() as i64);
        let step = [1, 2, 3, 5, 10, 20, 50]
            .into_iter()
            .find(|step| (last - first) / step < 8)
            .unwrap_or(100);
        let ticks = (first..=last).filter(|decade| decade.rem_euclid(step) == 0);
        let minor = if step > 1 {
            (first..=last).map(|decade| decade as f64).collect()
        } else {
            (first - 1..=last)
                .flat_map(|decade| (2..10).map(move |k| decade as f64 + f64::from(k).log10()))
                .filter(|at| (low..=high).contains(at))
                .collect()
        };
        Self {
            low,
            high,
            ticks: ticks
                .map(|decade| Tick {
                    at: decade as f64,
                    text: "10".into(),
                    exponent: minus(decade.to_string()),
                })
                .collect(),
            minor,
        }
    }

    fn linear(low: f64, high: f64, margin: f64) -> Self {
        let pad = if high > low {
            (high - low) * margin
        } else {
            // A single value gets some room around it.
            low.abs().max(1.0) / 2.0
        };
        let (low, high) = (low - pad, high + pad);
        let unit = 10f64.powf(((high - low) / 7.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|k| k * unit)
            .into_iter()
            .find(|step| (high - low) / step <= 7.0)
            .unwrap_or(10.0 * unit);
        // 3 000 000 becomes 3 × 10⁶.
        let largest = low.abs().max(high.abs());
        let power = largest.log10().floor() as i32;
        let power = if (-3..5).contains(&power) { 0 } else { power };
        let decimals = (power - step.log10().floor() as i32).clamp(0, 12) as usize;
        let first = (low / step).ceil();
        let count = ((high / step).floor() - first).clamp(0.0, 9.0) as usize;
        let ticks = (0..=count).map(|k| {
            let at = (first + k as f64) * step;
            let scaled = at / 10f64.powi(power);
            let text = if scaled.abs() < 1e-12 {
                "0".into()
            } else {
                minus(format!("{scaled:.decimals$}"))
            };
            let (times, exponent) = if power == 0 || text == "0" {
                ("", String::new())
            } else {
                (" × 10", minus(power.to_string()))
            };
            Tick {
                at,
                text: text + times,
                exponent,
            }
        });
        Self {
            low,
            high,
            ticks: ticks.collect(),
            minor: vec![],
        }
    }

    /// `at` as a fraction of the axis.
    fn fraction(&self, at: f64) -> f64 {
        (at - self.low) / (self.high - self.low)
    }
}

/// The sign of a negative number as it is printed in text.
fn minus(number: String) -> String {
    number.replace('-', "−")
}

/// A colour as the SVG writes it.
pub(super) fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// The compiled-in font under plotters' name for the default one; false if it could not be read.
static FONT: LazyLock<bool> = LazyLock::new(|| {
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    register_font("sans-serif", FontStyle::Normal, font).is_ok()
});

/// A drawing area in units of [`SIZE`], with text placed by its baseline.
struct Canvas<DB: DrawingBackend> {
    area: DrawingArea<DB, Shift>,
    /// The backend's font size per em.
    size_per_em: f64,
    /// From the top of a text to its baseline, in em.
    baseline: f64,
    /// Whether the backend rounds the joints of a line; a mitre at a sharp turn reaches far beyond the numbers.
    rounds_joints: bool,
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

impl<DB: DrawingBackend> Canvas<DB> {
    fn new(
        area: DrawingArea<DB, Shift>,
        size_per_em: f64,
        baseline: f64,
        rounds_joints: bool,
    ) -> Self {
        Self {
            area,
            size_per_em,
            baseline,
            rounds_joints,
        }
    }

    fn draw(&self, plot: &Plot) -> Result<(), ReportError> {
        let failed = |reason: String| ReportError::Drawing {
            title: plot.title.clone(),
            reason,
        };
        if !*FONT {
            return Err(failed("the compiled-in font is unreadable".into()));
        }
        self.plot(plot).map_err(|error| failed(error.to_string()))
    }

    fn plot(&self, plot: &Plot) -> Drawn<DB> {
        let curves = plot.curves();
        let labels = curves.iter().map(|curve| self.fit(&curve.series.label));
        let labels: Vec<String> = labels.collect::<Result<_, _>>()?;
        let mut legend = 0.0_f64;
        for label in &labels {
            // Readers of the SVG may have a wider font.
            legend = legend.max(1.15 * self.text_width(label, TEXT)? + 62.0);
        }
        let right = f64::from(SIZE.0) - legend.max(28.0);

        self.area.fill(&PAPER)?;
        self.text(&plot.title, (LEFT, 30.0), 17.0, INK, HPos::Left)?;
        match axes(plot, &curves) {
            Some((x, y)) => {
                self.axes(&x, &y, right)?;
                // The emphasised curves on top.
                for emphasis in [false, true] {
                    for curve in curves.iter().filter(|c| c.series.emphasis == emphasis) {
                        self.curve(curve, &x, &y, right)?;
                    }
                }
            }
            None => {
                let middle = ((LEFT + right) / 2.0, (TOP + BOTTOM) / 2.0);
                self.text("no data", middle, 15.0, AXIS, HPos::Center)?;
            }
        }
        self.line(&[(LEFT, TOP), (LEFT, BOTTOM), (right, BOTTOM)], AXIS, 1.0)?;

        let middle = ((LEFT + right) / 2.0, (TOP + BOTTOM) / 2.0);
        let below = (middle.0, BOTTOM + 42.0);
        self.text(&plot.x_label, below, TEXT, INK, HPos::Center)?;
        self.vertical_text(&plot.y_label, (26.0, middle.1))?;
        if curves.iter().any(|curve| curve.floored.is_some()) {
            let note = "≤: below the certificate of the optimum";
            self.text(note, (LEFT, BOTTOM + 64.0), 11.0, AXIS, HPos::Left)?;
        }

        let mut entries: Vec<_> = curves.into_iter().zip(labels).collect();
        entries.sort_by(|(a, _), (b, _)| {
            let ((a, a_floored), (b, b_floored)) = (a.end(), b.end());
            b.total_cmp(&a).then(b_floored.total_cmp(&a_floored))
        });
        self.legend(&entries, right + 16.0)
    }

    /// Grid, ticks and tick labels.
    fn axes(&self, x: &Axis, y: &Axis, right: f64) -> Drawn<DB> {
        let across = |at| LEFT + x.fraction(at) * (right - LEFT);
        let up = |at| BOTTOM - y.fraction(at) * (BOTTOM - TOP);
        for &at in &x.minor {
            self.line(
                &[(across(at), BOTTOM), (across(at), BOTTOM + 3.0)],
                AXIS,
                0.75,
            )?;
        }
        for &at in &y.minor {
            self.line(&[(LEFT - 3.0, up(at)), (LEFT, up(at))], AXIS, 0.75)?;
        }
        for tick in &x.ticks {
            let at = across(tick.at);
            self.line(&[(at, TOP), (at, BOTTOM)], GRID, 1.0)?;
            self.line(&[(at, BOTTOM), (at, BOTTOM + 5.0)], AXIS, 1.0)?;
            let text = self.text_width(&tick.text, TEXT)?;
            let exponent = self.text_width(&tick.exponent, SUPERSCRIPT)?;
            self.tick_label(tick, (at + (text - exponent) / 2.0, BOTTOM + 21.0))?;
        }
        let mut exponents = 0.0_f64;
        for tick in &y.ticks {
            exponents = exponents.max(self.text_width(&tick.exponent, SUPERSCRIPT)?);
        }
        for tick in &y.ticks {
            let at = up(tick.at);
            self.line(&[(LEFT, at), (right, at)], GRID, 1.0)?;
            self.line(&[(LEFT - 5.0, at), (LEFT, at)], AXIS, 1.0)?;
            self.tick_label(tick, (LEFT - 9.0 - 1.15 * exponents, at + 4.5))?;
        }
        Ok(())
    }

    /// A tick's text up to `(x, y)`, and its exponent from there.
    fn tick_label(&self, tick: &Tick, (x, y): (f64, f64)) -> Drawn<DB> {
        self.text(&tick.text, (x, y), TEXT, INK, HPos::Right)?;
        let raised = (x + 0.5, y - 5.5);
        self.text(&tick.exponent, raised, SUPERSCRIPT, INK, HPos::Left)
    }

    fn curve(&self, curve: &Curve, x: &Axis, y: &Axis, right: f64) -> Drawn<DB> {
        let place = |&(a, b): &(f64, f64)| {
            (
                LEFT + x.fraction(a) * (right - LEFT),
                BOTTOM - y.fraction(b) * (BOTTOM - TOP),
            )
        };
        for piece in curve.runs.iter().flat_map(|run| below(run, y.high)) {
            let path: Vec<_> = piece.iter().map(place).collect();
            if let [point] = path[..] {
                let style = curve.color.filled();
                let radius = pixel(curve.width() + 0.6);
                self.area.draw(&Circle::new(pixels(point), radius, style))?;
            }
            self.stroke(&path, curve)?;
        }
        if let Some(point) = curve.floored {
            let (x, y) = place(&point);
            self.text("≤", (x + 3.0, y - 5.0), 15.0, curve.color, HPos::Left)?;
        }
        Ok(())
    }

    fn legend(&self, entries: &[(Curve, String)], x: f64) -> Drawn<DB> {
        let row = ((BOTTOM - TOP) / entries.len().max(1) as f64).min(22.0);
        for (k, (curve, label)) in entries.iter().enumerate() {
            let y = TOP + (k as f64 + 0.5) * row;
            self.stroke(&[(x, y), (x + 30.0, y)], curve)?;
            let color = if curve.runs.is_empty() { AXIS } else { INK };
            self.text(label, (x + 38.0, y + 4.5), TEXT.min(row), color, HPos::Left)?;
        }
        Ok(())
    }

    /// A path in the curve's colour, width and dashes.
    fn stroke(&self, path: &[(f64, f64)], curve: &Curve) -> Drawn<DB> {
        let Some((dash, gap)) = curve.dash else {
            return self.line(path, curve.color, curve.width());
        };
        let mut path: Vec<_> = path.iter().copied().map(pixels).collect();
        path.dedup();
        let style = curve.color.stroke_width(pixel(curve.width()) as u32);
        self.area.draw(&DashedPathElement::new(
            path,
            dash * SCALE,
            gap * SCALE,
            style,
        ))
    }

    fn line(&self, path: &[(f64, f64)], color: RGBColor, width: f64) -> Drawn<DB> {
        let mut path: Vec<_> = path.iter().copied().map(pixels).collect();
        path.dedup();
        if path.len() < 2 {
            return Ok(());
        }
        let style = color.stroke_width(pixel(width) as u32);
        if self.rounds_joints {
            return self.area.draw(&PathElement::new(path, style));
        }
        for ends in path.windows(2) {
            self.area.draw(&PathElement::new(ends, style))?;
        }
        for joint in &path[1..path.len() - 1] {
            let radius = pixel(width / 2.0);
            self.area
                .draw(&Circle::new(*joint, radius, color.filled()))?;
        }
        Ok(())
    }

    /// Text of `em` units whose baseline starts, ends or has its middle at `(x, y)`.
    fn text(&self, text: &str, (x, y): (f64, f64), em: f64, color: RGBColor, h: HPos) -> Drawn<DB> {
        let style = self.style(em).color(&color).pos(Pos::new(h, VPos::Top));
        let top = pixels((x, y - self.baseline * em));
        self.area.draw(&Text::new(printable(text), top, style))
    }

    /// Text that reads upwards, the middle of its baseline at `(x, y)`.
    fn vertical_text(&self, text: &str, (x, y): (f64, f64)) -> Drawn<DB> {
        let style = self.style(TEXT).transform(FontTransform::Rotate270);
        let style = style.color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        let top = pixels((x - self.baseline * TEXT, y));
        self.area.draw(&Text::new(printable(text), top, style))
    }

    fn style(&self, em: f64) -> TextStyle<'static> {
        let size = em * self.size_per_em * f64::from(SCALE);
        ("sans-serif", size).into_font().into()
    }

    fn text_width(&self, text: &str, em: f64) -> Result<f64, DrawingAreaErrorKind<DB::ErrorType>> {
        // The font measures by its own size per em, whatever the backend's.
        let style = ("sans-serif", em * 1.121 * f64::from(SCALE)).into_font();
        let (width, _) = self
            .area
            .estimate_text_size(&printable(text), &style.into())?;
        Ok(f64::from(width) / f64::from(SCALE))
    }

    /// `label`, cut short with an ellipsis where it is wider than [`LABEL`].
    fn fit(&self, label: &str) -> Result<String, DrawingAreaErrorKind<DB::ErrorType>> {
        let mut short = label.to_owned();
        while self.text_width(&short, TEXT)? > LABEL {
            let kept = short.trim_end_matches('…').chars().count() - 1;
            short = label.chars().take(kept).chain(['…']).collect();
        }
        Ok(short)
    }
}

/// The axes that hold all curves, if there is a point at all.
fn axes(plot: &Plot, curves: &[Curve]) -> Option<(Axis, Axis)> {
    let points = || curves.iter().flat_map(Curve::points);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(None, |range: Option<(f64, f64)>, v| {
            Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
        })
    };
    let x = range(&mut points().map(|(x, _)| x))?;
    let mut y = range(&mut points().map(|(_, y)| y))?;
    if plot.y_log {
        let starts = &mut curves.iter().filter_map(|curve| curve.points().next());
        let highest = range(&mut starts.map(|(_, y)| y))?.1;
        y.1 = y.1.min(highest + HEADROOM);
    }
    Some((
        Axis::new(x.0, x.1, 0.0, plot.x_log),
        Axis::new(y.0, y.1, 0.04, plot.y_log),
    ))
}

/// A length in drawn pixels, at least one.
fn pixel(length: f64) -> i32 {
    (length * f64::from(SCALE)).round().max(1.0) as i32
}

/// A point in drawn pixels.
fn pixels((x, y): (f64, f64)) -> (i32, i32) {
    let scale = f64::from(SCALE);
    ((x * scale).round() as i32, (y * scale).round() as i32)
}

/// `text` without control characters, which XML does not admit.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// RGB `pixels` of size `(width, height)`, each square of [`PNG_AVERAGES`]² averaged into one.
fn average(pixels: &[u8], (width, height): (u32, u32)) -> (Vec<u8>, (u32, u32)) {
    let n = PNG_AVERAGES;
    let size = (width / n, height / n);
    let mut averaged = Vec::with_capacity((size.0 * size.1 * 3) as usize);
    for y in 0..size.1 {
        for x in 0..size.0 {
            for channel in 0..3 {
                let at = |k| ((y * n + k / n) * width + x * n + k % n) * 3 + channel;
                let sum: u32 = (0..n * n).map(|k| u32::from(pixels[at(k) as usize])).sum();
                averaged.push(((sum + n * n / 2) / (n * n)) as u8);
            }
        }
    }
    (averaged, size)
}

/// RGB `pixels` as a PNG stream (ISO/IEC 15948), each row stored as its difference to the one above.
fn encode_png(pixels: &[u8], (width, height): (u32, u32)) -> std::io::Result<Vec<u8>> {
    const DEPTH_8_RGB: [u8; 5] = [8, 2, 0, 0, 0];
    const FILTER_UP: u8 = 2;
    let row = 3 * width as usize;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    for y in 0..height as usize {
        let differences = (y * row..(y + 1) * row).map(|k| {
            let above = if y == 0 { 0 } else { pixels[k - row] };
            pixels[k].wrapping_sub(above)
        });
        let line: Vec<u8> = std::iter::once(FILTER_UP).chain(differences).collect();
        encoder.write_all(&line)?;
    }
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &DEPTH_8_RGB,
    ]
    .concat();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [
        (b"IHDR", header),
        (b"IDAT", encoder.finish()?),
        (b"IEND", vec![]),
    ] {
        let mut checksum = Crc::new();
        checksum.update(name);
        checksum.update(&data);
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(name);
        png.extend(data);
        png.extend(checksum.sum().to_be_bytes());
    }
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaps that fall from 1 to 1e-14 at `count` speeds, over 1 to 1e5 rounds.
    fn convergence(count: usize) -> Plot {
        let series = (0..count).map(|k| {
            let speed = 0.02 / (1.0 + k as f64);
            let points = (0..=100).map(|j| {
                let rounds = 10f64.powf(f64::from(j) / 20.0);
                (rounds, (-speed * rounds).exp())
            });
            Series {
                floor: Some(1e-14),
                emphasis: k == 0,
                ..Series::new(format!("method {k}"), points.collect())
            }
        });
        Plot {
            title: "Optimality gap".into(),
            x_label: "rounds".into(),
            y_label: "gap".into(),
            x_log: true,
            y_log: true,
            series: series.collect(),
        }
    }

    fn plot(x_log: bool, y_log: bool, points: Vec<(f64, f64)>) -> Plot {
        Plot {
            x_log,
            y_log,
            // Often enough to meet every dash.
            series: vec![Series::new("only", points); 2 * PALETTE.len() + 1],
            ..Plot::default()
        }
    }

    #[test]
    fn the_same_plot_gives_the_same_bytes() {
        let plot = convergence(12);
        assert_eq!(plot.svg().unwrap(), plot.svg().unwrap());
        assert_eq!(plot.png().unwrap(), plot.png().unwrap());
    }

    #[test]
    fn svg_shows_every_part() {
        let svg = convergence(9).svg().unwrap();
        assert!(svg.starts_with("<svg width=\"960\" height=\"540\""));
        assert!(svg.contains("viewBox=\"0 0 3840 2160\""));
        for text in ["Optimality gap", "rounds", "gap", "method 8", "−14", "≤"] {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}");
        }
        assert!(svg.contains("≤: below the certificate of the optimum"));
    }

    #[test]
    fn png_decodes_to_the_averaged_pixels() {
        use std::io::Read;
        let png = convergence(3).png().unwrap();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(png[16..24], [0, 0, 7, 128, 0, 0, 4, 56]);
        let data = u32::from_be_bytes(png[33..37].try_into().unwrap()) as usize;
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(&png[41..41 + data])
            .read_to_end(&mut rows)
            .unwrap();
        assert_eq!(rows.len(), 1080 * (1 + 3 * 1920));
        assert_eq!(rows[..4], [2, 255, 255, 255]);
    }

    #[test]
    fn degenerate_plots_render() {
        let broken = vec![(0.0, f64::NAN), (f64::INFINITY, 1.0), (f64::NAN, f64::NAN)];
        for x_log in [false, true] {
            for y_log in [false, true] {
                let empty = Plot {
                    x_log,
                    y_log,
                    ..Plot::default()
                };
                let no_points = plot(x_log, y_log, vec![]);
                let nothing_finite = plot(x_log, y_log, broken.clone());
                for plot in [empty, no_points, nothing_finite] {
                    assert!(plot.svg().unwrap().contains("no data"));
                }
                for points in [
                    vec![(1.0, 1.0)],
                    vec![(2.0, 5.0), (2.0, 5.0)],
                    vec![(3.0, 7.0), (4.0, 7.0)],
                    vec![(1e-300, 1e-320), (1e140, 1e149)],
                    vec![(1.0, 1.0), (2.0, f64::NAN), (3.0, 3.0)],
                    vec![(1.0, f64::MAX), (2.0, 1.0), (3.0, f64::MAX)],
                ] {
                    let plot = plot(x_log, y_log, points);
                    assert!(!plot.svg().unwrap().contains("no data"));
                    plot.png().unwrap();
                }
            }
        }
    }

    #[test]
    fn log_axes_skip_what_has_no_logarithm() {
        let plot = plot(
            true,
            true,
            vec![(0.0, 1.0), (1.0, 1.0), (2.0, 0.0), (3.0, 1.0)],
        );
        let curves = plot.curves();
        let y = 0.0;
        assert_eq!(curves[0].runs, [vec![(0.0, y)], vec![(3f64.log10(), y)]]);
    }

    #[test]
    fn the_floor_holds_what_falls_below_it() {
        let mut series = Series::new("gap", vec![(1.0, 1e-6), (2.0, 1e-9), (3.0, -1e-20)]);
        series.floor = Some(1e-8);
        let curve = Curve::new(0, &series, false, true);
        assert_eq!(curve.runs, [vec![(1.0, -6.0), (2.0, -8.0), (3.0, -8.0)]]);
        assert_eq!(curve.floored, Some((2.0, -8.0)));
        series.floor = Some(1e-30);
        series.points.pop();
        assert_eq!(Curve::new(0, &series, false, true).floored, None);
    }

    #[test]
    fn legend_stands_in_the_order_of_the_final_values() {
        let mut plot = convergence(3);
        plot.series[1].points.truncate(10);
        plot.series.push(Series::new("nothing", vec![]));
        let svg = plot.svg().unwrap();
        let place = |label: &str| svg.find(&format!(">\n{label}\n")).unwrap();
        assert!(place("method 1") < place("method 0"));
        assert!(place("method 0") < place("nothing"));
    }

    #[test]
    fn a_diverging_curve_leaves_through_the_top() {
        let mut plot = convergence(2);
        plot.series
            .push(Series::new("diverges", vec![(1.0, 1.0), (1e3, 1e300)]));
        let (_, y) = axes(&plot, &plot.curves()).unwrap();
        assert!(y.high < 3.0);
        let pieces = below(&[(0.0, 0.0), (1.0, 4.0), (2.0, 0.0)], 1.0);
        assert_eq!(
            pieces,
            [[(0.0, 0.0), (0.25, 1.0)], [(1.75, 1.0), (2.0, 0.0)]]
        );
    }

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |axis: Axis| {
            let label = |tick: &Tick| format!("{}^{}", tick.text, tick.exponent);
            axis.ticks.iter().map(label).collect::<Vec<_>>()
        };
        assert_eq!(
            labels(Axis::new(0.0, 2.0, 0.0, true)),
            ["10^0", "10^1", "10^2"]
        );
        assert_eq!(labels(Axis::new(-14.0, 0.0, 0.0, true)).len(), 8);
        assert_eq!(labels(Axis::new(0.3, 0.6, 0.0, true)), ["10^0", "10^1"]);
        assert_eq!(
            labels(Axis::new(-0.5, 0.5, 0.0, false))[..2],
            ["−0.4^", "−0.2^"]
        );
        assert_eq!(
            labels(Axis::new(0.0, 3e6, 0.0, false))[..2],
            ["0^", "0.5 × 10^6"]
        );
    }

    #[test]
    fn a_long_label_is_cut_short() {
        let mut plot = convergence(1);
        plot.series[0].label = "a very long label ".repeat(20);
        assert!(plot.svg().unwrap().contains("…\n</text>"));
    }
}
