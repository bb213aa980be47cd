//! Reads /in/file, writes /out/rows: the rows without an empty cell.

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let (kept, dropped) = complete(&fs::read_to_string("/in/file")?);
    fs::write("/out/rows", kept)?;
    println!("{dropped} rows dropped");
    Ok(())
}

/// The rows without an empty cell, and how many had one.
fn complete(text: &str) -> (String, u64) {
    let (mut kept, mut dropped) = (String::new(), 0);
    for line in text.lines() {
        if line.split(',').all(|cell| !cell.trim().is_empty()) {
            kept.push_str(line);
            kept.push('\n');
        } else {
            dropped += 1;
        }
    }
    (kept, dropped)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_with_missing_cells_are_dropped() {
        assert_eq!(super::complete("a,b\n1,2\n3,\n"), ("a,b\n1,2\n".to_owned(), 1));
    }
}
