//! What a provider can do and where it differs, as data. Presets and the probe that measures them come with the
//! stores; this is S3's own.

/// A provider's facts.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Smallest part but the last, in bytes.
    pub least_part: u64,
    /// Largest part and single PUT, in bytes.
    pub most_part: u64,
    /// Most parts of one object.
    pub most_parts: u32,
    /// Takes a checksum in a trailer behind an unsigned payload (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`).
    pub trailers: bool,
    /// How long after its date a request may still take effect, in milliseconds: stores refuse an older date.
    /// DESIGN's B.
    pub late_ms: i64,
}

/// S3 (Amazon S3 multipart upload limits, S3 user guide).
pub const S3: Profile =
    Profile { least_part: 5 << 20, most_part: 5 << 30, most_parts: 10_000, trailers: true, late_ms: 15 * 60 * 1000 };
