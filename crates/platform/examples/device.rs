//! The userspace WireGuard device as a program of its own, for the tests: `device INTERFACE`.
//!
//! Not shipped: `netclient device INTERFACE` is.

use dataplane::device::{DeviceOptions, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    run(DeviceOptions::new(name), || ()).await
}
