//! Text of a guest's, made fit for terminals and browsers.
//!
//! A control character moves a terminal's cursor or colours what follows; a bidirectional one makes text
//! appear in another order than it is in. Both are replaced.

use std::fmt::{self, Write};

/// Stands for what must not be printed.
const REPLACEMENT: char = '\u{fffd}';

/// Whether a character changes how others appear, instead of appearing itself.
pub fn is_hidden(c: char) -> bool {
    // Unicode Standard Annex 9, and the separators of lines and paragraphs before it.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text in one line.
pub struct Line<'a>(pub &'a str);

/// Text in lines as it has them.
pub struct Lines<'a>(pub &'a str);

/// Text in HTML: between tags, or in a quoted attribute.
pub struct Html<T>(pub T);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' | '\t' => f.write_char(' '),
            c if is_hidden(c) => f.write_char(REPLACEMENT),
            c => f.write_char(c),
        })
    }
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.lines().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{}", Line(line))?;
        }
        Ok(())
    }
}

/// Escapes what passes through it.
struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            c => self.0.write_char(c),
        })
    }
}

impl<T: fmt::Display> fmt::Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters_and_stays_one_line() {
        let said = Line("a\x1b[2J\r\nb\tc\0\u{202e}d\u{2028}e\u{9b}f").to_string();
        assert_eq!(said, "a\u{fffd}[2J\u{fffd} b c\u{fffd}\u{fffd}d\u{fffd}e\u{fffd}f");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(Lines("a\r\nb\x07\n\nc\n").to_string(), "a\nb\u{fffd}\n\nc");
    }

    #[test]
    fn markup_becomes_text() {
        let said = Html(Line("<script>alert('&\"')</script>")).to_string();
        assert_eq!(said, "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;");
    }
}
