//! What went over the sink's lines.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{UsageWho, getrusage};

#[derive(Default)]
pub(crate) struct Stats {
    requests: AtomicU64,
    connections: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Requests by operation.
    operations: Mutex<BTreeMap<&'static str, u64>>,
    /// How the payload of objects and parts was signed.
    payloads: Mutex<BTreeMap<String, u64>>,
}

impl Stats {
    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A request, with the bytes of its body as they came.
    pub(crate) fn request(&self, operation: &'static str, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        if let Ok(mut operations) = self.operations.lock() {
            *operations.entry(operation).or_default() += 1;
        }
    }

    pub(crate) fn payload(&self, kind: &str) {
        if let Ok(mut payloads) = self.payloads.lock() {
            *payloads.entry(kind.to_owned()).or_default() += 1;
        }
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn json(&self) -> String {
        let cpu = getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |usage| {
            [usage.user_time(), usage.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
        });
        serde_json::json!({
            "requests": self.requests.load(Ordering::Relaxed),
            "connections": self.connections.load(Ordering::Relaxed),
            "bytes_in": self.bytes_in.load(Ordering::Relaxed),
            "bytes_out": self.bytes_out.load(Ordering::Relaxed),
            "operations": self.operations.lock().map(|map| map.clone()).unwrap_or_default(),
            "payloads": self.payloads.lock().map(|map| map.clone()).unwrap_or_default(),
            "cpu": cpu,
        })
        .to_string()
    }
}
