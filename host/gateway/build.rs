//! Rust types of the gRPC services. No protoc is needed: the compiler is a library.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    let compiler = compiler.include_imports(true).open_files(["inference.proto"])?;
    std::fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_client(true)
        .client_mod_attribute(".", "#[cfg(test)]")
        // Tensors stay where the message was received.
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
