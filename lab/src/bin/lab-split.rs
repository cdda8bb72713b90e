//! (part of `cargo lab 2.3`, `2.4` and `7.1`) The lab's own services in a process like `cell-services`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service_runtime::host::main("lab-split", lab::split::services())
}
