//! Every type that can cross, both ways.

#[eyot_guest::component]
mod steps {
    use std::io::{Read as _, Write as _};

    use eyot_guest::{Artifact, Result, Writer};

    pub struct Scalars {
        pub truth: bool,
        pub small: u8,
        pub large: u64,
        pub negative: i64,
        pub single: f32,
        pub double: f64,
        pub letter: char,
        pub text: String,
    }

    pub struct Nested {
        pub pairs: Vec<(u32, Option<String>)>,
        pub scalars: Option<Scalars>,
    }

    pub fn scalars(value: Scalars) -> Scalars {
        value
    }

    pub fn nested(value: Nested) -> Result<Nested> {
        Ok(value)
    }

    pub fn maybe(value: Option<u32>) -> Option<u32> {
        value
    }

    /// Copies through a small buffer.
    pub fn copy(file: Artifact, times: u32) -> Result<Artifact> {
        let mut writer = Writer::new(&file.media_type());
        for _ in 0..times {
            let mut reader = file.reader();
            let mut buffer = [0; 4096];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    length => writer.write_all(&buffer[..length])?,
                }
            }
        }
        println!("copied {} bytes {times} times", file.size());
        writer.finish()
    }

    pub struct Two {
        pub left: Artifact,
        pub right: Artifact,
    }

    pub fn swap(left: Artifact, right: Artifact) -> Two {
        Two { left: right, right: left }
    }

    pub fn types(left: Artifact, right: Artifact) -> String {
        format!("{} {}", left.media_type(), right.media_type())
    }

    pub fn all(files: Vec<Artifact>) -> Vec<Artifact> {
        files
    }
}
