//! The drawing of faults along time.

use super::{Fault, Outcome};
use crate::printable::{Html, Line};
use crate::time;
use std::fmt;

/// Size of the drawing from left to right, in its own units.
const WIDTH: f64 = 1000.0;
/// The same, from top to bottom.
const HEIGHT: f64 = 72.0;
/// Room left and right of the line.
const MARGIN: f64 = 16.0;
/// How far from the top the line is.
const LINE_AT: f64 = 28.0;
/// Half the size of a mark.
const MARK: f64 = 7.0;

/// The drawing: a line of time from the first fault to the last, with a mark for each.
pub struct Timeline<'a>(pub &'a [Fault]);

impl fmt::Display for Timeline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = || self.0.iter().map(|fault| fault.unix_ns);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
        write!(
            f,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"The faults along time\">\n\
             <line class=\"axis\" x1=\"{MARGIN}\" y1=\"{LINE_AT}\" x2=\"{}\" y2=\"{LINE_AT}\"/>\n",
            WIDTH - MARGIN
        )?;
        for fault in self.0 {
            write!(f, "{}", Mark { fault, x: place(fault.unix_ns, first, last) })?;
        }
        let below = HEIGHT - 10.0;
        if first == last {
            let middle = WIDTH / 2.0;
            writeln!(
                f,
                "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>",
                time::utc(first)
            )?;
        } else {
            let end = WIDTH - MARGIN;
            writeln!(f, "<text x=\"{MARGIN}\" y=\"{below}\">{}</text>", time::utc(first))?;
            writeln!(f, "<text x=\"{end}\" y=\"{below}\" text-anchor=\"end\">{}</text>", time::utc(last))?;
        }
        f.write_str("</svg>\n")
    }
}

/// Where a time lies between the first one and the last, from left to right.
fn place(at: u64, first: u64, last: u64) -> f64 {
    if first == last {
        return WIDTH / 2.0;
    }
    let part = (at - first) as f64 / (last - first) as f64;
    MARGIN + part * (WIDTH - 2.0 * MARGIN)
}

struct Mark<'a> {
    fault: &'a Fault,
    x: f64,
}

impl fmt::Display for Mark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, x } = self;
        let outcome = fault.outcome();
        // Of different shapes, for who cannot tell the colours.
        let (left, right, top, bottom) = (x - MARK, x + MARK, LINE_AT - MARK, LINE_AT + MARK);
        let class = outcome.class();
        match outcome {
            Outcome::PutBack => {
                write!(f, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{LINE_AT}\" r=\"{MARK}\">")?
            }
            Outcome::Ended => {
                let side = 2.0 * MARK;
                write!(
                    f,
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top}\" width=\"{side}\" height=\"{side}\">"
                )?;
            }
            Outcome::Other => {
                write!(
                    f,
                    "<path class=\"{class}\" d=\"M{x:.1} {top} L{right:.1} {bottom} L{left:.1} {bottom} Z\">"
                )?;
            }
        }
        let end = match outcome {
            Outcome::PutBack => "</circle>",
            Outcome::Ended => "</rect>",
            Outcome::Other => "</path>",
        };
        let (kind, action) = (Html(Line(&fault.kind)), Html(Line(&fault.action)));
        writeln!(f, "<title>{} {kind}: {action}</title>{end}", time::utc(fault.unix_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fault;
    use super::*;

    #[test]
    fn marks_lie_where_their_times_are() {
        assert_eq!(place(5, 5, 5), 500.0);
        assert_eq!([10, 15, 20].map(|at| place(at, 10, 20)), [16.0, 500.0, 984.0]);
        assert_eq!(place(u64::MAX, 0, u64::MAX), 984.0);
    }

    #[test]
    fn each_fault_has_a_mark_by_what_was_done() {
        let faults = [("rollback", 0), ("stop", 10), ("rollback", 20), ("retry", 30)];
        let faults = faults.map(|(action, at)| fault(at, action));
        let drawn = Timeline(&faults).to_string();
        let count = |what: &str| drawn.matches(what).count();
        assert_eq!(count("<circle class=\"back\""), 2);
        assert_eq!(count("<rect class=\"ended\""), 1);
        assert_eq!(count("<path class=\"other\""), 1);
        assert!(
            drawn.contains("<title>1970-01-01T00:00:00.000Z guest-panic: stop</title></rect>"),
            "{drawn}"
        );
    }

    #[test]
    fn without_faults_nothing_is_drawn() {
        assert_eq!(Timeline(&[]).to_string(), "");
    }

    #[test]
    fn one_fault_is_in_the_middle() {
        assert!(Timeline(&[fault(7, "stop")]).to_string().contains("x=\"493.0\""));
    }
}
