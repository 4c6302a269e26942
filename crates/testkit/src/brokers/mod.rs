//! Message brokers for tests, each started by the test that wants it: Mosquitto and NATS as they are installed.
//!
//! Not for the product. It keeps true that nothing which was started outlives the process that started it, however that ends, and
//! that the machine's own services are never touched.

pub mod authority;
pub mod mosquitto;
pub mod nats;
pub mod process;

pub use mosquitto::{PASSWORD, USER};
