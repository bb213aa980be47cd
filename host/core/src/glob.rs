//! Patterns in which `*` stands for any text.

/// Whether the whole of `text` is as `pattern` says.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // The last `*`, and where it began to match: going back to it alone is enough, so this is linear
    // in the product of the lengths at worst.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, text) {
            ([b'*', rest @ ..], _) => {
                star = Some((rest, text));
                pattern = rest;
            }
            ([wanted, rest @ ..], [found, after @ ..]) if wanted == found => (pattern, text) = (rest, after),
            ([], []) => return true,
            _ => match star {
                Some((rest, [_, after @ ..])) => {
                    star = Some((rest, after));
                    (pattern, text) = (rest, after);
                }
                _ => return false,
            },
        }
    }
}

/// The same pattern for SQL's `LIKE … ESCAPE '\\'`.
pub fn like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len());
    for letter in pattern.chars() {
        match letter {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', letter]),
            letter => like.push(letter),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("", "", true),
            ("", "a", false),
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("a/*", "ab/c", false),
            ("*/b", "a/b/b", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyyb", false),
            ("models/iris", "models/iris", true),
            ("models/iris", "models/iris2", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert_eq!(like("a_b/*%"), r"a\_b/%\%");
    }
}
