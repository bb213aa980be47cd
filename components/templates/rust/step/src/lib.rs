#[eyot_guest::component]
pub mod steps {
    use eyot_guest::{Artifact, Result, tracking};

    pub struct Cleaned {
        pub rows: Artifact,
        pub dropped: u64,
    }

    /// Drops rows with missing cells.
    pub fn clean(file: Artifact) -> Result<Cleaned> {
        let (kept, dropped) = super::complete(&file.text()?);
        tracking::log_metric("dropped", dropped as f64, 0);
        Ok(Cleaned { rows: Artifact::write("text/csv", kept.as_bytes())?, dropped })
    }
}

/// The rows without an empty cell, and how many had one.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
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
