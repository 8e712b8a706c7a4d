//! Compiles `orch/v1/*.proto` with protox: no protoc to install, nothing generated in git.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files =
        ["orch/v1/admin.proto", "orch/v1/join.proto", "orch/v1/runner.proto", "orch/v1/scheduler.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("orch.v1.bin"), {
        use prost::Message;
        descriptors.encode_to_vec()
    })?;
    tonic_prost_build::configure()
        // The admin messages are what `GET /queue` and `--json` print.
        .type_attribute(".", "#[derive(serde::Serialize)]")
        // Output passes without being copied, and what it came in is free again once it is written.
        .bytes(".orch.v1.LogChunk.data")
        .bytes(".orch.v1.LogFrame.data")
        .codec_path("crate::codec::SmallBuffers")
        .compile_fds(descriptors)?;
    Ok(())
}
