//! What others wrote, as it may stand on a terminal.

use std::borrow::Cow;

/// The text with its control characters written out, so that a component cannot move the cursor, change the title or
/// paint over what stands there. Ends of lines and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if !is_hidden(letter) => shown.push(letter),
            letter if u32::from(letter) < 0x100 => {
                shown.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            letter => shown.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal does something else with a character than show it: controls, and marks that reverse the order
/// of what follows.
fn is_hidden(letter: char) -> bool {
    let reorders = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() && !matches!(letter, '\n' | '\t') || reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_shown_and_not_sent() {
        for (text, expected) in [
            ("plain é\ttext", "plain é\ttext"),
            ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            ("\x1b[2J\x1b[1;1Hall is well", "\\x1b[2J\\x1b[1;1Hall is well"),
            ("50%\rdone", "50%\\x0ddone"),
            ("\u{9b}31m", "\\x9b31m"),
            ("\u{202e}cod.exe", "\\u{202e}cod.exe"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
