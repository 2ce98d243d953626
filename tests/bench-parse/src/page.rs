//! One page in memory.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use quick_xml::events::Event;
use s3vault_core::http::ReplyHead;
use s3vault_core::op::{ListObjectVersions, Operation as _, Reply};

use crate::{Result, median};

const ROWS: usize = 1000;
const ROUNDS: usize = 301;

/// As AWS writes it with `encoding-type=url`; each key needs decoding, each ETag has entities.
fn page() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>backups</Name><Prefix/><KeyMarker/>\
         <VersionIdMarker/><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>",
    );
    for n in 0..ROWS {
        let _ = write!(
            xml,
            "<Version><Key>vm-0147__9f3c2a1e/2026-03-01%20full/disk-{n:06}.qcow2</Key>\
             <VersionId>3sL4kqtJlcpXroDTDmJ.rmSpXd3dI{n:04}</VersionId><IsLatest>true</IsLatest>\
             <LastModified>2026-03-01T12:00:00.000Z</LastModified>\
             <ETag>&quot;fba9dede5f27731c9771645a3986{n:04}&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>{}</Size>\
             <Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a</ID></Owner>\
             <StorageClass>STANDARD</StorageClass></Version>",
            n * 4711
        );
    }
    xml + "</ListVersionsResult>"
}

/// Nothing but the events, as fast as quick-xml gives them, with its check that tags fit.
fn events(xml: &str) -> Result<usize> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut rows = 0;
    loop {
        match reader.read_event()? {
            Event::Eof => return Ok(rows),
            Event::End(end) if end.name().as_ref() == "Version" => rows += 1,
            event => {
                black_box(event);
            }
        }
    }
}

fn visited(xml: &str) -> Result<usize> {
    let mut rows = 0;
    ListObjectVersions::default().each_row(xml.as_bytes(), |row| {
        black_box(row);
        rows += 1;
        Ok(())
    })?;
    Ok(rows)
}

fn kept(xml: &str) -> Result<usize> {
    let head = ReplyHead { status: 200, headers: Vec::new() };
    let page = ListObjectVersions::default().parse(&mut Reply { head: &head, body: xml.into(), range: None })?;
    Ok(black_box(page).versions.len())
}

pub(crate) fn run() -> Result<()> {
    type Turn = fn(&str) -> Result<usize>;
    let turns: [(&str, Turn); 3] =
        [("quick-xml's own event loop", events), ("s3vault, rows visited", visited), ("s3vault, rows kept", kept)];
    let xml = page();
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((_, turn), seconds) in turns.iter().zip(&mut seconds) {
            let start = Instant::now();
            if turn(&xml)? != ROWS {
                return Err("a row was missed".into());
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    println!("a page of {ROWS} versions, {} bytes, medians of {ROUNDS} turns", xml.len());
    let medians = seconds.map(median);
    for ((name, _), time) in turns.iter().zip(medians) {
        println!(
            "  {name:28} {:>10.0} rows/s {:>7.1} µs a page {:>6.2} of the event loop's time",
            ROWS as f64 / time,
            time * 1e6,
            time / medians[0]
        );
    }
    Ok(())
}
