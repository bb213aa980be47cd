//! Makes cargo notice contracts that are new or gone: `bindgen!` tells it only of some of those that it read.

fn main() {
    println!("cargo::rerun-if-changed=../../wit");
}
